"""The row about the log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.record import Figure
from benchmarks.shape import Competitor, Measure, Place, Row, Taken, child


@contextmanager
def _open(place: Place) -> Iterator[Measure]:
    count = 256 if place.quick else 1920

    def measure(competitor: Competitor, number: int) -> Taken:
        size = count if not competitor.name.endswith("-1") else count // 5
        return child(place, competitor, ("benchmarks.workers.log", competitor.name, str(size)))

    yield measure


ROWS = (
    Row(
        "journal",
        "Appending records of 14 KB to a log",
        "Ours makes, masks and checksums a record of a run and has each batch of 64 on the disk; the others write JSON "
        "of the same size.",
        (Figure("appends_s", "appends / s", "more"), Figure("cpu_us", "CPU us / record")),
        (
            Competitor("swarm", "swarm's journal, batches of 64 on disk", "ours"),
            Competitor("no-sync", "a file, never synced", "floor"),
            Competitor("sync-64", "a file, synced every 64", "floor"),
            Competitor("sync-1", "a file, synced each time", "peer"),
            Competitor("sqlite-64", "SQLite (WAL, FULL), commit every 64", "peer"),
            Competitor("sqlite-1", "SQLite (WAL, FULL), commit each time", "peer"),
        ),
        _open,
    ),
)
