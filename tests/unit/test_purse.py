"""A purse that pays several runs together: a hard limit for all of them, and in nobody's way before."""

from __future__ import annotations

import anyio
import pytest

from swarm.budgets.budget import Budget
from swarm.budgets.funds import Funds
from swarm.budgets.levels import Limits
from swarm.errors import EVALUATION, BudgetExhausted
from swarm.events import LimitReached
from swarm.testing import RecordingSink

pytestmark = pytest.mark.anyio


async def test_what_one_run_holds_another_waits_for_and_what_is_used_is_refused_to_all() -> None:
    purse = Budget(Limits(tokens=1_000), name=EVALUATION)
    sinks = RecordingSink(), RecordingSink()
    one, other = (Funds(Limits(), sink, purse=purse.child(Limits(), f"trial {n}")) for n, sink in enumerate(sinks))
    held = await one.work.reserve(800, 0.0)
    assert other.work.try_reserve(300, 0.0) is None
    waited: list[int] = []

    async def wait() -> None:
        reservation = await other.work.reserve(300, 0.0)
        waited.append(reservation.tokens)
        reservation.settle(250, 0.0)

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert waited == []
        held.settle(600, 0.0)
    assert waited == [300]
    assert (purse.used.tokens, purse.held.tokens) == (850, 0)
    assert (other.work.room().tokens, other.work.room(own=True).unlimited) == (150, True)
    with pytest.raises(BudgetExhausted, match="the budget of the evaluation is used up") as refused:
        await other.orchestrator.reserve(200, 0.0)
    assert refused.value.stop == "budget"
    [told] = sinks[1].of(LimitReached)
    assert (told.scope, told.level, told.used, told.limit) == ("evaluation", "hard", 850, 1_000)
    assert sinks[0].events == [], "nobody is asked to hurry"
    assert list(one.work.gauges()) == []


async def test_what_was_used_before_counts() -> None:
    purse = Budget(Limits(usd=1.0), name=EVALUATION)
    funds = Funds(Limits(usd=5.0), RecordingSink(), purse=purse)
    funds.run.book(10, 0.75, 1)
    assert (purse.used.usd, purse.used.tokens, purse.used.steps) == (0.75, 10, 0)
    with pytest.raises(BudgetExhausted, match="evaluation"):
        await funds.work.reserve(1, 0.5)
    (await funds.work.reserve(1, 0.2)).forfeit()
    assert purse.used.usd == pytest.approx(0.95)
