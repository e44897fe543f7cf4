"""A text taken apart into claims and the sources that stand behind them. Pure.

A source is written `[d3:120-145]` (lines), `[d3:p12]` (a page), several in one pair of brackets with `;` between them,
or `[d5]` for an image. It stands behind what it is the source of: in a paragraph, a list item or a row of a table it
covers what comes before it, back to the one before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

NO_SOURCE = "[no source]"
"""What a model puts behind what it found no source of."""

MARK = "[unsupported: {}]"
"""What is put behind a claim that has none, whoever says it."""

_PLACE = r"(?:pages?|pp?\.?|lines?|L)?\s{0,2}\d{1,9}(?:\s{0,2}[-\u2013]\s{0,2}(?:pp?\.?|L)?\d{1,9})?"
_GAP = r"\s{0,2}"
_ONE = re.compile(
    rf"(?P<document>[^\[\]\n;]{{1,200}}?){_GAP}:{_GAP}(?P<place>{_PLACE}(?:{_GAP},{_GAP}{_PLACE}){{0,200}})"
)
_NUMBERS = re.compile(
    rf"(?P<unit>[A-Za-z]{{0,5}})\.?{_GAP}(?P<first>\d{{1,9}})"
    rf"(?:{_GAP}[-\u2013]{_GAP}[A-Za-z]{{0,5}}\.?{_GAP}(?P<last>\d{{1,9}}))?"
)
_BRACKETS = re.compile(r"\[([^\[\]\n]{1,2000})\](?!\()")
_APART = re.compile(r";|,(?=\s*d\d{1,6}\s*:)", re.IGNORECASE)
_IMAGE = re.compile(r"\s*(d\d{1,6})\s*", re.IGNORECASE)
_MARKED = re.compile(r"\[unsupported: ([^\[\]\n]{1,300})\]")
_DECLARED = re.compile(r"\[no source\]", re.IGNORECASE)
_QUOTE = re.compile(
    r"\"([^\"]{12,2000}?)\"|\u201c([^\u201d]{12,2000}?)\u201d|\u201e([^\u201c]{12,2000}?)\u201c|\u00ab([^\u00bb]{12,2000}?)\u00bb"
)
_REMARK = re.compile(r"unsupported: |no source$", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+")
_LETTER = re.compile(r"[^\W\d_]")
_ITEM = re.compile(r"\s*(?:[-*+\u2022]|\d{1,4}[.)])\s+")
_RULE = re.compile(r"\s*+\|?\s*+:?-++:?\s*+(?:\|\s*+:?-++:?\s*+)*+\|?\s*+")
_NO_DOCUMENTS = ("unsupported", "http")
_TITLE = re.compile(r"\*\*[^*\n\d.!?]{1,80}\*\*")
"""Bold words alone on a line, which stand for a heading."""

_FENCE = ("```", "~~~")
_WORDS_IN_FENCES = frozenset({"", "md", "markdown", "text", "txt", "json"})
"""What fenced blocks are called that hold an answer rather than a program."""

_LEAST_WORDS = 4
_LEAST_IN_LISTS = 2
_OURS = (
    "Not shown to be covered by this answer:",
    "Without a table, and so not in it:",
    "Sources contradict each other (",
    "No row has the key ",
    "There is no answer:",
)
"""How what the program itself adds to an answer begins."""


@dataclass(frozen=True, slots=True)
class Source:
    """A place in a document, as it was written: lines, or pages where `paged`; 0 for the whole of an image."""

    written: str
    document: str
    first: int = 0
    last: int = 0
    paged: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """Words with what is given as their source, between `start` and `end` of the text. `marked`: why it was found
    unsupported before; `declared`: whoever wrote it says that it has no source. `least`: words that say
    something, fewer in lists and tables than elsewhere."""

    text: str
    start: int
    end: int
    sources: tuple[Source, ...] = ()
    quotes: tuple[str, ...] = ()
    marked: tuple[str, ...] = ()
    declared: bool = False
    least: int = _LEAST_WORDS

    @property
    def says(self) -> bool:
        """Whether there is something in it of which a source could be asked."""
        words = _WORD.findall(self.text)
        with_digits = len(words) > (self.least > _LEAST_IN_LISTS) and any(sign.isdigit() for sign in self.text)
        return with_digits or len(words) >= self.least


def claims_of(text: str) -> Iterator[Claim]:
    """The claims of a text, in its order; headings, code and what only leads over to a list are none. Where nothing in
    it says enough to be one, each word is: `1871.`"""
    units = [*_units(text)]
    found = [claim for start, end in units for claim in _claims(text, start, end)]
    short = [_claim(text, start, end, [], whole=True) for start, end in units if not found]
    yield from found or (replace(claim, least=1) for claim in short if _WORD.search(claim.text))


def sources_in(text: str) -> list[Source]:
    """All sources that a text gives, in its order."""
    return [source for found in _BRACKETS.finditer(text) for source in _sources(found[1]) or ()]


def _claims(text: str, start: int, end: int) -> Iterator[Claim]:
    at = start
    sources: list[Source] = []
    cited = 0  # where the sources of the claim under way end
    for found in [*_BRACKETS.finditer(text, start, end), None]:
        written = _sources(found[1]) if found is not None else None
        if found is not None and written is None:
            if sources and _REMARK.match(found[1]) and not text[cited : found.start()].strip():
                cited = found.end()
            continue
        behind = not text[cited : found.start()].strip(" \t\n,;.") if found is not None and sources else False
        if found is not None and (behind or not sources):
            sources += written or []
            cited = found.end()
            continue
        if sources:
            yield _claim(text, at, cited, sources, whole=at == start)
            at, sources = cited, []
        if found is not None:
            sources, cited = list(written or []), found.end()
    rest = _claim(text, at, end, [], whole=at == start)
    if rest.says or rest.marked or rest.declared:
        yield rest


def _claim(text: str, start: int, end: int, sources: list[Source], *, whole: bool) -> Claim:
    """`whole`: it is the beginning of its unit."""
    words = text[start:end]
    listed = words.lstrip().startswith("|") or (whole and _ITEM.match(words))
    bare = _BRACKETS.sub(" ", words)
    quoted = _BRACKETS.sub(lambda found: " " if _is_ours(found[1]) else found[0], words)
    quotes = (next(filter(None, found.groups())) for found in _QUOTE.finditer(quoted))
    return Claim(
        " ".join(bare.strip(" \t\n|.,;-*").split()),
        start,
        end,
        tuple(sources),
        tuple(quote for quote in quotes if len(_WORD.findall(quote)) > 2),
        tuple(_MARKED.findall(words)),
        bool(_DECLARED.search(words)),
        _LEAST_IN_LISTS if listed else _LEAST_WORDS,
    )


def _is_ours(inside: str) -> bool:
    """Whether brackets hold a source or a mark; others stand in what is quoted."""
    return bool(_REMARK.match(inside)) or _sources(inside) is not None


def _sources(inside: str) -> list[Source] | None:
    """What stands in a pair of brackets, None where that is something else."""
    if image := _IMAGE.fullmatch(inside):
        return [Source(inside.strip(), image[1].lower())]
    found: list[Source] = []
    for part in _APART.split(inside):
        one = _ONE.fullmatch(part.strip())
        if one is None or one["document"].strip().lower().startswith(_NO_DOCUMENTS) or not _LETTER.search(part):
            return None  # `[10:45]` is a time
        for numbers in _NUMBERS.finditer(one["place"]):
            first = int(numbers["first"])
            paged = numbers["unit"].lower().startswith("p")
            written = f"{one['document'].strip()}:{numbers[0].strip()}"
            found.append(Source(written, one["document"].strip(), first, int(numbers["last"] or first), paged))
    return found


def _units(text: str) -> Iterator[tuple[int, int]]:
    """Where paragraphs, list items and rows of tables begin and end."""
    lines = [(found.start(), found.end()) for found in re.finditer(r"[^\n]*(?:\n|\Z)", text) if found[0]]
    unit: list[int] = []
    code = _in_programs([text[start:end] for start, end in lines])

    def close(depth: int = 0) -> Iterator[tuple[int, int]]:
        """`depth`: how far the list item is indented that comes next."""
        if unit:
            start, end = unit[0], unit[1]
            unit.clear()
            words = text[start:end].strip()
            over = words.endswith((":", ":**")) or _TITLE.fullmatch(words) or depth > _depth(text[start:end])
            if words and not (over and not sources_in(words)) and not words.startswith(_OURS):
                yield start, end

    for at, (start, end) in enumerate(lines):
        line = text[start:end].strip()
        if at in code or line.startswith(_FENCE):
            yield from close()
        elif not line or line.startswith("#") or _RULE.fullmatch(line):
            yield from close()
            if sources_in(line):
                yield start, end
        elif line.startswith("|"):
            yield from close()
            following = text[slice(*lines[at + 1])].strip() if at + 1 < len(lines) else ""
            head = "-" in following and _RULE.fullmatch(following)
            if not head or sources_in(line):
                yield start, end
        elif unit and not _ITEM.match(text[start:end]):
            unit[1] = end
        else:
            yield from close(_depth(text[start:end]))
            unit[:] = [start, end]
    yield from close()


def _in_programs(lines: Sequence[str]) -> set[int]:
    """Which lines stand in fenced blocks of a program. A fence that nobody closes is none: it would hide the rest."""
    inside: set[int] = set()
    opened, mark, program = 0, "", False
    for at, line in enumerate(each.strip() for each in lines):
        if not mark and line.startswith(_FENCE):
            opened, mark = at, line[:3]
            program = line.lstrip("`~").strip().lower() not in _WORDS_IN_FENCES
        elif mark and line.startswith(mark):
            inside |= set(range(opened, at + 1)) if program else set()
            mark = ""
    return inside


def _depth(line: str) -> int:
    """How far a list item is indented, 0 for what is none."""
    return len(line) - len(line.lstrip()) if _ITEM.match(line) else 0
