"""The small files of a lease's folder that tell what there is elsewhere: read without trusting what they are."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

_LARGEST = 1 << 20
"""Bytes. What is larger, no run wrote."""


def open_record(path: Path, flags: int = os.O_RDONLY) -> int:
    """Open one, to be closed by the caller; with O_CREAT for its owner alone. Never waits, as a FIFO would let us.

    Raises:
        OSError: it cannot be opened, or is no file.
    """
    fd = os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "is no file", os.fspath(path))
    return fd


def read_record(path: Path) -> list[str]:
    """Its lines; none where it is not there. What is no UTF-8 in it is replaced.

    Raises:
        OSError: it cannot be read, or is no file.
    """
    try:
        fd = open_record(path)
    except FileNotFoundError:
        return []
    with open(fd, "rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise OSError(errno.EFBIG, "is too large", os.fspath(path))
    return content.decode(errors="replace").splitlines()
