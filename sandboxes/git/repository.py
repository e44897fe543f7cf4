"""The run's own store of trees: a bare git repository that borrows the user's objects and never writes them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio.to_thread
from pydantic import BaseModel, ValidationError

from swarm.errors import MachineError
from swarm.sandboxes.copies.checkouts import Checkouts
from swarm.sandboxes.copies.staging import Uncapturable
from swarm.sandboxes.git import objects, picking, reading
from swarm.sandboxes.git.attributes import NO_CONVERSION
from swarm.sandboxes.git.bare import make_store
from swarm.sandboxes.git.command import Git, one_line, own_git
from swarm.sandboxes.git.local import exclude_lines
from swarm.sandboxes.git.objects import Commit
from swarm.sandboxes.git.overlay import Overlay
from swarm.stages import Captured, Change, Picked
from swarm.whole_file import write_whole

EMAIL = "swarm@localhost"
ANSWER = "refs/heads/answer"
BASE = "refs/heads/base"
_FILE = "began.json"


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
    _known: dict[str, Commit] = field(default_factory=dict, init=False, repr=False, compare=False)
    _made: dict[tuple[str, ...], str] = field(default_factory=dict, init=False, repr=False, compare=False)
    _of_base: list[Sequence[bytes]] = field(default_factory=list, init=False, repr=False, compare=False)
    _overlay: Overlay = field(default_factory=Overlay, init=False, repr=False, compare=False)

    @property
    def dirty(self) -> bool:
        """Whether the base is other than the user's commit: by uncommitted changes, or files of submodules."""
        return self.base != self.head

    @property
    def checkouts(self) -> Checkouts:
        """Folders with trees of this store."""
        return Checkouts(self.store, self.date, self.local_git, self._known)

    async def listing(self, commit: str, limit: int) -> str:
        """See `swarm.protocols.Repository`."""
        found = await anyio.to_thread.run_sync(self.entries, commit)
        names = [one_line(entry.partition(b"\t")[2]) for entry in found]
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
        return await anyio.to_thread.run_sync(self._pick, onto, patch, message, author)

    async def record(self, tree: str, parent: str, *, message: str, author: str) -> str:
        """See `swarm.protocols.Repository`."""
        return await anyio.to_thread.run_sync(self._commit, f"{tree}^{{tree}}", [parent], message, author)

    async def changes(self, patch: str) -> Sequence[Change]:
        """See `swarm.protocols.Repository`."""
        found, edits = await anyio.to_thread.run_sync(picking.changes, self._git(), patch)
        self._overlay.learn(patch, edits)
        return found

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
        return [name.decode(errors="surrogateescape") for name in found.parts]

    async def contents(self, commit: str) -> Mapping[str, str]:
        """See `swarm.protocols.Repository`."""
        return await anyio.to_thread.run_sync(lambda: reading.contents(self.entries(commit)))

    async def links(self, commit: str) -> Mapping[str, str]:
        """See `swarm.protocols.Repository`."""
        return await anyio.to_thread.run_sync(lambda: reading.links(self.entries(commit)))

    async def texts(self, blobs: Iterable[str], most: int) -> Mapping[str, bytes]:
        """See `swarm.protocols.Repository`."""
        return await anyio.to_thread.run_sync(reading.texts, self._git(), blobs, most)

    async def adopt(self, folder: Path) -> str:
        """Record a folder that is no repository as a commit, from which working copies can be made."""
        return await anyio.to_thread.run_sync(self._adopt, folder)

    async def set_answer(self, commit: str) -> None:
        """Name the commit that the run ends with, so that it can be found in the store later."""
        await anyio.to_thread.run_sync(write_whole, self.store / ANSWER, f"{commit}\n".encode())

    def entries(self, commit: str) -> Sequence[bytes]:
        """See `reading.entries`; blocks. Those of the base are asked once: a run begins with several looks at them."""
        if commit != self.base:
            return reading.entries(self._git(), commit)
        if not self._of_base:
            self._of_base.append(reading.entries(self._git(), commit))
        return self._of_base[0]

    def learn(self, commit: Commit) -> None:
        """What a commit is, so that it is not asked of git."""
        self._known[commit.name] = commit

    def remember(self) -> None:
        """Let the store tell what `remembered` gives; blocks."""
        (self.store / BASE).write_text(f"{self.base}\n")
        known = self._known.get(self.base, Commit(self.base, "", ()))
        began = _Began(base=self.base, head=self.head, date=self.date, tree=known.tree, parents=known.parents)
        write_whole(self.store / _FILE, began.model_dump_json().encode())

    def _git(self) -> Git:
        return own_git(self.store)

    def _capture(self, folder: Path, parent: str, author: str, message: str) -> Captured:
        try:
            staged = self.checkouts.stage(folder, parent)
        except Uncapturable as error:
            return Captured(None, failure=str(error))
        if staged.tree == self._commits(parent)[0].tree:
            return Captured(None, staged.left_out)
        return Captured(self._commit(staged.tree, [parent], message, author), staged.left_out)

    def _adopt(self, folder: Path) -> str:
        tree = self.checkouts.stage(folder, self.checkouts.empty(), ours=False).tree
        self.checkouts.forget(folder)
        return self._commit(tree, [], "a folder", "swarm")

    def _merge(self, ours: str, theirs: str, message: str) -> tuple[str | None, str]:
        done = self._git().merge_tree("--no-messages", ours, theirs)
        tree, *conflicts = done.parts
        if done.code == 1:
            return None, ", ".join(dict.fromkeys(one_line(name) for name in conflicts))
        if tree.decode() == self._commits(ours)[0].tree:
            return ours, ""
        return self._commit(tree.decode(), [ours, theirs], message, "swarm"), ""

    def _pick(self, onto: str, patch: str, message: str, author: str) -> Picked:
        top, work = self._commits(onto, patch)
        begun = self._commits(work.parents[0])[0]
        below, tree = begun.tree, None
        if begun.name != top.name:
            tree = self._overlay.laid(self._git(), self.store, below, top.tree, patch)
        if tree is not None:
            made = top.name if tree == top.tree else self._commit(tree, [top.name], message, author)
            picked = Picked(made, tree=tree)
        else:
            picked = picking.pick(self._git(), self._commit, top, work, message, author)
        if picked.commit is not None:
            self._overlay.merged(below, top.tree, patch, picked.tree)
        return picked

    def _commit(self, tree: str, parents: Sequence[str], message: str, author: str) -> str:
        given = (tree, message, author, *parents)
        if given not in self._made:  # the same content gets the same name
            people = author, "swarm", EMAIL
            made = objects.write_commit(self.store, (tree, parents), message, people, self.date) or commit_tree(
                self._git(), tree, parents, message, author=author, date=self.date
            )
            self._made[given] = made
            if "^" not in tree:
                self.learn(Commit(made, tree, tuple(parents)))
        return self._made[given]

    def _commits(self, *names: str) -> list[Commit]:
        """What some commits are, asked once where a full name is given: it never is another."""
        for name in names:
            if name not in self._known and (lone := objects.read_commit(self.store, name)) is not None:
                self.learn(lone)
        asked = list(dict.fromkeys(name for name in names if name not in self._known))
        found = dict(zip(asked, picking.commits(self._git(), asked), strict=True)) if asked else {}
        self._known.update((name, commit) for name, commit in found.items() if name == commit.name)
        return [found.get(name) or self._known[name] for name in names]


class _Began(BaseModel):
    """What a run began with, as its store tells it."""

    base: str
    head: str
    date: int
    tree: str = ""
    parents: tuple[str, ...] = ()
    """Of the base, where its tree is told."""


def remembered(store: Path) -> GitRepository:
    """The store of an earlier run.

    Raises:
        MachineError: there is none, or it is damaged.
    """
    path = store / _FILE
    try:
        began = _Began.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise MachineError(f"{store} is no store of a run") from error
    except (OSError, ValidationError) as error:
        raise MachineError(f"{path} is damaged") from error
    made = GitRepository(store, began.base, began.head, began.date)
    if began.tree:
        made.learn(Commit(began.base, began.tree, began.parents))
    return made


def plain_store(store: Path) -> GitRepository:
    """A new store that borrows from nobody, for folders that are no repository; its base is empty. Blocks."""
    git = make_store(store)
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
