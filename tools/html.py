"""A web page as text: what a reader would see, with its links. Pure."""

from __future__ import annotations

import re
from collections import Counter
from urllib.parse import urljoin

from swarm.tools.markup import pieces

_SKIPPED = frozenset({"script", "style", "noscript", "template", "svg", "head", "iframe", "object"})
_BLOCKS = frozenset(
    {"address", "article", "aside", "blockquote", "body", "dd", "div", "dl", "dt", "fieldset", "figcaption", "figure"}
    | {"footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre"}
    | {"section", "table", "tr", "ul"}
)
_HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}


class _Reader:
    def __init__(self, base: str) -> None:
        self._base = base
        self._skipping: list[str] = []
        self._skipped: Counter[str] = Counter()  # how often each of them is open
        self._in_title = False
        self._verbatim = 0
        self._links: list[str] = []
        self.parts: list[str] = []
        self.title = ""

    def read(self, page: str) -> None:
        for piece in pieces(page):
            if isinstance(piece, str):
                self._text(piece)
            elif piece.closes:
                self._close(piece.name)
            else:
                self._open(piece.name, piece.href)

    def _open(self, tag: str, link: str) -> None:
        if tag == "title":
            self._in_title = True
        elif tag in _SKIPPED:
            self._skipping.append(tag)
            self._skipped[tag] += 1
        if self._skipping:
            return
        if tag in _BLOCKS or tag == "br":
            self.parts.append("\n")
        if tag in _HEADINGS or tag == "li":
            self.parts.append(_HEADINGS.get(tag, "- "))
        elif tag in ("td", "th"):
            self.parts.append(" | ")
        elif tag == "pre":
            self._verbatim += 1
        elif tag == "a":
            self._links.append("" if link.startswith(("#", "javascript:", "data:")) else link)
            self.parts.append("[" if self._links[-1] else "")

    def _close(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        if self._skipped[tag]:
            inner = ""
            while inner != tag:
                inner = self._skipping.pop()
                self._skipped[inner] -= 1
            return
        if self._skipping:
            return
        if tag in _BLOCKS:
            self.parts.append("\n")
        if tag == "pre":
            self._verbatim = max(0, self._verbatim - 1)
        elif tag == "a" and self._links and (link := self._links.pop()):
            self.parts.append(f"]({_absolute(self._base, link)})")

    def _text(self, data: str) -> None:
        if self._in_title and not self.title:
            self.title = " ".join(data.split())
        if not self._skipping:
            self.parts.append(data if self._verbatim else re.sub(r"\s+", " ", data))


def page_text(html: str, base: str) -> str:
    """The text of a page; `base` is its address, which relative links count from."""
    reader = _Reader(base)
    reader.read(html)
    lines = [line.rstrip() for line in "".join(reader.parts).split("\n")]
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
    return f"{reader.title}\n\n{text}" if reader.title else text


def _absolute(base: str, link: str) -> str:
    try:
        return urljoin(base, link)
    except ValueError:
        return link
