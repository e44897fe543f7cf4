"""Removes what runs left behind that did not come to their end: whatever bears a dead lease."""

from __future__ import annotations

import os
from pathlib import Path

import anyio.to_thread

from swarm.removal import remove_tree
from swarm.sandboxes.lease import all_leases, try_lock
from swarm.sandboxes.mounts import unmount_below


async def reap(home: Path) -> None:
    """Remove all that bears a dead lease of this home."""
    await anyio.to_thread.run_sync(_reap, home)


def _reap(home: Path) -> None:
    with all_leases(home) as leases:
        for folder in leases.iterdir():
            if not folder.is_dir():
                continue
            held = try_lock(folder)
            if held is not None:
                unmount_below(folder)
                remove_tree(folder)
                os.close(held)
