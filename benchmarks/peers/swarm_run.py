"""Ours: a whole run. Planner, scheduler, governor, agents, journal on disk, aggregator, envelope: all of it counts.

`open_given` is told the sub-tasks, as every peer is, so that no call is made to plan and none to sum up.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.peers.common import TASK, Run, found


@asynccontextmanager
async def open_agents(url: str, agents: int) -> AsyncIterator[Run]:
    """A model plans, and a model sums up."""
    async with _opened(url, agents, given=False) as run:
        yield run


@asynccontextmanager
async def open_given(url: str, agents: int) -> AsyncIterator[Run]:
    """An orchestrator and an aggregator in Python (see docs/python.md)."""
    async with _opened(url, agents, given=True) as run:
        yield run


@asynccontextmanager
async def _opened(url: str, agents: int, *, given: bool) -> AsyncIterator[Run]:
    from swarm import (
        Desk,
        Dialogue,
        Dispatch,
        Finish,
        Harvest,
        Merged,
        Parts,
        Plan,
        RunConfig,
        RunState,
        SubTask,
        Swarm,
        tool,
    )
    from swarm.config import Capabilities

    @tool
    async def lookup(key: str) -> str:
        """Look up a part of an item.

        Args:
            key: which part
        """
        return found(key)

    class OneForEachItem:
        def __init__(self, desk: Desk, dialogue: Dialogue) -> None:
            self._count = int(desk.task.split()[2])

        async def decide(self, state: RunState) -> Dispatch | Finish:
            if state.stages:
                return Finish("")
            tasks = [TASK.format(n) for n in range(self._count)]
            return Dispatch(
                Plan(subtasks=[SubTask(id=f"item-{n}", title=t, instructions=t) for n, t in enumerate(tasks)])
            )

    class Joined:
        async def merge(self, harvest: Harvest) -> Merged:
            return Merged("\n".join(result.text for result in harvest.useful))

    config = RunConfig(
        model="load",
        base_url=url,
        max_agents=agents,
        concurrency=agents,
        max_in_flight=1000,
        capabilities=Capabilities(tools=True, parallel_tools=True, structured="json_schema", stream_usage=True),
    )
    parts = Parts(tools=(lookup,))
    if given:
        parts = Parts(tools=(lookup,), orchestrator=OneForEachItem, aggregator=lambda desk: Joined())
    async with Swarm(config=config, parts=parts) as swarm:

        async def run(agents: int) -> dict[str, Any]:
            result = await swarm.run(f"Look up {agents} items.")
            done = result.outcomes.get("completed", 0)
            return {
                "failed": agents - done,
                "error": "" if done == agents else f"{result.status}: {result.outcomes}",
                "most_at_once": result.peak_concurrency,
                "journal_mb": (Path(result.run_dir) / "events.jsonl").stat().st_size / 1e6,
            }

        yield run
