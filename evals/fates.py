"""What became of planted faults: in the final tree, in its tests, and by whose hand."""

from __future__ import annotations

import difflib
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from swarm.evals.faults import Fault
from swarm.events import AgentEnded, AgentStarted, Event, PatchMerged


class Fate(StrEnum):
    """How a fault ended. All but the last satisfy the tests that it had turned red."""

    RESTORED = "restored"
    REWRITTEN = "repaired in another way"
    ELSEWHERE = "made up for elsewhere"
    LEFT = "NOT fixed"


@dataclass(frozen=True, slots=True)
class FaultFate:
    """One fault's end: `line` is what stands in its place now, `by` the sub-tasks whose merged patches changed it.

    Where its own line still stands but its tests pass, `by` are those that changed its file and `instead` what is new.
    """

    fault: Fault
    fate: Fate
    line: str
    by: tuple[str, ...]
    instead: tuple[str, ...] = ()


def fates(
    faults: Sequence[Fault], faulty: Path, final: Path, failing: frozenset[str] | None, authors: Mapping[str, Patched]
) -> list[FaultFate]:
    """Judge each fault by the two trees and the tests that fail in the final one (None: they came to no end)."""
    result = []
    for fault in faults:
        before, after = _lines(faulty / fault.file), _lines(final / fault.file)
        now = line_now(before, after, fault.line)
        if failing is None or not failing.isdisjoint(fault.failing):
            fate = Fate.LEFT
        elif now == fault.new:
            fate = Fate.ELSEWHERE
        else:
            fate = Fate.RESTORED if now == fault.old else Fate.REWRITTEN
        hands = tuple(name for name, patch in authors.items() if patch.changed(fault, before))
        instead: tuple[str, ...] = ()
        if fate is Fate.ELSEWHERE:
            hands = tuple(name for name, patch in authors.items() if fault.file in patch.files)
            instead = tuple(row[2:] for row in difflib.ndiff(before, after) if row.startswith("+ "))
        result.append(FaultFate(fault, fate, now, hands, instead))
    return result


def line_now(before: Sequence[str], after: Sequence[str], number: int) -> str:
    """What stands in `after` where line `number` of `before` stood; several lines are joined, none is empty."""
    index = number - 1
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for kind, start, end, start_now, end_now in matcher.get_opcodes():
        if start <= index < end:
            if kind == "equal" or (kind == "replace" and end - start == end_now - start_now):
                return after[start_now + index - start]
            return "\n".join(after[start_now:end_now])
    return ""


@dataclass(frozen=True, slots=True)
class Patched:
    """A merged sub-task's tree in the run's store."""

    store: Path
    commit: str
    files: tuple[str, ...]

    def changed(self, fault: Fault, before: Sequence[str]) -> bool:
        """Whether this sub-task changed the fault's line: it stood otherwise in the tree that it was given."""
        given, made = (
            line_now(before, self._lines(c, fault.file), fault.line) for c in (f"{self.commit}^", self.commit)
        )
        return given != made

    def _lines(self, commit: str, file: str) -> list[str]:
        command = ["git", f"--git-dir={self.store}", "show", f"{commit}:{file}"]
        return subprocess.run(command, capture_output=True, check=False).stdout.decode(errors="replace").split("\n")


def merged_patches(events: Iterable[Event], store: Path) -> dict[str, Patched]:
    """The sub-tasks whose patches were merged, in the order of merging, with their commits."""
    subtasks: dict[str, str] = {}
    commits: dict[str, str] = {}
    merged: dict[str, Patched] = {}
    for event in events:
        if isinstance(event, AgentStarted) and event.subtask is not None:
            subtasks[event.trajectory_id] = event.subtask.id
        elif isinstance(event, AgentEnded) and event.commit and event.trajectory_id in subtasks:
            commits[subtasks[event.trajectory_id]] = event.commit
        elif isinstance(event, PatchMerged):
            merged.pop(event.subtask_id, None)
            commit = event.commit if event.repair else commits.get(event.subtask_id)  # a repair began with it all
            if event.merged and commit:
                merged[event.subtask_id] = Patched(store, commit, tuple(event.files))
    return merged


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n") if path.is_file() else []
