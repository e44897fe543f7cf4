"""HTML taken apart, in time proportional to its length whatever it holds: `html.parser` of the standard library takes
time that grows with the square where tags are not closed."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import NamedTuple

_TAG = re.compile(r"(/?)([a-zA-Z][^\s/>]*+)")
_RAW = {name: re.compile(rf"</{name}\b", re.IGNORECASE) for name in ("script", "style")}
_HREF = re.compile(r"\bhref\s*+=\s*+(?:\"([^\"]*+)\"|'([^']*+)'|([^\s\"'>]++))", re.IGNORECASE)
_HUGE = re.compile(r"&#(?:[xX][0-9a-fA-F]{7}|[0-9]{8})[0-9a-fA-F]*+;?")
"""A character by a number that none has; with enough digits `html.unescape` raises."""

_MOST_ENDS = 4
_LONGEST = 4_000
"""Characters of a tag's attributes that are read."""


class Tag(NamedTuple):
    """`name` is in lower case; `href` is that of a link, "" where it has none."""

    name: str
    closes: bool
    href: str = ""


def pieces(page: str) -> Iterator[str | Tag]:
    """The tags of a page, and its text between them. Comments, declarations and what is in scripts are left out."""
    at = 0
    while (start := page.find("<", at)) >= 0:
        if start > at:
            yield plain(page[at:start])
        if page.startswith("<!--", start):
            end = page.find("-->", start + 4)
            if end < 0:
                return
            at = end + 3
            continue
        after = page[start + 1 : start + 2]
        if not (after.isascii() and after.isalpha()) and after not in ("/", "!", "?"):
            yield "<"
            at = start + 1
            continue
        end = _end(page, start)
        if end < 0:  # nothing is a tag any more
            at = start
            break
        at = end + 1
        if tag := _tag(page[start + 1 : min(end, start + _LONGEST)]):
            yield tag
            if not tag.closes and tag.name in _RAW:
                closing = _RAW[tag.name].search(page, at)
                if closing is None:
                    return
                at = closing.start()
    if at < len(page):
        yield plain(page[at:])


def plain(text: str) -> str:
    """Text with the characters that its entities stand for."""
    return html.unescape(_HUGE.sub("\N{REPLACEMENT CHARACTER}", text)) if "&" in text else text


def _end(page: str, start: int) -> int:
    """Where a tag ends, -1 for nowhere: at the next `>` that is not between double quotes, if there is one near."""
    first = end = page.find(">", start)
    for _ in range(_MOST_ENDS):
        if end < 0 or '="' not in page[start:end] or page.count('"', start, end) % 2 == 0:
            break
        end = page.find(">", end + 1)
    return end if end >= 0 else first


def _tag(inside: str) -> Tag | None:
    found = _TAG.match(inside)
    if found is None:
        return None
    name = found[2].lower()
    link = _HREF.search(inside) if name == "a" else None
    return Tag(name, bool(found[1]), plain(next(filter(None, link.groups()), "")) if link else "")
