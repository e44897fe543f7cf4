"""Bases of instances, taken out of an image once for all who want them at a time, and for some time after."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.to_thread

from swarm.evals.swebench.base import Base, take_base
from swarm.evals.swebench.container import digest_of
from swarm.removal import remove_tree
from swarm.sandboxes.docker.engine import Engine

KEPT = 8
"""Bases that nobody uses at the moment and that are kept for the next trial of their instance."""


@dataclass(slots=True)
class _Held:
    folder: Path
    users: int = 0
    base: Base | None = None
    making: anyio.Lock = field(default_factory=anyio.Lock)


class Bases:
    """Bases by the digest of their image, in the folder of a lease."""

    def __init__(self, engine: Engine, lease: Path) -> None:
        self._engine = engine
        self._lease = lease
        self._held: dict[str, _Held] = {}
        self._number = 0

    @asynccontextmanager
    async def open(self, image: str) -> AsyncIterator[tuple[Base, str]]:
        """The base of an image, with the image's digest.

        Raises on entering:
            SandboxError: it cannot be had.
        """
        digest = await digest_of(self._engine, image)
        held = self._held.pop(digest, None)
        if held is None:
            self._number += 1
            held = _Held(self._lease / f"base-{self._number}")
        self._held[digest] = held  # the last in line
        held.users += 1
        try:
            async with held.making:
                if held.base is None:
                    try:
                        held.base = await take_base(self._engine, self._lease, image, held.folder)
                    except BaseException:
                        with anyio.CancelScope(shield=True):
                            await anyio.to_thread.run_sync(remove_tree, held.folder)
                        raise
            yield held.base, digest
        finally:
            held.users -= 1
            with anyio.CancelScope(shield=True):
                await self._drop()

    async def _drop(self) -> None:
        while True:
            idle = [digest for digest, held in self._held.items() if held.users == 0]
            if len(idle) <= KEPT:
                return
            await anyio.to_thread.run_sync(remove_tree, self._held.pop(idle[0]).folder)
