"""What was found: a command, what it needs, and why it was thought of."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from configparser import ConfigParser, Error
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from swarm.toml_file import read_toml

_LONGEST = 1 << 20
_LONGEST_COMMENTED = 1 << 16
_LONGEST_LINE = 1_000

SKIPPED = frozenset(
    (
        *("node_modules", "vendor", "third_party", "venv", "env", "build", "dist", "target", "out", "coverage"),
        *("__pycache__", "site-packages", "testdata", "fixtures", "examples", "example", "docs", "doc"),
    )
)
"""Folders that hold no project of the repository's own; those whose names begin with a dot neither."""


class Rank(IntEnum):
    """How surely a command is the one that tests a folder: the least first."""

    CONFIGURED = 10
    """The project's own files say how it is tested."""
    BUILT = 20
    """What builds it also tests it, or there are tests of a known form."""
    WRAPPED = 30
    """It makes environments of its own first, or it may do anything."""
    GUESSED = 40


@dataclass(frozen=True, slots=True)
class Found:
    """A command for the shell, run in `folder` (relative to the repository, "" for its top).

    `program` must be on the PATH, `module` (of Python, may be "") importable. `why` names the file. `project`: a file
    of the folder itself says that it is a project.
    """

    command: str
    program: str
    why: str
    rank: Rank
    folder: str = ""
    module: str = ""
    project: bool = True


def text_of(path: Path) -> str:
    """The beginning of a text file; nothing where it is none, or cannot be read."""
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            return file.read(_LONGEST).decode(errors="replace")
    except OSError:
        return ""


def lines_of(path: Path) -> list[str]:
    """The lines of a text file without overlong ones, on which patterns would be slow."""
    return [line for line in text_of(path).split("\n") if len(line) <= _LONGEST_LINE]


def toml_of(path: Path) -> dict[str, Any]:
    """A TOML file; nothing where it cannot be read."""
    try:
        return read_toml(path)
    except (OSError, ValueError):
        return {}


def json_of(path: Path) -> dict[str, Any]:
    """A JSON file, in which comments and trailing commas may stand; nothing where it cannot be read."""
    text = text_of(path)
    plain = _TRAILING.sub(r"\1", _COMMENTS.sub(_without, text)) if len(text) <= _LONGEST_COMMENTED else ""
    for each in (text, plain):
        try:
            found = json.loads(each)
        except (ValueError, RecursionError):
            continue
        return found if isinstance(found, dict) else {}
    return {}


_COMMENTS = re.compile(r'"(?:\\.|[^"\\])*+"?|//[^\n]*|/\*.*?(?:\*/|\Z)', re.DOTALL)  # linear, whatever is not closed
_TRAILING = re.compile(r",(\s*[}\]])")


def _without(match: re.Match[str]) -> str:
    return match[0] if match[0].startswith('"') else ""


def ini_has(path: Path, *sections: str) -> str:
    """The first of these sections that an INI file holds, or nothing."""
    parser = ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string("\n".join(lines_of(path)))
    except Error:
        return ""
    return next((section for section in sections if parser.has_section(section)), "")


def inside(value: Any, *keys: str) -> Any:
    """What stands under these keys, one in the other; None where nothing does."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def folders_in(folder: Path) -> list[Path]:
    """The folders in one, by name, in which there may be a project."""
    try:
        inner = sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    except OSError:
        return []
    return [path for path in inner if not path.name.startswith(".") and path.name not in SKIPPED]


def any_below(folder: Path, *patterns: str, depth: int = 3, most: int = 500) -> bool:
    """Whether a file of such a name lies in a folder, or so deep below it; at most so many folders are looked at."""
    for count, each in enumerate(_walk(folder, depth)):
        if count >= most:
            return False
        try:
            if any(next(each.glob(pattern), None) is not None for pattern in patterns):
                return True
        except OSError:
            continue
    return False


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    level = [folder]
    for _ in range(depth + 1):
        yield from level
        level = [inner for each in level for inner in folders_in(each)]
