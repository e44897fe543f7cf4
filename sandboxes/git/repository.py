"""The run's own store of trees: a bare git repository that borrows the user's objects and never writes them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio.to_thread

from swarm.sandboxes.copies.checkouts import Checkouts
from swarm.sandboxes.copies.staging import Uncapturable, split
from swarm.sandboxes.git import picking, reading
from swarm.sandboxes.git.attributes import NO_CONVERSION
from swarm.sandboxes.git.command import Git, own_git
from swarm.sandboxes.git.local import exclude_lines
from swarm.stages import Captured, Change, Picked

EMAIL = "swarm@localhost"
ANSWER = "refs/heads/answer"
BASE = "refs/heads/base"


@dataclass(frozen=True, slots=True)
class GitRepository:
    """`swarm.protocols.Repository` over a bare repository.

    `head` is the user's commit, `base` the same or a commit on top with what was uncommitted (`dirty`); `date`, in
    Unix seconds, is the date of all commits, so that the same content gets the same name. `local_git`: whether a
    checkout gets a small repository of its own, in which `git diff` and `git status` work. `notes` tell the user what
    of the tree is not in it.
    """

    store: Path
    base: str
    head: str
    date: int
    local_git: bool = True
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def dirty(self) -> bool:
        """Whether the base is other than the user's commit: by uncommitted changes, or files of submodules."""
        return self.base != self.head

    @property
    def checkouts(self) -> Checkouts:
        """Folders with trees of this store."""
        return Checkouts(self.store, self.date, self.local_git)

    async def listing(self, commit: str, limit: int) -> str:
        """See `swarm.protocols.Repository`."""
        found = await anyio.to_thread.run_sync(self._git().run, "ls-tree", "-r", "-z", "--name-only", commit)
        names = [one_line(name) for name in split(found.out)]
        lines = names[:limit]
        if len(names) > limit:
            lines.append(f"({len(names) - limit} more files are not listed)")
        return "\n".join(lines)

    async def checkout(self, commit: str, folder: Path) -> None:
        """Write the tree of `commit` into the empty `folder`."""
        await anyio.to_thread.run_sync(self.checkouts.make, commit, folder)

    async def capture(self, folder: Path, parent: str, *, author: str, message: str) -> Captured:
        """See `swarm.protocols.Repository`. What `.gitignore` excludes is left out, unless it is tracked.

        Files of a repository that was made inside the folder are captured as plain files.
        """
        return await anyio.to_thread.run_sync(self._capture, folder, parent, author, message)

    async def merge(self, ours: str, theirs: str, *, message: str) -> tuple[str | None, str]:
        """See `swarm.protocols.Repository`."""
        return await anyio.to_thread.run_sync(self._merge, ours, theirs, message)

    async def pick(self, onto: str, patch: str, *, message: str, author: str) -> Picked:
        """See `swarm.protocols.Repository`."""
        return await anyio.to_thread.run_sync(picking.pick, self._git(), self._commit, onto, patch, message, author)

    async def record(self, tree: str, parent: str, *, message: str, author: str) -> str:
        """See `swarm.protocols.Repository`."""
        return await anyio.to_thread.run_sync(self._commit, f"{tree}^{{tree}}", [parent], message, author)

    async def changes(self, patch: str) -> Sequence[Change]:
        """See `swarm.protocols.Repository`."""
        return await anyio.to_thread.run_sync(picking.changes, self._git(), patch)

    async def holding(self, commit: str, words: Sequence[str]) -> Sequence[str]:
        """See `swarm.protocols.Repository`."""
        return await anyio.to_thread.run_sync(picking.holding, self._git(), commit, words)

    async def diff(self, old: str, new: str) -> bytes:
        """See `swarm.protocols.Repository`."""
        options = ("-r", "-p", "--binary", "--full-index", "--no-renames", "--no-ext-diff", "--no-textconv")
        return (await anyio.to_thread.run_sync(self._git().run, "diff-tree", *options, old, new)).out

    async def changed_files(self, old: str, new: str) -> Sequence[str]:
        """See `swarm.protocols.Repository`. A name that is not UTF-8 holds surrogates, as `os.fsdecode` makes them."""
        options = ("-r", "-z", "--name-only", "--no-renames")
        found = await anyio.to_thread.run_sync(self._git().run, "diff-tree", *options, old, new)
        return [name.decode(errors="surrogateescape") for name in split(found.out)]

    async def contents(self, commit: str) -> Mapping[str, str]:
        """See `swarm.protocols.Repository`."""
        return await anyio.to_thread.run_sync(reading.contents, self._git(), commit)

    async def links(self, commit: str) -> Mapping[str, str]:
        """See `swarm.protocols.Repository`."""
        return await anyio.to_thread.run_sync(reading.links, self._git(), commit)

    async def texts(self, blobs: Iterable[str], most: int) -> Mapping[str, bytes]:
        """See `swarm.protocols.Repository`."""
        return await anyio.to_thread.run_sync(reading.texts, self._git(), blobs, most)

    async def adopt(self, folder: Path) -> str:
        """Record a folder that is no repository as a commit, from which working copies can be made."""
        return await anyio.to_thread.run_sync(self._adopt, folder)

    async def set_answer(self, commit: str) -> None:
        """Name the commit that the run ends with, so that it can be found in the store later."""
        await anyio.to_thread.run_sync(self._git().run, "update-ref", ANSWER, commit)

    def _git(self) -> Git:
        return own_git(self.store)

    def _capture(self, folder: Path, parent: str, author: str, message: str) -> Captured:
        try:
            staged = self.checkouts.stage(folder, parent)
        except Uncapturable as error:
            return Captured(None, failure=str(error))
        if staged.tree == self._git().run("rev-parse", f"{parent}^{{tree}}").text:
            return Captured(None, staged.left_out)
        return Captured(self._commit(staged.tree, [parent], message, author), staged.left_out)

    def _adopt(self, folder: Path) -> str:
        tree = self.checkouts.stage(folder, self.checkouts.empty(), ours=False).tree
        self.checkouts.forget(folder)
        return self._commit(tree, [], "a folder", "swarm")

    def _merge(self, ours: str, theirs: str, message: str) -> tuple[str | None, str]:
        git = self._git()
        done = git.run("merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", ours, theirs, ok=(0, 1))
        tree, *conflicts = split(done.out)
        if done.code == 1:
            return None, ", ".join(dict.fromkeys(one_line(name) for name in conflicts))
        if tree.decode() == git.run("rev-parse", f"{ours}^{{tree}}").text:
            return ours, ""
        return self._commit(tree.decode(), [ours, theirs], message, "swarm"), ""

    def _commit(self, tree: str, parents: Iterable[str], message: str, author: str) -> str:
        return commit_tree(self._git(), tree, parents, message, author=author, date=self.date)


def plain_store(store: Path) -> GitRepository:
    """A new store that borrows from nobody, for folders that are no repository; its base is empty. Blocks."""
    store.mkdir(parents=True)
    git = own_git(store)
    git.run("init", "-q", "--bare", "--template=", "-b", "base")
    (store / "info").mkdir(exist_ok=True)
    (store / "info/exclude").write_text(exclude_lines())
    (store / "info/attributes").write_text(NO_CONVERSION)
    empty = commit_tree(git, Checkouts(store, 0).empty(), [], "empty", author="swarm", date=0)
    return GitRepository(store, empty, empty, 0, local_git=False)


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


def one_line(name: bytes) -> str:
    """A path as it can be told."""
    text = name.decode(errors="replace")
    return text if text.isprintable() else repr(text)
