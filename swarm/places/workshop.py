"""Where work is done: a working copy, and a sandbox over it. The one way to get them, for sub-agents and gates."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from swarm.places.shown import Showing
from swarm.protocols import Repository, Sandbox, SandboxBackend, WorkingCopies, WorkingCopy
from swarm.types import SandboxRequest
from swarm.values import value


@value(frozen=True, slots=True)
class Workshop:
    """How sandboxes of a run are made. `copies` makes their files; `repository` is None for tasks without one; `shown`
    is what else is visible there;
    `hold` makes the folder `lease` where it is not there yet."""

    run_id: str
    lease: Path
    backend: SandboxBackend
    copies: WorkingCopies
    repository: Repository | None
    workdir: str
    shown: Showing
    network: tuple[str, ...] = ()
    refused: Callable[[str], None] | None = None
    hold: Callable[[], Awaitable[None]] | None = None

    @asynccontextmanager
    async def copy(self, commit: str | None) -> AsyncIterator[WorkingCopy]:
        """A copy of a commit, an empty one for None; gone at the end of the block.

        Raises on entering:
            MachineError: it cannot be made.
        """
        if self.hold is not None:
            await self.hold()
        async with self.copies.open(commit) as copy:
            yield copy

    @asynccontextmanager
    async def sandbox(self, owner: str, copy: WorkingCopy) -> AsyncIterator[Sandbox]:
        """A sandbox that works on a copy; when its block is left, nothing of it runs any more.

        Raises on entering:
            SandboxError: it could not be opened, or is not as closed as it should be.
        """
        shown = await self.shown()
        request = SandboxRequest(
            run_id=self.run_id,
            owner=owner,
            lease=self.lease,
            workspace=copy.tree,
            workdir=self.workdir,
            env=shown.env,
            toolchain=shown.toolchain,
            network=self.network,
            refused=self.refused,
        )
        async with self.backend.open(request) as sandbox:
            yield sandbox
