"""One point of a curve, out of a worker's process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 1800


@dataclass(frozen=True)
class Point:
    """`at` is the place on the axis; `failed` of `of` agents failed."""

    name: str
    round: int
    at: float
    figures: dict[str, float]
    failed: int = 0
    of: int = 0
    error: str = ""


def asked(words: Sequence[str], number: int, *, at: float = 0.0, name: str = "swarm") -> Iterator[Point]:
    """What a worker tells: one point at `at`, or several that name their own place. Its runs are gone afterwards."""
    with tempfile.TemporaryDirectory() as home:
        env = {**os.environ, "SWARM_HOME": home, "HOME": home, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "benchmarks.growth.worker", *words]
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=LIMIT_S)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["no reason given"])[-1][-200:]
        yield Point(name, number, at, {}, failed=1, of=1, error=why)
        return
    said: Any = json.loads(done.stdout.splitlines()[-1])
    for each in said if isinstance(said, list) else [said]:
        place, failed, of = float(each.pop("at", at)), int(each.pop("failed", 0)), int(each.pop("of", 0))
        error = str(each.pop("error", ""))
        yield Point(name, number, place, {key: float(value) for key, value in each.items()}, failed, of, error)
