"""Large files of Git LFS: read and written by a filter of ours, whether or not git-lfs is there, and never by that."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from swarm.sandboxes.git import lfs_filter
from swarm.sandboxes.git.command import Git, own_git
from swarm.sandboxes.git.lfs_filter import LONGEST_POINTER, POINTER, place
from swarm.sandboxes.git.opened import Opened

KEPT = "lfs"
"""The folder of a store with what went into git as a pointer."""

_KEY = "filter.lfs.process"


def filtered(user: Opened, store: Path) -> Git:
    """git in the user's repository with our filter in place of what is configured for LFS."""
    return replace(user.git, settings=(*user.git.settings, f"{_KEY}={_command(user, store)}"))


def use(store: Path, user: Opened) -> None:
    """Let working copies of a store show the contents that the user's repository has; where its attributes say so."""
    if b"filter=lfs" in (store / "info/attributes").read_bytes():
        own_git(store).run("config", _KEY, _command(user, store))


def _command(user: Opened, store: Path) -> str:
    # -I: nothing that lies about is imported by it.
    parts = (sys.executable, "-I", lfs_filter.__file__, store / KEPT, _storage(user), user.git.cwd)
    return " ".join(shlex.quote(str(part)) for part in parts)


def _storage(user: Opened) -> Path:
    """Where the user's git-lfs keeps contents."""
    return user.common / (user.path_of("lfs.storage") or "lfs")


def hand_over(store: Path, user: Opened, changed: Iterable[str]) -> None:
    """Put contents that are in the run's store, whose pointers are among the blobs `changed`, where the user's git-lfs
    looks for them; a file system that is full raises OSError."""
    if not (store / KEPT).is_dir():
        return
    own, kept = own_git(store), _storage(user)
    names = "".join(f"{name}\n" for name in dict.fromkeys(changed))
    sizes = own.run("cat-file", "--batch-check", stdin=names.encode()).text.splitlines()
    for line in sizes:
        name, _, size = line.partition(" blob ")
        if not size.isdigit() or int(size) >= LONGEST_POINTER:
            continue
        found = POINTER.fullmatch(own.run("cat-file", "blob", name).out)
        if found is None:
            continue
        source, target = (place(each, found[1].decode()) for each in (store / KEPT, kept))
        if source.is_file() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            partly = target.with_suffix(".part")
            try:
                shutil.copyfile(source, partly)
                partly.replace(target)
            except OSError:
                partly.unlink(missing_ok=True)
                raise
