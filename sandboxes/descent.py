"""Walking a folder by handles: however deep it is, whoever changes it meanwhile, without following links."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType

READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
FOLDER = READ | os.O_DIRECTORY
GONE = (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO)
"""What opening says of a file that is no longer there, or has become something else."""

_EVERY = 32
"""Of the folders on the way down each so many-th is kept open."""

_MOST = 64
"""How many are kept open at most."""

Parts = tuple[str, ...]
"""The way from a tree's top to something in it, step by step: as a path it could be longer than the kernel takes."""


class Descent:
    """The folders of one tree, by handles. `top`: its own.

    `open_up`: where this user owns a folder or file but took the rights to read it from himself, they are given back
    for as long as this is open.
    """

    def __init__(self, top: Path, *, open_up: bool = False) -> None:
        self._open_up = open_up and os.geteuid() != 0
        self._kept: list[tuple[Parts, int]] = []
        self._opened_up: list[tuple[Parts, int]] = []
        self._modes: dict[Parts, int] = {}
        if self._open_up:
            self._unlock((), os.fspath(top), None)
        self._top = _enter(os.fspath(top), None, FOLDER)

    def __enter__(self) -> Descent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give up all handles, and take back the rights that were given. May be called twice."""
        for parts, mode in reversed(self._opened_up):
            with suppress(OSError):
                if not parts:
                    os.fchmod(self._top, mode)
                elif (at := self.enter(parts[:-1])) is not None:
                    try:
                        _change(parts[-1], at, mode)
                    finally:
                        os.close(at)
        self._opened_up.clear()
        self._modes.clear()
        for _, at in self._kept:
            os.close(at)
        self._kept.clear()
        if self._top >= 0:
            os.close(self._top)
        self._top = -1

    def mode(self, parts: Parts, found: os.stat_result) -> int:
        """The mode of a folder as it was before it was opened up."""
        return self._modes.get(parts, stat.S_IMODE(found.st_mode))

    def enter(self, parts: Parts) -> int | None:
        """A handle of a folder, for the caller to close; None where it is gone.

        Raises:
            OSError: it cannot be entered.
        """
        while self._kept and self._kept[-1][0] != parts[: len(self._kept[-1][0])]:
            os.close(self._kept.pop()[1])
        depth, at = (len(self._kept[-1][0]), os.dup(self._kept[-1][1])) if self._kept else (0, os.dup(self._top))
        try:
            for step in range(depth, len(parts)):
                below = self._step(parts, step, at)
                os.close(at)
                at = -1
                if below is None:
                    return None
                at = below
                if (step + 1) % _EVERY == 0:
                    self._keep(parts[: step + 1], at)
            taken, at = at, -1
            return taken
        finally:
            if at >= 0:
                os.close(at)

    def file(self, name: str, at: int) -> tuple[int, int] | None:
        """A handle of a file in a folder, for the caller to close, and its mode as it was; None where it is gone."""
        try:
            read = _enter(name, at, READ)
        except PermissionError:
            if not self._open_up:
                raise
            return _open_file(name, at)
        except OSError as error:
            if error.errno in GONE:
                return None
            raise
        return read, stat.S_IMODE(os.fstat(read).st_mode)

    def open_up_file(self, parts: Parts, at: int) -> None:
        """Let whoever owns a file read it by its path, as long as this is open."""
        if not self._open_up:
            return
        found = os.stat(parts[-1], dir_fd=at, follow_symlinks=False)
        mode = _locked(found, 0o400) if stat.S_ISREG(found.st_mode) else None
        if mode is not None:
            _change(parts[-1], at, mode | 0o400)
            self._opened_up.append((parts, mode))

    def _keep(self, parts: Parts, at: int) -> None:
        if len(self._kept) >= _MOST:  # of the upper ones every other is enough
            for _, handle in self._kept[: _MOST // 2 : 2]:
                os.close(handle)
            del self._kept[: _MOST // 2 : 2]
        self._kept.append((parts, os.dup(at)))

    def _step(self, parts: Parts, step: int, at: int) -> int | None:
        try:
            if self._open_up:
                self._unlock(parts[: step + 1], parts[step], at)
            return _enter(parts[step], at, FOLDER)
        except OSError as error:
            if error.errno in GONE:
                return None
            raise

    def _unlock(self, parts: Parts, name: str, at: int | None) -> None:
        found = os.stat(name, dir_fd=at, follow_symlinks=False)
        mode = _locked(found, 0o700) if stat.S_ISDIR(found.st_mode) else None
        if mode is None:
            return
        _change(name, at, mode | 0o700)
        if parts not in self._modes:
            self._modes[parts] = mode
            self._opened_up.append((parts, mode))

    def walk(self) -> Iterator[tuple[Parts, int, list[str], list[str]]]:
        """Every folder from the top down: the way to it, its handle, which is good until the next one is asked for,
        and the names of folders and of all else in it. What is taken out of the folders' list is not entered."""
        waiting: list[Parts] = [()]
        while waiting:
            parts = waiting.pop()
            at = self.enter(parts)
            if at is None:
                continue
            try:
                folders, files = _content(at)
                yield parts, at, folders, files
            finally:
                os.close(at)
            waiting += [(*parts, name) for name in reversed(folders)]


def walk(folder: Path) -> Iterator[tuple[Parts, int, list[str], list[str]]]:
    """See `Descent.walk`."""
    with Descent(folder) as tree:
        yield from tree.walk()


def _content(at: int) -> tuple[list[str], list[str]]:
    folders: list[str] = []
    files: list[str] = []
    with os.scandir(at) as found:
        for entry in found:
            (folders if entry.is_dir(follow_symlinks=False) else files).append(entry.name)
    return sorted(folders), sorted(files)


def _enter(name: str, at: int | None, flags: int) -> int:
    return os.open(name, flags, dir_fd=at)


def _locked(found: os.stat_result, wanted: int) -> int | None:
    """The mode of what this user owns and has not all these rights to."""
    mode = stat.S_IMODE(found.st_mode)
    return mode if found.st_uid == os.geteuid() and mode & wanted != wanted else None


def _change(name: str, at: int | None, mode: int) -> None:
    """Change the mode of something in a folder, and of nothing that a link there leads to."""
    handle = _enter(name, at, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISLNK(os.fstat(handle).st_mode):
            Path(f"/proc/self/fd/{handle}").chmod(mode)
    finally:
        os.close(handle)


def _open_file(name: str, at: int) -> tuple[int, int] | None:
    """A file whose owner may not read it: he may for as long as it takes to open it."""
    found = os.stat(name, dir_fd=at, follow_symlinks=False)
    mode = _locked(found, 0o400)
    if mode is None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)
    _change(name, at, mode | 0o400)
    try:
        return _enter(name, at, READ), mode
    finally:
        _change(name, at, mode)
