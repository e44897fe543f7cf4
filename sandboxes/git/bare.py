"""A new, empty store of a run. git makes the first one of each kind, and those after it are the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from swarm.sandboxes.git.command import Git, own_git


@dataclass(frozen=True, slots=True)
class _Made:
    """What git makes of an empty folder, by paths from there."""

    folders: tuple[str, ...]
    files: dict[str, bytes]


_known: dict[tuple[str, int], _Made] = {}
"""By how objects are named and the file system: git tries out what that can do."""


def make_store(store: Path, form: str = "sha1") -> Git:
    """git in a new bare repository of ours, in a folder that is made for it; one that broke off is made whole. Blocks.

    Raises:
        MachineError: git failed.
        OSError: it cannot be written.
    """
    store.mkdir(parents=True, exist_ok=True)
    git, kind = own_git(store), (form, store.stat().st_dev)
    made, begun = _known.get(kind), next(store.iterdir(), None) is not None
    if made is None or begun:
        git.run("init", "-q", "--bare", "--template=", "-b", "base", f"--object-format={form}")
        if not begun:
            _known[kind] = _look(store)
        return git
    for folder in made.folders:
        (store / folder).mkdir()
    for name, content in made.files.items():
        (store / name).write_bytes(content)
    return git


def _look(store: Path) -> _Made:
    found = sorted(store.rglob("*"))  # outer ones first
    folders = tuple(str(path.relative_to(store)) for path in found if path.is_dir())
    return _Made(folders, {str(path.relative_to(store)): path.read_bytes() for path in found if path.is_file()})
