"""Leases: one folder for whatever a run makes on this machine beside its record, and a lock that tells whether its
maker lives.

    HOME/leases/ID/lock    locked (flock) by the process that made it, for as long as it lives; says who that is
    HOME/leases/ID/...     working copies, mounts, control folders of sandboxes

Whatever is made elsewhere (containers, cgroups) bears the folder's path as its label. The kernel frees the lock of a
process that ended, however it ended: a lease that can be locked is dead, and all of it may be removed
(`swarm.sandboxes.leases.reaper`). A lease comes, goes and is tried under `HOME/leases/.lock`, so nobody sees one
half-way.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import anyio
import anyio.to_thread

from swarm.errors import MachineError
from swarm.sandboxes.docker.leftovers import Engines
from swarm.sandboxes.leases.clearing import KEPT, LOCK, clear, look
from swarm.sandboxes.leases.leftover import FAILURES
from swarm.sandboxes.leases.records import open_record
from swarm.shortage import remedy_for
from swarm.values import value

FOLDER = "leases"
_CLOSES_S = 30.0


@value(frozen=True, slots=True)
class Lease:
    """A lease that is held by this process. `folder` is for whatever the run makes."""

    id: str
    folder: Path


@value(frozen=True, slots=True)
class Holder:
    """Who made a lease, as far as its lock tells."""

    pid: int = 0
    program: str = ""
    since: str = ""


@asynccontextmanager
async def open_lease(home: Path, id: str) -> AsyncIterator[Lease]:
    """Hold a lease for the length of the block; all that bears it is gone at the end. What cannot be removed then
    stays as a dead lease, for a later try.

    Raises:
        MachineError: the folder cannot be made.
    """
    folder = home.absolute() / FOLDER / id
    try:
        held = await anyio.to_thread.run_sync(_take, folder)
    except OSError as error:
        remedy = remedy_for(error) or "set SWARM_HOME"
        raise MachineError(f"{folder} cannot be made: {error.strerror or error}", remedy=remedy) from error
    folder = folder.resolve()
    try:
        yield Lease(id, folder)
    finally:
        try:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_release, folder)
        finally:
            os.close(held)


def leases_of(home: Path) -> Path:
    """The folder of a home's leases, free of links; it need not be there."""
    return home.absolute().resolve() / FOLDER


@contextmanager
def all_leases(home: Path) -> Iterator[Path]:
    """The folder of leases, while nobody makes, tries or removes one: to be left soon. Blocks."""
    folder = leases_of(home)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    fd = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(fd)


def try_lock(folder: Path) -> int | None:
    """The lock of a lease whose holder is gone, to be closed by the caller; None while it lives. In `all_leases`.

    Raises:
        OSError: it cannot be tried, or is no file.
    """
    fd = open_record(folder / LOCK, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except BaseException:
        os.close(fd)
        raise
    return fd


def holder(lock: int) -> Holder:
    """Who wrote a lock, as far as it tells: whoever was killed at once did not."""
    try:
        about = json.loads(os.pread(lock, 1 << 12, 0))
    except FAILURES:
        return Holder()
    if not isinstance(about, dict):
        return Holder()
    pid, program, since = (about.get(key) for key in ("pid", "program", "since"))
    return Holder(pid if isinstance(pid, int) else 0, str(program or ""), str(since or ""))


def forget(folder: Path) -> None:
    """Take away what is left of a lease whose lock is held here, when all else of it is gone. Blocks.

    Raises:
        OSError: something is left in it.
    """
    with all_leases(folder.parent.parent):
        for name in KEPT:
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def clear_own(home: Path, until: float) -> None:
    """Remove what the leases of this process hold, as it is about to end out of order; `until` as in `clear`. Blocks.

    Raises:
        OSError: the folder of leases cannot be read.
    """
    for folder in leases_of(home).iterdir():
        with suppress(*FAILURES):
            about = json.loads((folder / LOCK).read_text())
            if about["pid"] != os.getpid():
                continue
            with Engines(patience=1.0) as engines:
                found = look(folder, engines)
                if not clear(found.leftovers, until) and not found.unseen:
                    forget(folder)


def _take(folder: Path) -> int:
    with all_leases(folder.parent.parent):
        folder.mkdir(mode=0o711)
        try:
            folder.chmod(0o711)  # whatever the umask: sandboxes of another user pass through it
            return _locked(folder / LOCK)
        except BaseException:  # a full disk, say: a lease that nobody got is not left behind
            (folder / LOCK).unlink(missing_ok=True)
            folder.rmdir()
            raise


def _locked(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        about = {"pid": os.getpid(), "since": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        os.write(fd, json.dumps({**about, "program": Path(sys.argv[0]).name}).encode() + b"\n")
    except BaseException:
        os.close(fd)
        raise
    return fd


def _release(folder: Path) -> None:
    with suppress(*FAILURES), Engines() as engines:  # what stays, stays for a later try, which tells of it
        found = look(folder, engines, over=True)
        if not clear(found.leftovers, time.monotonic() + _CLOSES_S) and not found.unseen:
            forget(folder)
