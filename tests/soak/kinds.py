"""The kinds of runs that a soak makes."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from swarm import Controls, RunResult, Swarm
from swarm.config import Mode, Rollout, RunConfig
from swarm.events import Event
from swarm.parts import Own
from swarm.removal import remove_tree
from swarm.rl.rollout import Bounds, Rollouts
from swarm.rl.tasks.task import Task
from tests.soak.script import WIDTHS

MODES: tuple[Mode, ...] = ("plan", "parl", "single")


@dataclass(frozen=True, slots=True)
class Draw:
    """One run, all of it by chance: how it is configured, what it is asked, and where."""

    swarm: Swarm
    config: RunConfig
    chance: random.Random
    task: str
    repo: Path | None
    place: Path

    def own(self, **more: object) -> Own:
        return Own(config=self.config.model_copy(update=more))


@dataclass(frozen=True, slots=True)
class Ground:
    """What all draws have in common."""

    swarm: Swarm
    config: RunConfig
    sandboxes: Mapping[str, float]
    repo: Path
    place: Path

    def draw(self, number: int, chance: random.Random) -> Draw:
        """A run's own chance, so that the same number is the same run."""
        mode = chance.choice(MODES)
        sandbox = chance.choices(tuple(self.sandboxes), tuple(self.sandboxes.values()))[0]
        kind = chance.choices(("calm", "garbled", "clash"), (6, 2, 1))[0]
        with_repo = chance.random() < 0.4
        config = self.config.model_copy(
            update={
                "mode": mode,
                "sandbox": sandbox,
                "seed": number,
                "stream": chance.random() < 0.7,
                "repairs": chance.choice((0, 1)),
                "concurrency": chance.choice((1, 2, 4)),
                "board": chance.random() < 0.5,
                "test": "test ! -e never" if with_repo and chance.random() < 0.7 else None,
            }
        )
        task = f"Soak {number}: mode-{mode} width-{chance.choice(WIDTHS)} {kind}"
        return Draw(self.swarm, config, chance, task, self.repo if with_repo else None, self.place)


Kind = Callable[[Draw], Awaitable[list[RunResult]]]


async def plainly(draw: Draw) -> list[RunResult]:
    return [await draw.swarm.run(draw.task, repo=draw.repo, own=draw.own())]


async def paused(draw: Draw) -> list[RunResult]:
    """Paused and gone on with after some events, and made wider."""
    controls, left = Controls(), draw.chance.randrange(1, 25)

    def steer(event: Event) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            controls.pause()
            controls.set_concurrency(4)
            controls.resume()

    return [await draw.swarm.run(draw.task, repo=draw.repo, on_event=steer, controls=controls, own=draw.own())]


async def stopped(draw: Draw) -> list[RunResult]:
    """Stopped after some events, then gone on with."""
    stop, left = anyio.Event(), draw.chance.randrange(1, 30)

    def count(event: Event) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            stop.set()

    first = await draw.swarm.run(draw.task, repo=draw.repo, on_event=count, stop=stop, own=draw.own())
    return [first, await draw.swarm.resume(first.run_id)]


async def cancelled(draw: Draw) -> list[RunResult]:
    """Cancelled from outside after some events, without a word."""
    left = draw.chance.randrange(1, 30)
    with anyio.CancelScope() as scope:

        def count(event: Event) -> None:
            nonlocal left
            left -= 1
            if left <= 0:
                scope.cancel()

        return [await draw.swarm.run(draw.task, repo=draw.repo, on_event=count, own=draw.own())]
    return []


async def poor(draw: Draw) -> list[RunResult]:
    """With a budget that does not suffice."""
    limit: dict[str, Any] = draw.chance.choice(
        [
            {"budget_tokens": 3000},
            {"agent_tokens": 1500},
            {"max_steps": 1},
            {"max_critical_steps": 1},
            {"max_agents": 1},
            {"timeout": 1.5},
        ]
    )
    task = draw.task.replace("calm", "idle") if "timeout" in limit else draw.task
    return [await draw.swarm.run(task, repo=draw.repo, own=draw.own(**limit))]


async def streamed(draw: Draw) -> list[RunResult]:
    """Through a Swarm of its own, whose consumer mostly breaks off."""
    left = draw.chance.randrange(1, 60)
    async with Swarm(config=draw.config) as swarm:
        events = swarm.stream(draw.task, repo=draw.repo)
        async for _ in events:
            left -= 1
            if left <= 0:
                break
        await events.aclose()
    return []


async def replayed(draw: Draw) -> list[RunResult]:
    """With a Swarm that records, then one that replays it without the endpoint."""
    record = draw.place / f"record-{draw.config.seed}.jsonl"
    found: list[RunResult] = []
    try:
        for key in ("record", "replay"):
            async with Swarm(config=draw.config.model_copy(update={key: record})) as swarm:
                found.append(await swarm.run(draw.task, repo=draw.repo))
    finally:
        record.unlink(missing_ok=True)
    return found


async def previewed(draw: Draw) -> list[RunResult]:
    return [await draw.swarm.run(draw.task, repo=draw.repo, dry_run=True, own=draw.own())]


async def rolled_out(draw: Draw) -> list[RunResult]:
    """Rollouts, of which an iteration leaves some unfinished, and the next one takes them up."""
    folder = draw.place / f"rollouts-{draw.config.seed}"
    bounds = Bounds(k=2, at_once=2, batch_fraction=0.5, grace=5, retry_s=0.1)
    found: list[RunResult] = []
    config = draw.config.model_copy(update={"mode": "parl"})
    async with Swarm(config=config) as swarm:
        rollouts = Rollouts(swarm, folder, bounds)
        tasks = [Task(id=str(n), prompt=f"{n}: mode-parl width-2 calm") for n in range(2)]
        for more in (tasks, []):
            async with rollouts.iteration(more, weights=Rollout(lambda1=0.1)) as done:
                found += [each.result async for each in done if each.result is not None]
    await anyio.to_thread.run_sync(partial(remove_tree, folder))
    return found


KINDS: dict[Kind, float] = {
    plainly: 8,
    paused: 1,
    stopped: 2,
    cancelled: 2,
    poor: 2,
    streamed: 1.5,
    replayed: 1,
    previewed: 0.5,
    rolled_out: 0.7,
}
"""Each kind, and how often it is made."""
