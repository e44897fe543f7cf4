"""Looks through a repository for the command that tests it, and chooses among those found."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from swarm.discovery import builders, javascript, python
from swarm.discovery.found import Found, folders_in

_DEEP = 3
_MOST_FOLDERS = 1_000
_FINDERS = (python.find, javascript.find, builders.find)


@dataclass(frozen=True, slots=True)
class Choice:
    """The command that was chosen, None where none can be run; `others` could be meant as well, `missing` lack their
    program here."""

    found: Found | None
    others: tuple[Found, ...] = ()
    missing: tuple[Found, ...] = ()

    @property
    def command(self) -> str:
        """The command for a shell at the top of the repository, empty without one."""
        return command_of(self.found) if self.found is not None else ""


def command_of(found: Found) -> str:
    """It as a command for a shell at the top of the repository."""
    return f"cd {shlex.quote(found.folder)} && {found.command}" if found.folder else found.command


def find_tests(top: Path, start: Path | None = None) -> list[Found]:
    """The commands that may test the repository at `top`, the surest first: of the nearest project on the way from
    `start`, a folder in it, up to the top; else of the projects below the top that are least deep. Blocks."""
    here = (start or top).resolve()
    top = top.resolve()
    inner = [here, *here.parents] if here.is_relative_to(top) else []
    for folder in inner[: len(here.relative_to(top).parts)] if inner else []:
        if found := [each for each in _in(folder, top) if each.project]:
            return found
    if found := _in(top, top):
        return found
    level, seen = folders_in(top), 0
    for _ in range(_DEEP):
        seen += len(level)
        if seen > _MOST_FOLDERS:
            return []
        if found := sorted(chain.from_iterable(_in(folder, top) for folder in level), key=lambda each: each.rank):
            return found
        level = [below for folder in level for below in folders_in(folder)]
    return []


def choose(found: Sequence[Found], runs: Callable[[Found], bool]) -> Choice:
    """The surest of those that can be run; of each folder and language only what is surest is named beside it."""
    able = [each for each in found if runs(each)]
    missing = tuple(each for each in found if each not in able)
    if not able:
        return Choice(None, missing=missing)
    return Choice(able[0], tuple(able[1:]), missing)


def _in(folder: Path, top: Path) -> list[Found]:
    try:
        where = os.fspath(folder.relative_to(top))
    except ValueError:
        return []
    place = "" if where == "." else where
    found = chain.from_iterable(find(folder) for find in _FINDERS)
    return sorted((replace(each, folder=place) for each in found), key=lambda each: each.rank)
