"""One run of a command on a tree, in a sandbox of its own."""

from __future__ import annotations

import time
from dataclasses import dataclass

import anyio

from swarm.errors import SandboxError
from swarm.events import Notice
from swarm.places.pool import Pool
from swarm.protocols import EventSink

WIDTH = 2
"""Trees that are tested at once: beside them sub-agents are at work."""

MOST_OUTPUT = 4 << 20
"""Bytes of a command's output that are kept: of a longer one the first and the last half."""

# Names of what failed, whatever the project's own options hide. What the sandbox's own variable says comes last, and
# counts.
_NAMED = 'export PYTEST_ADDOPTS="-rfE${PYTEST_ADDOPTS:+ $PYTEST_ADDOPTS}"'


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended. `seconds` is wall time, with that of opening the sandbox; `folder` is where the tree lay,
    `limit` how many seconds the command was given (0 for no one knows)."""

    exit_code: int
    output: str
    timed_out: bool
    seconds: float
    folder: str = ""
    limit: float = 0.0


class Runs:
    """Runs commands on trees, `width` at once. `timeout` is in seconds, for one of them."""

    def __init__(self, timeout: float, pool: Pool, sink: EventSink, width: int = WIDTH) -> None:
        self.timeout = timeout
        self.width = width
        self._pool = pool
        self._sink = sink
        self._room = anyio.CapacityLimiter(width)

    async def run(self, command: str, commit: str | None, owner: str) -> Ran:
        """Run a command in a sandbox over the tree of a commit. A sandbox that fails is replaced once.

        Raises:
            SandboxError: the sandbox failed, not the command, and so did another.
        """
        async with self._room:
            started = time.monotonic()
            try:
                return await self._once(command, commit, owner, started)
            except SandboxError as error:
                message = f"the sandbox of the test command failed, another takes its place: {error}"
                self._sink.emit(Notice(level="warning", message=message))
                return await self._once(command, commit, f"{owner}-again", started)

    async def _once(self, command: str, commit: str | None, owner: str, started: float) -> Ran:
        async with self._pool.take(owner, commit, expected=False) as place:
            result = await place.sandbox.exec(
                f"{_NAMED}\n{{ {command}\n}} 2>&1", timeout=self.timeout, max_output=MOST_OUTPUT
            )
            folder = place.sandbox.workdir
        output = result.stdout.decode(errors="replace")
        return Ran(result.exit_code, output, result.timed_out, time.monotonic() - started, folder, self.timeout)
