"""The gate: the command that a tree must pass, run in a sandbox of its own."""

from __future__ import annotations

import time

from swarm.events import GateFinished, GateStarted
from swarm.journal.past import Past
from swarm.places.pool import Pool
from swarm.protocols import EventSink
from swarm.stages import GateReport

_NOT_FOUND = (126, 127)
_OUTPUT_BYTES = 1 << 20
_EVENT_CHARS = 100_000


class Gate:
    """Runs one command on commits. `timeout` is in seconds, for one run."""

    def __init__(self, command: str, timeout: float, pool: Pool, sink: EventSink, past: Past | None = None) -> None:
        self.command = command
        self._timeout = timeout
        self._pool = pool
        self._sink = sink
        self._past = past or Past()

    async def run(self, commit: str | None, stage: int) -> GateReport:
        """Run the gate on a commit; `stage` 0 is the base. What the journal knows is not run again.

        Raises:
            SandboxError: the sandbox failed, not the command.
        """
        known = self._past.gate(commit or "", self.command)
        if known is not None:
            return GateReport(known.command, known.exit_code, known.output, known.timed_out, known.seconds)
        self._sink.emit(GateStarted(stage=stage, command=self.command))
        started = time.monotonic()
        async with self._pool.take(f"gate-{stage}", commit) as place:
            result = await place.sandbox.exec(
                f"{{ {self.command}\n}} 2>&1", timeout=self._timeout, max_output=_OUTPUT_BYTES
            )
        report = GateReport(
            command=self.command,
            exit_code=result.exit_code,
            output=result.stdout.decode(errors="replace"),
            timed_out=result.timed_out,
            seconds=time.monotonic() - started,
        )
        self._sink.emit(
            GateFinished(
                stage=stage,
                command=self.command,
                commit=commit or "",
                passed=report.passed,
                exit_code=report.exit_code,
                timed_out=report.timed_out,
                output=report.output[-_EVENT_CHARS:],
                seconds=report.seconds,
            )
        )
        return report


def missing(report: GateReport) -> bool:
    """Whether the shell found no such command."""
    return report.exit_code in _NOT_FOUND
