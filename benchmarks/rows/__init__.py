"""The rows, in the order in which they are measured and told."""

from __future__ import annotations

from benchmarks.rows import agents, evaluation, journal, merging, page, sandboxes, startup
from benchmarks.shape import Row

ROWS: tuple[Row, ...] = (
    *agents.ROWS,
    *startup.ROWS,
    *sandboxes.ROWS,
    *journal.ROWS,
    *merging.ROWS,
    *page.ROWS,
    *evaluation.ROWS,
)


def chosen(names: str) -> list[Row]:
    """The rows of these names, separated by commas (all without one); raises ValueError for one that there is not."""
    wanted = [name for name in names.replace(" ", ",").split(",") if name]
    known = {row.name: row for row in ROWS}
    for name in wanted:
        if name not in known:
            raise ValueError(f"no row is called {name}; there are {', '.join(known)}")
    return [row for row in ROWS if not wanted or row.name in wanted]
