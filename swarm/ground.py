"""What runs stand on: the sandboxes of one `Swarm`, proved once for all its runs, and a lease for each run."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from swarm.config import RunConfig, home
from swarm.protocols import SandboxBackend
from swarm.stopping import Companion

if TYPE_CHECKING:
    from swarm.sandboxes.copies.shelf import Lent, Shelf

REAPS_EVERY_S = 60.0
"""Seconds after which a Swarm looks again for what killed runs left behind."""


_APART = frozenset({"bubblewrap", "docker"})
"""Where sandboxes reach no folder of this machine but their own: elsewhere one run could change what others of its
group begin with, and nobody would see it."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What a run stands on. `lease` is the folder for whatever it makes on this machine beside its record; `hold` makes
    it, and is to be awaited before anything is made. `notice` is for the user, about what was there before. `shelf`:
    the trees that it shares with other runs; None where it is alone."""

    backend: SandboxBackend
    lease: Path
    hold: Callable[[], Awaitable[None]]
    notice: str = ""
    shelf: Lent | None = None


class Grounds:
    """Use `open_grounds`. `given` is a backend of the caller's own."""

    def __init__(self, given: SandboxBackend | None, stack: AsyncExitStack) -> None:
        self._given = given
        self._stack = stack
        self._proved: dict[object, SandboxBackend] = {}
        self._proving: dict[object, anyio.Lock] = {}
        self._reaped: float | None = None
        self._shelf: Shelf | None = None

    def __repr__(self) -> str:
        return f"<Grounds: {', '.join(backend.name for backend in self._proved.values()) or 'nothing proved'}>"

    @asynccontextmanager
    async def ground(
        self,
        run_id: str,
        config: RunConfig,
        beside: Companion = anyio.lowlevel.checkpoint,
    ) -> AsyncIterator[Ground]:
        """The ground of one run, for as long as the block lasts: nothing of its lease is left then. What runs left
        behind that were killed is removed first, at times, in bounded time. `beside`: what is done while a sandbox is
        proved, which is mostly to wait for other processes, and no longer.

        Raises on entering:
            SandboxError: the sandbox cannot be used on this machine.
            MachineError: the lease cannot be made.
        """
        from swarm.sandboxes.leases.late import late_lease

        notice = await self.reap()
        backend = await self._backend(config, beside)
        async with AsyncExitStack() as stack:
            shelf = None  # what a run leaves behind is gone when it ends, but for what a group of them begins with
            if config.rollout.group_id and backend.name in _APART:
                shelf = await stack.enter_async_context((await self._opened_shelf()).lent())
            lease = await stack.enter_async_context(late_lease(home(os.environ), run_id))
            yield Ground(backend, lease.folder, lease.take, notice, shelf)

    async def _opened_shelf(self) -> Shelf:
        from swarm.sandboxes.copies.shelf import Shelf
        from swarm.sandboxes.leases.late import late_lease

        if self._shelf is None:
            name = f"bases-{secrets.token_hex(4)}"
            self._shelf = Shelf(await self._stack.enter_async_context(late_lease(home(os.environ), name)))
        return self._shelf

    async def _backend(self, config: RunConfig, beside: Companion) -> SandboxBackend:
        """The backend that a configuration names, or the given one; proved to work here when it is first asked for."""
        from swarm.sandboxes.catalog import open_backend
        from swarm.sandboxes.leases.lease import open_lease

        wanted = None if self._given is not None else (config.sandbox, config.image, config.network)
        if wanted in self._proved:
            return self._proved[wanted]
        async with self._proving.setdefault(wanted, anyio.Lock()):
            if wanted not in self._proved:
                async with open_lease(home(os.environ), f"check-{secrets.token_hex(4)}") as lease:
                    if self._given is not None:
                        await self._given.check(lease.folder)
                        self._proved[wanted] = self._given
                    else:
                        image, network = config.image, config.network
                        opening = open_backend(
                            config.sandbox, lease.folder, image=image, network=network, beside=beside
                        )
                        self._proved[wanted] = await self._stack.enter_async_context(opening)
            return self._proved[wanted]

    async def reap(self) -> str:
        """Remove what runs left behind that were killed, in bounded time, unless that was done a short time ago; gives
        a line about it where there was something."""
        from swarm.sandboxes.leases.reaper import reap

        now = time.monotonic()
        if self._reaped is not None and now - self._reaped < REAPS_EVERY_S:
            return ""
        self._reaped = now
        return await reap(home(os.environ))


@asynccontextmanager
async def open_grounds(given: SandboxBackend | None) -> AsyncIterator[Grounds]:
    """The grounds of all runs of one Swarm. Nothing is opened or proved before the first of them."""
    async with AsyncExitStack() as stack:
        yield Grounds(given, stack)
