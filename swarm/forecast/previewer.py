"""Makes the previews of one run, and keeps what it came to for the next."""

from __future__ import annotations

import time
from pathlib import Path

import anyio.to_thread

from swarm.events import CostPreviewed, Notice
from swarm.forecast.estimate import SpentSoFar, estimate
from swarm.forecast.history import add_run, read_history
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
    To be made when the run begins, after `worked` seconds in earlier processes; `totals` sees every event of it."""

    def __init__(
        self, home: Path, terms: Terms, totals: Totals, sink: EventSink, *, asks: bool = False, worked: float = 0.0
    ) -> None:
        self._home = home
        self._terms = terms
        self._totals = totals
        self._sink = sink
        self._asks = asks
        self._rows: tuple[Row, ...] | None = None
        self._began = time.monotonic() - worked

    def __repr__(self) -> str:
        return f"<Previewer on {'no' if self._rows is None else len(self._rows)} past runs>"

    async def preview(self, plan: Plan, stage: int) -> Preview | None:
        """What the whole run will probably come to, if this stage is run; None where nobody wants to know."""
        if stage > 1 and not self._asks:
            return None
        if self._rows is None:
            self._rows = await self._read()
        totals = self._totals
        spent = SpentSoFar(
            totals.cost,
            totals.usage.total_tokens,
            totals.usage.calls,
            time.monotonic() - self._began,
            totals.critical_steps,
        )
        rows = self._rows
        found = await anyio.to_thread.run_sync(lambda: estimate(plan, stage, self._terms, spent, rows))
        self._sink.emit(CostPreviewed(preview=found))
        return found

    async def _read(self) -> tuple[Row, ...]:
        try:
            history = await anyio.to_thread.run_sync(read_history, self._home)
        except OSError as error:
            self._warn(f"past runs are left out of the cost preview: {error}")
            return ()
        if history.notice:
            self._warn(history.notice)
        return history.rows

    def _warn(self, text: str) -> None:
        self._sink.emit(Notice(level="warning", message=text))


async def keep(home: Path, measured: Measured, result: RunResult, sink: EventSink) -> None:
    """Hold the preview against what the run came to, and keep it for later previews. To be called before the record of
    the run's end. It fails no run: what cannot be kept is told."""
    held = measured.held(result)
    if held is not None:
        sink.emit(held)
    row = measured.row(result)
    if row is None:
        return
    try:
        notice = await anyio.to_thread.run_sync(add_run, home, row)
    except OSError as error:
        notice = f"this run is left out of later cost previews: {error}"
    if notice:
        sink.emit(Notice(level="warning", message=notice))
