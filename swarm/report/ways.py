"""Which sub-tasks of a stage the run waited for: the longest way through its graph, by steps or by the clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

Needs = Mapping[str, Sequence[str]]


def way_by_steps(needs: Needs, steps: Mapping[str, int]) -> list[str]:
    """The way whose steps `swarm.journal.critical.longest_way` counts, first to last."""
    best: dict[str, tuple[int, str]] = {}
    try:
        for node in TopologicalSorter(needs).static_order():
            before = max(needs.get(node, ()), key=lambda other: best[other][0], default="")
            best[node] = (steps.get(node, 0) + (best[before][0] if before else 0), before)
    except CycleError:
        best.clear()
    best |= {node: (own, "") for node, own in steps.items() if node not in best}
    return _back(max(best, key=lambda name: best[name][0], default=""), lambda node: best[node][1])


def way_by_time(needs: Needs, ends: Mapping[str, int]) -> list[str]:
    """What ended last, what it had waited for that ended last, and so on; first to last. A group ends as its last."""

    def end(node: str, seen: frozenset[str] = frozenset()) -> int:
        if node in ends or node in seen:
            return ends.get(node, -1)
        return max((end(other, seen | {node}) for other in needs.get(node, ())), default=-1)

    def before(node: str) -> str:
        latest = max(needs.get(node, ()), key=end, default="")
        return latest if latest and end(latest) >= 0 else ""

    return _back(max(ends, key=lambda name: ends[name], default=""), before)


def _back(last: str, before: Callable[[str], str]) -> list[str]:
    way: list[str] = []
    while last and last not in way:
        way.append(last)
        last = before(last)
    return way[::-1]
