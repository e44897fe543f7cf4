"""The row about the page of `swarm report`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.record import Figure
from benchmarks.shape import Competitor, Measure, Place, Row, Taken, child

TURNS = 50


@contextmanager
def _open(place: Place) -> Iterator[Measure]:
    from tests.big_run import big_run, write_run

    agents = 30 if place.quick else 300
    run = write_run(place.folder / f"report-{agents}", big_run(agents, TURNS))

    def measure(competitor: Competitor, number: int) -> Taken:
        return child(place, competitor, ("benchmarks.workers.page", competitor.name, str(run)))

    yield measure


ROWS = (
    Row(
        "report",
        "The page of `swarm report`: 300 agents of 50 turns",
        "Opening is measured in headless Chromium, from the navigation until the first part is drawn, and from the "
        "click on an agent until its conversation is.",
        (
            Figure("made_s", "made, s"),
            Figure("page_mb", "page, MB"),
            Figure("open_ms", "opens, ms"),
            Figure("agent_ms", "one agent, ms"),
        ),
        (
            Competitor("swarm", "swarm report", "ours"),
            Competitor("json", "json.loads of every line of the journal", "floor"),
        ),
        _open,
    ),
)
