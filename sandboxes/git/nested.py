"""What must be known of a workspace before git looks at it: repositories that were made inside, and what would hold
git up or be kept from it."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from swarm.errors import MachineError
from swarm.sandboxes.descent import Descent, Parts

EXCLUDED = ("__pycache__", ".pytest_cache", ".hypothesis", ".mypy_cache", ".ruff_cache")
"""Folders that are never captured unless they are tracked."""

_RULES = (".gitignore", ".gitattributes")
_LARGEST_RULES = 1 << 20
"""Bytes of a file of rules, which git reads whole."""


LONGEST = 4095
"""Bytes of a path that the kernel takes, and so git."""


@dataclass(slots=True)
class Found:
    """Paths relative to the workspace. `repositories`: folders with a `.git` of their own, outermost only; `inside`:
    the files and links in them, without what belongs to git; `removed`: what git would have waited for; `deep`: how
    many files there are whose path is too long for it."""

    repositories: list[bytes]
    inside: list[bytes]
    removed: list[bytes]
    deep: int = 0


@contextmanager
def looked_through(folder: Path, *, ours: bool, within: Collection[Parts] | None = None) -> Iterator[Found]:
    """Look through a workspace; for the length of the block all of it can be read that belongs to this user.

    `ours`: it is a copy, from which may be removed what git would wait for. `within`: the only folders to be looked at.

    Raises:
        MachineError: there is such a thing, and it may not be removed.
    """
    found = Found([], [], [])
    with Descent(folder, open_up=True) as tree:
        nested: set[Parts] = set()
        for parts, at, folders, files in tree.walk():
            inside = parts[:-1] in nested
            if parts and not inside and (".git" in folders or ".git" in files):
                found.repositories.append(_path(parts))
                inside = True
            if inside:
                nested.add(parts)
            if ".git" in folders:
                folders.remove(".git")
            if within is not None:
                folders[:] = [name for name in folders if (*parts, name) in within]
            room = LONGEST - len(_path(parts)) - 1
            found.deep += sum(len(os.fsencode(name)) > room for name in files)
            for name in files:
                _look(tree, (*parts, name), at, found, ours=ours)
            if inside and not any(part in EXCLUDED for part in parts):
                content = (name for name in files if name != ".git" and not name.endswith(".pyc"))
                found.inside.extend(_path((*parts, name)) for name in content if _is_content(name, at))
        yield found


def _look(tree: Descent, parts: Parts, at: int, found: Found, *, ours: bool) -> None:
    name = parts[-1]
    if name in _RULES:
        about = os.stat(name, dir_fd=at, follow_symlinks=False)
        regular = stat.S_ISREG(about.st_mode)
        if not stat.S_ISLNK(about.st_mode) and (not regular or about.st_size > _LARGEST_RULES):
            if not ours:
                raise MachineError(f"{'/'.join(parts)} is no file of rules that git can read", remedy="remove it")
            os.unlink(name, dir_fd=at)
            found.removed.append(_path(parts))
            return
    tree.open_up_file(parts, at)


def _is_content(name: str, at: int) -> bool:
    try:
        mode = os.stat(name, dir_fd=at, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISLNK(mode)


def _path(parts: Parts) -> bytes:
    return os.fsencode("/".join(parts))
