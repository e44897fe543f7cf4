"""An image that a node's engine lacks, on its way there: in parts, through Ray's object store, once for each node."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

import anyio
from anyio.abc import ObjectReceiveStream
from anyio.streams.memory import MemoryObjectSendStream

from swarm.config import home
from swarm.errors import SwarmError

SHIPS_S = 3600.0
"""Seconds in which an image must have come."""

_AHEAD = 2


class Shipment(Protocol):
    """What may be missing on a node. It can be pickled."""

    @property
    def name(self) -> str: ...

    async def here(self) -> bool: ...

    def parts(self) -> AsyncIterator[bytes]: ...

    def missing(self, home: Path) -> AbstractAsyncContextManager[bool]: ...

    async def load(self, parts: ObjectReceiveStream[bytes]) -> None: ...


class Store:
    """A node's side: it takes in one shipment, if that is missing there."""

    def __init__(self) -> None:
        self._parts: MemoryObjectSendStream[bytes] | None = None
        self._looked = anyio.Event()
        self._wanted = False

    def __repr__(self) -> str:
        return f"<Store: {'wants a shipment' if self._wanted else 'wants nothing'}>"

    async def stock(self, shipment: Shipment) -> str:
        """Look whether it is missing, and if so take what comes. Why it cannot be taken, where it cannot."""
        parts, coming = anyio.create_memory_object_stream[bytes](_AHEAD)
        self._parts = parts
        with parts, coming:
            try:
                async with shipment.missing(home(os.environ)) as self._wanted:
                    self._looked.set()
                    if self._wanted:
                        await shipment.load(coming)
            except SwarmError as error:
                return str(error)
            finally:
                self._looked.set()
        return ""

    async def wants(self) -> bool:
        """Whether it is missing."""
        await self._looked.wait()
        return self._wanted

    async def take(self, part: bytes) -> bool:
        """One part, the last of which is empty; whether more is wanted."""
        assert self._parts is not None
        try:
            await (self._parts.send(part) if part else self._parts.aclose())
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return False
        return True


async def ship(actor: Any, shipment: Shipment) -> str:
    """Let an outpost have it, where it is here and not there. Why that did not do, where it did not.

    Raises:
        TimeoutError: it takes too long.
    """
    with anyio.fail_after(SHIPS_S):
        try:
            if not await shipment.here():
                return ""
            stocked = actor.stock.remote(shipment)
            if await actor.wants.remote():
                async for part in shipment.parts():
                    if not await actor.take.remote(part):
                        break
                await actor.take.remote(b"")
        except SwarmError as error:
            return str(error)
        told: str = await stocked
    return told
