"""TOML, of files that may be a stranger's as well: bounded in size and depth, and never a device or a pipe."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path
from typing import Any

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


def read_toml(path: Path) -> dict[str, Any]:
    """What a TOML file holds; nothing where there is none. Blocks.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no plain file, too long, no UTF-8 or no TOML; the message says which.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return {}
    if not stat.S_ISREG(mode):
        raise ValueError("it is no plain file")
    with path.open("rb") as file:
        data = file.read(4 * LONGEST + 1)
    if len(data) > 4 * LONGEST:
        raise ValueError(f"it has more than {LONGEST} characters")
    return bounded(data.decode("utf-8").replace("\r\n", "\n"))
