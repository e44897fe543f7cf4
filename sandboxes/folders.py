"""Private folders of a sandbox on the host: made, handed to the sandbox's user, removed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread

from swarm.removal import remove_tree
from swarm.sandboxes.descent import walk


@asynccontextmanager
async def private_folder(lease: Path, kind: str) -> AsyncIterator[Path]:
    """A new folder that only this user may enter, in a lease's folder; removed at the end of the block."""
    folder = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=lease)).resolve()
    try:
        yield folder
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(remove_tree, folder)


def hand_over(folder: Path, uid: int, gid: int) -> None:
    """Give a folder and all in it to another user, where this process may do so (root); no link is followed.

    Where the folder itself is theirs already, so is all in it.
    """
    if os.geteuid() != 0 or folder.lstat().st_uid == uid:
        return
    for _, at, folders, files in walk(folder):
        for name in (*folders, *files):
            os.chown(name, uid, gid, dir_fd=at, follow_symlinks=False)
    os.chown(folder, uid, gid, follow_symlinks=False)  # last: it tells that all is done


def settle(folder: Path, seconds: int, owner: tuple[int, int] | None) -> None:
    """Date all in a folder, and give it to another user (None: it stays this process's own), but
    for the folder itself: `hand_over` does that, when all is done.
    """
    when = (seconds * 1_000_000_000,) * 2
    for _, at, folders, files in walk(folder):
        for name in (*folders, *files):
            if owner is not None:
                os.chown(name, *owner, dir_fd=at, follow_symlinks=False)
            os.utime(name, ns=when, dir_fd=at, follow_symlinks=False)
    os.utime(folder, ns=when)
