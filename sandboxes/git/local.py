"""A one-commit repository inside a checkout, for whoever works there: `git status`, `git diff`, `git stash`.

It holds copies, nothing of the user's history, and is never read by us: `capture` does not look at it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from swarm.sandboxes.git.command import Git
from swarm.sandboxes.git.nested import EXCLUDED
from swarm.sandboxes.git.objects import Commit, write_commit
from swarm.values import value

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


_LARGEST = 512 << 20
"""Bytes of files beyond which a checkout gets no repository of its own."""

_SMALL, _MANY = 4 << 20, 4
"""Bytes of a pack that is kept in memory, and how many are."""

_REF = "refs/heads/main"
_EMAIL = "swarm@localhost"


@value(frozen=True, slots=True)
class LocalGit:
    """Makes such repositories. `store` is the run's store; `date` that of the commit, in Unix seconds; `commits`: what
    is known of some of the store's."""

    store: Path
    date: int
    commits: Mapping[str, Commit]

    def add(self, git: Git, folder: Path, commit: str, index: Path, size: int) -> None:
        """Make the repository in `folder`, a checkout of `commit` with that index, whose files have `size` bytes. One
        that is there stays."""
        inside = folder / ".git"
        if os.path.lexists(inside) or (size > _LARGEST and _size(git, commit) > _LARGEST):
            return
        objects = inside / "objects"
        for path in (objects / "pack", objects / "info", inside / "refs/heads", inside / "refs/tags", inside / "info"):
            path.mkdir(parents=True)
        local = self._commit(git, commit)
        _KEPT.lay(local, objects / "pack", lambda: _pack(git, f"{local}\n", objects / "pack"))
        long = len(local) > 40
        config = _CONFIG.format(version=1 if long else 0)
        (inside / "config").write_text(config + ("[extensions]\n\tobjectFormat = sha256\n" if long else ""))
        (inside / "HEAD").write_text(f"ref: {_REF}\n")
        (inside / _REF).write_text(f"{local}\n")
        # Not what the user ignores besides: his configuration, or a stranger's, names the file, and it may be any.
        (inside / "info/exclude").write_text(exclude_lines())
        shutil.copyfile(index, inside / "index")

    def move(self, git: Git, folder: Path, old: str, new: str, index: Path) -> list[Path]:
        """Let the repository in `folder`, where nothing was committed, begin at another commit; gives what was
        written. One that is not ours stays.

        Whoever works in `folder` may have made links of what is in there: new files are put in place of the old.
        """
        inside = folder / ".git"
        before, after = self._commit(git, old), self._commit(git, new)
        if (
            before == after
            or inside.is_symlink()
            or not (inside / _REF).is_file()
            or (inside / _REF).read_text() != f"{before}\n"
        ):
            return []
        made = _pack(git, f"{after}\n^{before}\n", inside / "objects/pack")
        for path, content in ((inside / "index", index.read_bytes()), (inside / _REF, f"{after}\n".encode())):
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
                file.write(content)
            Path(file.name).chmod(0o644)
            made.append(Path(file.name).replace(path))
        return made

    def _commit(self, git: Git, commit: str) -> str:
        """The commit of the small repository: the same tree, without history."""
        known = self.commits.get(commit)
        if known is not None:
            made = write_commit(self.store, (known.tree, ()), "start\n", ("swarm", "swarm", _EMAIL), self.date)
            if made is not None:
                return made
        who = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in self._identity()}
        return git.run("commit-tree", f"{commit}^{{tree}}", "-m", "start", env=who).text

    def _identity(self) -> tuple[tuple[str, str], ...]:
        return ("NAME", "swarm"), ("EMAIL", _EMAIL), ("DATE", f"@{self.date} +0000")


class _Kept:
    """Small packs of the last few commits without history: runs of one process often begin with the same files, and
    what a commit's name names never changes."""

    def __init__(self) -> None:
        self._packs: dict[str, dict[str, bytes]] = {}

    def lay(self, commit: str, folder: Path, make: Callable[[], Sequence[Path]]) -> None:
        """Put the pack of a commit into a folder, where `make` does if it is not here."""
        known = self._packs.pop(commit, None)
        if known is None:
            made = make()
            if sum(path.stat().st_size for path in made) > _SMALL:
                return
            known = {path.name: path.read_bytes() for path in made}
        else:
            for name, content in known.items():
                (folder / name).write_bytes(content)
        self._packs[commit] = known
        for oldest in list(self._packs)[:-_MANY]:
            self._packs.pop(oldest, None)


_KEPT = _Kept()


def _pack(git: Git, revisions: str, folder: Path) -> list[Path]:
    """Pack what the revisions reach into a folder; gives the files made."""
    # Quick before small: what is packed already is reused, for the rest no deltas are sought.
    quick = ("--window=0", "--compression=1")
    # git makes a pack beside its objects and renames it, which leads into no other mount.
    with tempfile.TemporaryDirectory(prefix="pack-", dir=git.cwd) as making:
        git.run("pack-objects", "-q", "--revs", *quick, Path(making) / "pack", stdin=revisions.encode())
        return [shutil.copyfile(path, folder / path.name) for path in Path(making).iterdir()]


def _size(git: Git, commit: str) -> int:
    """As git keeps the files: large ones of LFS as pointers."""
    listed = git.run("ls-tree", "-r", "-z", "--format=%(objectsize)", commit).out
    return sum(int(size) for size in listed.split(b"\0") if size.isdigit())


def exclude_lines() -> str:
    """What is not captured where no .gitignore says so, as lines of `info/exclude`."""
    return "".join(f"{name}/\n" for name in EXCLUDED) + "*.pyc\n"
