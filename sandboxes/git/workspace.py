"""The user's repository and the run: taking a snapshot without touching it, and bringing the answer back."""

from __future__ import annotations

import shutil
from pathlib import Path

import anyio.to_thread

from swarm.errors import MachineError, UsageError
from swarm.sandboxes.git.attributes import conversions
from swarm.sandboxes.git.command import Finished, Git, own_git, quoted, require_version, user_git
from swarm.sandboxes.git.local import exclude_lines
from swarm.sandboxes.git.nested import EXCLUDED
from swarm.sandboxes.git.repository import ANSWER, BASE, GitRepository, commit_tree

__all__ = [
    "GitRepository",
    "apply_to",
    "create_branch",
    "find_repository",
    "head_of",
    "reopen",
    "snapshot",
    "take_again",
]

UNCOMMITTED = "uncommitted changes at the start"


async def find_repository(start: Path) -> Path:
    """The top folder of the git repository around `start`.

    Raises:
        UsageError: there is none, or it cannot be used as it stands; the remedy says what to do.
        MachineError: git is missing or too old.
    """
    return await anyio.to_thread.run_sync(_find, start)


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


def apply_to(repo: Path, patch: bytes) -> None:
    """Apply a patch to the files of the user's checkout, wholly or not at all; blocks.

    Raises:
        UsageError: it no longer applies.
    """
    if not patch.strip():
        return
    git = user_git(repo)
    for check in (("--check",), ()):
        done = git.attempt("-c", "apply.whitespace=nowarn", "apply", *check, "-", stdin=patch)
        if done.code != 0:
            raise UsageError(
                f"the patch does not apply to {repo}: {done.complaint}",
                remedy="the tree has changed since the run began: put it back, or take --branch",
            )


def create_branch(repo: Path, name: str, store: Path, commit: str | None = None) -> str:
    """Bring a commit of a run's store (default: its answer) into the user's repository as a new branch; blocks.

    The checkout is not touched. Where the run began with uncommitted changes, they are the branch's first commit.
    Gives the commit's name.

    Raises:
        UsageError: the name is not allowed or taken.
        MachineError: the store lacks the commit.
    """
    git = user_git(repo)
    if git.attempt("check-ref-format", f"refs/heads/{name}").code != 0 or name.startswith("-"):
        raise UsageError(f"{name!r} cannot be the name of a branch", remedy="choose another name")
    ref = f"refs/heads/{name}"
    if git.attempt("show-ref", "--verify", "--quiet", ref).code == 0:
        raise UsageError(f"branch {name} exists in {repo}", remedy="choose another name or remove that branch")
    own = own_git(store)
    tip = own.run("rev-parse", "--verify", f"{commit or ANSWER}^{{commit}}").text
    wanted = f"{tip}\n^{_reopen(store).head}\n".encode()
    pack = own.run("pack-objects", "--revs", "--stdout", "-q", "--delta-base-offset", stdin=wanted).out
    git.run("unpack-objects", "-q", stdin=pack)
    done = git.attempt("update-ref", "-m", "swarm", ref, tip, "0" * len(tip))
    if done.code != 0:
        raise UsageError(f"branch {name} cannot be made in {repo}: {done.complaint}", remedy="choose another name")
    return tip


def _find(start: Path) -> Path:
    require_version()
    if not start.is_dir():
        raise UsageError(f"{start} is not a folder", remedy="give --repo the folder of a git repository")
    git = user_git(start)
    found = git.attempt("rev-parse", "--is-inside-work-tree", "--is-bare-repository")
    if found.code != 0:
        raise _unusable(start, found)
    inside, bare = found.text.split()
    if bare == "true" or inside != "true":
        raise UsageError(f"{start} is a bare repository, without files", remedy="give --repo a checkout of it")
    top = Path(git.run("rev-parse", "--show-toplevel").out.decode(errors="surrogateescape").rstrip("\n"))
    git = user_git(top)
    if git.attempt("rev-parse", "--verify", "-q", "HEAD^{commit}").code != 0:
        raise UsageError(f"{top} has no commit yet", remedy="make one: git add -A && git commit")
    unmerged = git.run("ls-files", "--unmerged", "-z").out
    if unmerged:
        names = {line.partition(b"\t")[2].decode(errors="replace") for line in unmerged.split(b"\0") if line}
        raise UsageError(
            f"{top} has unresolved conflicts: {', '.join(sorted(names)[:5])}",
            remedy="resolve them, or give the merge up: git merge --abort",
        )
    return top


def _unusable(start: Path, found: Finished) -> UsageError:
    if "dubious ownership" in found.err:
        return UsageError(
            f"git does not trust {start.absolute()}: it belongs to another user",
            remedy=f"run git config --global --add safe.directory {start.absolute()}",
        )
    if "not a git repository" in found.err:
        return UsageError(
            f"{start.absolute()} is not in a git repository",
            remedy="change into one, give --repo PATH, or --no-repo for a task without one",
        )
    return UsageError(f"{start.absolute()} cannot be used: {found.complaint}")


def _snapshot(repo: Path, store: Path) -> GitRepository:
    require_version()
    git = user_git(repo)
    head = git.run("rev-parse", "--verify", "HEAD^{commit}").text
    date = int(git.run("show", "-s", "--format=%ct", head).text)
    store = store.absolute()
    objects = _make_store(git, store)
    own = own_git(store)
    tree = _tree_now(git, repo, store, objects)
    base = head
    if tree != own.run("rev-parse", f"{head}^{{tree}}").text:
        base = commit_tree(own, tree, [head], UNCOMMITTED, author="swarm", date=date)
    (store / "info/attributes").write_bytes(conversions(own, base))
    own.run("update-ref", BASE, base)
    own.run("config", "swarm.head", head)
    own.run("config", "swarm.date", str(date))
    return GitRepository(store, base, head, date)


def _make_store(git: Git, store: Path) -> Path:
    """A bare repository that borrows the user's objects; gives where those are."""
    store.mkdir(parents=True, exist_ok=True)
    form = git.run("rev-parse", "--show-object-format").text
    own = own_git(store)
    own.run("init", "-q", "--bare", "--template=", "-b", "base", f"--object-format={form}")
    objects = _git_path(git, "objects")
    for folder in ("info", "objects/info"):
        (store / folder).mkdir(parents=True, exist_ok=True)
    (store / "objects/info/alternates").write_text(quoted(objects) + "\n", errors="surrogateescape")
    exclude = _git_path(git, "info/exclude")
    theirs = exclude.read_text(errors="surrogateescape") if exclude.is_file() else ""
    (store / "info/exclude").write_text(exclude_lines() + theirs, errors="surrogateescape")
    shallow = _git_path(git, "shallow")
    if shallow.is_file():
        shutil.copyfile(shallow, store / "shallow")
    return objects


def _tree_now(git: Git, repo: Path, store: Path, objects: Path) -> str:
    """The user's tree as it stands, written into our store by way of a copy of the index."""
    index = store / "snapshot-index"
    theirs = _git_path(git, "index")
    if theirs.is_file():
        shutil.copyfile(theirs, index)
    env = {
        "GIT_INDEX_FILE": str(index),
        "GIT_OBJECT_DIRECTORY": str(store / "objects"),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": quoted(objects),
    }
    # What Python leaves behind changes with every test run: in the base it would be in every patch.
    where = [".", *(f":(exclude,glob)**/{name}/**" for name in EXCLUDED), ":(exclude,glob)**/*.pyc"]
    if store.parent.is_relative_to(repo.resolve()):
        where.append(f":(exclude,literal){store.parent.relative_to(repo.resolve())}")
    try:
        # Whatever a filter of the user's keeps (git-lfs does) goes into our store too.
        added = git.attempt("-c", f"lfs.storage={store / 'lfs'}", "add", "-A", "--sparse", "--", *where, env=env)
        if added.code != 0:
            raise UsageError(
                f"git cannot record the files of {repo}: {added.complaint}",
                remedy="see `git -C PATH status`; remove or ignore what it names",
            )
        return git.run("write-tree", env=env).text
    finally:
        index.unlink(missing_ok=True)


def _git_path(git: Git, name: str) -> Path:
    found = git.run("rev-parse", "--path-format=absolute", "--git-path", name).out
    return Path(found.decode(errors="surrogateescape").rstrip("\n"))


def _reopen(store: Path) -> GitRepository:
    if not (store / "HEAD").is_file():
        raise MachineError(f"{store} is no store of a run")
    own = own_git(store.absolute())
    base = own.run("rev-parse", "--verify", f"{BASE}^{{commit}}").text
    head = own.run("config", "swarm.head").text
    return GitRepository(store.absolute(), base, head, int(own.run("config", "swarm.date").text))
