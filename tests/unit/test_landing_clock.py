"""Time as a limit: told at its soft part, ended where what is kept for the end begins. The clock jumps."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from swarm.agents.conversation import Conversation
from swarm.agents.landing import Landing
from swarm.agents.line import Line
from swarm.budgets.budget import Terms
from swarm.budgets.funds import Funds, attempt_budget
from swarm.budgets.levels import Limits
from swarm.calls import ModelRequest
from swarm.errors import BudgetExhausted
from swarm.events import AgentTold, LimitReached
from swarm.scheduling.stragglers import FINISH_WORK
from swarm.steering import NO_TIME, Steering, WorkClock
from swarm.testing import RecordingSink, ScriptedModel, Turn, VirtualClock
from swarm.types import AgentLimits, AgentSpec, Plan, Role, SubTask

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": VirtualClock}


async def ten_seconds(request: ModelRequest) -> Turn:
    await anyio.sleep(10)
    return "x"


async def talk(limits: Limits, own: AgentLimits) -> tuple[int, int, Steering, RecordingSink, Funds]:
    """An agent that never comes to an end: after how many calls it was told to, and after how many it was ended."""
    sink = RecordingSink()
    task = SubTask(id="a", title="a", instructions="a")
    funds = Funds(limits, sink, Terms(time=0.1), 0.8)
    funds.begin_stage(1, Plan(subtasks=(task,)))
    spec = AgentSpec("a", task, 1, 1, 1, "", "", None, own)
    line = Line(ScriptedModel(ten_seconds), attempt_budget(funds.work, spec), sink)
    conversation, steering, told = (
        Conversation(line, "a", Role.SUBAGENT, [{"role": "user", "content": "go"}]),
        spec.steering,
        0,
    )
    conversation.clock = steering.clock
    steering.advice = Landing(conversation, steering, 100, FINISH_WORK)
    with steering.clock.limited(own.timeout) as scope:
        for _ in range(1000):
            if await steering.before_call():
                told = conversation.steps
            await conversation.ask()
    assert scope.cancelled_caught
    return told, conversation.steps, steering, sink, funds


async def test_the_time_of_the_run_is_told_at_its_soft_part_and_leaves_some_for_the_end() -> None:
    told, ended, steering, sink, funds = await talk(Limits(seconds=101), AgentLimits())
    assert (told, ended) == (8, 9)  # 72.7 and 90.9 seconds
    assert steering.clock.why == "stopped: the run has no more time for it"
    (event,) = sink.of(AgentTold)
    assert (event.scope, event.what) == ("run", "seconds")
    assert [each.level for each in sink.of(LimitReached)] == ["soft"]
    with pytest.raises(
        BudgetExhausted, match="seconds that sub-agents may use are used: nothing new is started"
    ) as late:
        funds.afford(1, "a")
    assert late.value.stop == "timeout"
    (await funds.aggregator.reserve(1, 0)).settle(1, 0)  # what comes after has its time


async def test_an_agents_own_seconds_are_those_of_its_work() -> None:
    told, ended, steering, sink, _ = await talk(Limits(), AgentLimits(timeout=45))
    assert (told, ended) == (4, 4)  # 36 and 45 seconds
    assert steering.clock.why == "stopped after 45 s of work"
    (event,) = sink.of(AgentTold)
    assert (event.scope, event.what) == ("a", "seconds")


async def test_a_work_clock_stands_while_it_is_stopped_and_so_does_its_limit() -> None:
    clock = WorkClock()
    began = anyio.current_time()
    with clock.limited(60.0) as limit:
        await anyio.sleep(50.0)
        clock.stop()
        await anyio.sleep(1000.0)
        assert 50.0 <= clock.seconds < 51.0
        clock.start()
        await anyio.sleep_forever()
    assert limit.cancelled_caught
    assert 1060.0 <= anyio.current_time() - began < 1062.0
    assert 60.0 <= clock.seconds < 61.0
    with clock.limited(0.0) as limit:
        await anyio.sleep_forever()
    assert limit.cancelled_caught


async def test_the_end_of_a_work_clock_is_kept_also_while_it_stands_and_where_it_comes_nearer() -> None:
    clock = WorkClock()
    began = anyio.current_time()
    with clock.limited(None) as limit:
        clock.end_at(began + 500.0)
        clock.stop()
        await anyio.sleep(100.0)
        clock.end_at(began + 300.0)
        await anyio.sleep_forever()
    assert limit.cancelled_caught
    assert 300.0 <= anyio.current_time() - began < 301.0
    assert clock.why == NO_TIME
