"""The user's repository and the run: finding it, and taking a snapshot without touching it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import anyio.to_thread

from swarm.errors import MachineError, UsageError
from swarm.sandboxes.git import lfs, objects
from swarm.sandboxes.git.apart import keep_apart
from swarm.sandboxes.git.attributes import conversions
from swarm.sandboxes.git.bare import make_store
from swarm.sandboxes.git.branch import UNCOMMITTED
from swarm.sandboxes.git.command import Finished, Git, require_version, user_git
from swarm.sandboxes.git.ignoring import ignored, ignored_below
from swarm.sandboxes.git.index import whole_tree
from swarm.sandboxes.git.local import exclude_lines
from swarm.sandboxes.git.objects import Commit
from swarm.sandboxes.git.opened import NoRepository, Opened, opened
from swarm.sandboxes.git.repository import GitRepository, commit_tree, remembered
from swarm.sandboxes.git.taking import take
from swarm.sandboxes.git.undo import refuse_half_done

__all__ = ["GitRepository", "find_repository", "find_top", "head_of", "reopen", "snapshot", "take_again"]


async def find_repository(start: Path) -> Path:
    """The top folder of the git repository around `start`.

    Raises:
        UsageError: there is none, or it cannot be used as it stands; the remedy says what to do.
        MachineError: git is missing or too old.
    """
    return await anyio.to_thread.run_sync(_find, start)


async def find_top(start: Path) -> Path:
    """The top folder of the checkout around `start`, with a commit or without, whatever its state.

    Raises:
        UsageError: there is none.
        MachineError: git is missing or too old.
    """
    return await anyio.to_thread.run_sync(lambda: _top(start).git.cwd)


async def snapshot(repo: Path, store: Path) -> GitRepository:
    """Record the user's tree, uncommitted and untracked files included, in a new store at `store`.

    Nothing of the user's is written: not the checkout, the index, the refs nor the objects.

    Raises:
        UsageError: git cannot record the tree; the message says why.
        MachineError: git is missing, or the store cannot be written.
    """
    return await anyio.to_thread.run_sync(_snapshot, repo, store)


async def reopen(store: Path) -> GitRepository:
    """The store of an earlier run.

    Raises:
        MachineError: there is none.
    """
    return await anyio.to_thread.run_sync(remembered, store.absolute())


async def take_again(repo: Path, store: Path) -> GitRepository:
    """The tree of `repo` that an earlier process of the run took.

    Raises:
        MachineError: the store is damaged, or what it borrows from the user's repository is gone.
    """
    try:
        tree = await reopen(store)
        await tree.listing(tree.base, 0)
        await anyio.to_thread.run_sync(lambda: lfs.use(store, opened(user_git(repo))))
    except MachineError as error:
        raise MachineError(
            f"the tree that the run began with cannot be read: {error.message}",
            remedy=f"its files are borrowed from {repo}: put that back, or start the run again",
        ) from error
    return tree


def head_of(repo: Path) -> str:
    """The commit that a checkout is at, empty where there is no checkout any more; blocks."""
    if not repo.is_dir():
        return ""
    return user_git(repo).attempt("rev-parse", "--verify", "-q", "HEAD^{commit}").text


def _top(start: Path, besides: str = "") -> Opened:
    """The checkout around a folder, opened from its topmost one."""
    require_version()
    if not start.is_dir():
        raise UsageError(f"{start} is not a folder", remedy="give --repo the folder of a git repository")
    git = user_git(start)
    try:
        found = opened(git)
    except NoRepository as error:
        raise _unusable(start, error.said, besides) from None
    if not _plain(found) and "core.worktree" in found.configured and not _of(found):
        folder = (found.own / os.fsdecode(git.run("config", "core.worktree").out.rstrip(b"\n"))).resolve()
        raise UsageError(
            f"{start} has no files of its own: its files are in {folder} (core.worktree)",
            remedy=f"give --repo that folder, with a file .git in it that says gitdir: {found.own}",
        )
    if found.bare or not found.inside or found.top is None:
        raise UsageError(f"{start} is a bare repository, without files", remedy="give --repo a checkout of it")
    return replace(found, git=user_git(found.top))


def _plain(found: Opened) -> bool:
    """Whether its files lie around its folder of git: then they say that they are its own, whatever is configured."""
    inner = found.top / ".git" if found.inside and found.top is not None else None
    return inner is not None and not inner.is_symlink() and inner.is_dir() and inner.resolve() == found.own.resolve()


def _of(found: Opened) -> bool:
    """Whether its files are in a folder that says so too: a repository cannot make any folder its own."""
    try:
        return found.inside and found.top is not None and opened(user_git(found.top)).own == found.own
    except NoRepository:
        return False


def _find(start: Path) -> Path:
    user = _top(start, ", or --no-repo for a task without one")
    top = user.git.cwd
    if user.head is None:
        raise UsageError(f"{top} has no commit yet", remedy="make one: git add -A && git commit")
    if str(top).encode(errors="replace").decode() != str(top):
        shown = os.fsencode(top).decode(errors="backslashreplace")
        raise UsageError(f"the path of {shown} is not UTF-8, as a run's record is", remedy="rename the folder")
    refuse_half_done(user)
    unmerged = user.git.run("ls-files", "--unmerged", "-z").parts if whole_tree(user.own / "index") is None else []
    if unmerged:
        names = {line.partition(b"\t")[2].decode(errors="replace") for line in unmerged}
        raise UsageError(
            f"{top} has unresolved conflicts: {', '.join(sorted(names)[:5])}",
            remedy="resolve them, or give the merge up: git merge --abort",
        )
    return top


def _unusable(start: Path, found: Finished, besides: str) -> UsageError:
    if "dubious ownership" in found.err:
        return UsageError(
            f"git does not trust {start.absolute()}: it belongs to another user",
            remedy=f"run git config --global --add safe.directory {start.absolute()}",
        )
    if "not a git repository" in found.err:
        return UsageError(
            f"{start.absolute()} is not in a git repository",
            remedy=f"change into one, give --repo PATH{besides}",
        )
    return UsageError(f"{start.absolute()} cannot be used: {found.complaint}")


def _snapshot(repo: Path, store: Path) -> GitRepository:
    user, store = opened(user_git(repo)), store.absolute()
    if user.head is None:
        raise UsageError(f"{repo} has no commit yet", remedy="make one: git add -A && git commit")
    own = _make_store(user, store)
    taken = take(user, store)
    date, head = _about(own, user, store, user.head)
    base, parents = user.head, head.parents
    if taken.tree != head.tree:
        base, parents = commit_tree(own, taken.tree, [base], UNCOMMITTED, author="swarm", date=date), (base,)
    made = GitRepository(store, base, user.head, date, notes=taken.notes)
    made.learn(Commit(base, taken.tree, parents))
    modules = [module.path for module in taken.apart.modules]
    with (store / "info/exclude").open("ab") as file:
        for module in modules:
            file.write(ignored_below(module, opened(user_git(repo / os.fsdecode(module)))))
    (store / "info/attributes").write_bytes(conversions(own, made.entries(base), modules))
    lfs.use(store, user)
    keep_apart(store, taken.apart)
    made.remember()
    return made


def _about(own: Git, user: Opened, store: Path, name: str) -> tuple[int, Commit]:
    """The date of a commit of the user's, and what it is."""
    if not (store / "shallow").exists():  # else it may have parents that are not there
        date, commit = objects.date_of(user.common, name), objects.read_commit(user.common, name)
        if date is not None and commit is not None:
            return date, commit
    date_told, tree, *parents = own.run("show", "-s", "--format=%ct %T %P", name).text.split()
    return int(date_told), Commit(name, tree, tuple(parents))


def _make_store(user: Opened, store: Path) -> Git:
    """A bare repository for the user's objects."""
    own = make_store(store, user.form)
    (store / "info").mkdir(exist_ok=True)
    (store / "info/exclude").write_bytes(exclude_lines().encode() + ignored(user))
    return own
