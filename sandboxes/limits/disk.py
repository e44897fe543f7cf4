"""The limit of disk: how much a sandbox has written is looked at while its commands run.

A folder has no quota that everybody may set, so this is a watch and not a wall: a command that goes over the limit is
ended soon after, with a line on its standard error; the next one may still remove what is there. How soon: what the
file system lost tells cheaply whether there is anything to count, and the closer to the limit, the oftener it is asked.
Files are counted only then, with 2 % of one core at most. Between commands too it is looked at, for what they left in
the background.

What was written is what has changed since the sandbox was opened, so that a large repository counts for nothing. Where
files cannot be counted, because a folder is closed to us, too deep, or there are too many, all that the file system
lost meanwhile is taken for written here.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import anyio
import anyio.to_thread

from swarm.errors import SandboxError
from swarm.stopping import companions
from swarm.values import value

_SPEED = 4 << 30
"""Bytes a second that nobody is thought to write faster."""

_SOONEST_S, _LATEST_S = 0.05, 1.0
_ANYWAY_S = 5.0
"""Seconds after which files are counted whatever the file system says: others may have freed what was written here."""

_SHARE = 0.02
_CREDIT_S = 1.0
"""Seconds of counting that may be done at once when there was none for long."""

_COUNT_S = 20.0
"""Seconds after which a count is given up."""

_LONG = 1000
"""Characters of a path from which on folders are opened one in another: the kernel takes no path of 4096 bytes."""

_DEEP = 32
"""How many folders may be held open on the way down; deeper ones cannot be counted."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_FILE = 4096
"""Bytes that a file counts for at least, however empty: a file system makes only so many."""

_FLOOR = 256 << 20
_FLOOR_SHARE = 50
"""The file system is nearly full under 256 MiB of free space, or under 1/50 of a small one."""


@value(frozen=True, slots=True)
class _Look:
    """What was seen. `used` is by the last count, whose number is `count`."""

    used: int
    count: int
    full: bool
    again_s: float


class _Room(NamedTuple):
    """Bytes that are free, and below which that is nearly nothing."""

    free: int
    floor: int

    @property
    def spare(self) -> int:
        return self.free - self.floor


class DiskWatch:
    """Watches the folders into which one sandbox writes, all its commands together. `limit`: bytes."""

    def __init__(self, folders: Sequence[Path], limit: int) -> None:
        self._folders = tuple(folders)
        self._limit = limit
        self._since = time.time_ns()
        self._lock = threading.Lock()
        self._used = 0
        self._counts = 0
        self._room = _room(self._folders)
        self._lost = Counter[tuple[Path, str]]()
        self._counted = time.monotonic()
        self._credit = _CREDIT_S
        self._credited = self._counted

    async def watch(self) -> str:
        """Wait until a command that runs must be ended; gives why."""
        used = await self._grown(anyway=True)
        if used is not None:
            return (
                f"swarm: this command was ended: {_size(used)} have been written in this sandbox, "
                f"its limit is {_size(self._limit)}; remove what is not needed\n"
            )
        return f"swarm: this command was ended: the disk is nearly full, {_size(self._tightest().free)} are free\n"

    @asynccontextmanager
    async def guarded(self, clear: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
        """Watch for the length of the block, whether or not a command runs. `clear`: ends what runs in the
        background while no command does."""

        async def guard() -> None:
            while True:
                await self._grown(anyway=False)
                try:
                    await clear()
                except SandboxError:
                    return  # it has died, as the next command will tell

        async with companions() as group:
            group.start_soon(guard)
            yield

    async def _grown(self, *, anyway: bool) -> int | None:
        """Wait until more is written while there is too much; gives how much, or None where the disk is full."""
        with self._lock:
            known, within = self._counts, self._used <= self._limit
        least: int | None = None  # of what was counted in this time: it must have grown in it
        again = 0.0
        while True:
            await anyio.sleep(again)
            seen = await anyio.to_thread.run_sync(self._look, anyway, abandon_on_cancel=True)
            again = seen.again_s
            if seen.count == known:
                continue
            known = seen.count
            if within and seen.used > self._limit:
                return seen.used  # all of it may have been written before the first look
            if least is None or seen.used <= least:
                least = seen.used
            elif seen.used > self._limit:
                return seen.used
            elif seen.full:
                return None

    def _tightest(self) -> _Room:
        return min(self._room.values(), key=lambda room: room.spare, default=_Room(1 << 62, 0))

    def _look(self, anyway: bool) -> _Look:
        """Look once. `anyway`: count now and then even if the file system has lost nothing."""
        with self._lock:
            before, self._room = self._room, _room(self._folders)
            for key in before.keys() & self._room.keys():
                self._lost[key] += max(0, before[key].free - self._room[key].free)  # what others set free hides nothing
            lost = max(self._lost.values(), default=0)
            tightest = self._tightest()
            now, worked = time.monotonic(), time.thread_time()
            self._credit = min(_CREDIT_S, self._credit + (now - self._credited) * _SHARE)
            self._credited = now
            margin = self._limit - self._used - lost
            full = tightest.spare < 0
            wanted = margin <= 0 or full or (anyway and now - self._counted > _ANYWAY_S)
            if wanted and self._credit > 0:
                found, whole = count(self._folders, self._since)
                # Files tell only that it is time to count: some file systems make up their number from what is free.
                surely = max((size for (_, kind), size in self._lost.items() if kind == "bytes"), default=0)
                self._used = found if whole else max(found, self._used + surely)
                self._counts += 1
                self._lost.clear()
                self._counted = time.monotonic()
                self._credit -= time.thread_time() - worked
                margin = self._limit - self._used
            again = min(margin, tightest.spare) / _SPEED if self._credit > 0 else -self._credit / _SHARE
            return _Look(self._used, self._counts, full, min(_LATEST_S, max(_SOONEST_S, again)))


def count(folders: Sequence[Path], since: int) -> tuple[int, bool]:
    """Bytes on disk of the files below some folders that changed at `since` (ns of the epoch) or later, and whether
    that is all of them. Blocks."""
    tally = _Tally(since)
    for folder in folders:
        tally.walk(folder)
    return tally.total, tally.whole


class _Tally:
    def __init__(self, since: int) -> None:
        self.total = 0
        self.whole = True
        self._since = since
        self._until = time.monotonic() + _COUNT_S
        self._linked: set[tuple[int, int]] = set()

    def walk(self, top: Path) -> None:
        """Add all that is below a folder."""
        try:
            opened = [os.open(top, _FOLDER)]
        except FileNotFoundError:
            return  # removed by a command
        waiting: list[str | None] = ["."]  # None: what is below the folder opened last is done
        try:
            while waiting:
                path = waiting.pop()
                if path is None:
                    os.close(opened.pop())
                    continue
                if time.monotonic() > self._until:
                    self.whole = False
                    return
                folder = self._open(path, opened[-1])
                if folder is None:
                    continue
                if len(path) < _LONG:
                    try:
                        waiting += [f"{path}/{name}" for name in self._scan(folder)]
                    finally:
                        os.close(folder)
                    continue
                opened.append(folder)
                waiting.append(None)
                if len(opened) > _DEEP:
                    self.whole = False
                else:
                    waiting += self._scan(folder)
        finally:
            for one in opened:
                os.close(one)

    def _open(self, path: str, beside: int) -> int | None:
        try:
            return os.open(path, _FOLDER, dir_fd=beside)
        except (FileNotFoundError, NotADirectoryError):
            return None  # removed meanwhile
        except OSError:
            try:
                changed = os.stat(path, dir_fd=beside, follow_symlinks=False).st_ctime_ns >= self._since
            except OSError:
                changed = True
            # Who cannot enter it, did not either without a change.
            self.whole = self.whole and not changed
            return None

    def _scan(self, folder: int) -> list[str]:
        """Add what is in a folder; gives the folders in it."""
        found: list[str] = []
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    about = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # removed meanwhile
                except OSError:
                    self.whole = self.whole and os.fstat(folder).st_ctime_ns < self._since
                    continue
                is_folder = stat.S_ISDIR(about.st_mode)
                if is_folder:
                    found.append(entry.name)
                if about.st_ctime_ns < self._since:
                    continue
                if about.st_nlink > 1 and not is_folder:
                    if (about.st_dev, about.st_ino) in self._linked:
                        continue
                    self._linked.add((about.st_dev, about.st_ino))
                self.total += max(_FILE, about.st_blocks * 512)
        return found


def _room(folders: Sequence[Path]) -> dict[tuple[Path, str], _Room]:
    """What is free for each folder, by what is taken of it: large files use up bytes, also where a file system has
    less left for files (most have, at 4 KiB each), and small ones use up files."""
    found: dict[tuple[Path, str], _Room] = {}
    for folder in folders:
        try:
            about = os.statvfs(folder)
        except OSError:
            continue  # removed by a command
        kinds = [("bytes", about.f_frsize, about.f_bavail, about.f_blocks)]
        if about.f_files:  # else it makes as many as it has room for
            kinds.append(("files", _FILE, about.f_favail, about.f_files))
        for kind, size, free, whole in kinds:
            found[folder, kind] = _Room(free * size, min(_FLOOR, whole * size // _FLOOR_SHARE))
    return found


def _size(number: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number} bytes"
