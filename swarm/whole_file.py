"""Writing a file wholly or not at all: what was there stays until all of the new one is on the disk."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


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
