"""A user's repository, opened: where it is and what it says of itself, asked once and in few questions."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from swarm.errors import MachineError
from swarm.sandboxes.git.command import Finished, Git

_ASKED = (
    *("--is-inside-work-tree", "--is-bare-repository", "--show-object-format"),
    *("--absolute-git-dir", "--git-common-dir", "--show-toplevel"),
)
_ALWAYS = 5
"""So many are answered where there are no files, too."""


class NoRepository(MachineError):
    """git finds no repository that it can use; `said` is how it says so."""

    def __init__(self, git: Git, said: Finished) -> None:
        super().__init__(f"{git.cwd} cannot be used: {said.complaint}")
        self.said = said


@dataclass(frozen=True)
class Opened:
    """A repository around a folder. `inside`: the folder is among its files, whose topmost one is `top`; `own` is its
    folder of git, `common` what other worktrees of it share; `form` says how it names objects; `head` is its commit,
    None where it has none."""

    git: Git
    inside: bool
    bare: bool
    form: str
    own: Path
    common: Path
    top: Path | None
    head: str | None

    @cached_property
    def configured(self) -> frozenset[str]:
        """What is configured, by key; a section and the name in it are in small letters."""
        told = self.git.attempt("config", "-z", "--name-only", "--list").parts
        return frozenset(os.fsdecode(key) for key in told)

    def path_of(self, key: str) -> str:
        """A path that is configured, empty where none is."""
        if key not in self.configured:
            return ""
        return os.fsdecode(self.git.attempt("config", "--type=path", key).out.removesuffix(b"\n"))

    @property
    def partial(self) -> bool:
        """Whether it may lack what was never fetched."""
        return any(
            key.startswith("extensions.partial")
            or (key.startswith("remote.") and key.endswith((".promisor", ".partialclonefilter")))
            for key in self.configured
        )


def opened(git: Git) -> Opened:
    """The repository in which `git` runs.

    Raises:
        NoRepository: there is none, or git may not use it.
        MachineError: git cannot run.
    """
    words = ("rev-parse", "--path-format=absolute")
    done = git.attempt(*words, "--verify", "-q", *_ASKED, "HEAD^{commit}")
    told = done.out.split(b"\n")[:-1]
    if len(told) < _ALWAYS:
        raise NoRepository(git, done)
    head = told.pop().decode() if done.code == 0 else None
    if len(told) not in (_ALWAYS, len(_ASKED)):  # a name holds the end of a line
        told = [answer for each in _ASKED if (answer := git.attempt(*words, each).out.removesuffix(b"\n"))]
    inside, bare, form = (answer.decode() for answer in told[:3])
    own, common, *top = (Path(os.fsdecode(answer)) for answer in told[3:])
    return Opened(git, inside == "true", bare == "true", form, own, common, top[0] if top else None, head)
