"""Where the patch of a run is to go, looked at before the run: what could not be delivered after it is refused."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

from swarm.errors import UsageError
from swarm.legible import visible
from swarm.sandboxes.git.branch import is_given
from swarm.sandboxes.git.command import user_git
from swarm.sandboxes.git.opened import opened
from swarm.sandboxes.git.trees import links_of

STDOUT = "-"
_NAMED = "--format=%(objectname) %(refname)"
_ELSE = "take --patch FILE"


def check_targets(args: argparse.Namespace, repo: Path | None, store: Path | None = None) -> None:
    """Refuse before the run what could not be delivered after it. `store` is that of a run which is gone on with: the
    branch that is asked for may be its own, made before it was killed.

    Raises:
        UsageError: there is no repository to apply to, the branch exists or cannot be, the file has no folder.
        MachineError: git cannot be run.
    """
    named = (("--apply", args.apply or None), ("--branch", args.branch), ("--patch", args.patch))
    wanted = next((option for option, given in named if given is not None), None)
    if wanted is None:
        return
    if repo is None:
        raise UsageError(f"{wanted} needs a repository", remedy="leave out --no-repo or the option")
    if args.patch is not None:
        _check_file(args.patch, args.json)
        return
    if not repo.is_dir():
        raise UsageError(f"{wanted}: {repo} is gone", remedy=_ELSE)
    if args.branch is not None:
        check_branch(repo, args.branch, store)
        if not _writable(opened(user_git(repo)).common / "objects"):
            raise UsageError(f"--branch: the repository of {repo} cannot be written", remedy=_ELSE)
        return
    beside = opened(user_git(repo)).own  # where that is kept which stood there, until all is applied
    if unwritten := next((folder for folder in (repo, beside) if not _writable(folder)), None):
        raise UsageError(f"--apply: {unwritten} cannot be written", remedy=f"{_ELSE}, or run as who may write there")


def check_branch(repo: Path, name: str, store: Path | None = None) -> None:
    """Raises: UsageError where no branch of this name can be made, in the repository or in a submodule: what is
    changed in one goes onto a branch of the same name there. One that was made of `store`, and that nobody has changed,
    is no hindrance."""
    ref = f"refs/heads/{name}"
    unfit = not name or name.startswith("-") or name == "HEAD"
    if unfit or user_git(repo).attempt("check-ref-format", ref).code:
        raise UsageError(f"--branch {visible(name)!r}: not a name for a branch", remedy="choose another name")
    words = ref.split("/")
    above = {"/".join(words[:count]) for count in range(3, len(words))}
    for folder in (repo, *_submodules(repo)):
        inside = f" in {visible(str(folder.relative_to(repo)))}" if folder != repo else ""
        for found in user_git(folder).attempt("for-each-ref", _NAMED, ref, *above).text.splitlines():
            commit, _, found = found.partition(" ")
            if found == ref and store is not None and is_given(store, commit):
                continue
            if found == ref:
                raise UsageError(f"the branch {name} exists already{inside}", remedy="choose another name")
            if found in above or found.startswith(f"{ref}/"):
                other = found.removeprefix("refs/heads/")
                raise UsageError(
                    f"no branch {name} can be made beside {other}, which exists{inside}", remedy="choose another name"
                )


def _submodules(repo: Path) -> Iterator[Path]:
    """The folders of those that are checked out, and of those in them."""
    for path in links_of(user_git(repo).attempt("ls-files", "-z", "--stage").parts):
        folder = repo / os.fsdecode(path)
        if os.path.lexists(folder / ".git"):
            yield folder
            yield from _submodules(folder)


def _check_file(name: str, json: bool) -> None:
    if name == STDOUT:
        if json:
            raise UsageError("--patch - and --json both write to standard output", remedy="name a file")
        return
    target = Path(os.path.realpath(name))
    special = target.exists() and not target.is_file()
    beside = target if special else target.parent
    barred = target.is_file() and not os.access(target, os.W_OK)
    if not name or target.is_dir() or barred or not os.access(beside, os.W_OK):
        raise UsageError(f"--patch {name!r}: cannot be written", remedy="name a file in a folder that exists")


def _writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)
