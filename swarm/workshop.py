"""Where work is done: a sandbox over its own copy of a commit. The one way to get one, for sub-agents and the gate."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from swarm.protocols import Repository, Sandbox, SandboxBackend
from swarm.types import SandboxRequest

CLEANUP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Bench:
    """One open place of work: the sandbox, and the host's folder that it works on."""

    sandbox: Sandbox
    folder: Path


@dataclass(frozen=True, slots=True)
class Workshop:
    """How sandboxes of a run are made. `folder` holds the copies; `repository` is None for tasks without one."""

    run_id: str
    folder: Path
    backend: SandboxBackend
    repository: Repository | None
    workdir: str
    env: Mapping[str, str]
    toolchain: tuple[Path, ...] = ()

    @asynccontextmanager
    async def open(self, owner: str, commit: str | None) -> AsyncIterator[Bench]:
        """A sandbox over a fresh copy of `commit`; the copy and the sandbox are gone at the end of the block.

        Raises:
            SandboxError: it could not be opened, or is not as closed as it should be.
        """
        copy = Path(await anyio.to_thread.run_sync(lambda: tempfile.mkdtemp(prefix="ws-", dir=self.folder)))
        try:
            tree = copy / "tree"
            await anyio.to_thread.run_sync(tree.mkdir)
            if commit is not None and self.repository is not None:
                await self.repository.checkout(commit, tree)
            request = SandboxRequest(
                run_id=self.run_id,
                owner=owner,
                workspace=tree,
                workdir=self.workdir,
                env=self.env,
                toolchain=self.toolchain,
            )
            async with self.backend.open(request) as sandbox:
                yield Bench(sandbox, tree)
        finally:
            with anyio.move_on_after(CLEANUP_SECONDS, shield=True):
                await anyio.to_thread.run_sync(lambda: shutil.rmtree(copy, ignore_errors=True))
