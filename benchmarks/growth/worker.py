"""One measurement, in a process of its own: `python -m benchmarks.growth.worker agents|turns|runs URL COUNT`.

`--sandbox none` takes one that costs nothing; `--count` counts Python calls instead of time. Prints JSON: of `agents`
one object, of the others a list of points with `at`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio.lowlevel
from pydantic_core import from_json

from benchmarks.peers.common import found
from benchmarks.workers.agents import Counter, cpu_seconds, kilobytes
from swarm import Parts, RunConfig, RunResult, Swarm, tool
from swarm.config import Capabilities
from swarm.protocols import Sandbox
from swarm.testing import FakeBackend

Begin = Callable[[str], Awaitable[RunResult]]
WARM = 3
"""Agents, turns or runs that are not measured: imports, connections and the like."""

TURNS_TOGETHER = 10
"""Turns that make one point."""

POINTS = 20
"""Of a thousand runs."""


@asynccontextmanager
async def opened(url: str, backend: str, most: int, beat: Callable[[], None]) -> AsyncIterator[Begin]:
    """A Swarm for runs of so many agents or turns at most. `beat` is called when a tool is used."""

    used = backend != "none"

    @tool
    async def lookup(key: str, sandbox: Sandbox) -> str:
        """Look up a part of an item.

        Args:
            key: which part
        """
        beat()
        if used:
            await sandbox.exec("true", timeout=60)
        return found(key)

    config = RunConfig(
        model="load",
        base_url=url,
        max_agents=most,
        concurrency=most,
        max_steps=most + 10,
        max_in_flight=1000,
        context_tokens=10_000_000,
        sandbox="process",
        capabilities=Capabilities(tools=True, parallel_tools=True, structured="json_schema", stream_usage=True),
    )
    parts = Parts(tools=(lookup,), backend=None if used else FakeBackend())
    async with Swarm(config=config, parts=parts) as swarm:
        yield swarm.run


def nothing() -> None:
    """Nobody wants to know when a tool is used."""


async def agents(url: str, count: int, sandbox: str, *, counted: bool) -> dict[str, Any]:
    """One run of so many agents, each a use of a tool and an answer: what an agent and a call cost."""
    async with opened(url, sandbox, count, nothing) as begin:
        await begin(f"Look up {WARM} items.")
        if counted:
            with Counter() as counter:
                result = await begin(f"Look up {count} items.")
            return {**told(result, count), "python_calls": counter.calls / max(1, result.usage.calls)}
        gc.collect()
        before, cpu, wall = kilobytes("VmRSS"), cpu_seconds(), time.perf_counter()
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        result = await begin(f"Look up {count} items.")
        cpu, peak = cpu_seconds() - cpu, kilobytes("VmHWM")
    return {
        **told(result, count),
        "cpu_ms": 1000 * cpu / max(1, result.usage.calls),
        "kb_per_agent": (peak - before) / count,
        "rss_mb": peak / 1024,
        "calls_per_s": result.usage.calls / (time.perf_counter() - wall),
    }


def told(result: RunResult, count: int) -> dict[str, Any]:
    """How many agents failed."""
    done = result.outcomes.get("completed", 0)
    return {
        "failed": count - done,
        "of": count,
        "error": "" if done == count else f"{result.status}: {result.answer[:200]}",
    }


async def turns(url: str, count: int, sandbox: str, *, counted: bool) -> list[dict[str, float]]:
    """One agent of so many turns, five times: what a turn costs, and the bytes that are sent in it."""
    beats: list[float] = []
    counter = Counter()

    def beat() -> None:
        beats.append(counter.calls if counted else time.process_time())

    rounds: list[list[float]] = []
    sent: list[int] = []
    async with opened(url, sandbox, count, beat) as begin:
        for _ in range(2 if counted else 5):
            beats.clear()
            gc.collect()
            if counted:
                with counter:
                    result = await begin("Look up 1 items.")
            else:
                result = await begin("Look up 1 items.")
            rounds.append([after - before for before, after in itertools.pairwise(beats)])
            sent = bytes_sent(Path(result.run_dir))
    points = []
    for first in range(0, count - TURNS_TOGETHER, TURNS_TOGETHER):
        part = [each for one in rounds[1:] for each in one[first : first + TURNS_TOGETHER]]
        if not part:
            continue
        cost = statistics.median(part) * (1 if counted else 1000)
        at = first + TURNS_TOGETHER / 2
        kb = statistics.mean(sent[first : first + TURNS_TOGETHER]) / 1024
        points.append({"at": at, "python_calls" if counted else "cpu_ms": cost, "kb_sent": kb})
    return points


def bytes_sent(folder: Path) -> list[int]:
    """The messages of each prompt of the run's one agent, in bytes."""
    sizes: list[int] = []
    whole = 0
    for line in (folder / "events.jsonl").read_bytes().splitlines():
        event = from_json(line)
        if event["type"] == "call" and event["trajectory_id"].startswith("item-0"):
            whole += sum(len(json.dumps(message)) for message in event["new_messages"])
            sizes.append(whole)
            whole += len(json.dumps(event["response"]))
    return sizes


async def runs(url: str, count: int, sandbox: str, *, counted: bool) -> list[dict[str, float]]:
    """So many runs of two agents one after the other: what a run costs, and what it leaves behind in the process."""
    points: list[dict[str, float]] = []
    each = max(1, count // POINTS)
    async with opened(url, sandbox, 8, nothing) as begin:
        for _ in range(WARM):
            await begin("Look up 2 items.")
        for done in range(0, count + 1, each):
            for _ in range(20):
                await anyio.lowlevel.checkpoint()
            gc.collect()
            point: dict[str, float] = {
                "at": done,
                "blocks": sys.getallocatedblocks(),
                "objects": len(gc.get_objects()),
                "rss_mb": kilobytes("VmRSS") / 1024,
                "descriptors": len(os.listdir("/proc/self/fd")),  # noqa: PTH208  names alone
            }
            with Counter() as counter:
                await begin("Look up 2 items.")
            point["python_calls"] = counter.calls
            cpu = cpu_seconds()
            for _ in range(each - 1):
                await begin("Look up 2 items.")
            if each > 1:
                point["cpu_ms"] = 1000 * (cpu_seconds() - cpu) / (each - 1)
            points.append(point)
    return points


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("agents", "turns", "runs"))
    parser.add_argument("url")
    parser.add_argument("count", type=int)
    parser.add_argument("--sandbox", choices=("none", "process"), default="none")
    parser.add_argument("--count", dest="counted", action="store_true")
    args = parser.parse_args()
    work = {"agents": agents, "turns": turns, "runs": runs}[args.what]
    print(json.dumps(asyncio.run(work(args.url, args.count, args.sandbox, counted=args.counted))), flush=True)


if __name__ == "__main__":
    main()
