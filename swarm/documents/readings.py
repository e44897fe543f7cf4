"""What each agent of a run has read of its documents, as the record tells: a reducer of events."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

from swarm.events import AgentStarted, CallFinished, DocumentsAttached, Event, ToolFinished

SEARCH = "search_documents"
READ = "read_document"

TOLD_BACK = "Not taken yet: "
"""How what a model is told begins whose sources do not hold."""

_SHOWN = re.compile(r"^\[(d\d+):(\d+)-(\d+)\]", re.MULTILINE)
_SUBMIT = "submit"

Ranges = Mapping[str, list[tuple[int, int]]]
"""Lines that were read, by document."""


class Readings:
    """Feed it all events of the run, those of its past first."""

    def __init__(self) -> None:
        self.attached: DocumentsAttached | None = None
        self._read: dict[str, dict[str, list[tuple[int, int]]]] = {}
        self._children: defaultdict[str, list[str]] = defaultdict(list)
        self._tried: defaultdict[str, list[str]] = defaultdict(list)  # by sub-task
        self._told: set[str] = set()

    def __repr__(self) -> str:
        return f"<Readings of {len(self._read)} agents>"

    def observe(self, event: Event) -> None:
        """Take in the next event."""
        if isinstance(event, DocumentsAttached):
            self.attached = event
        if self.attached is None:
            return
        if isinstance(event, AgentStarted):
            if event.parent_trajectory_id:
                self._children[event.parent_trajectory_id].append(event.trajectory_id)
            if event.subtask is not None:
                self._tried[event.subtask.id].append(event.trajectory_id)
        elif isinstance(event, ToolFinished) and event.name in (SEARCH, READ):
            read = self._read.setdefault(event.trajectory_id, {})
            for shown in _SHOWN.finditer(event.result):
                _add(read.setdefault(shown[1], []), int(shown[2]), int(shown[3]))
        elif isinstance(event, ToolFinished) and event.name == _SUBMIT:
            if event.result.startswith(f"Error: {TOLD_BACK}"):
                self._told.add(event.trajectory_id)
        elif isinstance(event, CallFinished):  # what tools say may be anyone's, what we say begins so
            ours = (m["content"] for m in event.new_messages if m["role"] == "user" and isinstance(m["content"], str))
            if any(text.startswith(TOLD_BACK) for text in ours):
                self._told.add(event.trajectory_id)

    def was_told(self, trajectory_id: str) -> bool:
        """Whether the model was told once already that its sources do not hold."""
        return trajectory_id in self._told

    def of(self, trajectory_id: str, subtasks: Iterable[str] = ()) -> Ranges:
        """What an agent has read, those below it, and those who worked on these sub-tasks; "": all of them."""
        if not trajectory_id:
            return _together(self._read.values())
        left = [trajectory_id, *(name for subtask in subtasks for name in self._tried.get(subtask, ()))]
        names: set[str] = set()
        while left:
            name = left.pop()
            if name not in names:
                names.add(name)
                left += self._children.get(name, ())
        return _together(self._read[name] for name in sorted(names) if name in self._read)


def has_read(ranges: Ranges, document: str, line: int) -> bool:
    """Whether a line is among those that were read."""
    return any(first <= line <= last for first, last in ranges.get(document, ()))


def _together(parts: Iterable[Ranges]) -> Ranges:
    whole: dict[str, list[tuple[int, int]]] = {}
    for part in parts:
        for document, ranges in part.items():
            for first, last in ranges:
                _add(whole.setdefault(document, []), first, last)
    return whole


def _add(ranges: list[tuple[int, int]], first: int, last: int) -> None:
    """Add lines to ranges that do not touch each other."""
    apart = []
    for start, end in ranges:
        if end + 1 < first or last + 1 < start:
            apart.append((start, end))
        else:
            first, last = min(first, start), max(last, end)
    ranges[:] = sorted([*apart, (first, last)])
