"""Tasks of repair for rollouts (`swarm.rl.rollout`): copies of a package with faults in them, made by a seed."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import anyio.to_thread

from swarm.errors import UsageError
from swarm.evals.faults import FaultConfig, plant
from swarm.evals.packages import make_repository
from swarm.evals.repair.damage import TASK
from swarm.rl.tasks.task import Task

KIND = "repair"


async def repair_tasks(
    root: Path, config: FaultConfig, folder: Path, counts: Sequence[int], test: str = "python -m pytest -q"
) -> list[Task]:
    """A task for each of `counts`: so many faults in a copy of the tree `root`, a repository of its own in `folder`,
    planted as `config` says, with the next seed for each. The same seed makes the same faults. The gate `test` verifies
    it: a run's own `r_perf` is 1 where it passes. What was planted is the key, which no agent sees.

    Raises:
        UsageError: so many faults cannot be planted, the tests do not pass as they are, or a folder is there already.
        MachineError: the tests cannot be run here.
    """
    tasks: list[Task] = []
    for number, count in enumerate(counts):
        seed = config.seed + number
        name = f"{KIND}-{Path(config.package).name}-s{seed}-{count}"
        place = folder / name
        if place.exists():
            raise UsageError(f"{place} is there already", remedy="name another folder, or remove it")
        ignore = shutil.ignore_patterns(".git", "__pycache__", ".pytest_cache")
        copy = functools.partial(shutil.copytree, root, place, symlinks=True, ignore=ignore)
        await anyio.to_thread.run_sync(copy)
        planted = await plant(place, replace(config, count=count, seed=seed))
        await anyio.to_thread.run_sync(make_repository, place, "damaged")
        about = {"failing": list(planted.failing), "tests": planted.tests}
        key = [asdict(fault) for fault in planted.faults]
        prompt = TASK.format(sources=config.package)
        tasks.append(Task(id=name, prompt=prompt, answer=key, kind=KIND, repo=str(place), test=test, about=about))
    return tasks
