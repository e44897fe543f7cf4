"""Replicas that answer more slowly than the others: who gets calls, and who keeps a conversation."""

from __future__ import annotations

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from swarm.models.router import RoutedModel
from tests.unit.test_router import Clock, Fake, ask, call, fakes, routed

pytestmark = pytest.mark.anyio


async def at_once(router: RoutedModel, replicas: list[Fake], agents: list[str]) -> list[int]:
    """Where calls are that all come at once."""
    for fake in replicas:
        fake.open = anyio.Event()
    async with anyio.create_task_group() as group:
        for agent in agents:
            group.start_soon(call, router, ask(agent))
        await wait_all_tasks_blocked()
        found = [each.calls for each in router.statistics()]
        for fake in replicas:
            fake.open.set()
    return found


async def test_a_slow_replica_gets_fewer_calls_is_no_home_and_is_tried_again_later() -> None:
    clock, replicas = Clock(), fakes(3)
    router = routed(*replicas, clock=clock)
    for fake in replicas:
        fake.said, fake.seconds = 100, 2.0
    crowd = [f"agent {n}" for n in range(33)]
    assert await at_once(router, replicas, crowd) == [11, 11, 11]
    replicas[0].seconds = 20.0
    for _ in range(4):  # answers that are long are no slow ones
        replicas[1].said, replicas[1].seconds = 1000, 20.0
        await at_once(router, replicas, crowd)
    slow, *well = await at_once(router, replicas, [f"new {n}" for n in range(33)])
    assert 1 <= slow <= 3
    assert abs(well[0] - well[1]) <= 1, "each token of a long answer came as fast as those of others"
    assert await at_once(router, replicas, ["agent 0"]) != [1, 0, 0], "a conversation stays where answers come slowly"
    clock.now += 3600
    assert (await at_once(router, replicas, [f"later {n}" for n in range(33)]))[0] >= 10


async def test_one_that_gave_a_long_answer_as_quickly_as_short_ones_makes_the_others_no_slow_ones() -> None:
    """What calls take here does not depend on their length, as with a plan of 500 tokens where agents say 15."""
    clock, replicas = Clock(), fakes(2)
    router = routed(*replicas, clock=clock)
    for fake in replicas:
        fake.said, fake.seconds = 15, 0.6
    replicas[0].said = 500
    await call(router, ask("planner"))
    replicas[0].said = 15
    for turn in range(6):
        await at_once(router, replicas, [f"agent {n} in turn {turn}" for n in range(2)])
    assert await at_once(router, replicas, [f"new {n}" for n in range(20)]) == [10, 10]
