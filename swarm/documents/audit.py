"""Whether what is said of documents has sources that hold: it resolves, it was read, its quotes are there."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio.to_thread

from swarm.documents.claims import MARK, NO_SOURCE, Claim, Source, claims_of, sources_in
from swarm.documents.library import Library
from swarm.documents.readings import TOLD_BACK, Ranges, Readings, has_read
from swarm.types import JsonObject

WIDEST = 120
"""Lines that one source may span; more is no place."""

WIDEST_PAGES = 3

_MOST_TOLD = 12
_LONGEST_CLAIM = 240


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A claim whose source does not hold, and why."""

    claim: str
    reason: str
    end: int = 0
    declared: bool = False
    marked: bool = False


@dataclass(frozen=True, slots=True)
class Audit:
    """What is wrong with the sources of a text; the text with marks where it is; the documents that hold what it says,
    and how many of its claims they support."""

    problems: tuple[Unsupported, ...]
    text: str
    cited: tuple[str, ...] = ()
    supported: int = 0


class Auditor:
    """Looks at what agents of one run say. `on_repository`: they may speak of code too; then words need a source only
    of those who read a document."""

    def __init__(self, library: Library, readings: Readings, *, on_repository: bool = False) -> None:
        self.library = library
        self._readings = readings
        self._on_repository = on_repository
        self._told: set[str] = set()

    def __repr__(self) -> str:
        return f"<Auditor of {self.library!r}>"

    async def audit(
        self, text: str, trajectory_id: str = "", subtasks: Sequence[str] = (), *, lenient: bool = False
    ) -> Audit:
        """Look at a text of an agent, who may name what was read by it, by those below it, and by those who worked on
        these sub-tasks; of no agent: by anyone. `lenient`: only at sources that are given. Raises: MachineError."""
        ranges = self._readings.of(trajectory_id, subtasks)
        lenient = lenient or self._speaks_of_code(trajectory_id)
        return await anyio.to_thread.run_sync(partial(self._audit, text, ranges, lenient=lenient))

    async def objection(
        self, text: str, trajectory_id: str, subtasks: Sequence[str] = (), result: Any = None, scope: str | None = None
    ) -> str:
        """What a model is told of its answer, once; "" where nothing is wrong, or it was told before. `scope`: whose
        reading counts, where that is another's."""
        if trajectory_id in self._told or self._readings.was_told(trajectory_id):
            return ""
        ranges = self._readings.of(trajectory_id if scope is None else scope, subtasks)
        lenient = result is not None or self._speaks_of_code(trajectory_id)
        problems = await anyio.to_thread.run_sync(self._problems, text, result, ranges, lenient)
        if not problems:
            return ""
        self._told.add(trajectory_id)
        lines = [f"- {problem.reason}: {_clip(problem.claim)}" for problem in problems[:_MOST_TOLD]]
        if len(problems) > _MOST_TOLD:
            lines.append(f"- and {len(problems) - _MOST_TOLD} more")
        return (
            f"{TOLD_BACK}these claims have no source that holds.\n" + "\n".join(lines) + "\n"
            "Read the lines that you name, copy quotes word for word, and put the source behind each claim: "
            f"[d1:120-145]. Leave out what no document says, or put {NO_SOURCE} behind it. Then give the whole "
            "answer again; what is still without a source is marked as unsupported."
        )

    async def marked(self, value: Any, trajectory_id: str, subtasks: Sequence[str] = ()) -> Any:
        """A structured result with marks in place of sources that do not hold. Raises: MachineError."""
        ranges = self._readings.of(trajectory_id, subtasks)
        return await anyio.to_thread.run_sync(self._mark_value, value, ranges)

    def _speaks_of_code(self, trajectory_id: str) -> bool:
        return self._on_repository and bool(trajectory_id) and not self._readings.of(trajectory_id)

    # ── what follows blocks ─────────────────────────────────────────────────────────────────────────────────────────

    def _audit(self, text: str, ranges: Ranges, *, lenient: bool = False) -> Audit:
        problems: list[Unsupported] = []
        cited: dict[str, None] = {}
        supported = 0
        for claim in claims_of(text):
            found = [self._fault(source, ranges) for source in claim.sources]
            good = [source for source, fault in zip(claim.sources, found, strict=True) if not fault]
            reasons = [*claim.marked, *dict.fromkeys(filter(None, found))]
            if good and (lost := self._lost_quote(claim, good)):
                reasons.append(f'the words "{_clip(lost, 60)}" are not there')
            elif not claim.sources and not claim.marked and not (lenient and not claim.declared):
                reasons.append("no source was found" if claim.declared else "no source")
            cited |= dict.fromkeys(each.id for source in good if (each := self.library.document(source.document)))
            supported += not reasons
            if reasons and (claim.says or claim.sources or claim.marked):  # else it is a gap, and says so
                why = "; ".join(dict.fromkeys(reasons))
                problems.append(Unsupported(claim.text, why, claim.end, claim.declared, bool(claim.marked)))
        return Audit(tuple(problems), _with_marks(text, problems), tuple(cited), supported)

    def _problems(self, text: str, result: Any, ranges: Ranges, lenient: bool) -> list[Unsupported]:
        """What a model can mend. Beside a structured result the words need no sources of their own."""
        found = self._audit(text, ranges, lenient=lenient).problems
        problems = [problem for problem in found if not problem.declared]
        for row in _rows(result):
            words = "; ".join(str(value) for value in row.values() if isinstance(value, str))
            problems += [p for p in self._audit(words, ranges, lenient=True).problems if not p.declared]
            if words and not sources_in(words) and NO_SOURCE not in words:
                problems.append(Unsupported(words, "no source in the row"))
        return problems

    def _mark_value(self, value: Any, ranges: Ranges) -> Any:
        if isinstance(value, str):
            return self._audit(value, ranges, lenient=True).text
        if isinstance(value, list):
            return [self._mark_value(each, ranges) for each in value]
        if isinstance(value, dict):
            return {name: self._mark_value(each, ranges) for name, each in value.items()}
        return value

    def _fault(self, source: Source, ranges: Ranges) -> str:
        """Why a source does not hold, "" where it does."""
        place = self._place(source)
        if isinstance(place, str):
            return f"{source.written}: {place}"
        document, first, last = place
        if not first:
            return ""
        count, most = source.last - source.first + 1, WIDEST_PAGES if source.paged else WIDEST
        if count > most:
            return (
                f"{source.written}: {count} {'pages' if source.paged else 'lines'} are no place, name those that say it"
            )
        known = self.library.document(document) if source.paged else None
        numbers = range(source.first, source.last + 1)
        parts = [self.library.page(known, number) for number in numbers] if known is not None else [(first, last)]
        looks = [self._looked(document, part, ranges) for part in parts if part is not None]
        looks = [look for look in looks if look]
        if not looks:
            return f"{source.written}: nothing stands there"
        return (
            "" if all((any if source.paged else all)(look) for look in looks) else f"{source.written}: it was not read"
        )

    def _looked(self, document: str, place: tuple[int, int], ranges: Ranges) -> list[bool]:
        """Which of the lines that say something were read."""
        held = self.library.index.lines(document, *place)
        return [has_read(ranges, document, number) for number, line in held.items() if line.strip()]

    def _place(self, source: Source) -> tuple[str, int, int] | str:
        """The lines of a source, none (0) for an image; or why there are none."""
        document = self.library.document(source.document)
        if document is None:
            return "there is no such document"
        if document.is_image or not source.first:
            return (document.id, 0, 0) if document.is_image else "name the lines"
        if source.last < source.first:
            return "it ends before it begins"
        if not source.paged:
            return document.id, source.first, source.last
        pages = [self.library.page(document, number) for number in (source.first, source.last)]
        first, last = pages
        return (document.id, first[0], last[1]) if first and last else "it has no such page"

    def _lost_quote(self, claim: Claim, sources: Sequence[Source]) -> str:
        """A quote that stands in none of the places that are named behind it."""
        if not claim.quotes:
            return ""
        held = []
        for source in sources:
            place = self._place(source)
            if isinstance(place, str) or not place[1]:
                return ""  # what an image says nobody can look up
            held.append("\n".join(self.library.index.lines(*place).values()))
        joined = [text.replace("-\n", hyphen) for text in (*held, "\n".join(held)) for hyphen in ("", "-")]
        cited = [each for source in sources if (each := self.library.document(source.document)) is not None]
        titles = [title for each in cited for title in (each.name, *each.headings)]  # they are put in quotes as well
        whole = [_plain(text) for text in (*joined, *titles)]
        for quote in claim.quotes:
            parts = quote.replace("[...]", "\u2026").replace("...", "\u2026").split("\u2026")
            if not any(_stands(parts, text) for text in whole):
                return quote
        return ""


def _with_marks(text: str, problems: Sequence[Unsupported]) -> str:
    """The text with a mark behind each claim that is not marked yet."""
    for problem in reversed(problems):
        if not problem.marked:
            end = len(text[: problem.end].rstrip(" \t\n|"))
            mark = MARK.format(problem.reason.translate(_NO_BRACKETS)[:200])
            text = f"{text[:end]} {mark}{text[end:]}"
    return text


_NO_BRACKETS = str.maketrans("[]\n|", "() /")


def _rows(value: Any) -> list[JsonObject]:
    """The innermost objects of a structured result."""
    if isinstance(value, list):
        return [row for each in value for row in _rows(each)]
    if isinstance(value, dict):
        inner = [row for each in value.values() if isinstance(each, dict | list) for row in _rows(each)]
        return inner or [value]
    return []


def _stands(parts: Sequence[str], text: str) -> bool:
    """Whether the parts of a quote stand in a text, one after the other."""
    at = 0
    for part in map(_plain, parts):
        found = text.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return True


def _plain(text: str) -> str:
    """A text as quotes are compared: without links and marks of Markdown, case, what is not seen, and kinds of blanks,
    dashes and letters (ligatures)."""
    text = _LINK.sub(r"\1", _NOTE.sub("", text)).translate(_ALIKE)
    return " ".join(unicodedata.normalize("NFKC", text).split()).casefold().strip(" .,;:")


_LINK = re.compile(r"\[([^\[\]\n]{1,300})\]\([^()\n]{0,500}\)")
_NOTE = re.compile(r"\[(?:\[\d{1,3}\]|\d{1,3})\](?:\(#[^()\n]{0,200}\))?")
"""The number of a footnote."""

_ALIKE = str.maketrans(
    "\u2019\u2018\u201c\u201d\u201e\u2010\u2011\u2012\u2013\u2212|",
    '\'\'"""----- ',
    "*_`\\\u00ad\u200b\u200c\u200d\u2060\ufeff",
)


def _clip(text: str, most: int = _LONGEST_CLAIM) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 3]}..."
