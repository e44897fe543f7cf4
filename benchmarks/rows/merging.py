"""The row about the merge queue."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.record import Figure
from benchmarks.shape import Competitor, Measure, Place, Row, Taken, child


@contextmanager
def _open(place: Place) -> Iterator[Measure]:
    from benchmarks.workers.merge import prepare

    folder = place.folder / "merge"
    folder.mkdir(exist_ok=True)
    told = folder / "place.json"
    told.write_text(json.dumps(prepare(folder, 600, 40) if place.quick else prepare(folder, 2000, 300)))

    def measure(competitor: Competitor, number: int) -> Taken:
        return child(place, competitor, ("benchmarks.workers.merge", competitor.name, "disjoint", str(told)))

    yield measure


ROWS = (
    Row(
        "merge",
        "Merging the patches of 300 agents, in a repository of 2,000 files",
        "No two patches share a file. `twice`: the time for 300 over that for 150; work that grows with the square of "
        "their number shows 4. Ours also finds out, and records, what each patch would conflict with.",
        (Figure("patch_ms", "ms / patch"), Figure("twice", "300 ÷ 150 patches")),
        (
            Competitor("swarm", "swarm's merge queue", "ours"),
            Competitor("merge-tree", "a script: git merge-tree, commit-tree", "peer"),
            Competitor("cherry-pick", "a script: git cherry-pick in a checkout", "peer"),
        ),
        _open,
    ),
)
