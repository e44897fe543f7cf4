"""Bringing a patch into the files of the user's checkout: wholly or not at all, and past what was changed meanwhile."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from swarm.errors import MachineError, UsageError
from swarm.sandboxes.git import lfs
from swarm.sandboxes.git.apart import Apart, apart_of, part_of
from swarm.sandboxes.git.command import Finished, Git, one_line, own_git, user_git, without_filters
from swarm.sandboxes.git.opened import opened
from swarm.sandboxes.git.repository import ANSWER, BASE, commit_tree, remembered
from swarm.sandboxes.git.taking import still_there, take
from swarm.sandboxes.git.undo import all_or_nothing, refuse_half_done

_DIFF = ("diff-tree", "-r", "-p", "--binary", "--full-index", "--no-renames", "--no-ext-diff", "--no-textconv")


@dataclass(frozen=True, slots=True)
class _Part:
    """A patch for one repository; `own` is its folder of git."""

    git: Git
    own: Path
    patch: bytes

    def run(self, *words: str) -> Finished:
        return self.git.attempt("-c", "apply.whitespace=nowarn", "apply", *words, "-", stdin=self.patch)

    @property
    def paths(self) -> list[bytes]:
        """What it touches."""
        told = self.git.run("apply", "--numstat", "-z", "-", stdin=self.patch)
        return [line.split(b"\t", 2)[2] for line in told.parts]


@dataclass(frozen=True, slots=True)
class Applied:
    """How an answer came into a checkout. `there`: all of it stood there before; `merged`: with what was changed
    meanwhile; `both`: the files that both had changed."""

    there: bool = False
    merged: bool = False
    both: tuple[str, ...] = ()


def apply_answer(repo: Path, store: Path) -> Applied:
    """Bring what a run has come to into the files of the user's checkout, wholly or not at all; blocks.

    Where the files are no longer as they were at the start, the three are merged: start, answer and what stands there
    now.

    Raises:
        UsageError: an earlier one was cut off half way, both changed the same lines, or it cannot be applied for
            another reason; nothing was changed.
        MachineError: the files cannot be written; they are as they were.
    """
    own, apart = own_git(store), apart_of(store)
    for path in (b"", *(module.path for module in apart.modules)):
        if not path or still_there(repo, path):
            refuse_half_done(opened(user_git(repo / os.fsdecode(path))))
    base, answer = (own.run("rev-parse", "--verify", f"{ref}^{{commit}}").text for ref in (BASE, ANSWER))
    parts = _parts(repo, store, apart, base, answer)
    if not _refusal(parts):
        _apply(parts)
        return Applied()
    date = remembered(store).date
    now = commit_tree(own, take(opened(user_git(repo)), store).tree, [base], "now", author="swarm", date=date)
    done = own.merge_tree("--no-messages", now, answer)
    tree, *conflicts = done.parts
    if done.code != 0:
        names = ", ".join(dict.fromkeys(map(one_line, conflicts[:5])))
        raise UsageError(
            f"the patch does not apply to {repo}: {names} changed since the run began, in the same place",
            remedy=_REMEDY.format(run=store.parent.name),
        )
    merged = commit_tree(own, tree.decode(), [now, answer], "merged", author="swarm", date=date)
    parts = _parts(repo, store, apart, now, merged)
    if not parts:
        return Applied(there=True)
    if wrong := _refusal(parts):
        unseen = [one_line(path) for part in parts for path in _unseen(part)]
        if unseen:
            wrong = f"it changes what git is told to pass over here (sparse, skip-worktree): {', '.join(unseen[:5])}"
        raise UsageError(f"the patch does not apply to {repo}: {wrong}", remedy=_REMEDY.format(run=store.parent.name))
    _apply(parts)
    both = (_changed(own, base, new) for new in (now, answer))
    return Applied(merged=True, both=tuple(one_line(name) for name in sorted(set.intersection(*map(set, both)))))


_REMEDY = "put it on a branch and merge that: swarm resume {run} --branch NAME"


def _changed(own: Git, old: str, new: str) -> list[bytes]:
    return own.run("diff-tree", "-r", "-z", "--name-only", "--no-renames", old, new).parts


def _parts(repo: Path, store: Path, apart: Apart, old: str, new: str) -> list[_Part]:
    """The patches from one commit of the store to another, for the user's repository and those in it."""
    own = own_git(store)
    nothing = own.run("hash-object", "-w", "-t", "tree", "--stdin").text
    parts = []
    for path in (b"", *(module.path for module in apart.modules)):
        trees = [part_of(own, commit, path) or nothing for commit in (old, new)]
        if trees[0] == trees[1]:
            continue
        # Else git would take the repository around it, and pass over what is not in this folder.
        if path and not still_there(repo, path):
            raise UsageError(
                f"the patch does not apply to {repo}: {one_line(path)} is no longer a repository",
                remedy="put it back; a submodule: git submodule update --init",
            )
        user = opened(user_git(repo / os.fsdecode(path)))
        user = replace(user, git=without_filters(user.git)) if apart.foreign(path) else user
        cut = len(path) + 1 if path else 0
        inner = [each.path[cut:].decode(errors="surrogateescape") for each in apart.inside(path)]
        without = (f":(exclude,literal){name}/" for name in inner)
        patch = own.run(*_DIFF, *trees, *(("--", ".", *without) if inner else ())).out
        if patch.strip():
            parts.append(_Part(lfs.filtered(user, store), user.own, patch))
    return parts


def _refusal(parts: Sequence[_Part]) -> str:
    """Why the patches do not apply, empty where they do."""
    for part in parts:
        done = part.run("--check")
        if done.code != 0:
            return done.complaint.removeprefix("error: ")
        if not part.paths:
            return f"git finds nothing of it to change in {part.git.cwd}"
    return ""


def _unseen(part: _Part) -> list[bytes]:
    """What it touches that git does not look at: outside a sparse checkout, or marked so by the user."""
    marked = {line[2:] for line in part.git.run("ls-files", "-v", "-z").parts if line[:1] == b"S" or line[:1].islower()}
    return [path for path in part.paths if path in marked]


def _apply(parts: Sequence[_Part]) -> None:
    with ExitStack() as stack:
        for part in parts:
            stack.enter_context(all_or_nothing(part.git.cwd, part.paths, part.own))
        for part in parts:
            done = part.run()
            if done.code != 0:
                raise MachineError(
                    f"the patch was not applied to {part.git.cwd}: {done.complaint.removeprefix('error: ')}",
                    remedy="the files are as they were; mend that and take the patch from the run's folder",
                )
