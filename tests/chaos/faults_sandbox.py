"""Faults of sandboxes: their processes killed or stopped while agents work."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from random import Random

import anyio

from tests.chaos.live import LiveRun
from tests.chaos.machine import event_comes, moment, processes, striking
from tests.chaos.scenario import Kind, Setting

_STANDS_S = 25.0
"""Longer than what its sandbox is asked may take, shorter than what a command may."""

_LIVES = 4
"""Processes of a run that it may strike: no run comes to its end whose sandboxes are killed for ever."""

MOMENTS = ("agent_start", "call", "tool_start", "tool", "gate_start", "agent_end")


@dataclass(frozen=True, slots=True)
class Struck:
    """Processes of the run's sandboxes (their supervisors, their agents, their commands, the run's git) get a signal,
    `times` times at most, the first at a moment. `whom`: which of those that are there, as a part of their number."""

    name: str
    number: signal.Signals
    moment: str
    nth: int
    times: int
    whom: float

    def __str__(self) -> str:
        return f"{self.name}, {self.times} times from {self.moment}#{self.nth}, {self.whom:.2f}"

    @asynccontextmanager
    async def around(self, run: LiveRun) -> AsyncIterator[None]:
        async def strike() -> None:
            await event_comes(run, self.moment, self.nth)
            left = self.times
            while left and run.life < _LIVES:
                there = processes(run.home / "leases")
                if self.number is signal.SIGSTOP:
                    there = [(pid, line) for pid, line in there if "/agent" in line or "bwrap" in line]
                if there:
                    with suppress(ProcessLookupError):
                        pid = there[int(self.whom * len(there))][0]
                        os.kill(pid, self.number)
                        run.injected[self.name] += 1
                        if self.number is signal.SIGSTOP:
                            await anyio.sleep(_STANDS_S)
                            os.kill(pid, signal.SIGCONT)
                    left -= 1
                await anyio.sleep(0.05)  # the next meets another

        async with striking(run, strike):
            yield


def _struck(name: str, number: signal.Signals, most: int) -> Kind:
    def draw(chance: Random, setting: Setting) -> Struck:
        times = chance.choice((1, 1, 2, most))
        return Struck(name, number, *moment(chance, MOMENTS), times, chance.random())

    return Kind(name, draw, clash="sandbox", weight=2)


KINDS: Sequence[Kind] = (
    _struck("sandbox killed", signal.SIGKILL, 20),
    _struck("sandbox stopped", signal.SIGSTOP, 1),
    _struck("sandbox terminated", signal.SIGTERM, 5),
)
