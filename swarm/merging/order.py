"""In which order patches are merged: what others build on first, then small ones, then those that share few files.

The order follows from the patches alone, whoever came first.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

from swarm.merging.patch import Patch

_Key = tuple[int, int, int, str]


def in_order(patches: Iterable[Patch]) -> list[Patch]:
    """The patches as they are to be merged. Of those that need each other in a circle the plan's first goes first."""
    known = {patch.subtask_id: patch for patch in patches}
    shared = overlaps(list(known.values()))
    keys = {name: (patch.size, shared[name], patch.place, name) for name, patch in known.items()}
    after: dict[str, list[str]] = {name: [] for name in known}
    waits = dict.fromkeys(known, 0)
    for name, patch in known.items():
        for other in {each for need in patch.needs for each in need} & known.keys():
            after[other].append(name)
            waits[name] += 1
    ready: list[_Key] = [keys[name] for name, count in waits.items() if count == 0]
    heapq.heapify(ready)
    found: list[Patch] = []
    left = dict.fromkeys(known)
    while left:
        name = heapq.heappop(ready)[3] if ready else min(left, key=lambda each: known[each].place)
        if name not in left:
            continue
        del left[name]
        found.append(known[name])
        for other in after[name]:
            waits[other] -= 1
            if waits[other] == 0 and other in left:
                heapq.heappush(ready, keys[other])
    return found


def overlaps(patches: Sequence[Patch]) -> dict[str, int]:
    """How many other patches change a file that each changes."""
    by_file: dict[str, set[str]] = {}
    for patch in patches:
        for path in patch.files:
            by_file.setdefault(path, set()).add(patch.subtask_id)
    return {
        patch.subtask_id: len(set().union(*(by_file[path] for path in patch.files))) - 1 if patch.changes else 0
        for patch in patches
    }
