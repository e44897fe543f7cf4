"""Writing a file wholly or not at all: what was there stays until all of the new one is on the disk. And opening one
that others may have put there."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_PARTIAL = re.compile(r"\..{1,50}\.[a-z0-9_]{8}")
"""A name that `tempfile.mkstemp` makes for `whole_file`."""


_PLAIN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_plain(path: Path, within: Path | None = None) -> BinaryIO:
    """A file of a folder that somebody else may have made, for reading. Only a plain one: a link would lead to files of
    this machine that were never in the folder, a pipe would hold up whoever opens it, a device never ends. Nor do the
    folders between `within` and it lead anywhere else.

    Raises:
        OSError: there is none, or it is something else.
    """
    fd = _below(within, path) if within is not None else os.open(path, _PLAIN)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is no plain file", str(path))
    return os.fdopen(fd, "rb")


def _below(folder: Path, path: Path) -> int:
    *parts, name = path.relative_to(folder).parts
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts:
            at, before = os.open(part, _PLAIN | os.O_DIRECTORY, dir_fd=at), at
            os.close(before)
        return os.open(name, _PLAIN, dir_fd=at)
    finally:
        os.close(at)


def write_whole(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a file, or nothing of it; blocks. How it is done, and `mode`: see `whole_file`.

    Raises:
        OSError: it cannot be written; what was there is untouched.
    """
    with whole_file(path, mode) as file:
        file.write(data)


@contextmanager
def whole_file(path: Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """A new file that takes its place when the block ends well, through links. It keeps the mode of what was there
    (else it has `mode`, less the umask), and owner and group where this process may give them; a further name (hard
    link) of that keeps the old content. What is no plain file (a pipe, `/dev/stdout`) is written to as it is.

    Raises:
        OSError: it cannot be written, or what is there may not be; that is untouched.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    path = Path(os.path.realpath(path))
    before = path.stat() if path.exists() else None
    if before is not None and not os.access(path, os.W_OK):  # its folder alone would let us replace it
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:50]}.", dir=path.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    partly = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if before is not None:
            _give(partly, before)
        partly.chmod(before.st_mode & 0o777 if before is not None else mode & ~_umask())
        partly.replace(path)
    except BaseException:
        partly.unlink(missing_ok=True)
        raise


def drop_partial(folder: Path) -> None:
    """Remove what writers of whole files left in a folder when they were killed; nobody else may write there. Blocks.

    Raises:
        OSError: it cannot be removed.
    """
    for path in folder.glob(".*"):
        if _PARTIAL.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            path.unlink(missing_ok=True)


def _give(path: Path, before: os.stat_result) -> None:
    """Owner and group as before, or at least the group."""
    now = path.stat()
    if (now.st_uid, now.st_gid) == (before.st_uid, before.st_gid):
        return
    for owner in (before.st_uid, -1):
        with suppress(PermissionError):
            os.chown(path, owner, before.st_gid)
            return


def _umask() -> int:
    """Read without being changed: other threads may be making files."""
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    return 0o022


def let_go(fd: int) -> None:
    """Close a file that is locked. A child that is just being started holds it too, and with it the lock, if it is not
    unlocked first."""
    with suppress(OSError):
        fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)
