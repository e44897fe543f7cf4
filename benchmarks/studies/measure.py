"""What the benchmarks share: ways taken in turn in one run, medians, a table, and the raw figures as JSON."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import anyio

Way = Callable[[], Awaitable[object]]
"""Does the thing once. Where it gives a float, that is its time in ms, measured by itself."""

Times = dict[str, list[float]]


async def in_turn(ways: Mapping[str, Way], rounds: int, pause: float, *, batch: int = 1) -> Times:
    """Take every way once a round (`batch` times without a pause), so that a load of the machine meets all alike."""
    found: Times = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            await anyio.sleep(pause)
            for _ in range(batch):
                started = time.perf_counter()
                told = await way()
                took = (time.perf_counter() - started) * 1000
                found[name].append(told if isinstance(told, float) else took)
    return found


def machine() -> str:
    """A line about where the figures come from."""
    return f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores"


def save(file: str | None, **figures: object) -> None:
    """Write raw figures."""
    if file:
        about = {"load": os.getloadavg(), "cores": os.cpu_count(), "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        Path(file).write_text(json.dumps({**about, **figures}, indent=1) + "\n", encoding="utf-8")


def spread(times: list[float]) -> tuple[float, float, float]:
    """Median, least, and the value that nine of ten do not reach."""
    p90 = statistics.quantiles(times, n=10)[-1] if len(times) > 1 else times[0]
    return statistics.median(times), min(times), p90
