"""Leases: one folder for whatever a run makes on this machine beside its record, and a lock that tells whether its
maker lives.

    HOME/leases/ID/lock    locked (flock) by the process that made it, for as long as it lives; says who that is
    HOME/leases/ID/...     working copies, mounts, control folders of sandboxes

Whatever is made elsewhere (containers, cgroups) bears the folder's path as its label. The kernel frees the lock of a
process that ended, however it ended: a lease that can be locked is dead, and all of it may be removed
(`swarm.sandboxes.reaper`). Creation and removal take `HOME/leases/.lock` first, so neither sees the other half-way.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread

from swarm.errors import MachineError
from swarm.removal import remove_tree
from swarm.sandboxes.mounts import unmount_below

FOLDER = "leases"
LOCK = "lock"
LABEL = "swarm.lease"
"""The label whose value is the path of a lease's folder."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease that is held by this process. `folder` is for whatever the run makes."""

    id: str
    folder: Path


@asynccontextmanager
async def open_lease(home: Path, id: str) -> AsyncIterator[Lease]:
    """Hold a lease for the length of the block; its folder is gone at the end.

    Raises:
        MachineError: the folder cannot be made.
    """
    folder = home.absolute() / FOLDER / id
    try:
        held = await anyio.to_thread.run_sync(_take, folder)
    except OSError as error:
        raise MachineError(f"{folder} cannot be made: {error.strerror or error}", remedy="set SWARM_HOME") from error
    try:
        yield Lease(id, folder.resolve())
    finally:
        try:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_remove, folder)
        finally:
            os.close(held)


@contextmanager
def all_leases(home: Path) -> Iterator[Path]:
    """The folder of leases, while nobody makes or removes one. Blocks."""
    folder = home.absolute() / FOLDER
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    fd = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(fd)


def try_lock(folder: Path) -> int | None:
    """The lock of a lease whose holder is gone, to be closed by the caller; None while it lives."""
    fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except BaseException:
        os.close(fd)
        raise
    return fd


def _take(folder: Path) -> int:
    with all_leases(folder.parent.parent):
        folder.mkdir(mode=0o711)  # sandboxes of another user pass through it
        fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        about = {"pid": os.getpid(), "since": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "program": Path(sys.argv[0]).name}
        os.write(fd, json.dumps(about).encode() + b"\n")
        return fd


def _remove(folder: Path) -> None:
    unmount_below(folder)
    remove_tree(folder)
