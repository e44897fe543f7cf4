"""How long a plan takes when its sub-tasks take so long, as the scheduler would run it."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from swarm.scheduling.ordering import Durations, Queue
from swarm.stages import edges
from swarm.types import Plan

PLAYED = 300
"""Up to so many sub-tasks the schedule is played through; of more, the bound is told that it comes close to."""


class Timing:
    """One plan on `width` places."""

    def __init__(self, plan: Plan, width: int) -> None:
        needs = edges(plan)
        self._number = len(plan.subtasks)
        self._width = max(1, width)
        place = {node: n for n, node in enumerate(needs)}  # the sub-tasks first, in the order of the plan
        self._needs = [[place[other] for other in others] for others in needs.values()]
        self._dependents: list[list[int]] = [[] for _ in needs]
        for node, others in enumerate(self._needs):
            for other in others:
                self._dependents[other].append(node)
        self._free = not any(self._needs)
        queue = Queue(needs, {subtask.id: subtask.kind for subtask in plan.subtasks}, Durations())
        self._rank = [(-queue.way(node), n) for n, node in enumerate(needs)]
        self._order = _needed_first(self._needs, self._dependents)

    def __repr__(self) -> str:
        return f"<Timing of {self._number} sub-tasks on {self._width} places>"

    def takes(self, seconds: Sequence[float]) -> float:
        """From the first start to the last end; `seconds` of each sub-task in the order of the plan."""
        if self._free and self._number <= self._width:
            return max(seconds, default=0.0)
        return self._bound(seconds) if self._number > PLAYED else self._played(seconds)

    def _bound(self, seconds: Sequence[float]) -> float:
        """The longest way or the work of each place, whichever is more."""
        return max(self.longest(seconds), sum(seconds) / self._width)

    def longest(self, each: Sequence[float]) -> float:
        """The longest way, of seconds or whatever else there is of each sub-task."""
        if self._free:
            return max(each, default=0.0)
        ends = [0.0] * len(self._needs)
        for node in self._order:
            own = each[node] if node < self._number else 0.0
            ends[node] = own + max((ends[other] for other in self._needs[node]), default=0.0)
        return max(ends, default=0.0)

    def _played(self, seconds: Sequence[float]) -> float:
        waits = [len(others) for others in self._needs]
        ready = [self._rank[node] for node, count in enumerate(waits) if count == 0]
        heapq.heapify(ready)
        working: list[tuple[float, int]] = []
        now = 0.0
        while ready or working:
            while ready and len(working) < self._width:
                node = heapq.heappop(ready)[1]
                heapq.heappush(working, (now + seconds[node], node))
            now, node = heapq.heappop(working)
            ended = [node]
            while ended:
                for other in self._dependents[ended.pop()]:
                    waits[other] -= 1
                    if waits[other] == 0:
                        if other < self._number:
                            heapq.heappush(ready, self._rank[other])
                        else:  # a group: it ends with its members
                            ended.append(other)
        return now


def _needed_first(needs: Sequence[Sequence[int]], dependents: Sequence[Sequence[int]]) -> list[int]:
    waits = [len(others) for others in needs]
    order = [node for node, count in enumerate(waits) if count == 0]
    for node in order:  # grows while it is walked
        for other in dependents[node]:
            waits[other] -= 1
            if waits[other] == 0:
                order.append(other)
    return order
