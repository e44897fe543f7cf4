"""What a machine has run short of, as it shows in errors from anywhere: disk, open files, processes, memory."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
from collections.abc import Iterator
from typing import Final

_DISK: Final = "free some space or files there (`df -h`, `df -i`), or set SWARM_HOME and TMPDIR to another disk"
_FILES: Final = "raise the limit of open files (`ulimit -n 4096`), or lower --concurrency"
_PROCESSES: Final = "raise the limit of processes (`ulimit -u`, the pids limit of its cgroup), or lower --concurrency"
_MEMORY: Final = "give it more memory (`ulimit -v`, the memory limit of its cgroup), or lower --concurrency"

_REMEDIES: Final = {
    errno.ENOSPC: _DISK,
    errno.EDQUOT: _DISK,
    errno.EFBIG: "raise the limit of a file's size: `ulimit -f unlimited`",
    errno.EROFS: "that file system can only be read: set SWARM_HOME and TMPDIR to another one",
    errno.EMFILE: _FILES,
    errno.ENFILE: "the whole machine has no open file left: end what holds them, or raise fs.file-max",
    errno.ENOMEM: _MEMORY,
}
_DISK_FAILS: Final = "the disk fails: look at `dmesg`"
_SQLITE: Final = {
    10: "the disk is full or fails, or a limit on a file's size is met: look at `df -h`, `dmesg` and `ulimit -f`",
    13: _DISK,
    14: "its folder must be there and be writable, with space and open files left",
}
"""By SQLite's primary error codes."""

_WORDS: Final = {
    **{os.strerror(code): remedy for code, remedy in _REMEDIES.items() if code != errno.EROFS},
    os.strerror(errno.EAGAIN): _PROCESSES,
    "failed to map segment": _MEMORY,
}
"""What programs say of it that we start."""

_NO_THREAD: Final = "can't start new thread"
_STARTS: Final = {"subprocess", "multiprocessing.popen_fork"}
"""Modules that start processes."""


def is_shortage(error: BaseException) -> bool:
    """Whether the machine failed, and not what was asked of it."""
    return bool(remedy_for(error))


def remedy_for(error: BaseException) -> str:
    """What to do about it; nothing where that is no shortage of the machine's."""
    if isinstance(error, MemoryError):
        return _MEMORY
    if isinstance(error, RuntimeError) and str(error) == _NO_THREAD:
        return _PROCESSES
    if isinstance(error, sqlite3.Error):
        return _SQLITE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "")
    if not isinstance(error, OSError):
        return ""
    if error.errno == errno.EIO:  # also said of a terminal that is gone
        return _DISK_FAILS if error.filename else ""
    if error.errno == errno.EAGAIN:  # also said of a stream that does not wait
        return _PROCESSES if _STARTS & set(_modules(error)) else ""
    return _REMEDIES.get(error.errno or 0, "")


def remedy_told(text: str) -> str:
    """What to do about it, where a program that could not be started, or not start others, tells of a shortage; nothing
    where it does not."""
    found = (remedy for words, remedy in _WORDS.items() if re.search(re.escape(words), text, re.IGNORECASE))
    return next(found, "")


def shortage_in(error: BaseException) -> BaseException | None:
    """The first shortage among an error and those of its group, or None."""
    return next((leaf for leaf in _leaves(error) if is_shortage(leaf)), None)


def told(error: BaseException) -> str:
    """A shortage in a few words: what, and where that is known."""
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror or error}"
    return str(error) or "out of memory"


def _modules(error: BaseException) -> Iterator[str]:
    """Those that it came through."""
    at = error.__traceback__
    while at is not None:
        yield at.tb_frame.f_globals.get("__name__", "")
        at = at.tb_next


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error
