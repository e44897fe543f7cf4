"""What sandboxes of a run are shown of the machine beside their workspace."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import field
from pathlib import Path

import anyio

from swarm.errors import SwarmError
from swarm.values import value


@value(frozen=True, slots=True)
class Shown:
    """The environment of commands, and folders that are visible read-only."""

    env: Mapping[str, str] = field(default_factory=dict)
    toolchain: tuple[Path, ...] = ()


class Showing:
    """Finds out what is shown, once, as soon as somebody wants to know: it takes a Python that is started. Where that
    fails, what fails is the opening of a sandbox."""

    def __init__(self, find: Callable[[], Awaitable[Shown]]) -> None:
        self._find = find
        self._found: Shown | None = None
        self._finding = anyio.Lock()

    def __repr__(self) -> str:
        return f"<Showing {self._found or 'what is not known yet'}>"

    @classmethod
    def of(cls, shown: Shown) -> Showing:
        """What is known."""
        showing = cls(_nothing)
        showing._found = shown
        return showing

    async def __call__(self) -> Shown:
        """What is shown. Raises: OSError, SwarmError, each time that it cannot be found out."""
        if self._found is None:
            async with self._finding:
                if self._found is None:
                    self._found = await self._find()
        return self._found

    async def ahead(self) -> None:
        """Find it out for whoever is the first to ask, who is told why it cannot be."""
        with suppress(OSError, SwarmError):
            await self()


async def _nothing() -> Shown:
    return Shown()
