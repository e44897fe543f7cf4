"""What is on this machine now: found without the help of what is tested."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import anyio

_LOOKS_S = 0.01


async def until(seen: Callable[[], object]) -> None:
    """Wait for what another process does, which tells nobody."""
    while not seen():  # noqa: ASYNC110
        await anyio.sleep(_LOOKS_S)


def processes_of(folder: str) -> set[str]:
    """Processes with a path below a folder in their command line, their environment or their sandbox's mounts."""
    found: set[str] = set()
    wanted = f"{folder}/".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line, environment = ((process / name).read_bytes() for name in ("cmdline", "environ"))
            # What is mounted, not where: a sandbox of somebody else, while it starts, still sees the machine's mounts.
            mounted = [row.split()[3] + b"/" for row in (process / "mountinfo").read_bytes().splitlines()]
        except OSError:  # it ended
            continue
        seen = (line + environment).replace(b"\0", b"/\0")
        if wanted in seen or any(wanted in path for path in mounted):
            found.add(f"process {process.name} {line[:100]!r}")
    return found


def mounts_of(folder: str) -> set[str]:
    """Mounts at or below a folder."""
    rows = Path("/proc/self/mountinfo").read_text().splitlines()
    return {row for row in rows if f"{row.split()[4]}/".startswith(f"{folder}/")}


def cgroups_of(start: str) -> set[str]:
    """Cgroups whose name begins so."""
    # Not by glob: it fails where somebody else's cgroup goes away meanwhile.
    below = os.walk("/sys/fs/cgroup")
    return {f"{folder}/{name}" for folder, names, _ in below for name in names if name.startswith(start)}
