"""A one-commit repository inside a checkout, for whoever works there: `git status`, `git diff`, `git stash`.

It holds copies, nothing of the user's history, and is never read by us: `capture` does not look at it. The objects of
a commit are packed once per run; each checkout gets a copy of that pack and of the index, without running git.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from swarm.sandboxes.git import Git
from swarm.sandboxes.nested import EXCLUDED

_CONFIG = """[core]
\trepositoryformatversion = {version}
\tfilemode = true
\tbare = false
[user]
\tname = agent
\temail = agent@localhost
[gc]
\tauto = 0
"""


_LARGEST = 64 << 20
"""Bytes of files beyond which a checkout gets no repository of its own."""


@dataclass(frozen=True, slots=True)
class LocalGit:
    """Makes such repositories. `store` is the run's store; `date` that of the commit, in Unix seconds."""

    store: Path
    date: int

    def add(self, git: Git, folder: Path, commit: str, index: Path) -> None:
        """Make the repository in `folder`, a checkout of `commit` with that index. One that is there stays."""
        inside = folder / ".git"
        if os.path.lexists(inside):
            return
        seed = self._seed(git, commit)
        if not (seed / "commit").exists():
            return
        objects = inside / "objects"
        for path in (objects / "pack", objects / "info", inside / "refs/heads", inside / "refs/tags", inside / "info"):
            path.mkdir(parents=True)
        for file in seed.iterdir():
            if file.suffix in (".pack", ".idx"):
                shutil.copyfile(file, objects / "pack" / file.name)
        shutil.copyfile(index, inside / "index")
        local = (seed / "commit").read_text()
        long = len(local) > 40
        config = _CONFIG.format(version=1 if long else 0)
        (inside / "config").write_text(config + ("[extensions]\n\tobjectFormat = sha256\n" if long else ""))
        (inside / "HEAD").write_text("ref: refs/heads/main\n")
        (inside / "refs/heads/main").write_text(f"{local}\n")
        shutil.copyfile(self.store / "info/exclude", inside / "info/exclude")

    def _seed(self, git: Git, commit: str) -> Path:
        """The folder with the pack and the name of the one commit; made when a commit is first asked for.

        It is empty where the tree is too large for every checkout to have a copy.
        """
        seed = self.store / "seeds" / commit
        if seed.exists():
            return seed
        making = Path(f"{seed}.{os.urandom(4).hex()}")
        making.mkdir(parents=True)
        if _size(git, commit) <= _LARGEST:
            self._fill(git, commit, making)
        try:
            making.rename(seed)
        except OSError:  # another checkout was quicker
            shutil.rmtree(making)
        return seed

    def _fill(self, git: Git, commit: str, folder: Path) -> None:
        who = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in self._identity()}
        local = git.run("commit-tree", f"{commit}^{{tree}}", "-m", "start", env=who).text
        # Quick before small: what is packed already is reused, for the rest no deltas are sought.
        quick = ("--window=0", "--compression=1")
        git.run("pack-objects", "-q", "--revs", *quick, folder / "pack", stdin=f"{local}\n".encode())
        (folder / "commit").write_text(local)

    def _identity(self) -> tuple[tuple[str, str], ...]:
        return ("NAME", "swarm"), ("EMAIL", "swarm@localhost"), ("DATE", f"@{self.date} +0000")


def _size(git: Git, commit: str) -> int:
    listed = git.run("ls-tree", "-r", "-z", "--format=%(objectsize)", commit).out
    return sum(int(size) for size in listed.split(b"\0") if size.isdigit())


def exclude_lines() -> str:
    """What is not captured where no .gitignore says so, as lines of `info/exclude`."""
    return "".join(f"{name}/\n" for name in EXCLUDED) + "*.pyc\n"
