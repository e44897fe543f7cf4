"""What the trees of a run's store show otherwise than the user's own: files of submodules are files like any other in
them, and what a partial clone never fetched is not in them. It is put back where a branch is made."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from swarm.errors import MachineError

_FILE = "apart.json"


class Module(BaseModel):
    """A repository in the user's, whose files stand in the store's trees. `head` is its HEAD, `link` what the
    repository around it records, empty where it records nothing."""

    model_config = ConfigDict(frozen=True)

    quoted: str
    head: str
    link: str

    @property
    def path(self) -> bytes:
        """From the top of the user's repository."""
        return unquote_to_bytes(self.quoted)

    def below(self, repo: Path) -> Path:
        """Its folder."""
        return repo / os.fsdecode(self.path)


class Apart(BaseModel):
    """The `modules` of a store, outer ones before those in them, and the lines (`MODE NAME TAB PATH`, quoted) of what
    is `absent`."""

    model_config = ConfigDict(frozen=True)

    modules: tuple[Module, ...] = ()
    absent: tuple[str, ...] = Field(default=(), repr=False)

    def inside(self, path: bytes) -> Sequence[Module]:
        """The modules in a module but for those in these; of the top with an empty path."""
        within = [each for each in self.modules if not path or each.path.startswith(path + b"/")]
        return [each for each in within if not any(each.path.startswith(other.path + b"/") for other in within)]

    def foreign(self, path: bytes) -> bool:
        """Whether a module is recorded by nobody, or in one that is not."""
        return any(not each.link and (path + b"/").startswith(each.path + b"/") for each in self.modules)

    @property
    def lines(self) -> list[bytes]:
        """What is absent, for `update-index --index-info`."""
        return [unquote_to_bytes(line) for line in self.absent]


def module(path: bytes, head: str, link: str) -> Module:
    """A module at a path."""
    return Module(quoted=quote_from_bytes(path), head=head, link=link)


def quoted_line(line: bytes) -> str:
    """A line as `Apart.absent` has it."""
    return quote_from_bytes(line)


def keep_apart(store: Path, apart: Apart) -> None:
    """Let a store remember it."""
    (store / _FILE).write_text(apart.model_dump_json())


def apart_of(store: Path) -> Apart:
    """What a store remembers.

    Raises:
        MachineError: its file is damaged.
    """
    path = store / _FILE
    if not path.exists():
        return Apart()
    try:
        return Apart.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise MachineError(f"{path} is damaged") from error
