"""The steps of sub-tasks for the critical path: what came one after the other adds up, what ran side by side does not.

Attempts at a sub-task that follow each other (the machine failed, it was made again) are one long way. Of two at once
only that counts which gave the result; as long as neither did, the longer. A stage counts the longest way through its
sub-tasks: one comes after those that it waited for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter


@dataclass(slots=True)
class _Way:
    """One sub-task: the ways of its attempts at work, the longest that ended in vain, and that of the result."""

    at_work: dict[str, int] = field(default_factory=dict)
    in_vain: int = 0
    result: int | None = None

    @property
    def steps(self) -> int:
        return max(self.in_vain, *self.at_work.values(), 0) if self.result is None else self.result


class CriticalSteps:
    """Model calls of sub-agents by stage and sub-task. Tell it what happens, in order."""

    def __init__(self) -> None:
        self._ways: dict[tuple[int, str], _Way] = {}
        self._of: dict[str, tuple[int, str]] = {}
        self._stages: dict[int, dict[str, int]] = {}
        self._groups: set[tuple[str, int]] = set()
        self._needs: dict[int, Mapping[str, Sequence[str]]] = {}
        self._longest: dict[int, int] = {}  # of stages that have not changed since

    def __repr__(self) -> str:
        return f"<CriticalSteps: {self.longest} in {len(self._stages)} stages>"

    @property
    def longest(self) -> int:
        """The sum over stages of the longest way through each."""
        for stage, steps in self._stages.items():
            if stage not in self._longest:
                self._longest[stage] = longest_way(self._needs.get(stage, {}), steps)
        return sum(self._longest.values())

    def plan(self, stage: int, needs: Mapping[str, Sequence[str]]) -> None:
        """A stage begins: what each of its sub-tasks and groups waits for."""
        self._needs[stage] = needs
        self._longest.pop(stage, None)

    def then(self, stage: int, names: Collection[str]) -> None:
        """Further sub-tasks of a stage, side by side, when all so far have ended."""
        needs = dict(self._needs.get(stage, {}))
        self._needs[stage] = {**dict.fromkeys(names, tuple(needs)), **needs}  # of those that are known nothing changes
        self._longest.pop(stage, None)

    def of_stage(self, stage: int) -> dict[str, int]:
        """The steps of each sub-task of a stage that made any."""
        return dict(self._stages.get(stage, {}))

    def start(self, trajectory_id: str, stage: int, name: str) -> None:
        """An attempt at a sub-task begins."""
        key = (stage, name)
        way = self._ways.setdefault(key, _Way())
        if trajectory_id not in way.at_work:
            self._of[trajectory_id] = key
            way.at_work[trajectory_id] = way.in_vain

    def step(self, trajectory_id: str) -> None:
        """It made a step."""
        if (key := self._of.get(trajectory_id)) and trajectory_id in self._ways[key].at_work:
            self._ways[key].at_work[trajectory_id] += 1
            self._update(key)

    def waited(self, trajectory_id: str, group: int, names: Collection[str]) -> None:
        """It waited for a group of its own sub-agents: the longest of them is a part of its way, once."""
        key = self._of.get(trajectory_id)
        if key is None or (trajectory_id, group) in self._groups:
            return
        self._groups.add((trajectory_id, group))
        stage = self._stages.get(key[0], {})
        self._ways[key].at_work[trajectory_id] += max((stage.get(name, 0) for name in names), default=0)
        self._update(key)

    def end(self, trajectory_id: str, *, completed: bool) -> None:
        """It ended, with or without the result."""
        if (key := self._of.pop(trajectory_id, None)) is None:
            return
        way = self._ways[key]
        steps = way.at_work.pop(trajectory_id)
        if completed and way.result is None:
            way.result = steps
        way.in_vain = max(way.in_vain, steps)
        self._update(key)

    def _update(self, key: tuple[int, str]) -> None:
        stage, name = key
        if steps := self._ways[key].steps:
            self._stages.setdefault(stage, {})[name] = steps
            self._longest.pop(stage, None)


def longest_way(needs: Mapping[str, Sequence[str]], steps: Mapping[str, int]) -> int:
    """The most steps that came one after the other. What nobody planned, a sub-agent's own sub-agents, stands alone."""
    return int(longest_of(needs, steps))


def longest_of(needs: Mapping[str, Sequence[str]], amounts: Mapping[str, float]) -> float:
    """The same of any amounts, such as seconds."""
    ends: dict[str, float] = {}
    try:
        for node in TopologicalSorter(needs).static_order():
            ends[node] = amounts.get(node, 0) + max((ends[other] for other in needs.get(node, ())), default=0)
    except CycleError:  # a record that was made by hand
        ends.clear()
    return max([*ends.values(), *(own for node, own in amounts.items() if node not in ends)], default=0)
