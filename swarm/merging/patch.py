"""One sub-task's patch as the queue sees it, and why one is not merged."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

from swarm.events import EvictionKind
from swarm.stages import Change
from swarm.types import AgentResult, Plan

_LONGEST_SUMMARY = 10_000
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Patch:
    """What a commit changed of the one below it, for a sub-task. `place` is the sub-task's in the plan.

    `needs`: of each of these sets of sub-tasks one must be merged before it. `repair` is the sub-task of the repair
    sub-agent that made it, "" where it is the sub-task's own; `repairs` counts those that tried. `undid` tells what it
    took back or changed again of what others merged, each in words.
    """

    subtask_id: str
    title: str
    commit: str
    author: str
    summary: str = ""
    changes: tuple[Change, ...] = ()
    place: int = 0
    needs: tuple[frozenset[str], ...] = ()
    repair: str = ""
    repairs: int = 0
    undid: tuple[str, ...] = ()

    @property
    def files(self) -> frozenset[str]:
        return frozenset(change.path for change in self.changes)

    @property
    def size(self) -> int:
        """Changed lines; a file without any counts as one."""
        return sum(max(1, change.lines) for change in self.changes)

    @property
    def message(self) -> str:
        """Of the commit that brings it in."""
        trailers = [f"Swarm-Subtask: {self.subtask_id}"]
        if self.repair:
            trailers.append(f"Swarm-Repaired-By: {self.repair}")
        parts = [self.title, self.summary.strip()[:_LONGEST_SUMMARY], "\n".join(trailers)]
        return "\n\n".join(part for part in parts if part) + "\n"


@dataclass(frozen=True, slots=True)
class Eviction:
    """Why a patch is not merged. `against` are the sub-tasks that it conflicts with, `conflicts` the files, `notes`
    what git says of them; `tests` those that break, and `output` what they print."""

    patch: Patch
    kind: EvictionKind
    against: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    output: str = ""
    tried: str = ""
    """What came of the last repair, in words."""

    given_up: bool = False
    """Whether another repair would meet the same."""

    red: bool = True
    """Of an untested one: whether tests were seen red with it."""

    wrong: str = ""
    """What is wrong with the test command where no test is known to fail."""

    @property
    def reason(self) -> str:
        """In a line."""
        return f"{self._why()}; {self.tried}" if self.tried else self._why()

    def _why(self) -> str:
        others = named(self.against)
        match self.kind:
            case "conflict":
                of = f" (changed by {others})" if others else ""
                return f"conflict with what was merged before in {named(self.conflicts)}{of}"
            case "gate":
                clash = f"semantic conflict with {others}: both apply" if others else "semantic conflict: it applies"
                what = f"{named(self.tests) or 'the test command'} fails"
                return f"{clash}, but {self.wrong or what}"
            case "alone":
                if self.wrong:
                    return f"even by itself: {self.wrong}"
                return f"even by itself it breaks {named(self.tests) or 'the test command'}"
            case "held":
                return f"it builds on {others}, which is not merged"
            case "untested" if not self.red:
                return "it was stopped before all tests were run with it"
            case "untested":
                return "the tests are red on what was merged with it, and no more culprits were looked for"


def named(names: Sequence[str], most: int = _MOST_NAMED) -> str:
    """The first few, and how many more."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def patch_of(plan: Plan, result: AgentResult, changes: Sequence[Change], with_patch: Set[str] = frozenset()) -> Patch:
    """The patch of a result, which has one; `with_patch` are the sub-tasks of its stage that have one too."""
    place, subtask = next((place, each) for place, each in enumerate(plan.subtasks) if each.id == result.subtask_id)
    return Patch(
        subtask_id=subtask.id,
        title=subtask.title,
        commit=result.commit or "",
        author=result.trajectory_id,
        summary=result.text,
        changes=tuple(changes),
        place=place,
        needs=_needs(plan, subtask.depends_on, with_patch),
    )


def _needs(plan: Plan, depends_on: Sequence[str], there: Set[str]) -> tuple[frozenset[str], ...]:
    found = []
    for other in dict.fromkeys(depends_on):
        members = frozenset(each.id for each in plan.subtasks if each.group == other)
        if own := (members or frozenset((other,))) & there:
            found.append(own)
    return tuple(found)
