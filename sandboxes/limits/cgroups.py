"""Limits of memory, processes and CPU by the kernel's control groups, version 1 or 2, whichever may be used here.

    PARENT/swarm-LEASE-xxxxxx/SANDBOX     in each hierarchy that is used

PARENT is our own cgroup or one above it, so that the limits that hold for us hold for all of it too. A sandbox's first
process puts itself into SANDBOX before it runs anything (`Cgroup.enter`): nothing is ever outside. The folders of a
lease are written down in its file `cgroups` before they are made, for whoever removes them when we were killed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import anyio.to_thread

from swarm.errors import SandboxError
from swarm.sandboxes.leases.records import read_record
from swarm.sandboxes.limits.places import CPU, MEMORY, PIDS, Hierarchy, find, read
from swarm.types import SandboxLimits
from swarm.values import value

RECORD = "cgroups"
"""The file of a lease's folder that names its cgroups, one path a line."""

REMEDY = "start swarm as root, or as a user by `systemd-run --user --scope swarm …`"
_PERIOD_US = 100_000
_REMOVAL_S = 5.0
_FORGETS_S = 0.5
_ATTEMPTS = 20
_ENTER = 'for __swarm in {}; do echo 0 >"$__swarm" || exit 125; done; '
_DOOR = {1: "tasks", 2: "cgroup.procs"}
"""The file by which a process enters. A shell has one thread, and to move no more than the thread that asks for it, the
kernel need not hold up the whole machine: `cgroup.procs` takes some 10 ms. Version 2 has no other way for a process."""

_ONLY_WITH_SWAP = ("memory.swap.max", "memory.memsw.limit_in_bytes", "memory.swappiness")
"""Settings whose files are missing where the machine has, or counts, no swap."""


@value(frozen=True, slots=True)
class Cgroup:
    """One sandbox's cgroups, one folder in each hierarchy."""

    folders: tuple[tuple[Hierarchy, Path], ...]

    def enter(self, argv: Sequence[str]) -> list[str]:
        """A command line that enters them and then becomes `argv`."""
        return ["/bin/sh", "-c", f'{self.shell()}exec "$@"', "sh", *argv] if self.folders else list(argv)

    def shell(self) -> str:
        """Shell text by which a shell enters them, or ends."""
        doors = (shlex.quote(str(folder / _DOOR[hierarchy.version])) for hierarchy, folder in self.folders)
        return _ENTER.format(" ".join(doors)) if self.folders else ""

    def dead(self) -> int:
        """How many processes are counted that have ended, because whoever inherited them did not ask for it yet."""
        for hierarchy, folder in self.folders:
            if PIDS in hierarchy.controllers:
                living = len((folder / "cgroup.procs").read_text().split())
                return max(0, int((folder / "pids.current").read_text()) - living)
        return 0

    def holds(self) -> frozenset[str]:
        """Which of memory, pids and cpu are limited."""
        return frozenset(name for hierarchy, _ in self.folders for name in hierarchy.controllers)

    def trouble(self, process: int, limits: SandboxLimits) -> str:
        """What does not hold for a process by what the kernel says now; nothing where all does. Blocks."""
        try:
            for hierarchy, folder in self.folders:
                members = (folder / "cgroup.procs").read_text().split()
                if str(process) not in members:
                    return f"its first process is not in {folder}"
                for name, wanted in _settings(hierarchy, limits):
                    found = read(folder / name)
                    if found is None and name in _ONLY_WITH_SWAP:
                        continue
                    if found is None or not _same(name, found, wanted):
                        return f"{name} is {found or 'missing'}, not {wanted}"
        except OSError as error:
            return f"its cgroup cannot be read: {error}"
        return ""


NONE = Cgroup(())


def usable(lease: Path) -> tuple[Hierarchy, ...]:
    """Where cgroups can be made, each proved by limiting a real process; empty where nowhere. Blocks some ms."""
    chosen: list[Hierarchy] = []
    for hierarchy in find():
        taken = {name for one in chosen for name in one.controllers}
        if not taken.isdisjoint(hierarchy.controllers):
            continue
        if _works(hierarchy, lease):
            chosen.append(hierarchy)
    return tuple(chosen)


class Places:
    """Where cgroups can be made, tried once."""

    def __init__(self) -> None:
        self._found: tuple[Hierarchy, ...] | None = None
        self._finding = anyio.Lock()

    @property
    def held(self) -> frozenset[str]:
        """Which of memory, pids and cpu can be limited, as far as it was tried."""
        return frozenset(name for place in self._found or () for name in place.controllers)

    async def find(self, lease: Path) -> tuple[Hierarchy, ...]:
        """Try, the first time. `lease`: the folder in which the trial is written down."""
        async with self._finding:
            if self._found is None:
                self._found = await anyio.to_thread.run_sync(usable, lease)
            return self._found


@asynccontextmanager
async def limited(places: Places, lease: Path, name: str, limits: SandboxLimits) -> AsyncIterator[Cgroup]:
    """A sandbox's cgroups for the length of the block; at its end all processes in them are killed.

    Raises:
        SandboxError: they cannot be made any more.
    """
    hierarchies = await places.find(lease)
    if not hierarchies:
        yield NONE
        return
    cgroup = Cgroup(tuple((one, one.parent / lease_name(lease) / name) for one in hierarchies))
    try:
        try:
            await anyio.to_thread.run_sync(_make, cgroup, lease, limits)
        except OSError as error:
            raise SandboxError(f"a cgroup cannot be made: {error}") from error
        yield cgroup
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(_drop, cgroup)


def lease_name(lease: Path) -> str:
    """The name of a lease's cgroups: the folder's own, and a mark of where it lies."""
    mark = hashlib.sha256(os.fsencode(lease.resolve())).hexdigest()[:6]
    return f"swarm-{re.sub(r'[^A-Za-z0-9_-]', '_', lease.name)[:200]}-{mark}"


def leftovers(lease: Path) -> list[Path]:
    """The cgroups of a lease that are still there. Blocks.

    Raises:
        OSError: it cannot be read where they are.
    """
    name = lease_name(lease)
    recorded = [Path(line) for line in read_record(lease / RECORD)]
    # Only what bears the lease's name: a file in a folder must not make us remove anything else.
    places = [path for path in recorded if path.name == name and (path / "cgroup.procs").exists()]
    places += [one.parent / name for one in find() if (one.parent / name).is_dir()]
    return list(dict.fromkeys(places))


def remove(path: Path) -> bool:
    """Kill all processes in a cgroup and those below it, and remove it; whether it is gone. Blocks, 5 s at most."""
    deadline = time.monotonic() + _REMOVAL_S
    while True:
        left = False
        for folder, _, _ in os.walk(path, topdown=False):
            try:
                Path(folder).rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                left = True
                _kill(Path(folder))
        if not left:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)


def _kill(folder: Path) -> None:
    with suppress(OSError):
        for process in (folder / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(int(process), signal.SIGKILL)


def _make(cgroup: Cgroup, lease: Path, limits: SandboxLimits) -> None:
    for hierarchy, folder in cgroup.folders:
        _write_down(lease, folder.parent)
        for attempt in range(_ATTEMPTS):
            try:
                if not folder.parent.is_dir():
                    with suppress(FileExistsError):
                        folder.parent.mkdir()
                if hierarchy.version == 2:
                    wanted = " ".join(f"+{name}" for name in hierarchy.controllers)
                    (folder.parent / "cgroup.subtree_control").write_text(wanted)
                folder.mkdir()
                break
            except OSError as error:
                # The last sandbox of this lease took the folder away meanwhile.
                if error.errno not in (errno.ENOENT, errno.ENODEV) or attempt == _ATTEMPTS - 1:
                    raise
        for name, setting in _settings(hierarchy, limits):
            if name not in _ONLY_WITH_SWAP or (folder / name).exists():
                (folder / name).write_text(setting)


def _drop(cgroup: Cgroup) -> None:
    for _, folder in cgroup.folders:
        remove(folder)
    for _, folder in cgroup.folders:
        _drop_empty(folder.parent)


def _drop_empty(folder: Path) -> None:
    """Remove the folder of a lease if no other sandbox is in it; the kernel forgets the last one a little later."""
    deadline = time.monotonic() + _FORGETS_S
    while True:
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline or _has_others(folder):
                return
            time.sleep(0.002)


def _has_others(folder: Path) -> bool:
    try:
        return next(folder.glob("*/"), None) is not None
    except FileNotFoundError:  # the last of the others took it away meanwhile
        return False


def _write_down(lease: Path, folder: Path) -> None:
    path = lease / RECORD
    if str(folder) in read_record(path):
        return
    with path.open("a") as file:
        file.write(f"{folder}\n")


def _settings(hierarchy: Hierarchy, limits: SandboxLimits) -> list[tuple[str, str]]:
    """Files and values; the order counts: memory and swap together cannot be less than memory."""
    memory, quota = str(limits.memory_bytes), str(max(1000, int(limits.cpus * _PERIOD_US)))
    if hierarchy.version == 2:
        every = {
            MEMORY: [("memory.max", memory), ("memory.swap.max", "0")],
            PIDS: [("pids.max", str(limits.pids))],
            CPU: [("cpu.max", f"{quota} {_PERIOD_US}")],
        }
    else:
        every = {
            MEMORY: [
                ("memory.limit_in_bytes", memory),
                ("memory.memsw.limit_in_bytes", memory),
                ("memory.swappiness", "0"),
            ],
            PIDS: [("pids.max", str(limits.pids))],
            CPU: [("cpu.cfs_period_us", str(_PERIOD_US)), ("cpu.cfs_quota_us", quota)],
        }
    return [setting for name in hierarchy.controllers for setting in every[name]]


def _same(name: str, found: str, wanted: str) -> bool:
    if name.startswith("memory.") and name != "memory.swappiness":
        return found.isdigit() and int(wanted) - (1 << 16) < int(found) <= int(wanted)  # the kernel counts in pages
    return found == wanted


def _works(hierarchy: Hierarchy, lease: Path) -> bool:
    """Whether a process can be limited there, by doing it."""
    trial = Cgroup(((hierarchy, hierarchy.parent / lease_name(lease) / f"trial-{os.getpid()}"),))
    limits = SandboxLimits()
    try:
        _make(trial, lease, limits)
        with subprocess.Popen(
            trial.enter(["/bin/sh", "-c", "echo; read -r line"]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},  # nothing of ours is shown where processes are listed
        ) as process:
            assert process.stdout is not None
            return process.stdout.readline() == b"\n" and not trial.trouble(process.pid, limits)
    except (OSError, subprocess.SubprocessError):
        return False
    finally:
        _drop(trial)
