"""A folder that one process at a time works on."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from swarm.errors import UsageError
from swarm.whole_file import let_go


@contextmanager
def hold_folder(folder: Path, lock_file: str, *, busy: str, remedy: str) -> Iterator[None]:
    """Make a folder, and keep other processes out of it for the length of the block. `busy` says what it is doing where
    another has it. The system lets it go when the process ends, however that does.

    Raises:
        UsageError: it cannot be made, or another process works on it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror}", remedy="name a folder that can be written") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{folder} {busy}", remedy=remedy) from None
        yield
    finally:
        let_go(lock)
