"""The budget tree: nobody overshoots, nobody waits for nothing, nothing leaks."""

from __future__ import annotations

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.agents.conversation import Conversation
from swarm.agents.line import Line
from swarm.budgets.budget import Budget, Terms
from swarm.budgets.levels import Gauge, Limits, Room
from swarm.budgets.sizes import ASSUMED, LEAST, Sizes
from swarm.config import Price
from swarm.errors import BudgetExhausted
from swarm.testing import RecordingSink, ScriptedModel
from swarm.types import Role

pytestmark = pytest.mark.anyio

PARALLEL = Terms(parallel=True)


async def test_a_child_is_bound_by_its_parent_and_the_message_names_who_refused() -> None:
    run = Budget(Limits(tokens=100))
    child = run.child(Limits(tokens=80), "agent a")
    (await child.reserve(75, 0)).settle(70, 0)
    with pytest.raises(BudgetExhausted, match="budget of the agent a is used up: 70 of 80 tokens") as own:
        await child.reserve(11, 0)
    with pytest.raises(BudgetExhausted, match="budget of the run") as of_all:
        await run.child(Limits(), "agent b").reserve(31, 0)
    assert (own.value.stop, of_all.value.stop) == ("max_tokens", "budget")
    assert child.room() == Room(tokens=10, free_tokens=10)


async def test_steps_are_counted_and_a_refused_call_gives_its_step_back() -> None:
    run = Budget(Limits(steps=1))
    (await run.reserve(5, 0)).release()
    (await run.reserve(5, 0)).settle(3, 0)
    assert (run.used.tokens, run.used.steps) == (3, 1)
    with pytest.raises(BudgetExhausted, match="1 of 1 steps"):
        await run.reserve(0, 0)


async def test_what_fits_only_when_others_settle_waits_for_them() -> None:
    run = Budget(Limits(tokens=100))
    first = await run.reserve(90, 0)
    order: list[str] = []

    async def second() -> None:
        reservation = await run.reserve(50, 0)
        order.append("second is in")
        reservation.forfeit()

    with anyio.fail_after(300):
        async with anyio.create_task_group() as group:
            group.start_soon(second)
            await anyio.wait_all_tasks_blocked()
            order.append("first settles")
            first.settle(40, 0)
    assert order == ["first settles", "second is in"]
    assert (run.used.tokens, run.held.tokens) == (90, 0)


@pytest.mark.parametrize("limits", [Limits(tokens=20_000), Limits(usd=2.0)])
async def test_who_waited_asks_for_as_much_as_there_is_then(limits: Limits) -> None:
    """What was set aside when all was free is no measure of what can be had when others have used a part of it."""
    model, run = ScriptedModel(["an answer"]), Budget(limits)
    line = Line(model, run, RecordingSink(), price=Price(prompt=100, completion=100))  # a token: a hundredth of a cent
    conversation = Conversation(line, "a", Role.SUBAGENT, [{"role": "user", "content": "word " * 2000}])
    other = await run.reserve(15_000, 1.5)
    with anyio.fail_after(300):
        async with anyio.create_task_group() as group:
            group.start_soon(conversation.ask)
            await anyio.wait_all_tasks_blocked()
            assert not model.requests
            other.settle(11_000, 1.1)
    (request,) = model.requests
    assert request.max_tokens is not None
    assert LEAST < request.max_tokens < ASSUMED
    assert run.used.tokens < 20_000
    assert run.used.usd < 2.0


async def test_who_waits_goes_on_when_the_limit_is_raised_and_gives_up_when_it_is_lowered() -> None:
    for limits, ends in ((Limits(tokens=200), ["in"]), (Limits(tokens=60), ["out"])):
        run = Budget(Limits(tokens=100))
        first, ended = await run.reserve(90, 0), list[str]()

        async def second(run: Budget = run, ended: list[str] = ended) -> None:
            try:
                (await run.reserve(70, 0)).release()
                ended.append("in")
            except BudgetExhausted:
                ended.append("out")

        with anyio.fail_after(300):
            async with anyio.create_task_group() as group:
                group.start_soon(second)
                await anyio.wait_all_tasks_blocked()
                run.allow(limits)
        assert ended == ends
        first.release()


async def test_a_part_is_kept_back_for_what_comes_after() -> None:
    run = Budget(Limits(tokens=100, usd=1.0, steps=10))
    work = run.child(Limits(), "work", Terms(part=0.1, steps=1))
    agent = work.child(Limits(), "a")
    (await agent.reserve(90, 0.5)).settle(90, 0.5)
    with pytest.raises(BudgetExhausted, match="budget of the run is used up: 90 of 100 tokens, with 10 kept back"):
        await agent.reserve(1, 0)
    (await run.reserve(10, 0.5)).settle(10, 0.5)
    with pytest.raises(BudgetExhausted, match="100 of 100 tokens"):
        await run.reserve(1, 0)


async def test_steps_of_what_works_side_by_side_are_those_of_the_longest() -> None:
    run = Budget(Limits(steps=4))
    (await run.part("orchestrator").reserve(0, 0)).settle(0, 0)
    aggregator = run.part("aggregator", terms=Terms(counted=False))
    stage = run.part("work").part("stage 1", terms=PARALLEL)
    a, b = stage.part("a"), stage.part("b")
    for agent in (a, b, a, b, a, aggregator):
        (await agent.reserve(0, 0)).settle(0, 0)
    assert (run.used.steps, stage.used.steps, a.used.steps, b.used.steps) == (4, 3, 3, 2)
    (await b.reserve(0, 0)).settle(0, 0)
    for refused in (a, b, run):
        with pytest.raises(BudgetExhausted, match="4 of 4 steps"):
            await refused.reserve(0, 0)
    (await aggregator.reserve(0, 0)).release()


async def test_what_comes_after_is_kept_where_it_is_less_than_half() -> None:
    for tokens, left in ((50, 90), (300, 70), (499, 50.1), (500, 90)):
        run = Budget(Limits(tokens=1000, usd=10.0))
        work = run.child(Limits(), "work", Terms(part=0.1, tokens=tokens, usd=tokens / 100))
        assert work.room().tokens == pytest.approx(10 * left, abs=1)
        assert work.room().usd == pytest.approx(left / 10, abs=0.01)


async def test_a_reservation_that_nobody_ends_is_forfeited_at_the_end_of_its_block() -> None:
    run = Budget(Limits(tokens=10))
    with pytest.raises(ZeroDivisionError), await run.reserve(7, 0.0):
        _ = 1 / 0
    assert (run.used.tokens, run.held.tokens, run.held.steps) == (7, 0, 0)


async def test_the_root_is_told_what_happens_below() -> None:
    told: list[Gauge | None] = []
    run = Budget(Limits(tokens=10))
    run.listener = told.append
    child = run.child(Limits(), "a")
    (await child.reserve(9, 0)).settle(9, 0)
    with pytest.raises(BudgetExhausted):
        await child.reserve(2, 0)
    assert told == [None, Gauge("run", "tokens", 9, 10)]
    assert [str(gauge) for gauge in child.gauges()] == ["9 of 10 tokens"]


async def test_time_is_up_when_its_clock_says_so() -> None:
    now = [0.0]
    run = Budget(Limits(seconds=10), clock=lambda: now[0])
    work = run.child(Limits(), "work", Terms(time=0.5))
    (await work.reserve(1, 0)).settle(1, 0)
    now[0] = 5.0
    with pytest.raises(BudgetExhausted, match="5 of 10 seconds, with 5 kept back") as late:
        await work.reserve(1, 0)
    assert late.value.stop == "timeout"
    (await run.reserve(1, 0)).release()


@settings(deadline=None, max_examples=100)
@given(
    st.integers(1, 30_000),
    st.lists(st.tuples(st.integers(1, 4000), st.integers(0, 100), st.booleans()), max_size=15),
)
def test_answers_that_shrink_with_the_room_pass_no_limit_and_only_what_does_not_fit_is_refused(
    limit: int, calls: list[tuple[int, int, bool]]
) -> None:
    run, sizes = Budget(Limits(tokens=limit)), Sizes()

    async def call(prompt: int, part: int, fails: bool) -> None:
        def wanted() -> tuple[int, float]:
            return sizes.needs(prompt, run.room(), None).aside

        while True:
            try:
                await run.wait_for_room(wanted)
                reservation = run.try_reserve(*wanted())
            except BudgetExhausted:
                assert run.used.tokens + prompt + LEAST > limit
                return
            if reservation is not None:
                break
        await anyio.lowlevel.checkpoint()
        if fails:
            reservation.forfeit()
            return
        answer = (reservation.tokens - prompt) * part // 100
        sizes.observe(answer)
        reservation.settle(prompt + answer, 0.0)

    async def all_at_once() -> None:
        with anyio.fail_after(300):
            async with anyio.create_task_group() as group:
                for each in calls:
                    group.start_soon(call, *each)

    anyio.run(all_at_once)
    assert run.used.tokens <= limit
    assert (run.held.tokens, run.held.steps) == (0, 0)


def test_limits_and_terms_that_change_later_hold_for_those_below() -> None:
    root = Budget(Limits())
    child = root.child(Limits(), "child")
    assert child.room().unlimited
    root.allow(Limits(tokens=100))
    assert child.room().tokens == 100
    child.agree(Terms(part=0.25))
    assert child.room().tokens == 75


async def test_a_request_that_cannot_be_put_together_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Conversation, *given: object) -> None:
        raise ValueError("no such option")

    monkeypatch.setattr(Conversation, "_request", broken)
    run = Budget(Limits(tokens=20_000))
    line = Line(ScriptedModel(["an answer"]), run, RecordingSink())
    conversation = Conversation(line, "a", Role.SUBAGENT, [{"role": "user", "content": "word"}])
    with pytest.raises(ValueError, match="no such option"):
        await conversation.ask()
    assert run.held.tokens == 0, "others would wait for it for ever"


async def test_nobody_is_asked_what_is_wanted_where_nothing_is_limited() -> None:
    run = Budget(Limits())
    child = run.child(Limits(), "agent a")

    def wanted() -> tuple[int, float]:
        raise AssertionError("asked")

    await child.wait_for_room(wanted)
    run.allow(Limits(tokens=10))
    with pytest.raises(AssertionError, match="asked"):
        await child.wait_for_room(wanted)
