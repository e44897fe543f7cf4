"""What each backend is known not to do, by name and with the reason.

A name is that of a conformance check, which then is of no meaning there, or that of a limit: `memory`, `pids`, `cpu`,
`disk`, `file-size`; `system-calls` are filtered. What is not named here holds.
"""

from __future__ import annotations

from collections.abc import Mapping

LIMITS = ("memory", "pids", "cpu", "disk", "file-size", "system-calls")

_DISK = (
    "a watch, not a wall: a command that goes over it is ended 0.1 to 0.2 s later, with what the disk took meanwhile "
    "(some hundred MB), or later where the workspace has 100 000 files and more; background jobs are ended up to a "
    "second later; not seen are files removed while open"
)
_MEMORY = (
    "no cgroup may be used: all processes together are watched, and over the limit the largest is killed, with what "
    "they took meanwhile (some hundred MB); not seen are System V segments that nobody maps, and what the kernel holds "
    "for sockets and pipes"
)
_NOTHING_INSIDE = "nothing is isolated: it is this machine, with this user's rights"

ISOLATION = (
    "files-links-to-the-host",
    "no-network",
    "not-root",
    "root-is-read-only",
    "host-is-invisible",
    "host-processes-are-invisible",
    "core-and-processes-are-limited",
    "files-dot-dot",
    "kills-everything",
    "signals-the-first-process",
    "fork-bomb",
    "nothing-piles-up",
    "meddles-with-the-next-shell",
    "keyring-is-closed",
    "namespaces-are-closed",
)
"""The checks that mean nothing where nothing is isolated."""


def of(backend: object) -> Mapping[str, str]:
    """Those of any backend: what it tells in `known_limits`, if it does."""
    known: Mapping[str, str] = getattr(backend, "known_limits", {})
    return known


def docker() -> Mapping[str, str]:
    """Of containers."""
    return {"disk": _DISK}


def bubblewrap(held: frozenset[str], *, filtered: bool = True) -> Mapping[str, str]:
    """Of bubblewrap, where cgroups limit `held` of memory, pids and cpu. `filtered`: system calls are."""
    found = {"disk": _DISK}
    if "memory" not in held:
        found["memory"] = _MEMORY
    if not filtered:
        found["system-calls"] = (
            "not filtered: there is no filter for this kind of processor; the host's keyring is open"
        )
    if "cpu" not in held:
        found["cpu"] = "no cgroup may be used: not limited"
    return found


def process(held: frozenset[str]) -> Mapping[str, str]:
    """Of no sandbox at all."""
    found = {
        "disk": _DISK,
        "file-size": "not limited",
        "system-calls": "not filtered",
        **dict.fromkeys(ISOLATION, _NOTHING_INSIDE),
    }
    for name in ("memory", "pids", "cpu"):
        if name not in held:
            found[name] = "no cgroup may be used: not limited"
    return found
