"""A plan as a graph: what is wrong with it, and which sub-tasks are ready."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from graphlib import CycleError, TopologicalSorter

from swarm.types import Plan

_RESERVED = re.compile(r"orchestrator|(?:aggregator|gate)-\d+")
"""Names of trajectories and sandboxes that are not sub-agents'."""


def problems(plan: Plan, *, earlier: Collection[str] = (), room: int | None = None) -> list[str]:
    """Everything that keeps a plan from being run, in words that its author can act on.

    `earlier` are the ids of sub-tasks of former stages; `room` is how many sub-tasks may still be asked for.
    """
    found: list[str] = []
    ids = [subtask.id for subtask in plan.subtasks]
    known = set(ids)
    found += [f"the id {i!r} is given to {n} sub-tasks" for i, n in Counter(ids).items() if n > 1]
    found += [f"the id {i!r} was already used in an earlier stage" for i in ids if i in earlier]
    found += [f"the id {i!r} is taken by the runtime" for i in ids if _RESERVED.fullmatch(i)]
    for subtask in plan.subtasks:
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
        sorter(plan).prepare()
    except CycleError as error:
        found.append("the dependencies form a cycle: " + " → ".join(reversed(error.args[1])))
    return found


def sorter(plan: Plan) -> TopologicalSorter[str]:
    """Hands out the sub-tasks of a valid plan as their dependencies are done; earlier stages count as done."""
    own = {subtask.id for subtask in plan.subtasks}
    return TopologicalSorter({s.id: [d for d in s.depends_on if d in own] for s in plan.subtasks})
