"""What the policy was shown of documents, taken apart into sentences with their places, and how well one fits."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest

_HEAD = re.compile(r"^\[(d\d+):(\d+)-(\d+)\]", re.MULTILINE)
_LINE = re.compile(r"^ {0,6}(\d+)\t(.*)$", re.MULTILINE)
_END = re.compile(r"(?<=[.!?])[\"')\u201d]*\s+(?=[\"'(\u201c]?[A-Z0-9\u00c0-\u00de])")
_WORD = re.compile(r"[^\W_]+")
_PAIR = re.compile(r"(?:[-*+]\s{1,9}(?=\S))?\*{0,2}([^\s:|*][^:|*\n]{1,39}?)\*{0,2}\s{0,9}:\*{0,2}\s{1,9}(\S.*)")
_MARKUP = re.compile(r"\s*(?:#{1,6}\s+|[-*+]\s+|>\s+)?")
_SMALL = """a an and are as at be by did do does for from has have how in is it its of on or that the their there these
this to was were what when where which who why will with each every all about tell say give name list make write"""
_STOP = frozenset(_SMALL.split())


@dataclass(frozen=True, slots=True)
class Sentence:
    """Words of a document as they stand there, on lines `first` to `last`. `heading` is what they stand under."""

    document: str
    first: int
    last: int
    text: str
    heading: str = ""

    @property
    def source(self) -> str:
        """As it is cited."""
        lines = str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
        return f"[{self.document}:{lines}]"

    @property
    def pair(self) -> tuple[str, str] | None:
        """`Name: value`, where it is that."""
        found = _PAIR.fullmatch(self.text.strip())
        return (found[1].strip(), found[2].strip()) if found else None


def sentences(results: Iterable[str]) -> list[Sentence]:
    """The sentences in results of the tools for documents, each once, in the order of the documents."""
    lines: dict[str, dict[int, str]] = {}
    for result in results:
        heads = [*_HEAD.finditer(result)]
        for head, following in zip_longest(heads, heads[1:]):  # none, where nothing was found
            end = following.start() if following else len(result)
            own = lines.setdefault(head[1], {})
            own.update((int(found[1]), found[2]) for found in _LINE.finditer(result[head.end() : end]))
    return [each for document in sorted(lines, key=lambda d: int(d[1:])) for each in _of(document, lines[document])]


def _of(document: str, lines: dict[int, str]) -> Iterable[Sentence]:
    heading = ""
    block: list[int] = []
    for number in [*sorted(lines), 0]:
        line = lines.get(number, "")
        alone = line.lstrip().startswith(("#", "-", "*", "+", "|", ">"))
        if block and (not line.strip() or alone or number != block[-1] + 1):
            yield from _split(document, [(n, lines[n]) for n in block], heading)
            block = []
        if line.startswith("#"):
            heading = line.strip("# ")
        elif line.strip():
            block.append(number)
            if alone and line.lstrip().startswith("|"):
                yield from _split(document, [(number, line)], heading)
                block = []


def _split(document: str, block: Sequence[tuple[int, str]], heading: str) -> Iterable[Sentence]:
    text, starts = "", []
    for number, line in block:
        starts.append((len(text), number))
        text += line.strip() + " "
    at = _MARKUP.match(text).end() if _PAIR.fullmatch(text.strip()) is None else 0  # type: ignore[union-attr]  # it fits ""
    while at < len(text.rstrip()):
        end = found.start() if (found := _END.search(text, at)) else len(text.rstrip())
        first = max(number for start, number in starts if start <= at)
        last = max(number for start, number in starts if start < max(end, at + 1))
        if piece := text[at:end].strip():
            yield Sentence(document, first, last, piece, heading)
        at = found.end() if found else len(text)


@lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """A word without what is usually added to it."""
    word = word.casefold()
    for ending in ("ations", "ation", "ings", "ing", "ments", "ment", "edly", "ies", "ed", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def terms(text: str) -> list[str]:
    """What a text is about: stems of its words, without the small ones."""
    return [stem(word) for word in _WORD.findall(text) if word.casefold() not in _STOP]


class Ranking:
    """How well sentences fit words, the rarer of them counting more."""

    def __init__(self, found: Sequence[Sentence]) -> None:
        self.found = found
        self._terms = [Counter(terms(each.text)) for each in found]
        self._headings = [set(terms(each.heading)) for each in found]
        self._held = Counter(term for each in self._terms for term in each)

    def best(self, wanted: str, within: str = "", most: int = 1) -> list[Sentence]:
        """The sentences that say most of what is wanted, the best first; `within`: words of what they are about, half
        of which must stand in each, or in its heading."""
        asked, about = set(terms(wanted)), set(terms(within))
        scored = []
        for at, held in enumerate(self._terms):
            score = sum(self._weight(term) for term in asked if term in held)
            score += 0.5 * sum(self._weight(term) for term in asked if term not in held and term in self._headings[at])
            near = [term for term in about if term in held or term in self._headings[at]]
            if score > 0 and 2 * len(near) >= len(about):
                length = 1 + math.log1p(max(0, sum(held.values()) - 25)) / 4
                weight = sum(map(self._weight, near))
                scored.append(((score + weight) / length, -at))
        return [self.found[-at] for score, at in sorted(scored, reverse=True)[:most]]

    def _weight(self, term: str) -> float:
        return math.log1p(len(self.found) / (1 + self._held[term]))
