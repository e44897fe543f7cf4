"""The user's repository and the run: finding it, and taking a snapshot without touching it."""

from __future__ import annotations

import os
from pathlib import Path

import anyio.to_thread

from swarm.errors import MachineError, UsageError
from swarm.sandboxes.git import lfs
from swarm.sandboxes.git.apart import keep_apart
from swarm.sandboxes.git.attributes import conversions
from swarm.sandboxes.git.branch import UNCOMMITTED
from swarm.sandboxes.git.command import Finished, Git, git_path, own_git, require_version, user_git
from swarm.sandboxes.git.ignoring import ignored, ignored_below
from swarm.sandboxes.git.local import exclude_lines
from swarm.sandboxes.git.repository import BASE, GitRepository, commit_tree
from swarm.sandboxes.git.taking import borrow, take
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
    return await anyio.to_thread.run_sync(_top, start)


async def snapshot(repo: Path, store: Path) -> GitRepository:
    """Record the user's tree, uncommitted and untracked files included, in a new store at `store`.

    Nothing of the user's is written: not the checkout, the index, the refs nor the objects.

    Raises:
        UsageError: git cannot record the tree; the message says why.
        MachineError: git is missing or too old, or the store cannot be written.
    """
    return await anyio.to_thread.run_sync(_snapshot, repo, store)


async def reopen(store: Path) -> GitRepository:
    """The store of an earlier run.

    Raises:
        MachineError: there is none.
    """
    return await anyio.to_thread.run_sync(_reopen, store)


async def take_again(repo: Path, store: Path) -> GitRepository:
    """The tree of `repo` that an earlier process of the run took.

    Raises:
        MachineError: the store is damaged, or what it borrows from the user's repository is gone.
    """
    try:
        tree = await reopen(store)
        await tree.listing(tree.base, 0)
        await anyio.to_thread.run_sync(lfs.use, store, user_git(repo))
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


def _top(start: Path, besides: str = "") -> Path:
    require_version()
    if not start.is_dir():
        raise UsageError(f"{start} is not a folder", remedy="give --repo the folder of a git repository")
    git = user_git(start)
    found = git.attempt("rev-parse", "--is-inside-work-tree", "--is-bare-repository")
    if found.code != 0:
        raise _unusable(start, found, besides)
    inside, bare = found.text.split()
    files = git.attempt("config", "core.worktree")
    if inside != "true" and files.code == 0:
        folder = (git_path(git, "HEAD").parent / os.fsdecode(files.out.rstrip(b"\n"))).resolve()
        raise UsageError(
            f"{start} has no files of its own: its files are in {folder} (core.worktree)",
            remedy=f"give --repo that folder, with a file .git in it that says gitdir: {git_path(git, 'HEAD').parent}",
        )
    if bare == "true" or inside != "true":
        raise UsageError(f"{start} is a bare repository, without files", remedy="give --repo a checkout of it")
    return Path(git.run("rev-parse", "--show-toplevel").out.decode(errors="surrogateescape").rstrip("\n"))


def _find(start: Path) -> Path:
    top = _top(start, ", or --no-repo for a task without one")
    git = user_git(top)
    if git.attempt("rev-parse", "--verify", "-q", "HEAD^{commit}").code != 0:
        raise UsageError(f"{top} has no commit yet", remedy="make one: git add -A && git commit")
    refuse_half_done(git)
    unmerged = git.run("ls-files", "--unmerged", "-z").out
    if unmerged:
        names = {line.partition(b"\t")[2].decode(errors="replace") for line in unmerged.split(b"\0") if line}
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
    require_version()
    git = user_git(repo)
    head = git.run("rev-parse", "--verify", "HEAD^{commit}").text
    date = int(git.run("show", "-s", "--format=%ct", head).text)
    store = store.absolute()
    own = _make_store(git, store)
    taken = take(repo, store)
    base = head
    if taken.tree != own.run("rev-parse", f"{head}^{{tree}}").text:
        base = commit_tree(own, taken.tree, [head], UNCOMMITTED, author="swarm", date=date)
    modules = [module.path for module in taken.apart.modules]
    with (store / "info/exclude").open("ab") as file:
        file.writelines(ignored_below(module, user_git(repo / os.fsdecode(module))) for module in modules)
    (store / "info/attributes").write_bytes(conversions(own, base, modules))
    lfs.use(store, git)
    keep_apart(store, taken.apart)
    own.run("update-ref", BASE, base)
    own.run("config", "swarm.head", head)
    own.run("config", "swarm.date", str(date))
    return GitRepository(store, base, head, date, notes=taken.notes)


def _make_store(git: Git, store: Path) -> Git:
    """A bare repository that borrows the user's objects."""
    store.mkdir(parents=True, exist_ok=True)
    form = git.run("rev-parse", "--show-object-format").text
    own = own_git(store)
    own.run("init", "-q", "--bare", "--template=", "-b", "base", f"--object-format={form}")
    (store / "info").mkdir(exist_ok=True)
    borrow(store, git)
    (store / "info/exclude").write_bytes(exclude_lines().encode() + ignored(git))
    return own


def _reopen(store: Path) -> GitRepository:
    if not (store / "HEAD").is_file():
        raise MachineError(f"{store} is no store of a run")
    own = own_git(store.absolute())
    base = own.run("rev-parse", "--verify", f"{BASE}^{{commit}}").text
    head = own.run("config", "swarm.head").text
    return GitRepository(store.absolute(), base, head, int(own.run("config", "swarm.date").text))
