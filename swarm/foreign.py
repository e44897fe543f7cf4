"""Other people's agents that may do sub-tasks in the place of ours: how they are named, and how they are started."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from swarm.misnamed import unknown
from swarm.values import value

Kind = Literal["acp", "command"]

HOLES = ("{task}", "{task_file}", "{model}", "{base_url}", "{api_key}")
"""What may stand in a command, and (but for the first two) in a variable: what is known when an attempt begins."""

USUAL = {
    "OPENAI_BASE_URL": "{base_url}",
    "OPENAI_API_BASE": "{base_url}",
    "OPENAI_API_KEY": "{api_key}",
    "OPENAI_MODEL": "{model}",
}
"""Variables by which most agents find an endpoint."""

_QUOTED = re.compile(r"""(["']){task}\1""")
_OUTSIDE = re.compile(r"""\\.|'[^']*'|"(?:\\.|[^"\\])*\"""", re.DOTALL)
"""What is quoted in a line for a shell."""


class ForeignAgent(BaseModel):
    """An agent that is somebody else's. `acp` is a command that speaks the Agent Client Protocol on its standard input
    and output; `command` one that does a task and ends. `env` are variables for it, beside those of every sandbox;
    `toolchain` folders of this machine that it is shown read-only, beside the one that its program lies in."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    acp: str | None = Field(default=None, min_length=1)
    command: str | None = Field(default=None, min_length=1)
    env: dict[Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$")], str] = Field(default_factory=dict)
    toolchain: tuple[Path, ...] = ()

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.acp is None) == (self.command is None):
            raise ValueError("give acp or command, one of the two")
        if self.acp is not None and ("{task}" in self.acp or "{task_file}" in self.acp):
            raise ValueError("an agent that speaks ACP is given its task by that: leave out {task}")
        if _OUTSIDE.sub("", self.line).count("{task}") < self.line.count("{task}"):
            raise ValueError("{task} is a word of its own: let it stand outside of quotes")
        return self

    @property
    def kind(self) -> Kind:
        return "acp" if self.acp is not None else "command"

    @property
    def line(self) -> str:
        """Its command line; `{task}` needs no quotes, and stands in none."""
        return _QUOTED.sub("{task}", self.acp or self.command or "")

    @property
    def program(self) -> str:
        """The program that its command line begins with, behind variables that are set there."""
        return next((word for word in self._words if "=" not in word), "")

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that it names by their whole path, such as a script, but for its program."""
        words = [word for word in self._words if word.startswith("/") and word != self.program]
        return tuple(Path(word) for word in words if Path(word).is_file())

    @property
    def _words(self) -> list[str]:
        try:
            return shlex.split(self.line)
        except ValueError:  # a quote that does not end: the shell will say so
            return self.line.split()


@value(frozen=True, slots=True)
class Named:
    """An agent under the name by which the record knows it."""

    name: str
    agent: ForeignAgent


def named_worker(worker: str, known: Mapping[str, ForeignAgent]) -> Named:
    """The agent that `worker` names.

    Raises:
        ValueError: it names none; the message says what it should be.
    """
    kind, colon, line = worker.partition(":")
    if colon and kind in ("acp", "command"):
        if not line.strip():
            raise ValueError(f"{kind}: is followed by a command")
        agent = ForeignAgent(acp=line) if kind == "acp" else ForeignAgent(command=line)
        return Named(f"{kind}:{Path(agent.program).name}", agent)
    if worker in known:
        return Named(worker, known[worker])
    if known:
        raise ValueError(f"{worker!r}: {unknown(worker, known, 'worker')}")
    raise ValueError(f"{worker!r} is no worker: give acp:COMMAND or command:COMMAND, or name it under [workers.NAME]")


def refuse_groups(worker: str | None, known: Mapping[str, ForeignAgent], max_depth: int) -> None:
    """Raises: ValueError where `worker` names nobody, or would have to lead agents of ours."""
    if worker is not None:
        named_worker(worker, known)
        if max_depth > 1:
            raise ValueError("somebody else's agent starts none of ours: with a worker, leave max_depth at 1")
