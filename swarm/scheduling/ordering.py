"""Which of the sub-tasks that are ready goes first: the one with the longest way still behind it.

How long a sub-task takes is estimated from those that finished: by kind where enough of that kind did. As long as
nothing is known all count alike, and the way is as long as the chain of sub-tasks that wait for each other.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections.abc import Mapping, Sequence

ENOUGH = 3
"""So many finished sub-tasks of a kind say how long one takes."""

MOVED = 1.25
"""The ways are measured again when an estimate has changed by this factor."""


class Durations:
    """What finished sub-tasks took, in seconds."""

    def __init__(self) -> None:
        self._all: list[float] = []
        self._by_kind: dict[str, list[float]] = {}

    def __repr__(self) -> str:
        return f"<Durations of {len(self._all)} finished, median {self.estimate(''):.1f} s>"

    def __len__(self) -> int:
        return len(self._all)

    def observe(self, kind: str, seconds: float) -> None:
        insort(self._all, seconds)
        if kind:
            insort(self._by_kind.setdefault(kind, []), seconds)

    def estimate(self, kind: str) -> float:
        """The median of the kind, else of all; 1 while too few finished."""
        for known in (self._by_kind.get(kind, []), self._all):
            if len(known) >= ENOUGH:
                return quantile(known, 0.5)
        return 1.0

    def quantile(self, q: float, kind: str, enough: int) -> float | None:
        """What the part `q` of those of a kind took at most, else of all; None while fewer than `enough` finished."""
        own = self._by_kind.get(kind, [])
        known = own if len(own) >= enough else self._all
        return quantile(known, q) if len(known) >= max(1, enough) else None


class Queue:
    """The ready sub-tasks. `needs` names what each node of the graph waits for, `kinds` the kind of each sub-task; a
    node without a kind takes no time."""

    def __init__(self, needs: Mapping[str, Sequence[str]], kinds: Mapping[str, str], durations: Durations) -> None:
        self._kinds = kinds
        self._durations = durations
        self._place = {node: n for n, node in enumerate(kinds)}
        self._dependents: dict[str, list[str]] = {node: [] for node in needs}
        for node, others in needs.items():
            for other in others:
                self._dependents[other].append(node)
        self._last_first = _dependents_first(self._dependents)
        self._all_kinds = frozenset(kinds.values())
        self._seen = -1
        self._assumed: dict[str, float] = {}
        self._way: dict[str, float] = {}
        self._heap: list[tuple[float, int, int, str]] = []

    def __repr__(self) -> str:
        return f"<Queue of {len(self._heap)}>"

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, ready: str) -> None:
        self._measure_again()
        heapq.heappush(self._heap, self._entry(ready))

    def pop(self) -> str:
        """The next one. Equal ways: first what more sub-tasks wait for, then the order of the plan."""
        self._measure_again()
        return heapq.heappop(self._heap)[-1]

    def way(self, node: str) -> float:
        """Estimated seconds from the start of this sub-task to the end of the last that waits for it."""
        self._measure_again()
        return self._way[node]

    def _entry(self, node: str) -> tuple[float, int, int, str]:
        return (-self._way[node], -len(self._dependents[node]), self._place[node], node)

    def _measure_again(self) -> None:
        if len(self._durations) == self._seen:
            return
        self._seen = len(self._durations)
        estimates = {kind: self._durations.estimate(kind) for kind in self._all_kinds}
        if self._way and all(_alike(estimates[kind], was) for kind, was in self._assumed.items()):
            return
        self._assumed = estimates
        for node in self._last_first:
            own = estimates[self._kinds[node]] if node in self._kinds else 0.0
            self._way[node] = own + max((self._way[other] for other in self._dependents[node]), default=0.0)
        self._heap = [self._entry(node) for *_, node in self._heap]
        heapq.heapify(self._heap)


def quantile(ordered: Sequence[float], q: float) -> float:
    """The least of the values that at least the part `q` of all do not exceed."""
    return ordered[min(len(ordered) - 1, max(0, -int(-q * len(ordered) // 1) - 1))]


def _alike(a: float, b: float) -> bool:
    return a == b or (min(a, b) > 0 and max(a, b) <= MOVED * min(a, b))


def _dependents_first(dependents: Mapping[str, Sequence[str]]) -> list[str]:
    """Every node after all that wait for it."""
    open_ = {node: len(others) for node, others in dependents.items()}
    needs: dict[str, list[str]] = {node: [] for node in dependents}
    for node, others in dependents.items():
        for other in others:
            needs[other].append(node)
    order = [node for node, n in open_.items() if n == 0]
    for node in order:  # grows while it is walked
        for other in needs[node]:
            open_[other] -= 1
            if open_[other] == 0:
                order.append(other)
    return order
