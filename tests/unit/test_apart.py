"""Work in an empty context: what it gives, what it raises, and how it is cancelled are those of a plain await."""

from __future__ import annotations

import asyncio
import gc
import weakref
from contextlib import suppress
from contextvars import ContextVar

import anyio
import anyio.lowlevel
import pytest

from swarm.models.wire.apart import apart
from swarm.models.wire.transport import _AHEAD, _Connection

pytestmark = pytest.mark.anyio

_NAME: ContextVar[str] = ContextVar("_NAME", default="nobody")


async def test_it_sees_no_context_variables_and_sets_none() -> None:
    async def work() -> list[str]:
        seen = [_NAME.get()]
        _NAME.set("work")
        await anyio.lowlevel.checkpoint()
        return [*seen, _NAME.get()]

    token = _NAME.set("caller")
    try:
        assert await apart(work()) == ["nobody", "work"]
        assert _NAME.get() == "caller"
    finally:
        _NAME.reset(token)


async def test_it_runs_in_the_task_that_awaits_it() -> None:
    async def work() -> object:
        await anyio.lowlevel.checkpoint()
        return asyncio.current_task()

    assert await apart(work()) is asyncio.current_task()


async def test_an_error_inside_comes_out() -> None:
    async def work() -> None:
        await anyio.lowlevel.checkpoint()
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await apart(work())


async def test_an_error_of_what_is_awaited_can_be_handled_inside() -> None:
    failed = asyncio.get_running_loop().create_future()
    failed.set_exception(OSError("gone"))

    async def work() -> str:
        try:
            await failed
        except OSError as error:
            await anyio.lowlevel.checkpoint()
            return f"told of {error}"
        return "not told"

    assert await apart(work()) == "told of gone"


async def test_it_is_cancelled_with_its_task() -> None:
    ends: list[str] = []

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            ends.append("cleaned up")

    with anyio.move_on_after(0.01) as scope:
        await apart(work())
    assert scope.cancelled_caught
    assert ends == ["cleaned up"]


async def test_a_cancellation_that_comes_out_keeps_nothing() -> None:
    class Held:
        """Something of whoever awaits it."""

    async def caller() -> weakref.ref[Held]:
        held = Held()
        with suppress(asyncio.CancelledError):
            await apart(anyio.sleep_forever())
        return weakref.ref(held)

    gc.disable()
    try:
        task = asyncio.get_running_loop().create_task(caller())
        await asyncio.sleep(0)
        task.cancel()
        assert (await task)() is None
    finally:
        gc.enable()


async def test_reading_goes_on_apart_too() -> None:
    """asyncio keeps the context of whoever lets it go on."""
    seen: list[str] = []

    class Told(asyncio.Transport):
        def is_closing(self) -> bool:
            return False

        def pause_reading(self) -> None:
            seen.append("paused")

        def resume_reading(self) -> None:
            seen.append(_NAME.get())

    token = _NAME.set("caller")
    try:
        connection = _Connection(lambda connection: None)
        connection.connection_made(Told())
        connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 4000000\r\n\r\n" + bytes(_AHEAD + 1))
        connection.take()
    finally:
        _NAME.reset(token)
    assert seen == ["paused", "nobody"]
