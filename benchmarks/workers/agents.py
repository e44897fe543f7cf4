"""So many agents of one competitor at once, against an endpoint: `python -m benchmarks.workers.agents NAME URL AGENTS`.

`--count` counts Python calls instead of time (which takes several times as long); `--first` leaves out the warming up,
for the first call of a fresh process; `--live` runs a fifth of them before, and tells the memory of each further agent.
Tells CPU (of its children too) and wall seconds, KB of memory at the peak by agent, how many failed, and how many
agents it ran in all.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import json
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.peers.common import Run

WHERE = {
    "swarm": "swarm_run:open_agents",
    "swarm-given": "swarm_run:open_given",
    "swarm-speed": "swarm_run:open_given",
    "aiohttp": "floors:aiohttp",
    "raw": "floors:raw",
    "openai": "openai_client:documented",
    "openai-tuned": "openai_client:tuned",
    "agent-framework": "frameworks:agent_framework",
    "autogen": "frameworks:autogen",
    "openai-agents": "frameworks:openai_agents",
    "pydantic-ai": "frameworks:pydantic_ai",
    "langgraph": "langchain:langgraph",
    "deepagents": "langchain:deepagents",
    "smolagents": "threaded:smolagents",
    "crewai": "threaded:crewai",
}
ON_UVLOOP = {"swarm-speed", "raw", "openai-tuned"}
WARM = 3
"""Agents before the clock starts: imports, connections and the like."""


def kilobytes(key: str) -> int:
    """Memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def cpu_seconds() -> float:
    """Of this process and the children that it has waited for."""
    child = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + child.ru_utime + child.ru_stime


class Counter:
    """Counts the Python functions that are called, in all threads that start meanwhile."""

    def __init__(self) -> None:
        self.calls = 0

    def _count(self, frame: object, event: str, argument: object) -> None:
        self.calls += event == "call"

    def __enter__(self) -> Counter:
        threading.setprofile(self._count)
        sys.setprofile(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)


async def live(run: Run, agents: int) -> dict[str, Any]:
    """KB of memory that an agent more takes at the peak: what is held however many there are is not in it."""
    few = agents // 5
    peaks = []
    for size in (few, agents):
        Path("/proc/self/clear_refs").write_text("5")
        told = await run(size)
        peaks.append(kilobytes("VmHWM"))
    return {**told, "of": agents, "agents": WARM + few + agents, "kb_per_agent": (peaks[1] - peaks[0]) / (agents - few)}


async def measured(name: str, url: str, agents: int, how: str) -> dict[str, Any]:
    """The figures of one measurement. `how`: time, count, first or live."""
    module, function = WHERE[name].split(":")
    open_agents = getattr(importlib.import_module(f"benchmarks.peers.{module}"), function)
    async with open_agents(url, agents) as run:
        if how != "first":
            await run(WARM)
        if how == "live":
            return await live(run, agents)
        if how == "count":
            with Counter() as counter:
                told = await run(agents)
            return {**told, "of": agents, "agents": agents + WARM, "python_calls": counter.calls}
        before = kilobytes("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        if how == "time":
            gc.freeze()  # for every competitor, as `swarm run` does for itself: see `swarm.tuning`
            gc.set_threshold(20_000, 10, 10)
        cpu, wall = cpu_seconds(), time.perf_counter()
        told = await run(agents)
        cpu, wall = cpu_seconds() - cpu, time.perf_counter() - wall
        memory = (kilobytes("VmHWM") - before) / agents
    ran = agents + (0 if how == "first" else WARM)
    return {**told, "of": agents, "agents": ran, "cpu_s": cpu, "wall_s": wall, "kb_per_agent": memory}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=WHERE)
    parser.add_argument("url")
    parser.add_argument("agents", type=int)
    for how in ("count", "first", "live"):
        parser.add_argument(f"--{how}", dest="how", action="store_const", const=how, default="time")
    args = parser.parse_args()
    work = measured(args.name, args.url, args.agents, args.how)
    if args.name in ON_UVLOOP:
        import uvloop

        found = uvloop.run(work)
    else:
        found = asyncio.run(work)
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
