"""An image on its way from one machine's engine to another's, as `docker save` and `docker load` do it."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.from_thread
import anyio.to_thread
from anyio.abc import ObjectReceiveStream

from swarm.errors import SandboxError
from swarm.sandboxes.docker.engine import connect

PART_BYTES = 8 << 20

_ENGINE_S = 900.0
"""Seconds in which the engine must have said or taken something."""

_LOOKS_S = 0.2


@dataclass(frozen=True, slots=True)
class ImageShipment:
    """The image of that name."""

    name: str

    async def here(self) -> bool:
        """Whether the engine of this machine has it, under a name that another engine could have it by.

        Raises:
            SandboxError: the engine cannot be used.
        """
        if "@" in self.name:
            return False  # a digest is a registry's: no archive brings it along
        async with connect() as engine:
            return await engine.has_image(self.name)

    async def parts(self) -> AsyncIterator[bytes]:
        """It, out of this machine's engine.

        Raises:
            SandboxError: the engine refuses.
        """
        async with connect(timeout=_ENGINE_S) as engine:
            client = engine.client
            saved: Iterator[bytes] = await engine.call(
                lambda: iter(client.images.get(self.name).save(PART_BYTES, named=_tagged(self.name)))
            )
            while part := await engine.call(lambda: next(saved, b"")):
                yield part

    @asynccontextmanager
    async def missing(self, home: Path) -> AsyncIterator[bool]:
        """Whether the engine of this machine lacks it. Nobody else here is asked before the block is left.

        Raises on entering:
            SandboxError: the engine cannot be used.
        """
        folder = home / "images"
        await anyio.to_thread.run_sync(lambda: folder.mkdir(parents=True, exist_ok=True, mode=0o700))
        name = hashlib.sha256(self.name.encode()).hexdigest()[:16]
        fd = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while not _locked(fd):  # noqa: ASYNC110  another process has it
                await anyio.sleep(_LOOKS_S)
            async with connect() as engine:
                missing = not await engine.has_image(self.name)
            yield missing
        finally:
            os.close(fd)

    async def load(self, parts: ObjectReceiveStream[bytes]) -> None:
        """Put it into this machine's engine.

        Raises:
            SandboxError: the engine does not take it, or what came was cut short.
        """

        def come() -> Iterator[bytes]:
            while part := anyio.from_thread.run(_next, parts):
                yield part

        async with connect(timeout=_ENGINE_S) as engine:
            take: Callable[..., Iterable[Mapping[str, object]]] = engine.client.api.load_image
            # Read to its end, so that the connection is free.
            said = await engine.call(lambda: list(take(come(), quiet=True)))
            errors = [str(line["error"]) for line in said if "error" in line]
            if errors:
                raise SandboxError(f"the Docker Engine does not take the image {self.name}: {errors[0]}")
            if not await engine.has_image(self.name):
                raise SandboxError(f"the image {self.name} came without its name")


async def _next(parts: ObjectReceiveStream[bytes]) -> bytes:
    try:
        return await parts.receive()
    except anyio.EndOfStream:
        return b""


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _tagged(name: str) -> str:
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"
