"""Faults of the machine under a run: too little disk, inodes, open files, processes, memory; folders that vanish."""

from __future__ import annotations

import os
import resource
import secrets
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

import anyio

from swarm.sandboxes.limits.places import Hierarchy, find
from tests.chaos.live import LiveRun
from tests.chaos.machine import event_comes, grow, moment, small_disk, striking
from tests.chaos.scenario import Kind, Setting

ROOT = os.geteuid() == 0
_LIMITS = {
    "open files": (resource.RLIMIT_NOFILE, 20, 120),
    "file size": (resource.RLIMIT_FSIZE, 500, 120_000),
    "address space": (resource.RLIMIT_AS, 300 << 20, 1200 << 20),
}
_CGROUPS = {"pids": (2, 60), "memory": (20 << 20, 160 << 20)}
_FILES = {("memory", 1): "memory.limit_in_bytes"}
"""Where a limit is not in `NAME.max`, by the version of control groups."""
MOMENTS = ("run_start", "agent_start", "call", "tool_start", "agent_end", "stage_end")


@dataclass(frozen=True, slots=True)
class Limit:
    """The first process has little of something from its beginning."""

    name: str
    value: int

    def __str__(self) -> str:
        return f"{self.name} limited to {self.value}"

    @asynccontextmanager
    async def around(self, run: LiveRun) -> AsyncIterator[None]:
        async def strike() -> None:
            pid = (await run.begun(0)).pid
            with suppress(ProcessLookupError):
                resource.prlimit(pid, _LIMITS[self.name][0], (self.value, self.value))
                run.injected[self.name] += 1

        async with striking(run, strike):
            yield


@dataclass(frozen=True, slots=True)
class Confined:
    """The first process and all that it starts are in a control group with a low limit."""

    name: str
    value: int

    def __str__(self) -> str:
        return f"control group with {self.value} of {self.name}"

    @asynccontextmanager
    async def around(self, run: LiveRun) -> AsyncIterator[None]:
        place = groups_of(self.name)
        assert place is not None, f"this machine has no control groups of {self.name}"
        group = place.parent / f"chaos-{secrets.token_hex(6)}"
        group.mkdir()

        async def strike() -> None:
            pid = (await run.begun(0)).pid
            (group / _FILES.get((self.name, place.version), f"{self.name}.max")).write_text(str(self.value))
            with suppress(ProcessLookupError):
                (group / "cgroup.procs").write_text(str(pid))
                run.injected[self.name] += 1

        try:
            async with striking(run, strike):
                yield
        finally:
            left = [path for path, _, _ in os.walk(group)][1:]
            for folder in reversed(left):
                Path(folder).rmdir()
            for _ in range(200):  # what has ended is forgotten a little later
                with suppress(OSError):
                    group.rmdir()
                    break
                await anyio.sleep(0.02)
            assert not left, f"control groups are left: {left}"
            assert not group.exists(), f"processes are left: {(group / 'cgroup.procs').read_text().split()}"


@dataclass(frozen=True, slots=True)
class FullDisk:
    """SWARM_HOME, or the folder for temporary files, is on a small disk; before the next life it is made larger."""

    name: str
    options: str

    def __str__(self) -> str:
        return f"{self.name} with {self.options}"

    @asynccontextmanager
    async def around(self, run: LiveRun) -> AsyncIterator[None]:
        place = run.home if self.name == "small home" else run.temp
        run.mends.append(grow(place))
        run.injected[self.name] += 1

        async def nothing() -> None:
            """It strikes by itself."""

        async with striking(run, nothing), small_disk(place, self.options):
            yield


@dataclass(frozen=True, slots=True)
class ReadOnly:
    """SWARM_HOME cannot be written when the first process begins."""

    name: str = "read-only home"

    def __str__(self) -> str:
        return self.name

    @asynccontextmanager
    async def around(self, run: LiveRun) -> AsyncIterator[None]:
        async def nothing() -> None:
            """It strikes by itself."""

        run.mends.append(grow(run.home))
        run.final = run.final - {2}  # it could not be begun
        run.injected[self.name] += 1
        async with striking(run, nothing), small_disk(run.home, "size=300m,ro"):
            yield
        run.final = run.final | {2}


@dataclass(frozen=True, slots=True)
class Moved:
    """A folder that the run stands on is moved away while it works, and back before the next life."""

    name: str
    moment: str
    nth: int

    def __str__(self) -> str:
        return f"{self.name} at {self.moment}#{self.nth}"

    @asynccontextmanager
    async def around(self, run: LiveRun) -> AsyncIterator[None]:
        away: list[tuple[Path, Path]] = []

        async def strike() -> None:
            await event_comes(run, self.moment, self.nth)
            place = run.repo if self.name == "repository moved" else run.run_folder
            assert place is not None
            other = place.parent.parent / f"away-{place.name}"  # of a run: in its home, which may be a disk of its own
            other = run.folder / f"away-{place.name}" if place == run.repo else other
            place.rename(other)
            away.append((place, other))
            run.injected[self.name] += 1

        async def back() -> None:
            while away:
                place, other = away.pop()
                if place.exists():  # made anew meanwhile
                    shutil.rmtree(place)
                other.rename(place)

        run.mends.append(back)
        try:
            async with striking(run, strike):
                try:
                    yield
                finally:
                    await back()
        finally:
            await back()


@dataclass(frozen=True, slots=True)
class Removed:
    """Something of the lease is removed under the run, as by whoever cleans up by hand."""

    name: str
    pattern: str
    moment: str
    nth: int

    def __str__(self) -> str:
        return f"{self.pattern} removed at {self.moment}#{self.nth}"

    @asynccontextmanager
    async def around(self, run: LiveRun) -> AsyncIterator[None]:
        async def strike() -> None:
            await event_comes(run, self.moment, self.nth)
            for found in sorted((run.home / "leases").glob(self.pattern))[:2]:
                if found.is_dir():
                    shutil.rmtree(found, ignore_errors=True)
                else:
                    found.unlink(missing_ok=True)
                run.injected[self.name] += 1

        run.deletes = True
        async with striking(run, strike):
            yield


@dataclass(frozen=True, slots=True)
class GitLocks:
    """Locks that a killed git left lie in the run's store before its second life, or in the user's repository."""

    name: str
    moment: str
    nth: int

    def __str__(self) -> str:
        return f"{self.name} at {self.moment}#{self.nth}"

    @asynccontextmanager
    async def around(self, run: LiveRun) -> AsyncIterator[None]:
        made: list[Path] = []

        def lock(folder: Path, *names: str) -> None:
            for name in names:
                with suppress(OSError):
                    (folder / name).touch(exist_ok=False)
                    made.append(folder / name)
                    run.injected[self.name] += 1

        async def strike() -> None:
            await event_comes(run, self.moment, self.nth)
            if self.name == "locks in the repository":
                assert run.repo is not None
                lock(run.repo / ".git", "index.lock", "HEAD.lock", "packed-refs.lock")
            else:
                folder = run.run_folder
                assert folder is not None
                lock(folder / "repo.git", "index.lock", "HEAD.lock", "packed-refs.lock", "config.lock", "shallow.lock")

        async def unlock() -> None:
            while made:
                made.pop().unlink(missing_ok=True)

        run.mends.append(unlock)
        try:
            async with striking(run, strike):
                yield
        finally:
            await unlock()


def groups_of(name: str, proc: Path = Path("/proc")) -> Hierarchy | None:
    """Where a control group with a limit of this can be made; None where this user, or this machine, cannot."""
    held = [each for each in find(proc) if name in each.controllers and os.access(each.parent, os.W_OK)]
    return held[0] if held else None


def _limit(name: str) -> Kind:
    _, low, high = _LIMITS[name]
    return Kind(name, lambda chance, setting: Limit(name, chance.randint(low, high)), clash="limit", weight=1.5)


def _confined(name: str) -> Kind:
    low, high = _CGROUPS[name]
    return Kind(
        name,
        lambda chance, setting: Confined(name, chance.randint(low, high)),
        lambda setting: ROOT and groups_of(name) is not None,
        clash="limit",
    )


def _disk(name: str) -> Kind:
    def draw(chance: Random, setting: Setting) -> FullDisk:
        if name == "small temp":
            return FullDisk(name, chance.choice(("size=4k", "nr_inodes=2", "size=16k", "nr_inodes=6")))
        if chance.random() < 0.6:
            return FullDisk(name, f"size={chance.randint(30, 700)}k,nr_inodes=100000")
        return FullDisk(name, f"size=100m,nr_inodes={chance.randint(8, 500)}")

    return Kind(name, draw, lambda setting: ROOT, clash="disk", weight=2)


def _moment(chance: Random) -> tuple[str, int]:
    return moment(chance, MOMENTS)


KINDS: Sequence[Kind] = (
    *map(_limit, _LIMITS),
    *map(_confined, _CGROUPS),
    _disk("small home"),
    _disk("small temp"),
    Kind("read-only home", lambda chance, setting: ReadOnly(), lambda setting: ROOT, clash="disk", weight=0.3),
    Kind(
        "repository moved",
        lambda chance, setting: Moved("repository moved", *_moment(chance)),
        lambda setting: setting.shape.repo,
        clash="moved",
    ),
    Kind("run moved", lambda chance, setting: Moved("run moved", *_moment(chance)), clash="moved", weight=0.5),
    Kind(
        "lease removed",
        lambda chance, setting: Removed(
            "lease removed",
            chance.choice(("*", "*/*", "*/*/control", "*/lock", "*/ws-*", "*/*/tree")),
            *_moment(chance),
        ),
        clash="moved",
    ),
    Kind(
        "git locks",
        lambda chance, setting: GitLocks(
            chance.choice(("locks in the repository", "locks in the store")), *_moment(chance)
        ),
        lambda setting: setting.shape.repo,
    ),
)
