"""Which of the sub-tasks that are ready goes first: the one with the longest way still behind it.

How long a sub-task takes is estimated from those that finished: by kind where enough of that kind did. As long as
nothing is known all count alike, and the way is as long as the chain of sub-tasks that wait for each other.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections.abc import Iterable, Mapping, Sequence

ENOUGH = 3
"""So many finished sub-tasks of a kind say how long one takes."""

MOVED = 1.25
"""The ways of a kind are measured again when its estimate has changed by this factor."""

_SPARE = 64


class Durations:
    """What finished sub-tasks took, in seconds."""

    def __init__(self) -> None:
        self._all: list[float] = []
        self._by_kind: dict[str, list[float]] = {}
        self._kinds: list[str] = []  # as they were observed

    def __repr__(self) -> str:
        return f"<Durations of {len(self._all)} finished, median {self.estimate(''):.1f} s>"

    def __len__(self) -> int:
        return len(self._all)

    def observe(self, kind: str, seconds: float) -> None:
        insort(self._all, seconds)
        self._kinds.append(kind)
        if kind:
            insort(self._by_kind.setdefault(kind, []), seconds)

    def since(self, number: int) -> Iterable[str]:
        """The kinds of those that finished after the first so many."""
        return dict.fromkeys(self._kinds[number:])

    def knows(self, kind: str) -> bool:
        """Whether enough of the kind finished."""
        return len(self._by_kind.get(kind, ())) >= ENOUGH

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
    """The ready sub-tasks, each at most once. `needs` names what each node of the graph waits for, `kinds` the kind of
    each sub-task; a node without a kind takes no time.

    Only the kinds whose estimate has moved are measured again, and of the ways only what hangs on them. Those that were
    handed out, before all that wait for them, are not followed any more, unless they come back.
    """

    def __init__(self, needs: Mapping[str, Sequence[str]], kinds: Mapping[str, str], durations: Durations) -> None:
        self._needs = needs
        self._kinds = kinds
        self._durations = durations
        self._place = {node: n for n, node in enumerate(kinds)}
        self._dependents: dict[str, list[str]] = {node: [] for node in needs}
        for node, others in needs.items():
            for other in others:
                self._dependents[other].append(node)
        last_first = _dependents_first(self._dependents)
        self._rank = {node: n for n, node in enumerate(last_first)}
        self._of_kind: dict[str, list[str]] = {}
        for node, kind in kinds.items():
            self._of_kind.setdefault(kind, []).append(node)
        self._seen = len(durations)
        self._assumed = {kind: durations.estimate(kind) for kind in self._of_kind}
        self._unknown = dict.fromkeys(kind for kind in self._of_kind if not durations.knows(kind))  # estimated alike
        self._way: dict[str, float] = {}
        for node in last_first:
            self._way[node] = self._measured(node)
        self._ready: set[str] = set()
        self._gone: set[str] = set()
        self._heap: list[tuple[float, int, int, str]] = []  # with entries that hold no longer

    def __repr__(self) -> str:
        return f"<Queue of {len(self._ready)}>"

    def __len__(self) -> int:
        return len(self._ready)

    def push(self, ready: str) -> None:
        self._measure_again()
        if ready in self._gone:
            self._gone.remove(ready)
            self._way[ready] = self._measured(ready)
        self._ready.add(ready)
        heapq.heappush(self._heap, self._entry(ready))

    def pop(self) -> str:
        """The next one. Equal ways: first what more sub-tasks wait for, then the order of the plan."""
        self._measure_again()
        while True:
            way, *_, node = heapq.heappop(self._heap)
            if node in self._ready and way == -self._way[node]:
                self._ready.remove(node)
                self._gone.add(node)
                return node

    def way(self, node: str) -> float:
        """Estimated seconds from the start of this sub-task to the end of the last that waits for it; of one that was
        handed out as it was then."""
        self._measure_again()
        return self._way[node]

    def _entry(self, node: str) -> tuple[float, int, int, str]:
        return (-self._way[node], -len(self._dependents[node]), self._place[node], node)

    def _measured(self, node: str) -> float:
        own = self._assumed[self._kinds[node]] if node in self._kinds else 0.0
        return own + max((self._way[other] for other in self._dependents[node]), default=0.0)

    def _measure_again(self) -> None:
        if len(self._durations) == self._seen:
            return
        finished = self._durations.since(self._seen)
        self._seen = len(self._durations)
        changed = [kind for kind in finished if kind in self._assumed and self._durations.knows(kind)]
        for kind in changed:
            self._unknown.pop(kind, None)
        known = [kind for kind in changed if not _alike(self._durations.estimate(kind), self._assumed[kind])]
        one = next(iter(self._unknown), None)
        if one is not None and not _alike(self._durations.estimate(one), self._assumed[one]):
            known += self._unknown
        for kind in known:
            self._assumed[kind] = self._durations.estimate(kind)
        self._follow(node for kind in known for node in self._of_kind[kind])

    def _follow(self, moved: Iterable[str]) -> None:
        """Measure the ways of these nodes, and of those whose ways lead over them: each once, the last ones first."""
        waiting = [(self._rank[node], node) for node in moved if node not in self._gone]
        heapq.heapify(waiting)
        known = {node for _, node in waiting}
        while waiting:
            node = heapq.heappop(waiting)[1]
            was, self._way[node] = self._way[node], self._measured(node)
            if self._way[node] == was:
                continue
            if node in self._ready:
                heapq.heappush(self._heap, self._entry(node))
            for other in self._needs[node]:
                if other not in known and other not in self._gone:
                    known.add(other)
                    heapq.heappush(waiting, (self._rank[other], other))
        if len(self._heap) > 2 * len(self._ready) + _SPARE:
            self._heap = [self._entry(node) for node in self._ready]
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
