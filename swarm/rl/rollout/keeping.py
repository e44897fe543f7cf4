"""Keeping at a run until it ended by itself: what the machine failed is gone on with, from where it stood."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import anyio

from swarm.errors import MachineError, RunAtWork, UsageError
from swarm.result import RunResult
from swarm.rl.rollout.segment import Segment
from swarm.types import RunStatus

Once = Callable[[Segment], Awaitable[RunResult]]
"""Begins a run, or goes on with it, for one segment."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a run is kept at: until it was tried `tries` times, after `retry_s` seconds and then twice as long each
    time, at most a minute. One that is to rest gives calls under way `grace` seconds."""

    tries: int = 3
    retry_s: float = 1.0
    grace: float = 10.0

    def backoff(self, failures: int) -> float:
        """Seconds before a run that the machine failed so many times is tried again."""
        return float(min(60.0, self.retry_s * 2.0 ** (failures - 1)))


class Tried(Protocol):
    """What counts the times that the machine failed a run."""

    failures: int


async def keep_at(
    tried: Tried, work: Callable[[], Awaitable[tuple[RunResult | None, str]]], over: anyio.Event, patience: Patience
) -> tuple[RunResult | None, str] | None:
    """Work on a run until it ended, if not by the machine, or was tried often enough: its result, or why there is none.
    None where it came to rest because `over` was set."""
    while True:
        result, error = await work()
        if result is not None and result.status is RunStatus.CANCELLED and over.is_set():
            return None
        if result is not None and result.status is not RunStatus.ERRORED:
            return result, error
        tried.failures += 1
        if tried.failures >= patience.tries:
            return result, error
        with anyio.move_on_after(patience.backoff(tried.failures)):
            await over.wait()
        if over.is_set():
            return None


async def for_a_segment(segment: Segment, once: Once, over: anyio.Event, grace: float) -> tuple[RunResult | None, str]:
    """Work on a run until it ends, or came to rest after `over` was set: the result, or why the machine gave none.

    Raises:
        UsageError: the task, or the configuration, cannot be used.
    """
    result: RunResult | None = None
    failure: Exception | None = None
    async with anyio.create_task_group() as watching:
        watching.start_soon(_rest_when, over, segment, grace)
        try:
            result = await once(segment)
        except Exception as error:  # noqa: BLE001  looked at below, outside of the group
            failure = error
        watching.cancel_scope.cancel()
    if isinstance(failure, MachineError):
        return None, str(failure)
    if failure is not None:
        raise failure
    return result, ""


async def begin_or_go_on(
    run: str, go_on: Callable[[], Awaitable[RunResult]], begin: Callable[[], Awaitable[RunResult]]
) -> RunResult:
    """Go on with a run, where it was begun and can be gone on with; else begin it.

    Raises:
        MachineError: it is at work already, and may end.
    """
    if run:
        try:
            return await go_on()
        except RunAtWork as error:
            raise MachineError(str(error)) from error
        except UsageError:  # it died before it was recorded, or its folder is gone
            pass
    return await begin()


async def _rest_when(over: anyio.Event, segment: Segment, grace: float) -> None:
    await over.wait()
    await segment.rest(grace)
