"""Work that gives way: when the run is asked to stop, or when the block that it accompanies is done."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import field
from typing import Any, TypeVar

import anyio
from anyio.abc import TaskGroup

from swarm.errors import SwarmError
from swarm.values import value

T = TypeVar("T")

Companion = Callable[[], Coroutine[Any, Any, None]]
"""What is done beside something else, and no longer."""


@value(frozen=True, slots=True)
class Stops:
    """What ends a run from outside: `stop` asks it to, `halt` leaves no time for tests either, `late` says that it is
    for its time."""

    stop: anyio.Event = field(default_factory=anyio.Event)
    halt: anyio.Event = field(default_factory=anyio.Event)
    late: anyio.Event = field(default_factory=anyio.Event)


async def unless_stopped(stop: anyio.Event, work: Callable[[], Awaitable[T]]) -> T | None:
    """The result of `work`; None when `stop` was set meanwhile, and `work` cancelled.

    Raises:
        SwarmError: as `work` does; not inside an exception group.
    """
    result: T | None = None
    fault: SwarmError | None = None
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            await stop.wait()
            group.cancel_scope.cancel()

        group.start_soon(watch)
        try:
            result = await work()
        except SwarmError as error:
            fault = error
        group.cancel_scope.cancel()
    if fault is not None:
        raise fault
    return result


@asynccontextmanager
async def companions() -> AsyncIterator[TaskGroup]:
    """A task group for what accompanies a block: cancelled at its end. The block's own failure comes out as it is,
    not inside an exception group."""
    failure: Exception | None = None
    async with anyio.create_task_group() as group:
        try:
            yield group
        except Exception as error:  # noqa: BLE001  raised again below, outside of the group
            failure = error
        finally:
            group.cancel_scope.cancel()
    if failure is not None:
        raise failure
