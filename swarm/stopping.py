"""Work that gives way when the run is asked to stop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from swarm.errors import SwarmError

T = TypeVar("T")


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
