"""The shape of a row: what is measured, who takes part, and how one sample is taken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.environments import python_of
from benchmarks.record import Figure

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Place:
    """Where a run of benchmarks takes place: a folder for what is made, the peers' environments, how much is done."""

    folder: Path
    cache: Path
    quick: bool = False
    engine: str = ""

    def python(self, environment: str) -> Path:
        """The interpreter of an environment; ours where it has no name."""
        return python_of(self.cache, environment) if environment else Path(sys.executable)


def always(place: Place) -> str:
    """Nothing is missing."""
    return ""


@dataclass(frozen=True)
class Competitor:
    """`environment`: the lock file whose virtual environment it runs in, ours without one. `missing` tells why it
    cannot take part here. `slow`: takes part in the first round only, and not in the quick form."""

    name: str
    title: str
    kind: str
    environment: str = ""
    missing: Callable[[Place], str] = always
    slow: bool = False


@dataclass(frozen=True)
class Taken:
    """What one measurement gave."""

    figures: dict[str, float] = field(default_factory=dict)
    failed: int = 0
    of: int = 0
    error: str = ""


Measure = Callable[[Competitor, int], Taken]
"""Takes one sample of a competitor, in the round of that number (the first is 1)."""


@dataclass(frozen=True)
class Row:
    """`open` prepares what all competitors share (a server, a repository) and gives what takes a sample."""

    name: str
    title: str
    note: str
    figures: tuple[Figure, ...]
    competitors: tuple[Competitor, ...]
    open: Callable[[Place], AbstractContextManager[Measure]]
    rounds: int = 5


def child(
    place: Place, competitor: Competitor, words: Sequence[str], *, timeout: float = 300, env: Mapping[str, str] = {}
) -> Taken:
    """Run `python -m WORDS` in the competitor's environment, which prints its figures as JSON on its last line.

    `failed`, `of` and `error` of what it prints are taken out. A process that fails is a sample that failed.
    """
    clean = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    clean |= {"PYTHONPATH": str(ROOT), "SWARM_HOME": str(place.folder / "home"), "HOME": str(place.folder), **env}
    if place.engine:
        clean["DOCKER_HOST"] = place.engine
    command = [str(place.python(competitor.environment)), "-m", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=clean, cwd=place.folder, timeout=timeout)
    except subprocess.TimeoutExpired:
        return Taken(failed=1, of=1, error=f"not done after {timeout:.0f} s")
    if done.returncode:
        return Taken(failed=1, of=1, error=(done.stderr.strip().splitlines() or ["no reason given"])[-1][-200:])
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    failed, of, error = told.pop("failed", 0), told.pop("of", 1), told.pop("error", "")
    return Taken({key: float(value) for key, value in told.items()}, int(failed), int(of), str(error)[:200])
