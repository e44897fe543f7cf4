"""The lock files, read: packages with exact versions and the hashes of all their files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from packaging.markers import Marker

FILES = ("base", "demo", "dev", "audit", "docs")
"""The lock files: what users get, what `make demo` and `make test` add, what `make audit` asks with, what `make docs`
builds with."""

_PACKAGE = re.compile(r"(?P<name>[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)==(?P<version>[^\s;]+)(?: ; (?P<marker>[^\\]+?))?")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


class Locked(NamedTuple):
    """One package. `marker`: where it is wanted, None for everywhere."""

    name: str
    version: str
    hashes: tuple[str, ...]
    marker: Marker | None = None

    @property
    def here(self) -> bool:
        """Whether this machine wants it."""
        return self.marker is None or self.marker.evaluate()


def read_lock(path: Path) -> list[Locked]:
    """The packages of a lock file.

    Raises:
        ValueError: a line is neither a package with an exact version and hashes, nor a comment.
    """
    text = re.sub(r"(?m)^ *#.*\n", "", path.read_text(encoding="utf-8")).replace(" \\\n", " ")
    found: list[Locked] = []
    for line in text.splitlines():
        wanted, *hashes = re.split(r"\s+(?=--)", line.strip())
        package = _PACKAGE.fullmatch(wanted)
        sums = [_HASH.fullmatch(each) for each in hashes]
        if not package or not sums or not all(sums):
            raise ValueError(f"{path.name}: no exact version with SHA-256 hashes alone: {line[:120]}")
        marker = Marker(package["marker"]) if package["marker"] else None
        found.append(Locked(package["name"], package["version"], tuple(each[1] for each in sums if each), marker))
    return found
