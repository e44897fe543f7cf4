"""A document's text as numbered lines, and the passages that it is split into. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from swarm.values import value

SIZE = 1_200
"""Characters of a passage, about."""

LONGEST_LINE = 1_000
"""Characters of a line; a longer one is broken at a blank, and counts as several."""

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_ENDS = re.compile(r"\r\n|[\n\r\x0b\x85\u2028\u2029]")
_HEADING = re.compile(r"#{1,6}\s+(\S.*)")
_LONGEST_HEADING = 120


@value(frozen=True, slots=True)
class Passage:
    """Lines `first` to `last` (from 1) of a document. `page` is 0 where it has none."""

    first: int
    last: int
    page: int
    heading: str
    text: str


@value(frozen=True, slots=True)
class Text:
    """The lines of a document, and on which of them its pages begin (none: it has no pages)."""

    lines: tuple[str, ...]
    pages: tuple[int, ...] = ()

    @property
    def whole(self) -> str:
        """As it is kept: pages begin with a form feed."""
        starts = set(self.pages)
        return "\n".join(f"\f{line}" if number in starts else line for number, line in enumerate(self.lines, 1))


def text_of(pages: Sequence[str], *, paged: bool) -> Text:
    """The text of pages, in lines."""
    lines: list[str] = []
    starts: list[int] = []
    for page in pages:
        starts.append(len(lines) + 1)
        own = [part for line in _ENDS.split(page) for part in _broken(_CONTROLS.sub("", line).rstrip())]
        lines += own or [""]
    return Text(tuple(lines), tuple(starts) if paged else ())


def plain_line(text: str) -> str:
    """A text on one line, without what a terminal would obey and what no file can hold."""
    return _CONTROLS.sub("", " ".join(text.split()))


def headings_of(text: Text) -> list[str]:
    """The headings of Markdown, without its fenced blocks."""
    return list(dict.fromkeys(found for line in _unfenced(text.lines) if (found := _heading(line))))


def passages_of(text: Text) -> Iterator[Passage]:
    """The passages, in order: they hold every line that is not blank, and none goes over the end of a page."""
    starts = set(text.pages)
    first, size, page, heading = 1, 0, 0, ""
    for number, line in enumerate(text.lines, 1):
        found = _heading(line)
        new_page = number in starts
        full = size >= SIZE or (size >= SIZE // 2 and not line.strip())
        if number > first and (new_page or found or full or size + len(line) > 2 * SIZE):
            yield from _passage(text, first, number - 1, page, heading)
            first, size = number, 0
        page += new_page
        heading = found or heading
        size += len(line) + 1
    yield from _passage(text, first, len(text.lines), page, heading)


def _passage(text: Text, first: int, last: int, page: int, heading: str) -> Iterator[Passage]:
    while first <= last and not text.lines[first - 1].strip():
        first += 1
    while last >= first and not text.lines[last - 1].strip():
        last -= 1
    if first <= last:
        yield Passage(first, last, page, heading, "\n".join(text.lines[first - 1 : last]))


def _heading(line: str) -> str:
    found = _HEADING.match(line)
    return found[1].strip("# \t")[:_LONGEST_HEADING] if found else ""


def _unfenced(lines: Sequence[str]) -> Iterator[str]:
    fenced = False
    for line in lines:
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        elif not fenced:
            yield line


def _broken(line: str) -> Iterator[str]:
    begin = 0
    while len(line) - begin > LONGEST_LINE:
        blank = line.rfind(" ", begin + LONGEST_LINE // 2, begin + LONGEST_LINE)
        end = begin + LONGEST_LINE if blank < 0 else blank + 1
        yield line[begin:end].rstrip()
        begin = end
    yield line[begin:]
