"""Faults of Docker: containers taken away or standing still, the engine killed and started again, and a run with
containers that is interrupted twice or killed."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

import anyio
import anyio.to_thread
import docker

from tests.chaos.live import LiveRun
from tests.chaos.machine import event_comes, moment, striking
from tests.chaos.scenario import Fault, Kind, Setting
from tests.docker_engine import PrivateEngine

MOMENTS = ("run_start", "agent_start", "call", "tool_start", "tool", "agent_end")
_STANDS_S = 20.0
_GOES_S = 20.0


def containers(address: str, home: Path) -> list[str]:
    """Those of a home's leases."""
    client = docker.APIClient(address, version="auto")
    try:
        everyone = client.containers(all=True, filters={"label": "swarm.lease"})
    finally:
        client.close()
    return [one["Id"] for one in everyone if one["Labels"]["swarm.lease"].startswith(f"{home}/")]


@dataclass(frozen=True, slots=True)
class OfDocker:
    """`name` happens at a moment of the first life; `value` is a time in seconds, or which of several."""

    name: str
    engine: PrivateEngine
    moment: str
    nth: int
    value: float

    def __str__(self) -> str:
        return f"{self.name} at {self.moment}#{self.nth} ({self.value:.2f})"

    @asynccontextmanager
    async def around(self, run: LiveRun) -> AsyncIterator[None]:
        away = anyio.Lock()

        async def back() -> None:
            """Whoever goes on with a run starts its engine first."""
            async with away:
                pass

        run.mends.append(back)

        async def strike() -> None:
            pid = (await run.begun(0)).pid
            await event_comes(run, self.moment, self.nth)
            if self.name.startswith("container"):
                await self._at_containers(run)
            elif self.name.startswith("engine"):
                async with away:
                    await self._at_engine(run)
            else:
                await self._at_process(run, pid)

        async with striking(run, strike):
            yield
        if self.name == "engine killed":  # a run that ended without it could not remove what it had there
            await anyio.to_thread.run_sync(self._clear_up, run)
        with anyio.move_on_after(_GOES_S):  # what the engine is just removing
            while await anyio.to_thread.run_sync(containers, self.engine.address, run.home):  # noqa: ASYNC110
                await anyio.sleep(0.2)
        left = await anyio.to_thread.run_sync(containers, self.engine.address, run.home)
        assert not left, f"containers are left: {left}"

    def _clear_up(self, run: LiveRun) -> None:
        process = run.warm.start(("gc", "--yes"), run.user, run.environment())
        told, complained = process.communicate(timeout=120)
        assert process.returncode == 0, f"gc: {told}{complained}"

    async def _at_containers(self, run: LiveRun) -> None:
        client = docker.APIClient(self.engine.address, version="auto")

        def do(act: Callable[[str], object]) -> None:
            for each in containers(self.engine.address, run.home)[: 1 + int(2 * self.value)]:
                with suppress(docker.errors.APIError):  # it has gone meanwhile
                    act(each)
                    run.injected[self.name] += 1

        def remove(each: str) -> None:
            client.remove_container(each, force=True)

        acts: dict[str, Callable[[str], object]] = {
            "killed": client.kill,
            "removed": remove,
            "stopped": _stop(client),
            "paused": client.pause,
        }
        try:
            await anyio.to_thread.run_sync(do, acts[self.name.rpartition(" ")[2]])
            if self.name == "container paused":
                await anyio.sleep(_STANDS_S)
                await anyio.to_thread.run_sync(do, client.unpause)
        finally:
            client.close()

    async def _at_engine(self, run: LiveRun) -> None:
        run.injected[self.name] += 1
        with anyio.CancelScope(shield=True):  # the next scenario needs it
            if self.name == "engine killed":
                await anyio.to_thread.run_sync(self.engine.kill)
                await anyio.sleep(12 * self.value**2)
                trouble = await anyio.to_thread.run_sync(self.engine.start)
                assert not trouble, trouble
            else:
                self.engine.signal(signal.SIGSTOP)
                await anyio.sleep(_STANDS_S * self.value)
                self.engine.signal(signal.SIGCONT)

    async def _at_process(self, run: LiveRun, pid: int) -> None:
        numbers = [signal.SIGKILL] if self.name == "killed" else [signal.SIGINT, signal.SIGINT]
        for number in numbers:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
                run.injected[self.name] += 1
            await anyio.sleep(3 * self.value**3)


def _stop(client: docker.APIClient) -> Callable[[str], object]:
    return lambda each: client.stop(each, timeout=1)


NAMES = (
    *("container killed", "container removed", "container stopped", "container paused"),
    *("engine killed", "engine stopped", "interrupted twice", "killed"),
)


def kinds(engine: PrivateEngine) -> Sequence[Kind]:
    """The kinds of faults of this engine."""

    def drawn(name: str) -> Callable[[Random, Setting], Fault]:
        def draw(chance: Random, setting: Setting) -> Fault:
            return OfDocker(name, engine, *moment(chance, MOMENTS), chance.random())

        return draw

    return [Kind(name, drawn(name), clash="docker") for name in NAMES]
