"""What faults of machine and sandboxes share: striking at a moment of a run, and what such a fault may come to."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

from swarm.stopping import companions
from tests.chaos.live import LiveRun
from tests.machine import processes_of

_KILLED = {128 + number for number in (signal.SIGKILL, signal.SIGTERM)}


@asynccontextmanager
async def striking(run: LiveRun, strike: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """`strike` beside all lives of a run. What fails then is the machine: a run that completes has the same answer, and
    one that does not never blames its work."""
    async with companions() as group:
        group.start_soon(strike)
        yield
    settle(run)


def settle(run: LiveRun) -> None:
    """What must hold after a machine that failed, and how the rest is looked at."""
    misled = _command_failed_by_it(run) or (run.deletes and _files_are_deleted(run))
    told = run.lives[-1].envelope if run.lives else None
    broken = told is not None and bool(told["outcomes"]) and told["outcomes"].keys() <= {"errored", "skipped"}
    if broken and "came to its end; this is its result" in run.lives[-1].err:
        run.final |= {3}  # the machine failed all sub-tasks, and the orchestrator made do with that
    run.same = run.same and told is not None and told["status"] == "completed" and not misled
    for number, life in enumerate(run.lives):
        told = life.envelope
        if told is None:
            continue
        coverage, gate = told["coverage"], told["gate"]
        blamed = told["exit_code"] == 1 and not coverage["missing"] and not (gate and gate["passed"])
        assert misled or not blamed, f"life {number} blames its work: {life.err[-400:]}"
        if life.code == 3:
            lines = [line for line in life.err.splitlines() if line.startswith("swarm: ")]
            assert lines, f"life {number} does not say why it ended with 3: {life.err[-400:]}"
            assert "defect of swarm" not in life.err, f"life {number} calls it a defect: {life.err[-800:]}"


def _command_failed_by_it(run: LiveRun) -> bool:
    """Whether an agent was told that its command was killed, or that the disk is full: one that can read might do it
    again, a script goes on."""
    used = [event for event in run.events() if event["type"] == "tool"]
    return any(event.get("exit_code") in _KILLED or os.strerror(errno.ENOSPC) in event["result"] for event in used)


def _files_are_deleted(run: LiveRun) -> bool:
    folder = run.run_folder
    patch = folder / "patch.diff" if folder is not None else Path(os.devnull)
    return patch.is_file() and "\ndeleted file mode" in patch.read_text()


def moment(chance: Random, of: Sequence[str]) -> tuple[str, int]:
    """A kind of record, and which of its number, of those that most runs have."""
    kind = chance.choice(of)
    return kind, 1 if kind in ("run_start", "stage_end", "gate_start") else chance.randint(1, 3)


async def event_comes(run: LiveRun, kind: str, nth: int) -> None:
    """Wait until the journal has so many records of a kind, in whichever life."""

    def there(events: list[dict[str, Any]]) -> bool:
        return [event["type"] for event in events].count(kind) >= nth

    await run.begun(0)
    while not await run.reached(there):
        await run.begun(run.life + 1)


def processes(folder: Path) -> list[tuple[int, str]]:
    """Processes that have to do with a folder, oldest first, with their command lines."""
    found = [re.fullmatch(r"process (\d+) (.*)", line, re.DOTALL) for line in processes_of(str(folder))]
    return sorted((int(each[1]), each[2]) for each in found if each)


def command(*argv: str | os.PathLike[str]) -> bool:
    return subprocess.run(argv, capture_output=True, check=False, stdin=subprocess.DEVNULL).returncode == 0


@asynccontextmanager
async def small_disk(place: Path, options: str) -> AsyncIterator[None]:
    """A file system of its own at a folder, whose content stays there when it has gone."""
    assert command("mount", "-t", "tmpfs", "-o", f"mode=700,{options}", "none", place)
    try:
        yield
    finally:
        kept = place.with_name(f"{place.name}.kept")
        shutil.copytree(place, kept, symlinks=True)
        gone = command("umount", place)
        if not gone:
            command("umount", "--lazy", place)
        place.rmdir()
        kept.rename(place)
        assert gone, f"{place} is still in use: {processes(place)}"


def grow(place: Path) -> Callable[[], Coroutine[Any, Any, None]]:
    """Gives a small disk room again."""

    async def mend() -> None:
        assert command("mount", "-o", "remount,rw,size=300m,nr_inodes=100000", place)

    return mend
