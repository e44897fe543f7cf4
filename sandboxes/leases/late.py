"""A lease that is taken when something is first made for it: a run that makes nothing has none, and leaves nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio

from swarm.sandboxes.leases.lease import leases_of, open_lease


class LateLease:
    """Use `late_lease`. `folder` is there once `take` was awaited."""

    def __init__(self, home: Path, id: str, stack: AsyncExitStack) -> None:
        self.id = id
        self.folder = leases_of(home).resolve() / id
        self._home = home
        self._stack = stack
        self._taking = anyio.Lock()
        self._taken = False

    def __repr__(self) -> str:
        return f"<LateLease {self.id}, {'held' if self._taken else 'not taken'}>"

    async def take(self) -> None:
        """Hold it, from the first time on until the end of the block.

        Raises:
            MachineError: the folder cannot be made.
        """
        async with self._taking:
            if not self._taken:
                await self._stack.enter_async_context(open_lease(self._home, self.id))
                self._taken = True


@asynccontextmanager
async def late_lease(home: Path, id: str) -> AsyncIterator[LateLease]:
    """As `open_lease`, but taken late."""
    async with AsyncExitStack() as stack:
        yield LateLease(home, id, stack)
