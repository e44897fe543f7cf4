"""An end of a terminal or a pipe to wait at, that is nobody else's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def own_end(fd: int, flags: int) -> Iterator[int]:
    """What is behind `fd`, opened anew for the block, to be waited for and for nothing else; `fd` itself where that
    cannot be. `flags`: `os.O_RDONLY` or `os.O_WRONLY`.

    uvloop makes what it waits for non-blocking. That holds for the open file, which is that of the shell, of an editor
    and of all who write to standard error: what they read or write would fail.
    """
    try:
        own = os.open(f"/proc/self/fd/{fd}", flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        yield fd
        return
    try:
        yield own
    finally:
        os.close(own)
