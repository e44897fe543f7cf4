"""Bringing a run's answer into the user's repository as a branch: one commit a sub-task, in the order of the merges."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from swarm.errors import MachineError, UsageError
from swarm.sandboxes.git import lfs
from swarm.sandboxes.git.apart import Apart, apart_of, recorded
from swarm.sandboxes.git.command import Git, own_git, user_git
from swarm.sandboxes.git.opened import opened
from swarm.sandboxes.git.repository import ANSWER, BASE, EMAIL, remembered
from swarm.sandboxes.git.taking import still_there
from swarm.sandboxes.git.trees import folders_at

UNCOMMITTED = "uncommitted changes at the start"

_LONGEST = 4_000
"""Characters of what an agent said of its work that stand in a commit's message."""

_IDENT = re.compile(r"(?P<name>.*) <(?P<email>.*)> \d+ (?P<zone>[+-]\d+)")
_RUN = "Swarm-Run: "
_MADE = "refs/given/"
"""In the store: the commits that branches were made of, by their ids."""
_TRAILER = re.compile(r"^Swarm-(?:Subtask|Repaired-By): .*$", re.MULTILINE)


@dataclass(slots=True)
class _Line:
    """The commits made for one repository. `path`: where it is, empty for the top."""

    path: bytes
    git: Git
    head: str
    tip: str
    tree: str
    part: str | None = None
    """The tree of the store's last commit at this place, from which `tree` was made."""
    links: dict[bytes, str] = field(default_factory=dict)
    """The commits of the modules at that time."""

    @property
    def moved(self) -> bool:
        return self.tip != self.head


def create_branch(repo: Path, name: str, store: Path, *, run: str = "") -> list[Path]:
    """Bring the answer in a run's store into the user's repository as a new branch; blocks.

    The checkout is not touched. Where the run began with uncommitted changes, they are the branch's first commit; then
    comes one for each sub-task, by whoever `git commit` would take there, with the sub-task and the `run` as trailers.
    A submodule that was changed gets a branch of the same name. Gives where there are branches now. One that was made
    of this store before, and that nobody has changed or works on, is brought up to date.

    Raises:
        UsageError: the name is not allowed or taken.
        MachineError: the store has no answer, or the repository cannot be written.
    """
    apart, own = apart_of(store), own_git(store)
    tip = own.run("rev-parse", "--verify", f"{ANSWER}^{{commit}}").text
    lines = _Rewriting(repo, own, apart, run).all_to(tip)
    ref = f"refs/heads/{name}"
    if name.startswith("-") or lines[0].git.attempt("check-ref-format", ref).code != 0:
        raise UsageError(f"{name!r} cannot be the name of a branch", remedy="choose another name")
    before = {line.path: _at(line.git, ref) for line in lines}
    for line in lines:
        old = before[line.path]
        if old not in ("", line.tip) and not (is_given(store, old) and not _in_use(line.git, ref)):
            raise UsageError(f"branch {name} exists in {line.git.cwd}", remedy="choose another name or remove it")
    for line in lines:  # before any is there: who is killed between two finds out whose they are
        own.run("update-ref", f"{_MADE}{line.tip}", line.tip)
    made: list[_Line] = []
    try:
        for line in reversed(lines):  # submodules first: what links to them comes after
            old = before[line.path]
            if old == line.tip:
                continue  # it was killed right after it had made it
            _bring(own, line, store)
            done = line.git.attempt("update-ref", "-m", "swarm", ref, line.tip, old or "0" * len(line.tip))
            if done.code != 0:
                raise UsageError(
                    f"branch {name} cannot be made in {line.git.cwd}: {done.complaint}", remedy="choose another name"
                )
            made.append(line)
    except BaseException:
        for line in made:
            back = ["-d", ref] if not before[line.path] else [ref, before[line.path]]
            line.git.attempt("update-ref", *back, line.tip)
        raise
    return [line.git.cwd for line in lines]


def is_given(store: Path, commit: str) -> bool:
    """Whether a branch was made of this commit of a run's store, and not by whoever rewrote what it brought."""
    return own_git(store).attempt("show-ref", "--verify", "--quiet", f"{_MADE}{commit}").code == 0


def _first_given(own: Git) -> int:
    """When the first branch was made, in Unix seconds; now, where none was. All that are made of one answer have the
    same commits: those of submodules are linked to."""
    told = own.run("for-each-ref", "--count=1", "--sort=committerdate", "--format=%(committerdate:unix)", _MADE).text
    return int(told or time.time())


def _at(git: Git, ref: str) -> str:
    """The commit of a branch; empty where there is no such branch."""
    found = git.attempt("show-ref", "--verify", "--hash", ref)
    return found.text if found.code == 0 else ""


def _in_use(git: Git, ref: str) -> bool:
    """Whether a branch is checked out somewhere."""
    return f"branch {ref}" in git.run("worktree", "list", "--porcelain").text.splitlines()


class _Rewriting:
    """Makes the commits of the user's repositories out of those of the store."""

    def __init__(self, repo: Path, own: Git, apart: Apart, run: str) -> None:
        self._own = own
        self._apart = apart
        self._run = run
        base = own.run("rev-parse", "--verify", f"{BASE}^{{commit}}").text
        self._base = base
        self._repo = repo
        self._paths = [b"", *(module.path for module in apart.modules)]
        parts = folders_at(own, base, self._paths)
        self._lines = [self._line(b"", user_git(repo), remembered(own.cwd).head, parts)]
        for module in apart.modules:
            self._lines.append(self._line(module.path, user_git(module.below(repo)), module.head, parts))
        self._links: dict[bytes, str] = {}
        self._now = _first_given(own)
        self._who: dict[bytes, dict[str, str]] = {}

    def all_to(self, tip: str) -> list[_Line]:
        """The line of the top, and of every submodule that has new commits."""
        chain = self._own.run("rev-list", "--first-parent", "--reverse", f"{self._base}..{tip}").text.split()
        top, *modules = self._lines
        for commit in chain:
            message = self._message(commit)
            parts = folders_at(self._own, commit, self._paths)
            for line in (*reversed(modules), top):
                self._add(line, parts.get(line.path), message)
        return [top, *(line for line in modules if line.moved)]

    def _line(self, path: bytes, git: Git, head: str, parts: Mapping[bytes, str]) -> _Line:
        part = parts.get(path)
        tree = recorded(self._own, part, self._apart, path, {}) if part else ""
        return _Line(path, git, head, head, tree, part)

    def _add(self, line: _Line, part: str | None, message: str) -> None:
        links = {path: tip for path, tip in self._links.items() if path.startswith(line.path)}
        if part is None or (part, links) == (line.part, line.links):
            return  # nothing new; where the folder is gone, the repository around it records that
        line.part, line.links = part, links
        tree = recorded(self._own, part, self._apart, line.path, self._links)
        if tree == line.tree:
            return
        if not line.moved and line.tree != self._own.run("rev-parse", f"{line.head}^{{tree}}").text:
            self._commit(line, line.tree, UNCOMMITTED)
        self._commit(line, tree, message)
        if line.path:
            self._links[line.path] = line.tip

    def _commit(self, line: _Line, tree: str, message: str) -> None:
        if line.path not in self._who:
            if line.path and not still_there(self._repo, line.path):
                # git would take the repository around it.
                raise UsageError(
                    f"{line.git.cwd} is no longer a repository",
                    remedy="put it back; a submodule: git submodule update --init",
                )
            self._who[line.path] = _identity(line.git, self._now)
        env = self._who[line.path]
        text = message.replace("\0", " ").encode(errors="replace")
        line.tip = self._own.run("commit-tree", "--no-gpg-sign", tree, "-p", line.tip, stdin=text, env=env).text
        line.tree = tree

    def _message(self, commit: str) -> str:
        """What a commit of the chain is about: of a merge, what was merged."""
        parents = self._own.run("show", "-s", "--format=%P", commit).text.split()
        text = self._own.run("show", "-s", "--format=%B", parents[-1] if len(parents) > 1 else commit).text
        trailers = list(dict.fromkeys(_TRAILER.findall(text)))
        body = _TRAILER.sub("", text).strip()[:_LONGEST].rstrip()
        if self._run:
            trailers.append(f"{_RUN}{self._run}")
        return "\n\n".join(filter(None, (body or "changes", "\n".join(trailers)))) + "\n"


def _identity(git: Git, now: int) -> dict[str, str]:
    """Whom `git commit` would name in a repository, at a time; swarm where it would name nobody."""
    env: dict[str, str] = {}
    for role in ("AUTHOR", "COMMITTER"):
        given = {key: value for key, value in os.environ.items() if key.startswith((f"GIT_{role}_", "EMAIL"))}
        found = _IDENT.fullmatch(git.attempt("var", f"GIT_{role}_IDENT", env=given).text)
        name, email, zone = (found["name"], found["email"], found["zone"]) if found else ("swarm", EMAIL, "+0000")
        env |= {f"GIT_{role}_NAME": name, f"GIT_{role}_EMAIL": email, f"GIT_{role}_DATE": f"@{now} {zone}"}
    return env


def _bring(own: Git, line: _Line, store: Path) -> None:
    """Bring the objects of a line into its repository, as one pack."""
    new = own.run("rev-list", "--objects", "--no-object-names", "--missing=allow-any", line.tip, f"^{line.head}").text
    if not new:
        return
    user = opened(line.git)
    folder = user.common / "objects/pack"
    wanted = f"{line.tip}\n^{line.head}\n".encode()
    with tempfile.TemporaryDirectory(prefix="pack-", dir=store) as making:
        base = Path(making) / "pack"
        own.run("pack-objects", "--revs", "-q", "--delta-base-offset", "--missing=allow-any", base, stdin=wanted)
        made: list[Path] = []
        try:
            lfs.hand_over(store, user, new.split())
            folder.mkdir(parents=True, exist_ok=True)
            for path in sorted(
                Path(making).iterdir(), key=lambda path: path.suffix == ".idx"
            ):  # it counts from then on
                if not (target := folder / path.name).exists():
                    made.append(target)
                    shutil.copyfile(path, target)
                    target.chmod(0o444)
        except OSError as error:
            for path in made:
                path.unlink(missing_ok=True)
            where = line.git.cwd
            raise MachineError(
                f"the repository of {where} cannot be written: {error.strerror}", remedy="it is as it was; mend that"
            ) from error
