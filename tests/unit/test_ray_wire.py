"""The connection between a run and an outpost, without Ray."""

from __future__ import annotations

import errno
import socket
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream, SocketAttribute, SocketStream

from swarm.errors import MachineError
from swarm.executors.ray import wire
from swarm.executors.ray.mail import Bundle
from swarm.executors.ray.wire import Door, RayLine, Wire, address, open_door, open_line

pytestmark = pytest.mark.anyio

HERE = "127.0.0.1"
LONG = b"x" * 3_000_000


class Outpost:
    """It hears, and answers when it is let."""

    def __init__(self) -> None:
        self.heard: list[Bundle] = []
        self.may_answer = anyio.Event()
        self.moved = anyio.Event()

    async def speak(self, bundle: Bundle) -> Bundle:
        await self.hear(bundle)
        await self.may_answer.wait()
        return bundle[0] + 100, LONG

    async def hear(self, bundle: Bundle) -> None:
        self.heard.append(bundle)
        self.moved.set()
        self.moved = anyio.Event()

    async def until(self, count: int) -> None:
        with anyio.fail_after(30):
            while len(self.heard) < count:
                await self.moved.wait()


async def test_what_is_said_while_an_answer_is_awaited_arrives() -> None:
    outpost, said = Outpost(), list[Bundle]()
    async with open_door(HERE, outpost) as door, open_line(None, door, "n") as line:
        assert isinstance(line, Wire)

        async def speak() -> None:
            said.append(await line.speak((1, b"")))

        async with anyio.create_task_group() as group:
            group.start_soon(speak)
            await outpost.until(1)
            await line.hear((2, LONG))
            await outpost.until(2)
            outpost.may_answer.set()
    assert outpost.heard == [(1, b""), (2, LONG)]
    assert said == [(101, LONG)]


async def test_nobody_is_let_in_without_the_key() -> None:
    outpost = Outpost()
    outpost.may_answer.set()
    async with open_door(HERE, outpost) as door:
        assert door is not None
        async with open_line(None, replace(door, key=b"?" * 32 + door.key[32:]), "n") as stranger:
            assert isinstance(stranger, RayLine)
        async with open_line(None, door, "n") as line:
            with anyio.fail_after(30):
                assert await line.speak((1, b"")) == (101, LONG)
    assert outpost.heard == [(1, b"")]
    assert door.key.hex() not in repr(door) and repr(door.key) not in repr(door)


@pytest.mark.parametrize("says", [b"", b"?" * 100])
async def test_somebody_else_behind_the_door_is_not_heard(says: bytes) -> None:
    """What comes over the line is taken as one's own: it must not be a stranger's."""
    heard: list[bytes] = []

    async def pretend(stream: ByteStream) -> None:
        async with stream:
            heard.append(await stream.receive())
            await stream.send(says)

    key = b"g" * 32 + b"h" * 32
    async with await anyio.create_tcp_listener(local_host=HERE) as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, pretend)
        door = Door(HERE, listener.extra(SocketAttribute.local_port), key)
        async with open_line(None, door, "n") as line:
            assert isinstance(line, RayLine)
        group.cancel_scope.cancel()
    assert key[32:] not in b"".join(heard)


async def test_the_end_of_the_other_side_is_noticed() -> None:
    outpost, noticed = Outpost(), anyio.Event()
    closing = anyio.Event()

    async def serve(*, task_status: Any) -> None:
        async with open_door(HERE, outpost) as door:
            task_status.started(door)
            await closing.wait()

    async with anyio.create_task_group() as group:
        door = await group.start(serve)
        async with open_line(None, door, "n") as line:

            async def speak() -> None:
                with pytest.raises(MachineError, match="the node n is lost"):
                    await line.speak((1, b""))
                noticed.set()

            group.start_soon(speak)
            await outpost.until(1)
            closing.set()
            with anyio.fail_after(30):
                await noticed.wait()
            with pytest.raises(MachineError), anyio.fail_after(30):
                while True:  # what is sent first may not meet the end yet
                    await line.hear((2, LONG))


@pytest.mark.parametrize("door", [None, Door(HERE, 1, b"k" * 32)])
async def test_without_a_way_it_goes_by_ray(door: Door | None) -> None:
    async def speak(bundle: Bundle) -> Bundle:
        return 7, b"by Ray"

    actor = SimpleNamespace(speak=SimpleNamespace(remote=speak))
    async with open_line(actor, door, "n") as line:
        assert isinstance(line, RayLine)
        assert await line.speak((1, b"")) == (7, b"by Ray")


async def test_where_ray_encrypts_no_other_connection_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(util=SimpleNamespace(get_node_ip_address=lambda: HERE)))
    monkeypatch.delenv("RAY_USE_TLS", raising=False)
    assert address() == HERE
    monkeypatch.setenv("RAY_USE_TLS", "1")
    assert address() is None
    async with open_door(address(), Outpost()) as door:
        assert door is None


async def test_who_cannot_be_let_in_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strangers may have taken all files that the process may open."""
    open_listener = anyio.create_tcp_listener
    failed = False

    async def create(**given: Any) -> Any:
        listener = await open_listener(**given)
        first: Any = listener.listeners[0]
        accept = first.accept

        async def once_too_often() -> object:
            nonlocal failed
            if not failed:
                failed = True
                raise OSError(errno.EMFILE, "Too many open files")
            return await accept()

        monkeypatch.setattr(first, "accept", once_too_often)
        return listener

    monkeypatch.setattr(anyio, "create_tcp_listener", create)
    outpost = Outpost()
    outpost.may_answer.set()
    async with open_door(HERE, outpost) as door, open_line(None, door, "n") as line:
        with anyio.fail_after(30):
            assert isinstance(line, Wire) and await line.speak((1, b"")) == (101, LONG)
    assert failed


async def test_few_strangers_are_waited_for_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "KNOCKS_S", 60.0)
    async with open_door(HERE, Outpost()) as door:
        assert door is not None
        strangers = [await anyio.connect_tcp(door.host, door.port) for _ in range(wire.STRANGERS + 1)]
        with anyio.fail_after(5), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await strangers[-1].receive()
        for stranger in strangers:
            await anyio.aclose_forcefully(stranger)


async def test_the_door_is_shut_behind_the_run() -> None:
    async with open_door(HERE, Outpost()) as door, open_line(None, door, "n") as line:
        assert door is not None and isinstance(line, Wire)
        with pytest.raises(OSError), anyio.fail_after(5) as scope:
            while True:
                await anyio.aclose_forcefully(await anyio.connect_tcp(door.host, door.port))
        assert not scope.cancelled_caught


async def test_both_ends_look_whether_the_other_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[SocketStream] = []
    make = wire._Frames.__init__

    def note(frames: Any, stream: SocketStream) -> None:
        make(frames, stream)
        ends.append(stream)

    monkeypatch.setattr(wire._Frames, "__init__", note)
    async with open_door(HERE, Outpost()) as door, open_line(None, door, "n") as line:
        assert isinstance(line, Wire)
        raw = [end.extra(SocketAttribute.raw_socket) for end in ends]
        assert [each.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) for each in raw] == [1, 1]
