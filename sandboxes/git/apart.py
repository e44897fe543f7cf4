"""What the trees of a run's store show otherwise than the user's own: files of submodules are files like any other in
them, and what a partial clone never fetched is not in them. It is put back where a branch is made."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from swarm.errors import MachineError
from swarm.sandboxes.git.command import Git
from swarm.sandboxes.git.trees import FOLDER, GITLINK, Entry, entry_at, without_folders

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


def part_of(git: Git, commit: str, path: bytes) -> str | None:
    """The tree of a module in a commit of the store, of the top with an empty path; None where no folder is there."""
    top = git.run("rev-parse", f"{commit}^{{tree}}").text
    found = entry_at(git, top, path) if path else Entry(FOLDER, top)
    return found.name if found is not None and found.mode == FOLDER else None


def recorded(git: Git, tree: str, apart: Apart, path: bytes, links: Mapping[bytes, str]) -> str:
    """What the repository at `path` would record of its part of the store's tree. `links`: the commits of modules."""
    prefix = path + b"/" if path else b""
    inner = apart.inside(path)
    absent = []
    for line in apart.lines:
        about, _, name = line.partition(b"\t")
        if name.startswith(prefix) and not any(name.startswith(each.path + b"/") for each in inner):
            absent.append((about, name[len(prefix) :]))
    instead: dict[bytes, Entry | None] = {}
    for each in inner:
        link = each.link and links.get(each.path, each.link)
        instead[each.path[len(prefix) :]] = Entry(GITLINK, link) if link else None
    tree = without_folders(git, tree, instead) if instead else tree
    return _with(git, tree, absent) if absent else tree


def _with(git: Git, tree: str, absent: list[tuple[bytes, bytes]]) -> str:
    """The tree with entries whose content is not here, where nothing took their place."""
    there = set(git.run("ls-tree", "-r", "-z", "--name-only", tree).parts)
    folders = {b"/".join(parts[:n]) for path in there for parts in (path.split(b"/"),) for n in range(1, len(parts))}
    lines = []
    for about, path in absent:
        above = {b"/".join(path.split(b"/")[:n]) for n in range(1, path.count(b"/") + 1)}
        if path not in there and path not in folders and not above & there:
            lines.append(about + b"\t" + path + b"\0")
    index = Path(git.env["GIT_DIR"]) / "whole-index"
    env = {"GIT_INDEX_FILE": str(index)}
    try:
        git.run("read-tree", tree, env=env)
        git.run("update-index", "-z", "--index-info", stdin=b"".join(lines), env=env)
        return git.run("write-tree", "--missing-ok", env=env).text
    finally:
        index.unlink(missing_ok=True)
