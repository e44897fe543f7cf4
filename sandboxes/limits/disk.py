"""The limit of disk: how much a sandbox has written is looked at while its commands run.

A folder has no quota that everybody may set, so this is a watch and not a wall: a command that goes over the limit is
ended soon after, with a line on its standard error; the next one may still remove what is there. How soon: what the
file system lost tells cheaply whether there is anything to count, and the closer to the limit, the oftener it is asked.
Files are counted only then, with 2 % of one core at most.

What was written is what has changed since the sandbox was opened, so that a large repository counts for nothing.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread

_SPEED = 4 << 30
"""Bytes a second that nobody is thought to write faster."""

_SOONEST_S, _LATEST_S = 0.05, 1.0
_ANYWAY_S = 5.0
"""Seconds after which files are counted whatever the file system says: others may have freed what was written here."""

_SHARE = 0.02
_CREDIT_S = 1.0
"""Seconds of counting that may be done at once when there was none for long."""

_COUNT_S = 5.0
"""Seconds after which a count ends; it is then too small."""

_FLOOR = 256 << 20
_FLOOR_SHARE = 50
"""The file system is nearly full under 256 MiB of free space, or under 1/50 of a small one."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What was seen. `used` is None where nothing was counted."""

    used: int | None
    free: int
    full: bool
    again_s: float


class DiskWatch:
    """Watches the folders into which one sandbox writes, all its commands together. `limit`: bytes."""

    def __init__(self, folders: Sequence[Path], limit: int) -> None:
        self._folders = tuple(folders)
        self._limit = limit
        self._since = time.time_ns()
        self._lock = threading.Lock()
        self._used = 0
        self._free, _ = _free(self._folders)
        self._lost = 0
        self._counted = time.monotonic()
        self._credit = _CREDIT_S
        self._credited = self._counted

    async def watch(self) -> str:
        """Wait until a command that runs must be ended; gives why."""
        least: int | None = None  # of what was counted in this command's time: it must have grown itself
        again = 0.0
        while True:
            await anyio.sleep(again)
            seen = await anyio.to_thread.run_sync(self._look, abandon_on_cancel=True)
            again = seen.again_s
            if seen.used is None:
                continue
            if least is None or seen.used <= least:
                least = seen.used
                continue
            if seen.used > self._limit:
                return (
                    f"swarm: this command was ended: {_size(seen.used)} have been written in this sandbox, "
                    f"its limit is {_size(self._limit)}; remove what is not needed\n"
                )
            if seen.full:
                return f"swarm: this command was ended: the disk is nearly full, {_size(seen.free)} are free\n"

    def _look(self) -> _Look:
        with self._lock:
            free, floor = _free(self._folders)
            self._lost += max(0, self._free - free)  # what others set free hides nothing
            self._free = free
            now, worked = time.monotonic(), time.thread_time()
            self._credit = min(_CREDIT_S, self._credit + (now - self._credited) * _SHARE)
            self._credited = now
            margin = self._limit - self._used - self._lost
            full = free < floor
            wanted = margin <= 0 or full or now - self._counted > _ANYWAY_S
            used: int | None = None
            if wanted and self._credit > 0:
                used = self._used = count(self._folders, self._since)
                self._lost = 0
                self._counted = time.monotonic()
                self._credit -= time.thread_time() - worked
                margin = self._limit - used
            again = min(margin, free - floor) / _SPEED if self._credit > 0 else -self._credit / _SHARE
            return _Look(used, free, full, min(_LATEST_S, max(_SOONEST_S, again)))


def count(folders: Sequence[Path], since: int) -> int:
    """Bytes on disk of the files below some folders that changed at `since` (ns of the epoch) or later. Blocks."""
    total = 0
    until = time.monotonic() + _COUNT_S
    linked: set[tuple[int, int]] = set()
    waiting = [os.fspath(folder) for folder in folders]
    while waiting and time.monotonic() < until:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    try:
                        about = entry.stat(follow_symlinks=False)
                        folder = entry.is_dir(follow_symlinks=False)
                    except OSError:
                        continue  # removed meanwhile
                    if folder:
                        waiting.append(entry.path)
                    if about.st_ctime_ns < since:
                        continue
                    if about.st_nlink > 1 and not folder:
                        if (about.st_dev, about.st_ino) in linked:
                            continue
                        linked.add((about.st_dev, about.st_ino))
                    total += about.st_blocks * 512
        except OSError:
            continue
    return total


def _free(folders: Sequence[Path]) -> tuple[int, int]:
    """Bytes that are free where it is tightest, and below which that file system is nearly full."""
    tightest: tuple[int, int] | None = None
    for folder in folders:
        try:
            found = os.statvfs(folder)
        except OSError:
            continue  # removed by a command
        free, size = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
        one = (free, min(_FLOOR, size // _FLOOR_SHARE))
        if tightest is None or one[0] - one[1] < tightest[0] - tightest[1]:
            tightest = one
    return tightest or (1 << 62, 0)


def _size(number: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number} bytes"
