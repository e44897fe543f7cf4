"""Makes the previews of one run, and keeps what it came to for the next."""

from __future__ import annotations

import time
from pathlib import Path

import anyio.to_thread

from swarm.events import CostPreviewed, Notice
from swarm.forecast.estimate import SpentSoFar, estimate
from swarm.forecast.history import keep_row, past_rows
from swarm.forecast.measured import Measured
from swarm.forecast.rows import Row
from swarm.forecast.terms import Terms
from swarm.journal.totals import Totals
from swarm.preview import Preview
from swarm.protocols import EventSink
from swarm.result import RunResult
from swarm.types import Plan


class Previewer:
    """Previews the first plan of a run, and where the user is asked about each (`asks`) all plans, with an event each.
    To be made when the run begins, after `worked` seconds in earlier processes; `totals` sees every event of it.
    `runs` is the folder of past runs."""

    def __init__(
        self, runs: Path, terms: Terms, totals: Totals, sink: EventSink, *, asks: bool = False, worked: float = 0.0
    ) -> None:
        self._runs = runs
        self._terms = terms
        self._totals = totals
        self._sink = sink
        self._asks = asks
        self._rows: tuple[Row, ...] | None = None
        self._unread = ""  # why there are none
        self._began = time.monotonic() - worked

    def __repr__(self) -> str:
        return f"<Previewer on {'no' if self._rows is None else len(self._rows)} past runs>"

    async def preview(self, plan: Plan, stage: int) -> Preview | None:
        """What the whole run will probably come to, if this stage is run; None where nobody wants to know."""
        if stage > 1 and not self._asks:
            return None
        totals = self._totals
        spent = SpentSoFar(
            totals.cost,
            totals.usage.total_tokens,
            totals.usage.calls,
            time.monotonic() - self._began,
            totals.critical_steps,
        )
        found = await anyio.to_thread.run_sync(self._estimated, plan, stage, spent)
        if self._unread:
            self._sink.emit(Notice(level="warning", message=self._unread))
            self._unread = ""
        self._sink.emit(CostPreviewed(preview=found))
        return found

    def _estimated(self, plan: Plan, stage: int, spent: SpentSoFar) -> Preview:
        if self._rows is None:
            try:
                self._rows = past_rows(self._runs)
            except OSError as error:
                self._rows = ()
                self._unread = f"past runs are left out of the cost preview: {error}"
        return estimate(plan, stage, self._terms, spent, self._rows)


async def keep(folder: Path, measured: Measured, result: RunResult, sink: EventSink) -> None:
    """Hold the preview against what the run came to, and keep that in its folder for later previews. To be called
    before the record of the run's end. It fails no run: what cannot be kept is told."""
    held = measured.held(result)
    if held is not None:
        sink.emit(held)
    row = measured.row(result)
    if row is None:
        return
    try:
        await anyio.to_thread.run_sync(keep_row, folder, row)
    except OSError as error:
        message = f"this run is left out of later cost previews: {error}"
        sink.emit(Notice(level="warning", message=message))
