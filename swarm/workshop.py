"""Where work is done: a copy of a commit, and a sandbox over it. The one way to get them, for sub-agents and gates."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from swarm.protocols import Repository, Sandbox, SandboxBackend
from swarm.removal import remove_tree
from swarm.types import SandboxRequest

CLEANUP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Workshop:
    """How sandboxes of a run are made. `lease` holds the copies; `repository` is None for tasks without one."""

    run_id: str
    lease: Path
    backend: SandboxBackend
    repository: Repository | None
    workdir: str
    env: Mapping[str, str]
    toolchain: tuple[Path, ...] = ()
    network: tuple[str, ...] = ()

    @asynccontextmanager
    async def copy(self, commit: str | None) -> AsyncIterator[Path]:
        """A folder with the tree of `commit`, empty for None; gone at the end of the block."""
        parent = Path(await anyio.to_thread.run_sync(lambda: tempfile.mkdtemp(prefix="ws-", dir=self.lease)))
        try:
            tree = parent / "tree"
            await anyio.to_thread.run_sync(tree.mkdir)
            if commit is not None and self.repository is not None:
                await self.repository.checkout(commit, tree)
            yield tree
        finally:
            with anyio.move_on_after(CLEANUP_SECONDS, shield=True):
                await anyio.to_thread.run_sync(remove_tree, parent, abandon_on_cancel=True)

    def sandbox(self, owner: str, copy: Path) -> AbstractAsyncContextManager[Sandbox]:
        """A sandbox that works on a copy; when its block is left, nothing of it runs any more.

        Raises on entering:
            SandboxError: it could not be opened, or is not as closed as it should be.
        """
        return self.backend.open(
            SandboxRequest(
                run_id=self.run_id,
                owner=owner,
                lease=self.lease,
                workspace=copy,
                workdir=self.workdir,
                env=self.env,
                toolchain=self.toolchain,
                network=self.network,
            )
        )
