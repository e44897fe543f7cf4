"""Mounts of this machine: found by where they are, and taken away."""

from __future__ import annotations

import ctypes
import os
import re
from pathlib import Path

MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8
_OCTAL = re.compile(r"\\([0-7]{3})")


def mounts_below(folder: Path) -> list[Path]:
    """Mount points at or under a folder, innermost first."""
    wanted = os.fspath(folder)
    found: list[str] = []
    for line in Path("/proc/self/mountinfo").read_bytes().decode(errors="surrogateescape").splitlines():
        place = _OCTAL.sub(lambda match: chr(int(match[1], 8)), line.split(" ")[4])
        if place == wanted or place.startswith(f"{wanted}/"):
            found.append(place)
    return [Path(place) for place in reversed(found)]


def unmount(place: Path) -> bool:
    """Take one mount away, also while it is in use; whether it is gone."""
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.umount2(os.fsencode(place), MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
