"""TOML, of files that may be a stranger's as well: bounded in size and depth, and never a device or a pipe."""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swarm.errors import UsageError

LONGEST = 1 << 18
"""Characters of a text that is taken from a stranger."""

# A key of many parts takes time that grows with their square.
_MOST_DOTS = 500


def parsed(text: str) -> dict[str, Any]:
    """What a TOML text holds.

    Raises:
        ValueError: it is no TOML, or nested too deeply; the message says so in one line.
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def bounded(text: str) -> dict[str, Any]:
    """What a stranger's TOML text holds.

    Raises:
        ValueError: as of `parsed`, or it is too long, or would take too long.
    """
    if len(text) > LONGEST:
        raise ValueError(f"it has more than {LONGEST} characters")
    if any(line.count(".") > _MOST_DOTS for line in text.splitlines()):
        raise ValueError(f"a line has more than {_MOST_DOTS} dots")
    return parsed(text)


def inside(repo: Path, folder: str, key: str) -> Path:
    """A folder that a repository names under a key of its configuration: one of its own.

    Raises:
        UsageError: it lies elsewhere.
    """
    place = (repo / folder).resolve()
    if not place.is_relative_to(repo.resolve()):
        raise UsageError(
            f"{key} in {repo}/swarm.toml: {folder} is not in the repository",
            remedy="give it on the command line, or in ~/.config/swarm/config.toml",
        )
    return place


def behind_known_prices(shared: dict[str, Any], mine: Mapping[str, Any]) -> dict[str, Any]:
    """A repository's configuration, with its prices behind those that are known otherwise, and beside the user's own: a
    stranger's low price must not outdo a budget."""
    named, own = shared.get("prices"), mine.get("prices", {})
    if not isinstance(named, dict):
        return shared
    behind = {name: {**each, "unless_known": True} if isinstance(each, dict) else each for name, each in named.items()}
    return shared | {"prices": behind | own if isinstance(own, dict) else own}


def read_toml(path: Path, repo: Path | None = None) -> dict[str, Any]:
    """What a TOML file holds; nothing where there is none. One of a repository lies in it. Blocks.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no plain file, a link out of its repository, too long, no UTF-8 or no TOML; the message says
            which.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return {}
    if not stat.S_ISREG(mode):
        raise ValueError("it is no plain file")
    if repo is not None and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(repo)):
        raise ValueError("it is a link that leads out of the repository")
    with path.open("rb") as file:
        data = file.read(4 * LONGEST + 1)
    if len(data) > 4 * LONGEST:
        raise ValueError(f"it has more than {LONGEST} characters")
    return bounded(data.decode("utf-8").replace("\r\n", "\n"))
