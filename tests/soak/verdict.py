"""Whether samples of an idle process stay flat: a robust line through each figure, after the warm-up."""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

EXACT = ("tasks", "children", "strays", "containers", "volumes", "networks", "mounts", "cgroups", "leases", "temporary")
"""Figures that must be back at the base line whenever nothing runs."""

ALLOWED = {
    "rss_mb": 12.0,
    "uss_mb": 12.0,
    "endpoint_mb": 12.0,
    "descriptors": 4.0,
    "endpoint_descriptors": 4.0,
    "threads": 4.0,
    "objects": 2500.0,
    "blocks": 12000.0,
    "images": 1.0,
    "home_files": 400.0,
}
"""By how much the line through a figure may rise from the end of the warm-up to the end."""

ALLOWED_OF_A_TYPE = 100.0
"""The same for the objects of one type."""

SURE = 0.8
"""A rise is one where so many of all pairs of samples rise too."""


class Trend(NamedTuple):
    """How a figure went: at the end of the warm-up, at the end, and the rise of the robust line between them."""

    first: float
    last: float
    rise: float
    sure: float


def trend(values: Sequence[float]) -> Trend:
    """The line of Theil and Sen: half of all pairs of samples rise faster, half slower."""
    if len(values) < 2:
        return Trend(values[0], values[-1], 0.0, 0.0)
    slopes = [(b - a) / (j - i) for (i, a), (j, b) in itertools.combinations(enumerate(values), 2)]
    rising = sum(slope > 0 for slope in slopes) / len(slopes)
    return Trend(values[0], values[-1], statistics.median(slopes) * (len(values) - 1), rising)


def settled(count: int) -> int:
    """How many of so many samples are the warm-up: a quarter."""
    return count // 4


def trends(samples: Sequence[Mapping[str, float]]) -> dict[str, Trend]:
    """The trend of each figure, and of the objects of each type (those that are not told are 0)."""
    after = samples[settled(len(samples)) :]
    names = dict.fromkeys(name for sample in after for name in sample)
    return {name: trend([sample.get(name, 0.0) for sample in after]) for name in names}


def leaks(samples: Sequence[Mapping[str, float]], slack: float = 1.0) -> list[str]:
    """What does not stay flat, a line each. The first sample is the base line; those of types are `type:NAME`. `slack`:
    how many times more may rise than of a long soak."""
    base = samples[0]
    found: list[str] = []
    for name in EXACT:
        over = [sample.get(name, 0.0) - base.get(name, 0.0) for sample in samples]
        if max(over) > 0:
            found.append(f"{name}: {base[name]:g} at first, then up to {base[name] + max(over):g}")
    for name, seen in trends(samples).items():
        bound = ALLOWED_OF_A_TYPE if name.startswith("type:") else ALLOWED.get(name)
        if bound is not None and seen.rise > slack * max(bound, 0.02 * seen.first) and seen.sure >= SURE:
            found.append(
                f"{name}: rose from {seen.first:.0f} to {seen.last:.0f}, a line of +{seen.rise:.1f} (+{bound:g})"
            )
    return found


def read_samples(file: Path) -> list[dict[str, float]]:
    """The samples of a file, the types' counts among the figures."""
    found: list[dict[str, float]] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        said = json.loads(line)
        types = {f"type:{name}": float(count) for name, count in said.pop("types").items()}
        del said["held"], said["wrong"]
        found.append({**said, **types})
    return found
