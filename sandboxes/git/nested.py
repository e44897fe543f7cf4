"""Repositories that were made inside a workspace: found, so that git need not look into them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

EXCLUDED = ("__pycache__", ".pytest_cache", ".hypothesis", ".mypy_cache", ".ruff_cache")
"""Folders that are never captured unless they are tracked."""


def nested_repositories(folder: Path) -> list[str]:
    """Folders below `folder` that have a `.git` of their own, outermost only, relative to it."""
    found: list[str] = []
    for parent, folders, files in os.walk(folder):
        here = os.path.relpath(parent, folder)
        if here != "." and (".git" in folders or ".git" in files):
            found.append(here)
            folders.clear()
        else:
            folders[:] = [name for name in folders if name != ".git" and name not in EXCLUDED]
    return found


def nested_files(folder: Path, repositories: Sequence[str]) -> Iterator[bytes]:
    """The files and links in those repositories, without what belongs to git, relative to `folder`."""
    for repository in repositories:
        for parent, folders, files in os.walk(folder / repository):
            links = [name for name in folders if Path(parent, name).is_symlink()]
            folders[:] = [name for name in folders if name not in (".git", *EXCLUDED, *links)]
            for name in (*files, *links):
                path = Path(parent, name)
                if name != ".git" and not name.endswith(".pyc") and (path.is_symlink() or path.is_file()):
                    yield os.fsencode(path.relative_to(folder))
