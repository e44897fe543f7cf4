"""Drives a soak: laps of mixed runs, and a sample of the idle process after each."""

from __future__ import annotations

import json
import os
import random
import tempfile
import threading
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread

from swarm import RunResult, Swarm
from swarm.config import RunConfig
from swarm.journal.validation import validate
from swarm.removal import remove_tree
from swarm.report.build import RunFolder, report
from swarm.rl.export.catalog import export
from swarm.sandboxes.leases.reaper import dead_leases, remove
from tests.soak.kinds import KINDS, Draw, Ground, Kind
from tests.soak.place import Place
from tests.soak.probe import held

STUCK_S = 240.0
"""Seconds after which a run is taken for stuck."""

FORMS = ("atif", "verifiers", "verl", "trl", "sft", *(["parquet"] if find_spec("pyarrow") else []))

Spoiler = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Load:
    """How a soak goes: laps for so long, but not less than `least`. A lap ends after `lap_s` seconds or `lap_runs`
    runs, whichever is first, when all its runs have ended; `kept` run folders stay after it. `afterwards` is awaited
    after every run, for what should be found. `over`, when set, makes the present lap the last."""

    seconds: float
    lap_s: float
    sandboxes: dict[str, float]
    lap_runs: int = 1_000_000
    least: int = 8
    at_once: int = 3
    seed: int = 0
    kept: int = 12
    kinds: dict[Kind, float] = field(default_factory=lambda: KINDS)
    afterwards: Spoiler | None = None
    over: threading.Event = field(default_factory=threading.Event)


@dataclass(slots=True)
class Tally:
    """What was done so far. `wrong`: lines about what must not happen."""

    runs: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    made_of_runs: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


async def soak(place: Place, load: Load, samples: Path) -> Tally:
    """Drive it to its end; `samples` gets a JSON line each, the first before any run."""
    tally = Tally()
    async with _swarm(place) as swarm:
        ground = Ground(swarm, swarm.config, load.sandboxes, place.repo, place.folder)
        _sample(place, tally, samples)
        until, laps = anyio.current_time() + load.seconds, 0
        while not load.over.is_set() and (laps < load.least or anyio.current_time() < until):
            laps += 1
            await _lap(ground, load, tally, samples.with_name("runs.jsonl"))
            await anyio.to_thread.run_sync(_tidy, place, load.kept, tally)
            await _rest()
            _sample(place, tally, samples)
    return tally


@asynccontextmanager
async def _swarm(place: Place) -> AsyncIterator[Swarm]:
    # As if read anew by a program that starts: the folder for temporary files is the soak's own.
    tempfile.tempdir = None
    config = RunConfig(
        model="embedded",
        base_url=place.url,
        first_token_timeout=4.0,
        stall_timeout=4.0,
        call_timeout=20.0,
        timeout=90.0,
        max_steps=12,
    )
    try:
        async with Swarm(config=config) as swarm:
            yield swarm
    finally:
        tempfile.tempdir = None


async def _lap(ground: Ground, load: Load, tally: Tally, log: Path) -> None:
    """Runs side by side until the lap is over; those at work then come to their end."""
    until, goal = anyio.current_time() + load.lap_s, tally.runs + load.lap_runs

    async def work() -> None:
        while anyio.current_time() < until and tally.runs < goal and not load.over.is_set():
            tally.runs += 1
            await _one(ground, load, tally, tally.runs, log)

    async with anyio.create_task_group() as group:
        for _ in range(load.at_once):
            group.start_soon(work)


async def _one(ground: Ground, load: Load, tally: Tally, number: int, log: Path) -> None:
    chance = random.Random(f"{load.seed}/{number}")
    [kind] = chance.choices(list(load.kinds), list(load.kinds.values()))
    draw = ground.draw(number, chance)
    tally.kinds[getattr(kind, "__name__", "?")] += 1
    try:
        with anyio.fail_after(STUCK_S):
            results = await kind(draw)
        for result in results:
            tally.statuses[result.status] += 1
            _log(draw, kind, result, log)
            await anyio.to_thread.run_sync(_read, result, chance.random(), tally)
        if load.afterwards:
            await load.afterwards()
    except Exception:  # noqa: BLE001  told in the verdict
        tally.wrong.append(f"run {number}, {getattr(kind, '__name__', '?')}, {draw.task}: {traceback.format_exc()}")


def _log(draw: Draw, kind: Kind, result: RunResult, log: Path) -> None:
    told = {
        "run": result.run_id,
        "kind": getattr(kind, "__name__", "?"),
        "task": draw.task,
        "repo": draw.repo is not None,
        "sandbox": draw.config.sandbox,
        "status": result.status,
        "wall_s": result.wall_s,
        "answer": result.answer[:200],
    }
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(told) + "\n")


def _read(result: RunResult, chance: float, tally: Tally) -> None:
    """What users do with a run: check it, and now and then report and export it. Blocks."""
    folder = Path(result.run_dir)
    problems = list(validate(folder))
    tally.wrong += [f"{result.run_id}, {result.status}: {problem}" for problem in problems[:3]]
    tally.made_of_runs["validated"] += 1
    if chance < 0.15:
        assert report([RunFolder(folder, result.status)])
        tally.made_of_runs["reported"] += 1
    elif chance < 0.3:
        with tempfile.TemporaryDirectory() as out:
            for form in FORMS:
                export(form, [folder], Path(out) / form)
        tally.made_of_runs["exported"] += 1


def _tidy(place: Place, kept: int, tally: Tally) -> None:
    """As `swarm gc --yes`, and old runs removed. Blocks."""
    with dead_leases(place.home) as dead:
        for lease in dead.leases:
            tally.wrong.append(f"left behind by {lease.id}: {lease.leftovers}")
            tally.wrong += remove(lease, float("inf"))
    runs = sorted((place.home / "runs").glob("*"), key=lambda run: run.stat().st_mtime)
    for run in runs[: max(0, len(runs) - kept)]:
        remove_tree(run)


async def _rest() -> None:
    """Let go what ends by itself, one turn of the loop later."""
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


def _sample(place: Place, tally: Tally, samples: Path) -> None:
    figures, types = place.probe.sample()
    said = {
        "runs": tally.runs,
        "wrong": tally.wrong,
        **figures,
        "held": held(os.getpid()),
        "types": types,
    }
    with samples.open("a", encoding="utf-8") as file:
        file.write(json.dumps(said) + "\n")
