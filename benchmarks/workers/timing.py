"""What all workers that time commands share."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

WARM = 5
"""Commands that are not counted."""

PAUSE_S = 0.01
"""Before each command."""


def summed(times: list[float]) -> dict[str, float]:
    """Milliseconds: the median, and what nine of ten do not reach; without the first ones."""
    rest = [1000 * each for each in times[WARM:]]
    return {"median_ms": statistics.median(rest), "p90_ms": statistics.quantiles(rest, n=10)[-1]}


def timed(once: Callable[[], object], count: int) -> dict[str, float]:
    """The figures of a call that blocks."""
    times = []
    for _ in range(WARM + count):
        time.sleep(PAUSE_S)
        began = time.perf_counter()
        once()
        times.append(time.perf_counter() - began)
    return summed(times)
