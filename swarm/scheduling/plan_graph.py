"""A plan as a graph: what is wrong with it, and what becomes of the others when a sub-task ends."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import islice

from swarm.scheduling.scopes import shared, strays
from swarm.stages import edges
from swarm.types import Plan

_RESERVED = re.compile(r"orchestrator|(?:aggregator|judge|gate|ahead)-\d+(?:[.-].*)?|.*\.repair-\d+", re.IGNORECASE)
"""Names of trajectories and sandboxes that are not sub-agents', but for those with a `#` or `~`: no id has one."""

_MADE = re.compile(r"(.+?)_?\.\d+")
"""Ids of sub-tasks that a sub-agent asks for begin with its own."""

_MOST_SHARED = 10
"""Pairs of sub-tasks with overlapping scopes that are told of one plan."""


def problems(plan: Plan, *, earlier: Collection[str] = (), room: int | None = None) -> list[str]:
    """Everything that keeps a plan from being run, in words that its author can act on.

    `earlier` are the ids of sub-tasks of former stages; `room` is how many sub-tasks may still be asked for.
    """
    found: list[str] = []
    ids = [subtask.id for subtask in plan.subtasks]
    members = Counter(subtask.group for subtask in plan.subtasks if subtask.group)
    known = {*ids, *members}
    found += [f"the id {i!r} is given to {n} sub-tasks" for i, n in Counter(ids).items() if n > 1]
    found += [f"the id {i!r} was already used in an earlier stage" for i in ids if i in earlier]
    found += [f"the id {i!r} is taken by the runtime" for i in ids if _RESERVED.fullmatch(i)]
    found += _too_like(ids, earlier)
    found += [f"{group!r} is both a group and a sub-task" for group in members if group in {*ids, *earlier}]
    for group, need in plan.need.items():
        if need < 1:
            found.append(f"the need of the group {group!r} is {need}: at least 1 must complete; without a need all run")
        elif need > members[group]:
            found.append(f"{need} of the group {group!r} cannot complete: it has {members[group]} sub-tasks")
    for subtask in plan.subtasks:
        if not subtask.instructions.strip():
            found.append(f"sub-task {subtask.id!r}: `instructions` are blank: its agent knows nothing else")
        if not subtask.title.strip():
            found.append(f"sub-task {subtask.id!r}: `title` is blank")
        found += [
            f"sub-task {subtask.id!r}: {path!r} in `files` {why}" for path in subtask.files if (why := strays(path))
        ]
        for other in subtask.depends_on:
            if other not in known and other not in earlier:
                found.append(f"sub-task {subtask.id!r} depends on {other!r}, which does not exist")
        found += [
            f"sub-task {subtask.id!r} replaces {i!r}, which does not exist"
            for i in subtask.replaces
            if i not in earlier
        ]
    found += [f"{i!r} cannot be dropped: it does not exist" for i in plan.dropped if i not in earlier]
    if room is not None and len(ids) > room:
        found.append(f"{len(ids)} sub-tasks are too many: at most {room} may be asked for")
    try:
        order = list(sorter(plan).static_order())
    except CycleError as error:
        return [*found, "the dependencies form a cycle: " + " → ".join(reversed(error.args[1]))]
    return [*found, *islice(_overlaps(plan, order), _MOST_SHARED)]


def _too_like(ids: Sequence[str], earlier: Collection[str]) -> Iterator[str]:
    """Ids that differ from another only by case, or that sub-agents of another give to theirs."""
    every = dict.fromkeys([*earlier, *ids])
    folded = dict[str, str]()
    for i in every:
        other = folded.setdefault(i.casefold(), i)
        if other != i and i not in earlier:
            yield f"the id {i!r} differs from {other!r} only by case: files are named after both"
    new = set(ids)
    for i in every:
        if i in new and i.endswith("_"):
            yield f"the id {i!r} ends with `_`: end it with a letter or digit"
        above = i
        while (made := _MADE.fullmatch(above)) is not None:
            above = made[1]
            if above in every and (i in new or above in new):
                yield f"the id {i!r} may be given to a sub-agent of {above!r}: give one of them another name"
                break


def _overlaps(plan: Plan, order: Sequence[str]) -> Iterator[str]:
    """Sub-tasks that may write the same files at the same time. Those of one group try the same: they may."""
    number = {node: n for n, node in enumerate(order)}
    needs, before = edges(plan), dict[str, int]()
    for node in order:  # all that a node waits for, as bits
        before[node] = 0
        for other in needs[node]:
            before[node] |= before[other] | 1 << number[other]
    group = {subtask.id: subtask.group for subtask in plan.subtasks}
    for one, other, path in shared({subtask.id: subtask.files for subtask in plan.subtasks}):
        apart = before[one] >> number[other] & 1 or before[other] >> number[one] & 1
        if not apart and not (group[one] and group[one] == group[other]):
            yield (
                f"sub-tasks {one!r} and {other!r} may run at the same time, and both write {path}: make them one, let "
                "one depend on the other, or narrow their `files`"
            )


def sorter(plan: Plan) -> TopologicalSorter[str]:
    """Hands out the sub-tasks and groups of a valid plan as what they wait for is done; earlier stages are."""
    return TopologicalSorter(edges(plan))


@dataclass(slots=True)
class Consequences:
    """What follows from the end of a sub-task. `ready` may start; `hopeless` never can, `spare` need not any more: each
    with the reason."""

    ready: list[str] = field(default_factory=list)
    hopeless: dict[str, str] = field(default_factory=dict)
    spare: dict[str, str] = field(default_factory=dict)


class Progress:
    """How far a valid plan has come. It decides nothing that is not in the plan, and does nothing."""

    def __init__(self, plan: Plan) -> None:
        self.edges = edges(plan)
        self._plan = plan
        self._ids = {subtask.id for subtask in plan.subtasks}
        self._group = {subtask.id: subtask.group for subtask in plan.subtasks}
        self._dependents: dict[str, list[str]] = {}
        for node, others in self.edges.items():
            for other in others:
                self._dependents.setdefault(other, []).append(node)
        self._waits = {node: len(others) for node, others in self.edges.items()}
        self._good: dict[str, bool] = {}

    def __repr__(self) -> str:
        return f"<Progress {len(self._good)} of {len(self.edges)} settled>"

    def first(self) -> list[str]:
        """The sub-tasks that wait for nothing."""
        return [node for node, count in self._waits.items() if count == 0]

    def handed(self, subtask_id: str) -> Sequence[str]:
        """The completed sub-tasks whose results one that is ready gets: its dependencies, of a group all that did."""
        found: list[str] = []
        for node in self.edges[subtask_id]:
            found += [node] if node in self._ids else [i for i in self.edges[node] if self._good.get(i)]
        return list(dict.fromkeys(found))

    def end(self, subtask_id: str, *, completed: bool) -> Consequences:
        """A sub-task has its result. To be told once of each; those of `hopeless` and `spare` have ended with this."""
        found = Consequences()
        ended = [(subtask_id, completed)]
        while ended:
            node, good = ended.pop()
            if node in self._good:
                continue
            self._good[node] = good
            ended += self._group_ends(node, found) if self._group.get(node) else []
            for other in self._dependents.get(node, ()):
                self._waits[other] -= 1
                if other in self._ids and self._waits[other] == 0 and not (other in self._good or other in found.spare):
                    bad = [need for need in self.edges[other] if not self._good[need]]
                    if bad:
                        found.hopeless[other] = f"it depends on {', '.join(bad)}, which did not complete"
                        ended.append((other, False))
                    else:
                        found.ready.append(other)
        return found

    def _group_ends(self, member: str, found: Consequences) -> list[tuple[str, bool]]:
        """The group of a member that ended, and members that it ends, where this settles it."""
        group = self._group[member]
        if group in self._good:
            return []
        members = self.edges[group]
        completed = sum(self._good.get(i, False) for i in members)
        need = self._plan.need.get(group)
        if need is not None and completed >= need:
            rest = [i for i in members if i not in self._good]
            found.spare |= dict.fromkeys(rest, f"{completed} of the group {group} completed, which is enough")
            return [*((i, False) for i in rest), (group, True)]
        if all(i in self._good for i in members):
            return [(group, need is None and completed > 0)]
        return []
