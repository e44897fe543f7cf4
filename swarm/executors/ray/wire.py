"""How a run and an outpost exchange bundles: by a connection of their own where one can be made, else by calls of Ray.

Ray's way of calling an actor takes some milliseconds of CPU on both sides, more than all of several model calls. The
outpost opens the door, for whoever has the key that went to the run by Ray; each side shows its half of it, for what
comes from the other is taken as its own. Where Ray's own connections are encrypted no other is made.
"""

from __future__ import annotations

import hmac
import os
import secrets
import socket
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.stapled import MultiListener

from swarm.errors import MachineError
from swarm.executors.ray.mail import Bundle

KNOCKS_S = 5.0
"""Seconds in which a connection must stand, and in which each side must show its half of the key."""

STRANGERS = 8
"""Guests at once that have not shown the key."""

PAUSE_S = 0.1
"""Seconds until the next is let in, where one could not be: the process may have no file left."""

_HEAD = struct.Struct(">?QQ")  # whether an answer is wanted, the bundle's number and its length
_HALF = 32
"""Bytes of the key that each side shows."""
_ENDS = (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, anyio.ClosedResourceError)


class LineLost(MachineError):
    """The connection to an outpost ended; why, the outpost may know."""


class Ear(Protocol):
    """Who hears bundles, and speaks when asked: an outpost, or whatever leads to it."""

    async def speak(self, bundle: Bundle) -> Bundle:
        """Hear, and say what there is to be said as soon as there is something; nothing, after a while."""
        ...

    async def hear(self, bundle: Bundle) -> None:
        """Hear something meanwhile."""
        ...


@dataclass(frozen=True, slots=True)
class Door:
    """Where an outpost lets in whoever has the key: the first half is the guest's, the second the outpost's."""

    host: str
    port: int
    key: bytes

    def __repr__(self) -> str:
        return f"Door({self.host}:{self.port})"


# ── an outpost's side ───────────────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def open_door(host: str | None, ear: Ear) -> AsyncIterator[Door | None]:
    """Let a run in, for the length of the block. None where there is no address, or nothing can be opened there.

    What `ear` raises ends the block.
    """
    try:
        listener = await anyio.create_tcp_listener(local_host=host) if host else None
    except OSError:
        listener = None
    if listener is None:
        yield None
        return
    key = secrets.token_bytes(2 * _HALF)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(_welcome, listener, key, ear)
        yield Door(str(host), listener.extra(SocketAttribute.local_port), key)
        group.cancel_scope.cancel()


def address() -> str | None:
    """Of this node, as Ray's other nodes reach it; None without Ray, or where Ray encrypts what it sends."""
    ray = sys.modules.get("ray")
    if ray is None or os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
        return None
    return str(ray.util.get_node_ip_address())


async def _welcome(listener: MultiListener[SocketStream], key: bytes, ear: Ear) -> None:
    """Let in guests until one has shown the key: a run comes once. No stranger ends this."""
    strangers, waiting = 0, anyio.CancelScope()

    async def let_in(stream: SocketStream) -> None:
        nonlocal strangers
        if strangers == STRANGERS:
            await anyio.aclose_forcefully(stream)
            return
        strangers += 1
        async with stream:
            try:
                frames = _Frames(stream)
                known = await _shows(frames, key)
            except (OSError, *_ENDS):
                known = False
            finally:
                strangers -= 1
            if known:
                waiting.cancel()
                await _hear(frames, ear)

    async with anyio.create_task_group() as guests:
        with waiting:
            while True:
                try:
                    await listener.listeners[0].serve(let_in, guests)
                except OSError:
                    await anyio.sleep(PAUSE_S)
        await listener.aclose()


async def _shows(frames: _Frames, key: bytes) -> bool:
    """Whether a guest has the key, which is then shown the other half."""
    given = b""
    with anyio.move_on_after(KNOCKS_S):
        given = await frames.exactly(_HALF)
    if not hmac.compare_digest(given, key[:_HALF]):
        return False
    await frames.show(key[_HALF:])
    return True


async def _hear(frames: _Frames, ear: Ear) -> None:
    """Hear a run, until the connection ends."""
    async with anyio.create_task_group() as answers:
        while True:
            try:
                answered, bundle = await frames.receive()
            except _ENDS:
                break
            if answered:
                answers.start_soon(_answer, ear, frames, bundle)
            else:
                await ear.hear(bundle)
        answers.cancel_scope.cancel()


async def _answer(ear: Ear, frames: _Frames, bundle: Bundle) -> None:
    said = await ear.speak(bundle)
    try:
        await frames.send(said, answered=False)
    except _ENDS:
        return  # whoever reads finds out


# ── a run's side ────────────────────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def open_line(actor: Any, door: Door | None, name: str) -> AsyncIterator[Ear]:
    """The line to the outpost of a node: by its door, or by Ray where it has none, or there is no way to it."""
    frames = await _knock(door) if door is not None else None
    if frames is None:
        yield RayLine(actor)
        return
    try:
        yield Wire(frames, name)
    finally:
        await frames.aclose()


async def _knock(door: Door) -> _Frames | None:
    """A connection to the outpost of a door; None where there is no way to it, or somebody else is there."""
    frames, stands = None, False
    try:
        with anyio.fail_after(KNOCKS_S):
            stream = await anyio.connect_tcp(door.host, door.port)
            frames = _Frames(stream)
            await frames.show(door.key[:_HALF])
            stands = hmac.compare_digest(await frames.exactly(_HALF), door.key[_HALF:])
    except (OSError, *_ENDS):
        stands = False
    finally:
        if frames is not None and not stands:
            await frames.aclose()
    return frames if stands else None


class RayLine:
    """A line of Ray's calls. What it raises is Ray's."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    async def speak(self, bundle: Bundle) -> Bundle:
        """See `Ear.speak`."""
        said: Bundle = await self._actor.speak.remote(bundle)
        return said

    async def hear(self, bundle: Bundle) -> None:
        """See `Ear.hear`."""
        await self._actor.hear.remote(bundle)


class Wire:
    """A line of its own. One bundle at a time is answered.

    Its methods raise:
        LineLost: it ended.
    """

    def __init__(self, frames: _Frames, name: str) -> None:
        self._frames = frames
        self._name = name

    async def speak(self, bundle: Bundle) -> Bundle:
        """See `Ear.speak`."""
        try:
            await self._frames.send(bundle, answered=True)
            return (await self._frames.receive())[1]
        except _ENDS:
            raise self._lost() from None

    async def hear(self, bundle: Bundle) -> None:
        """See `Ear.hear`."""
        try:
            await self._frames.send(bundle, answered=False)
        except _ENDS:
            raise self._lost() from None

    def _lost(self) -> LineLost:
        return LineLost(f"the node {self._name} is lost (the connection to it ended)")


class _Frames:
    """Bundles over a stream of bytes."""

    def __init__(self, stream: SocketStream) -> None:
        stream.extra(SocketAttribute.raw_socket).setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._stream: ByteStream = stream
        self._read = BufferedByteReceiveStream(stream)
        self._sending = anyio.Lock()

    async def aclose(self) -> None:
        """End the connection, without waiting for the other side."""
        await anyio.aclose_forcefully(self._stream)

    async def exactly(self, count: int) -> bytes:
        return await self._read.receive_exactly(count) if count else b""

    async def show(self, half: bytes) -> None:
        await self._stream.send(half)

    async def receive(self) -> tuple[bool, Bundle]:
        """The next bundle, and whether an answer is wanted."""
        answered, number, length = _HEAD.unpack(await self.exactly(_HEAD.size))
        return answered, (number, await self.exactly(length))

    async def send(self, bundle: Bundle, *, answered: bool) -> None:
        number, data = bundle
        async with self._sending:
            await self._stream.send(_HEAD.pack(answered, number, len(data)) + data)
