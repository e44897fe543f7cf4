"""The budget tree: nobody overshoots, nobody waits for nothing, nothing leaks."""

from __future__ import annotations

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.budget import Budget, Limits
from swarm.errors import BudgetExhausted

pytestmark = pytest.mark.anyio


async def test_a_child_is_bound_by_its_parent_and_the_message_names_who_refused() -> None:
    run = Budget(Limits(tokens=100))
    child = run.child(Limits(tokens=80), "agent a")
    (await child.reserve(75, 0)).settle(70, 0)
    with pytest.raises(BudgetExhausted, match="budget of the agent a is used up: 70 of 80 tokens"):
        await child.reserve(11, 0)
    with pytest.raises(BudgetExhausted, match="budget of the run"):
        await run.child(Limits(), "agent b").reserve(31, 0)
    assert child.room() == 10


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

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(second)
            await anyio.wait_all_tasks_blocked()
            order.append("first settles")
            first.settle(40, 0)
    assert order == ["first settles", "second is in"]
    assert (run.used.tokens, run.held.tokens) == (90, 0)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 200),
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 60), st.sampled_from(["settle", "release", "forfeit"])), max_size=20
    ),
)
def test_whatever_children_do_at_once_no_limit_is_passed_nobody_hangs_and_nothing_is_lost(
    limit: int, moves: list[tuple[int, int, str]]
) -> None:
    run = Budget(Limits(tokens=limit))
    children = [run.child(Limits(tokens=(n + 1) * 30), f"c{n}") for n in range(4)]
    used = [0] * 4

    async def call(who: int, tokens: int, then: str) -> None:
        try:
            reservation = await children[who].reserve(tokens, 0)
        except BudgetExhausted:
            return
        assert run.used.tokens + run.held.tokens <= limit
        await anyio.lowlevel.checkpoint()
        if then == "settle":
            reservation.settle(tokens // 2, 0)
            used[who] += tokens // 2
        elif then == "release":
            reservation.release()
        else:
            reservation.forfeit()
            used[who] += tokens

    async def all_at_once() -> None:
        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                for move in moves:
                    group.start_soon(call, *move)

    anyio.run(all_at_once)
    assert [child.used.tokens for child in children] == used
    assert run.used.tokens == sum(used) <= limit
    assert (run.held.tokens, run.held.steps) == (0, 0)
