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
        self._free = not any(needs.values())
        if self._free:
            return
        place = {node: n for n, node in enumerate(needs)}  # the sub-tasks first, in the order of the plan
        self._needs = [[place[other] for other in others] for others in needs.values()]
        self._dependents: list[list[int]] = [[] for _ in needs]
        for node, others in enumerate(self._needs):
            for other in others:
                self._dependents[other].append(node)
        queue = Queue(needs, {subtask.id: subtask.kind for subtask in plan.subtasks}, Durations())
        ways = [-queue.way(node) for node in needs]
        self._first = sorted(range(len(needs)), key=ways.__getitem__)
        self._rank = sorted(self._first, key=self._first.__getitem__)
        self._order = _needed_first(self._needs, self._dependents)

    def __repr__(self) -> str:
        return f"<Timing of {self._number} sub-tasks on {self._width} places>"

    def takes(self, seconds: Sequence[float]) -> float:
        """From the first start to the last end; `seconds` of each sub-task in the order of the plan."""
        if self._number <= self._width:
            return self.longest(seconds)
        if self._number > PLAYED:  # the longest way or the work of each place, whichever is more
            return max(self.longest(seconds), sum(seconds) / self._width)
        return self._in_order(seconds) if self._free else self._played(seconds)

    def longest(self, each: Sequence[float]) -> float:
        """The longest way, of seconds or whatever else there is of each sub-task."""
        if self._free:
            return max(each, default=0.0)
        ends = [*each, *[0.0] * (len(self._needs) - self._number)]
        for node in self._order:
            begins = 0.0
            for other in self._needs[node]:
                if ends[other] > begins:
                    begins = ends[other]
            ends[node] += begins
        return max(ends)

    def _in_order(self, seconds: Sequence[float]) -> float:
        """Where none waits for another: each takes the place that is free first."""
        ends = sorted(seconds[: self._width])
        for own in seconds[self._width :]:
            heapq.heapreplace(ends, ends[0] + own)
        return max(ends)

    def _played(self, seconds: Sequence[float]) -> float:
        rank = self._rank
        waits = [len(others) for others in self._needs]
        ready = [rank[node] for node, count in enumerate(waits) if count == 0]
        heapq.heapify(ready)
        working: list[tuple[float, int]] = []
        now = 0.0
        while ready or working:
            while ready and len(working) < self._width:
                node = self._first[heapq.heappop(ready)]
                heapq.heappush(working, (now + seconds[node], node))
            now, node = heapq.heappop(working)
            ended = [node]
            while ended:
                for other in self._dependents[ended.pop()]:
                    waits[other] -= 1
                    if waits[other] == 0:
                        if other < self._number:
                            heapq.heappush(ready, rank[other])
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
