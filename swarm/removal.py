"""Removing what was made, whatever happened to it meanwhile.

The way leads from folder to folder by open handles, never by paths: so a tree may be deeper than a path can be long, no
link is followed, and nothing is reached that was not in the tree when it was entered. Two handles are open at once, as
deep as it may go: the way back is `..`, which is taken only to the folder from which we came.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from swarm.values import value

_PASSES = 4
_PLACE = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


def remove_tree(folder: Path) -> None:
    """Remove a folder, also where what ran in it took away its own permissions or still writes. Never raises: what
    cannot be removed stays, and so does what is mounted there."""
    for _ in range(_PASSES):  # something may be made or moved in it meanwhile
        with suppress(OSError, ValueError):  # ValueError: no path at all
            _pass(folder)
        if not os.path.lexists(folder):
            return


@value(frozen=True, slots=True)
class _Level:
    """A folder on the way down. `waiting`: folders in it that were not entered yet."""

    name: str
    identity: tuple[int, int]
    waiting: list[str]


def _pass(folder: Path) -> None:
    """Remove what can be.

    Raises:
        OSError: it cannot be gone through, or was moved while we were in it.
    """
    at = os.open(folder.parent, _PLACE)
    try:
        mount = _mount(at)
        levels = [_Level("", _identity(at), [folder.name])]
        while True:
            here = levels[-1]
            if here.waiting:
                name = here.waiting.pop()
                try:
                    inner = _enter(name, at, mount)
                except OSError:
                    continue  # it stays
                os.close(at)
                at = inner
                levels.append(_Level(name, _identity(at), _remove_files(at)))
            elif len(levels) > 1:
                levels.pop()
                outer = os.open("..", _PLACE, dir_fd=at)
                os.close(at)
                at = outer
                if _identity(at) != levels[-1].identity:
                    raise OSError(errno.ESTALE, "moved elsewhere", here.name)
                with suppress(OSError):  # it stays
                    os.rmdir(here.name, dir_fd=at)
            else:
                return
    finally:
        os.close(at)


def _enter(name: str, at: int, mount: str) -> int:
    """Open a folder of the one that is open, and let us change it."""
    place = os.open(name, _PLACE | os.O_NOFOLLOW, dir_fd=at)
    try:
        if _mount(place) != mount:
            raise OSError(errno.EXDEV, "something is mounted there", name)
        if os.fstat(place).st_mode & stat.S_IRWXU != stat.S_IRWXU:
            with suppress(OSError):  # another user's; perhaps it can be read
                Path(f"/proc/self/fd/{place}").chmod(stat.S_IRWXU)
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=place)
    finally:
        os.close(place)


def _remove_files(at: int) -> list[str]:
    """Remove all but folders; gives their names."""
    folders: list[str] = []
    with suppress(OSError), os.scandir(at) as entries:
        for entry in entries:
            with suppress(OSError):  # it stays
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                else:
                    os.unlink(entry.name, dir_fd=at)
    return folders


def _identity(at: int) -> tuple[int, int]:
    found = os.fstat(at)
    return found.st_dev, found.st_ino


def _mount(at: int) -> str:
    """Which mount a handle lies in: two may have the same device."""
    with open(f"/proc/self/fdinfo/{at}", encoding="ascii") as lines:
        for line in lines:
            if line.startswith("mnt_id:"):
                return line
    raise OSError(errno.ENOTSUP, "this kernel does not tell mounts apart")
