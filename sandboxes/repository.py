"""The run's own store of trees: a bare git repository that borrows the user's objects and never writes them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from swarm.sandboxes.git import Git, own_git
from swarm.sandboxes.local_git import LocalGit
from swarm.sandboxes.nested import nested_files, nested_repositories

EMAIL = "swarm@localhost"
ANSWER = "refs/heads/answer"
BASE = "refs/heads/base"

_GITLINK = "160000"


@dataclass(frozen=True, slots=True)
class GitRepository:
    """`swarm.protocols.Repository` over a bare repository.

    `head` is the user's commit, `base` the same or a commit on top with what was uncommitted (`dirty`); `date`, in
    Unix seconds, is the date of all commits, so that the same content gets the same name. `local_git`: whether a
    checkout gets a small repository of its own, in which `git diff` and `git status` work.
    """

    store: Path
    base: str
    head: str
    date: int
    local_git: bool = True

    @property
    def dirty(self) -> bool:
        """Whether the user's tree held uncommitted changes."""
        return self.base != self.head

    async def listing(self, commit: str, limit: int) -> str:
        """See `swarm.protocols.Repository`."""
        found = await anyio.to_thread.run_sync(self._git().run, "ls-tree", "-r", "-z", "--name-only", commit)
        names = [_one_line(name) for name in _split(found.out)]
        lines = names[:limit]
        if len(names) > limit:
            lines.append(f"({len(names) - limit} more files are not listed)")
        return "\n".join(lines)

    async def checkout(self, commit: str, folder: Path) -> None:
        """See `swarm.protocols.Repository`."""
        await anyio.to_thread.run_sync(self._checkout, commit, folder)

    async def capture(self, folder: Path, parent: str, *, author: str, message: str) -> str | None:
        """See `swarm.protocols.Repository`. What `.gitignore` excludes is left out, unless it is tracked.

        Files of a repository that was made inside the folder are captured as plain files.
        """
        return await anyio.to_thread.run_sync(self._capture, folder, parent, author, message)

    async def merge(self, ours: str, theirs: str, *, message: str) -> tuple[str | None, str]:
        """See `swarm.protocols.Repository`."""
        return await anyio.to_thread.run_sync(self._merge, ours, theirs, message)

    async def diff(self, old: str, new: str) -> bytes:
        """See `swarm.protocols.Repository`."""
        options = ("-r", "-p", "--binary", "--full-index", "--no-renames", "--no-ext-diff", "--no-textconv")
        return (await anyio.to_thread.run_sync(self._git().run, "diff-tree", *options, old, new)).out

    async def changed_files(self, old: str, new: str) -> Sequence[str]:
        """See `swarm.protocols.Repository`. A name that is not UTF-8 holds surrogates, as `os.fsdecode` makes them."""
        options = ("-r", "-z", "--name-only", "--no-renames")
        found = await anyio.to_thread.run_sync(self._git().run, "diff-tree", *options, old, new)
        return [name.decode(errors="surrogateescape") for name in _split(found.out)]

    async def set_answer(self, commit: str) -> None:
        """Name the commit that the run ends with, so that it can be found in the store later."""
        await anyio.to_thread.run_sync(self._git().run, "update-ref", ANSWER, commit)

    def _git(self) -> Git:
        return own_git(self.store)

    def _on(self, folder: Path) -> tuple[Git, Path]:
        """git with `folder` as its tree and an index that belongs to this folder; and that index."""
        index = self.store / "indexes" / hashlib.sha256(str(folder).encode(errors="surrogateescape")).hexdigest()[:32]
        index.parent.mkdir(exist_ok=True)
        own = self._git()
        return Git({**own.env, "GIT_WORK_TREE": str(folder), "GIT_INDEX_FILE": str(index)}, folder), index

    def _checkout(self, commit: str, folder: Path) -> None:
        folder = folder.resolve()
        git, index = self._on(folder)
        index.unlink(missing_ok=True)
        git.run("read-tree", "--reset", "-u", commit)
        _seed_of(index).write_text(commit)
        if self.local_git:
            LocalGit(self.store, self.date).add(self._git(), folder, commit, index)

    def _capture(self, folder: Path, parent: str, author: str, message: str) -> str | None:
        folder = folder.resolve()
        git, index = self._on(folder)
        seed = _seed_of(index)
        if not index.exists() or not seed.exists() or seed.read_text() != parent:
            seed.unlink(missing_ok=True)
            git.run("read-tree", "-m" if index.exists() else "--reset", parent)
        tree = _add_all(git, folder)
        seed.unlink(missing_ok=True)
        if tree == git.run("rev-parse", f"{parent}^{{tree}}").text:
            return None
        return self._commit(tree, [parent], message, author)

    def _merge(self, ours: str, theirs: str, message: str) -> tuple[str | None, str]:
        git = self._git()
        done = git.run("merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", ours, theirs, ok=(0, 1))
        tree, *conflicts = _split(done.out)
        if done.code == 1:
            return None, ", ".join(dict.fromkeys(_one_line(name) for name in conflicts))
        if tree.decode() == git.run("rev-parse", f"{ours}^{{tree}}").text:
            return ours, ""
        return self._commit(tree.decode(), [ours, theirs], message, "swarm"), ""

    def _commit(self, tree: str, parents: Iterable[str], message: str, author: str) -> str:
        return commit_tree(self._git(), tree, parents, message, author=author, date=self.date)


def commit_tree(git: Git, tree: str, parents: Iterable[str], message: str, *, author: str, date: int) -> str:
    """Make a commit whose name depends on nothing but what is given."""
    name = re.sub(r"[<>\x00-\x1f]", " ", author).strip(" .,:;\"'") or "swarm"
    env = {
        "GIT_AUTHOR_NAME": name,
        "GIT_AUTHOR_EMAIL": EMAIL,
        "GIT_AUTHOR_DATE": f"@{date} +0000",
        "GIT_COMMITTER_NAME": "swarm",
        "GIT_COMMITTER_EMAIL": EMAIL,
        "GIT_COMMITTER_DATE": f"@{date} +0000",
    }
    text = message.replace("\0", " ").encode(errors="replace")
    above = [word for parent in parents for word in ("-p", parent)]
    return git.run("commit-tree", "--no-gpg-sign", tree, *above, stdin=text, env=env).text


def _add_all(git: Git, folder: Path) -> str:
    """Put the folder as it stands into the index, and that into a tree.

    Submodules are taken out of the index meanwhile: git would look into them by running git there, which would heed
    the configuration that whoever worked in the folder left in them.
    """
    entries = _entries(git)
    links = {path: name for path, (mode, name) in entries.items() if mode == _GITLINK}
    if links:
        git.run(
            "update-index",
            "-z",
            "--index-info",
            stdin=b"".join(b"0 %s\t%s\0" % (_zero(n), p) for p, n in links.items()),
        )
    nested = [path for path in nested_repositories(folder) if not _holds(entries, path, links)]
    apart = [f":(exclude,literal){path}" for path in nested]
    # Exit code 1: something that cannot be read or is no file (a socket, a FIFO) was left as it was.
    git.run("add", "-A", "--sparse", "--ignore-errors", "--", ".", *apart, ok=(0, 1))
    inside = [path for path in nested_files(folder, nested) if not any(_under(path, link) for link in links)]
    if inside:
        git.run("update-index", "-z", "--add", "--replace", "--stdin", stdin=b"\0".join(inside) + b"\0", ok=(0, 128))
    _restore(git, links)
    return git.run("write-tree").text


def _restore(git: Git, links: dict[bytes, bytes]) -> None:
    """Put submodules back as they were where nothing took their place, and forget new ones."""
    entries = _entries(git)
    lines = [
        b"0 %s\t%s\0" % (_zero(name), path)
        for path, (mode, name) in entries.items()
        if mode == _GITLINK and path not in links
    ]
    for path, name in links.items():
        if not _holds(entries, path.decode(errors="surrogateescape")):
            lines.append(b"160000 %s\t%s\0" % (name, path))
    if lines:
        git.run("update-index", "-z", "--index-info", stdin=b"".join(lines))


def _entries(git: Git) -> dict[bytes, tuple[str, bytes]]:
    """The index: path to mode and object name."""
    found: dict[bytes, tuple[str, bytes]] = {}
    for line in _split(git.run("ls-files", "-z", "--stage").out):
        about, _, path = line.partition(b"\t")
        mode, name, _ = about.split(b" ")
        found[path] = (mode.decode(), name)
    return found


def _holds(entries: Iterable[bytes], folder: str, but: Container[bytes] = ()) -> bool:
    path = folder.encode(errors="surrogateescape")
    return any(_under(entry, path) for entry in entries if entry not in but)


def _under(path: bytes, folder: bytes) -> bool:
    return path == folder or path.startswith(folder + b"/")


def _zero(name: bytes) -> bytes:
    return b"0" * len(name)


def _split(listed: bytes) -> list[bytes]:
    return [part for part in listed.split(b"\0") if part]


def _one_line(name: bytes) -> str:
    text = name.decode(errors="replace")
    return text if text.isprintable() else repr(text)


def _seed_of(index: Path) -> Path:
    """Remembers which commit an index was filled from."""
    return index.with_name(index.name + ".commit")
