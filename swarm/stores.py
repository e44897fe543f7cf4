"""A run's store, as its commits travel to other machines and back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio.to_thread

from swarm.protocols import Repository
from swarm.values import value


@value(frozen=True, slots=True)
class Store:
    """The store at a path, by the repository in it."""

    path: Path
    tree: Repository

    async def bundle(self) -> Any:
        """It as it travels, without what is too old to be needed.

        Raises:
            UsageError: it holds what cannot be sent.
            MachineError: git failed.
        """
        from swarm.sandboxes.git import packs
        from swarm.sandboxes.git.workspace import reopen

        tree = await reopen(self.path)
        return await anyio.to_thread.run_sync(packs.bundle, tree)

    async def pack(self, commits: Sequence[str], known: Sequence[str]) -> bytes:
        """What makes up commits beyond those that are known where it goes to. Raises: MachineError."""
        from swarm.sandboxes.git import packs

        return await anyio.to_thread.run_sync(packs.pack, self.path, commits, known)

    async def unpack(self, data: bytes) -> None:
        """Take up what was packed elsewhere. Raises: MachineError."""
        from swarm.sandboxes.git import packs

        await anyio.to_thread.run_sync(packs.unpack, self.path, data)


async def plant(sent: Any, folder: Path) -> Store:
    """The store that was sent as `Store.bundle` gave it, in a new folder. Raises: MachineError, OSError."""
    from swarm.sandboxes.git import packs

    return Store(folder, await anyio.to_thread.run_sync(packs.unbundle, sent, folder))
