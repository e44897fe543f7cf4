"""What a figure must name: the machine, the commit, the versions, and how loaded the machine was."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.shape import ROOT

LOADED = 1.5
"""A load figure before the run above which its absolute times are not to be quoted."""

DISTURBED = 0.3
"""Processors taken by others during a sample, above which it was disturbed."""


def about() -> dict[str, Any]:
    """Processor, memory, kernel, Python."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": cpu,
        "memory_gb": round(pages / 2**30, 1),
        "kernel": platform.release(),
        "python": sys.version.split()[0],
    }


def commit() -> str:
    """The commit, with a plus sign where the checkout differs from it; empty where this is no checkout."""
    try:
        named = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True)
        changed = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return ""
    return named.stdout.strip() + ("+" if changed.stdout.strip() else "")


def load() -> float:
    """Processes at work or waiting for a processor, over the last minute. Ours are among them."""
    return round(os.getloadavg()[0], 2)


class Others:
    """How many processors were taken by others than this process and its children since it was made."""

    def __init__(self) -> None:
        self._busy, self._ours, self._wall = _busy(), _ours(), time.monotonic()

    def taken(self) -> float:
        """Processors, on average."""
        ticks = (_busy() - self._busy) - (_ours() - self._ours)
        seconds = time.monotonic() - self._wall
        return round(max(0.0, ticks / os.sysconf("SC_CLK_TCK") / max(seconds, 0.01)), 2)


def _busy() -> int:
    """Ticks in which a processor was not idle."""
    fields = [int(word) for word in Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]]
    return sum(fields[:3]) + sum(fields[5:8])


def _ours() -> int:
    """Ticks of this process and all below it, those included that have ended and were waited for."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        parents[int(folder.name)] = int(fields[1])
        ticks[int(folder.name)] = sum(map(int, fields[11:15]))
    total = 0
    for pid in ticks:
        above = pid
        while above not in (0, 1, os.getpid()):
            above = parents.get(above, 0)
        total += ticks[pid] if above == os.getpid() else 0
    return total
