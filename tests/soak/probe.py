"""What a process holds while it is idle: one sample. Nothing is kept here between two of them."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import docker

from swarm.sandboxes.leases.lease import leases_of
from swarm.sandboxes.limits.cgroups import lease_name
from tests.machine import cgroups_of, mounts_of, processes_of

LEAST_OF_A_TYPE = 20
"""Types with fewer objects are not told."""

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Probe:
    """Looks at this process and at what it started. `others`: processes that belong to the soak itself, its endpoint
    first; they and what they started are not counted. `engine`: the address of the Docker Engine that only we use."""

    place: Path
    home: Path
    others: tuple[int, ...]
    engine: str | None = None

    def sample(self) -> tuple[Figures, dict[str, int]]:
        """The figures, and how many objects there are of each type. Blocks, for tenths of a second."""
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for _ in range(3):  # what finalizers of one pass let go is found by the next
            gc.collect()
        counts: Counter[type] = Counter(map(type, gc.get_objects()))
        types: Counter[str] = Counter()
        for kind, count in counts.items():
            types[f"{kind.__module__}.{kind.__qualname__}"] += count
        figures: Figures = {
            "time": time.time(),
            "cpu_s": time.process_time(),
            "tasks": len(tasks),
            "threads": threading.active_count(),
            "objects": counts.total(),
            "blocks": sys.getallocatedblocks(),
            "descriptors": descriptors(os.getpid()),
            **memory(os.getpid()),
            "endpoint_mb": memory(self.others[0])["rss_mb"],
            "endpoint_descriptors": descriptors(self.others[0]),
            "children": len(children(os.getpid(), frozenset(self.others))),
            "strays": len(processes_of(str(self.home))),
            "mounts": len(mounts_of(str(self.place))),
            "cgroups": sum(self._ours(cgroup) for cgroup in cgroups_of("swarm-")),
            "leases": entries(leases_of(self.home)),
            "temporary": entries(self.place / "tmp"),
            "home_files": files(self.home),
            **self._containers(),
        }
        return figures, {name: count for name, count in types.items() if count >= LEAST_OF_A_TYPE}

    def _ours(self, cgroup: str) -> bool:
        """Others may run swarms on this machine. The name is made of the lease's, whose last dot is no dot there."""
        name = Path(cgroup).name
        run, _, rest = name.removeprefix("swarm-").rpartition("-")[0].rpartition("_")
        return name == lease_name(leases_of(self.home) / f"{run}.{rest}")

    def _containers(self) -> Figures:
        if self.engine is None:
            return {}
        client = docker.DockerClient(self.engine, timeout=60)
        try:
            api = client.api
            volumes = api.volumes()["Volumes"] or []
            return {
                "containers": len(api.containers(all=True)),
                "images": len(api.images(all=True)),
                "volumes": len(volumes),
                "networks": len(api.networks()),
            }
        finally:
            client.close()


def memory(process: int) -> Figures:
    """Resident, proportional and own memory of a process, in megabytes."""
    rows = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    kb = {name: int(value.split()[0]) for name, _, value in (row.partition(":") for row in rows)}
    own = kb["Private_Clean"] + kb["Private_Dirty"]
    return {"rss_mb": kb["Rss"] / 1024, "pss_mb": kb["Pss"] / 1024, "uss_mb": own / 1024}


def descriptors(process: int) -> int:
    return len(os.listdir(f"/proc/{process}/fd"))  # noqa: PTH208  thousands of names: no objects for them


def held(process: int) -> Counter[str]:
    """What the descriptors are, without their numbers."""
    found: Counter[str] = Counter()
    for each in Path(f"/proc/{process}/fd").iterdir():
        with suppress(OSError):
            found[str(each.readlink()).partition(":")[0]] += 1
    return found


def children(process: int, but: frozenset[int]) -> list[int]:
    """All that it started and that lives, or that nobody has waited for, without some and what these started."""
    parents: dict[int, list[int]] = {}
    for each in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((each / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
            parents.setdefault(parent, []).append(int(each.name))
    found: list[int] = []
    waiting = [process]
    while waiting:
        below = [each for each in parents.get(waiting.pop(), []) if each not in but]
        found += below
        waiting += below
    return found


def entries(folder: Path) -> int:
    """What lies in a folder, but for the lock of the folder of leases."""
    return sum(each.name != ".lock" for each in folder.iterdir()) if folder.is_dir() else 0


def files(folder: Path) -> int:
    return sum(len(names) for _, _, names in os.walk(folder))
