"""The ways in which a working copy lies over what it shares with others: an overlay, or a tree of its own.

All of it blocks; long work calls `alive` now and then, which raises where it is no longer wanted.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from swarm.removal import remove_tree
from swarm.sandboxes.copies.copy_tree import Alive, clone, copy_tree
from swarm.sandboxes.leases.mounts import unmount
from swarm.values import value

_NOSUID, _NODEV = 2, 4
DEEPEST = 64
"""So many layers may lie above each other; the names of their handles must fit into one page of options."""

# A renamed folder is remembered, not refused. What a crash of the machine loses is of no use after it: nothing waits
# for the disk.
_OPTIONS = "redirect_dir=on,metacopy=off,index=off,volatile"


class Kind(StrEnum):
    """How working copies are made, best first."""

    OVERLAY = "overlay"
    REFLINK = "reflink"
    COPY = "copy"


@value(frozen=True, slots=True)
class State:
    """What a copy starts from, never changed. `layers` lie above each other, topmost first, the last a whole tree;
    `indexed` is the path under which the store keeps the index of it; `commit` is what it began as."""

    commit: str | None
    layers: tuple[Path, ...]
    indexed: Path


class Layering(Protocol):
    """One such way. `place` is a copy's folder; the copy itself is `place/tree`."""

    @property
    def copies(self) -> bool:
        """Whether files of a copy have inodes of their own from the start."""
        ...

    def make(self, state: State, place: Path, like: Path | None, alive: Alive) -> None:
        """Make a copy over a state, or as the copy in `like` over the same state is now."""
        ...

    def freeze(self, state: State, place: Path, into: Path, alive: Alive) -> tuple[Path, ...]:
        """Keep what the copy in `place` over `state` is now, in the new folder `into`; gives its layers."""
        ...

    def undo(self, place: Path) -> None:
        """Let go of what holds the copy."""
        ...


class Overlaid:
    """Copies are mounts. What is changed in one lies in a folder of its own."""

    copies = False

    def make(self, state: State, place: Path, like: Path | None, alive: Alive) -> None:
        upper, work, tree = (place / name for name in ("upper", "work", "tree"))
        if like is not None:
            copy_tree(like / "upper", upper, alive, reflink=True)
        else:
            upper.mkdir()
            _dress(upper, state.layers[0])
        work.mkdir()
        tree.mkdir()
        _mount(tree, state.layers, upper, work)

    def freeze(self, state: State, place: Path, into: Path, alive: Alive) -> tuple[Path, ...]:
        if len(state.layers) < DEEPEST:
            copy_tree(place / "upper", into, alive, reflink=True)
            return (into, *state.layers)
        # As deep as it may get: all of it becomes one tree.
        copy_tree(place / "tree", into, alive, reflink=True)
        return (into,)

    def undo(self, place: Path) -> None:
        unmount(place / "tree")


class Plain:
    """Copies are trees of their own; with `reflink` their content is shared until it is changed."""

    copies = True

    def __init__(self, reflink: bool) -> None:
        self._reflink = reflink

    def make(self, state: State, place: Path, like: Path | None, alive: Alive) -> None:
        copy_tree(like / "tree" if like is not None else state.layers[0], place / "tree", alive, reflink=self._reflink)

    def freeze(self, state: State, place: Path, into: Path, alive: Alive) -> tuple[Path, ...]:
        copy_tree(place / "tree", into, alive, reflink=self._reflink)
        return (into,)

    def undo(self, place: Path) -> None:
        """Nothing holds it."""


def layering(kind: Kind) -> Layering:
    """The way of a kind."""
    return Overlaid() if kind is Kind.OVERLAY else Plain(kind is Kind.REFLINK)


def best(lease: Path) -> Kind:
    """The best kind of copy that works in a folder, by trying."""
    place = Path(tempfile.mkdtemp(prefix="trial-", dir=lease))
    try:
        if _overlays(place):
            return Kind.OVERLAY
        return Kind.REFLINK if _clones(place) else Kind.COPY
    finally:
        unmount(place / "copy/tree")
        remove_tree(place)


def _overlays(place: Path) -> bool:
    """Whether an overlay can be mounted, and does all that copies need."""
    below = place / "below/folder"
    below.mkdir(parents=True)
    for name in ("kept", "changed", "gone"):
        (below / name).write_text(name)
    copy = place / "copy"
    copy.mkdir()
    try:
        Overlaid().make(State(None, (place / "below",), place), copy, None, lambda: None)
        tree = copy / "tree"
        (tree / "folder").rename(tree / "moved")
        (tree / "moved/changed").write_text("new")
        (tree / "moved/gone").unlink()
        seen = {path.name: path.read_text() for path in (tree / "moved").iterdir()}
        same = (tree / "moved/kept").stat().st_ino == (below / "kept").stat().st_ino
    except OSError:
        return False
    return same and seen == {"kept": "kept", "changed": "new"} and (below / "gone").exists()


def _clones(place: Path) -> bool:
    (place / "source").write_bytes(b"x" * 8192)
    try:
        clone(place / "source", place / "target")
    except OSError:
        return False
    return True


def _dress(folder: Path, like: Path) -> None:
    """Give a folder the owner and mode of another."""
    found = like.stat()
    os.chown(folder, found.st_uid, found.st_gid)
    folder.chmod(found.st_mode & 0o7777)
    os.utime(folder, ns=(found.st_atime_ns, found.st_mtime_ns))


def _mount(place: Path, lowers: Sequence[Path], upper: Path, work: Path) -> None:
    """Mount at `place` the `lowers`, topmost first, with `upper` above them. `work` is empty, beside `upper`.

    Raises:
        OSError: the kernel, the file system or the rights of this process do not allow it.
    """
    handles: list[int] = []
    try:
        # Paths may hold commas, colons and backslashes, and be too long for the options: handles have short names.
        names = []
        for folder in (*lowers, upper, work):
            handles.append(os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            names.append(f"/proc/self/fd/{handles[-1]}")
        below = ":".join(names[:-2])
        options = f"lowerdir={below},upperdir={names[-2]},workdir={names[-1]},{_OPTIONS}"
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"overlay", os.fsencode(place), b"overlay", _NOSUID | _NODEV, options.encode()) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(place))
    finally:
        for handle in handles:
            os.close(handle)
