"""Folders with the tree of a commit, and an index for each: what is unchanged need not be read to find what is changed.

All of it blocks. An index is known by the path of its folder, and kept in the store, out of the folder's reach.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from swarm.errors import MachineError
from swarm.sandboxes.copies.beneath import Beneath
from swarm.sandboxes.copies.staging import Staged, add_all
from swarm.sandboxes.copies.touched import Touched, touched
from swarm.sandboxes.folders import hand_over, settle
from swarm.sandboxes.git.command import Git, own_git
from swarm.sandboxes.git.index import restat
from swarm.sandboxes.git.local import LocalGit
from swarm.sandboxes.git.objects import Commit

Owner = tuple[int, int] | None
"""User and group to whom files are given; None: they stay this process's own."""

_AGE_S = 10
"""Seconds by which files are dated back at least: git must not doubt whether one was changed in the second in which it
was written, else it would read them all."""


@dataclass(frozen=True, slots=True)
class Checkouts:
    """Folders over one store. `date`, in Unix seconds, is given to all files, so that two copies look the same;
    `local_git`: whether a checkout gets a small repository of its own, in which `git diff` and `git status` work.
    `commits`: what is known of some, by name.
    """

    store: Path
    date: int
    local_git: bool = True
    commits: Mapping[str, Commit] = field(default_factory=dict, repr=False, compare=False)

    def make(self, commit: str | None, folder: Path, owner: Owner = None) -> None:
        """Write the tree of a commit into an empty folder that nobody else can reach yet; None: it stays empty.

        Raises:
            MachineError: git cannot.
        """
        git, index = self._on(folder)
        index.unlink(missing_ok=True)
        git.run("read-tree", *(("--reset", "-u", commit) if commit else ("--empty",)))
        settle(folder, self._past(), owner)
        size = restat(index, folder)
        if commit and self.local_git:
            LocalGit(self.store, self.date, self.commits).add(own_git(self.store), folder, commit, index, size)
        if owner is not None:
            if (folder / ".git").is_dir() and not (folder / ".git").is_symlink():
                hand_over(folder / ".git", *owner)
            os.chown(folder, *owner)
        _filled_from(index).write_text(commit or self.empty())

    def lend(self, source: Path, folder: Path, *, copied: bool) -> None:
        """Let `folder`, which shows what `source` does, begin with the index of that. `copied`: its files are others
        than those of `source`, not the same under another path."""
        index, mine = self._on(source)[1], self._on(folder)[1]
        if not index.exists():
            return
        # The same file, with its time, by which git tells what may have changed in the same second: neither git nor we
        # ever write into an index, but put a new one in its place.
        mine.unlink(missing_ok=True)
        mine.hardlink_to(index)
        if _filled_from(index).exists():
            shutil.copyfile(_filled_from(index), _filled_from(mine))
        if copied:
            restat(mine, folder, source=source)

    def look(self, commit: str) -> tuple[object, ...] | None:
        """What makes the checkout of a commit the same as by another store; None where it may differ all the same."""
        attributes = (self.store / "info/attributes").read_bytes()
        if b"filter=lfs" in attributes:  # shows what the user's repository has of it now
            return None
        return commit, self.date, self.local_git, attributes

    def keep(self, folder: Path, index: Path) -> None:
        """Write the index of a folder to a file, for other stores."""
        shutil.copy2(self._on(folder)[1], index)  # with its time, as in `lend`

    def adopt(self, folder: Path, commit: str, index: Path) -> None:
        """Let a folder, which another store made of a commit, have the index that was kept of it."""
        mine = self._on(folder)[1]
        mine.unlink(missing_ok=True)
        shutil.copy2(index, mine)
        _filled_from(mine).write_text(commit)

    def note_upper(self, folder: Path, lower: str, upper: Path) -> None:
        """Let it be known that `folder` is an overlay over the tree of a commit alone, with what differs in `upper`."""
        _upper_of(self._on(folder)[1]).write_bytes(lower.encode() + b"\n" + os.fsencode(upper))

    def forget(self, folder: Path) -> None:
        """Remove the index of a folder."""
        index = self._on(folder)[1]
        for path in (index, _filled_from(index), _upper_of(index)):
            path.unlink(missing_ok=True)

    def stage(self, folder: Path, parent: str, *, ours: bool = True) -> Staged:
        """Record the folder as it stands. `parent`, a commit or a tree, says what is tracked; `ours`: see `add_all`.

        Raises:
            Uncapturable: what stands in the folder does not let itself be recorded.
            MachineError: git cannot.
        """
        git, index = self._on(folder)
        filled, only = _filled_from(index), _touched(index, parent)
        if not index.exists() or not filled.exists() or filled.read_text() != parent:
            filled.unlink(missing_ok=True)
            # From elsewhere: the folder itself may be locked.
            Git(git.env, self.store).run("read-tree", *(("-m", "-i") if index.exists() else ("--reset",)), parent)
        elif only is not None and not only.paths:
            known = self.commits.get(parent)
            return Staged(known.tree if known is not None else git.run("write-tree").text)
        filled.unlink(missing_ok=True)
        return add_all(git, folder, index, ours=ours, only=only)

    def unchanged(self, folder: Path, commit: str, *, strictly: bool = True) -> bool:
        """Whether a folder is what a commit says; `strictly`: and holds nothing else that cannot be recorded."""
        staged = self.stage(folder, commit)
        tree = own_git(self.store).run("rev-parse", f"{commit}^{{tree}}").text
        same = staged.tree == tree and not (strictly and staged.left_out)
        if same:
            _filled_from(self._on(folder)[1]).write_text(commit)
        return same

    def move(self, folder: Path, old: str, new: str, owner: Owner = None, *, begins: bool = True) -> None:
        """Bring an unchanged checkout to another commit, in place. `begins`: its own small repository begins there too;
        else that shows what differs as changed.

        Raises:
            MachineError: git cannot.
        """
        git, index = self._on(folder)
        _filled_from(index).unlink(missing_ok=True)
        git.run("read-tree", "-m", "-u", old, new)
        changed = git.run("diff-tree", "-r", "-z", "--name-only", "--no-renames", old, new).parts
        when = (self._past(),) * 2
        above = {parent for path in changed for parent in Path(os.fsdecode(path)).parents}
        really = Beneath(folder)
        for path in (*(Path(os.fsdecode(path)) for path in changed), *above):
            if really.stat(os.fsencode(path)) is not None:  # the commit may have a link in place of a folder
                if owner is not None:
                    os.chown(folder / path, *owner, follow_symlinks=False)
                if begins:
                    os.utime(folder / path, when, follow_symlinks=False)
        restat(index, folder, only=frozenset(changed))
        _filled_from(index).write_text(new)
        if self.local_git and begins:
            local = LocalGit(self.store, self.date, self.commits)
            for made in local.move(own_git(self.store), folder, old, new, index):
                if owner is not None:
                    os.chown(made, *owner, follow_symlinks=False)

    def empty(self) -> str:
        """The name of the tree that holds nothing."""
        return own_git(self.store).run("hash-object", "-w", "-t", "tree", "--stdin").text

    def index_of(self, folder: Path) -> Path:
        """Where the index of a folder is kept."""
        return self._index_of(folder.resolve())

    def _index_of(self, real: Path) -> Path:
        return self.store / "indexes" / hashlib.sha256(os.fsencode(real)).hexdigest()[:32]

    def _past(self) -> int:
        return min(self.date, int(time.time()) - _AGE_S)

    def _on(self, folder: Path) -> tuple[Git, Path]:
        """git with `folder` as its tree and the index of this folder; and that index."""
        real = folder.resolve()
        index = self._index_of(real)
        index.parent.mkdir(exist_ok=True)
        own = own_git(self.store)
        env = {**own.env, "GIT_WORK_TREE": str(real), "GIT_INDEX_FILE": str(index)}
        return Git(env, real), index


def _filled_from(index: Path) -> Path:
    """Remembers which commit an index was filled from."""
    return index.with_name(index.name + ".commit")


def _upper_of(index: Path) -> Path:
    """Remembers over what the folder of an index is an overlay, and where its upper layer is."""
    return index.with_name(index.name + ".upper")


def _touched(index: Path, commit: str) -> Touched | None:
    """What may be different from a commit in the folder of an index, where that is known without a look at all.

    Raises:
        MachineError: what was written in it has been taken away.
    """
    note = _upper_of(index)
    if not note.exists():
        return None
    lower, _, upper = note.read_bytes().partition(b"\n")
    layer = Path(os.fsdecode(upper))
    if not layer.is_dir():  # what lies below would show as it was, as if nobody had done anything
        raise MachineError(f"a working copy has lost its files: {layer} is gone")
    return touched(layer) if lower == commit.encode() else None
