"""The budget tree: nobody overshoots, nothing leaks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.budget import Budget, Limits, Reservation
from swarm.errors import BudgetExhausted


def test_a_child_is_bound_by_its_parent_and_the_message_names_who_refused() -> None:
    run = Budget(Limits(tokens=100))
    child = run.child(Limits(tokens=80), "agent a")
    child.reserve(70, 0)
    with pytest.raises(BudgetExhausted, match="budget of the agent a is used up: 70 of 80 tokens"):
        child.reserve(11, 0)
    with pytest.raises(BudgetExhausted, match="budget of the run"):
        run.child(Limits(), "agent b").reserve(31, 0)
    assert child.room() == 10


def test_steps_are_counted_and_a_call_that_was_never_answered_gives_its_step_back() -> None:
    run = Budget(Limits(steps=1))
    run.reserve(5, 0).release()
    run.reserve(5, 0).settle(3, 0)
    assert (run.tokens, run.steps) == (3, 1)
    with pytest.raises(BudgetExhausted, match="1 of 1 steps"):
        run.reserve(0, 0)


@given(
    st.integers(1, 200),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 60), st.sampled_from(["settle", "release", "hold"]))),
)
def test_whatever_children_do_no_limit_is_passed_and_nothing_is_lost(
    limit: int, moves: list[tuple[int, int, str]]
) -> None:
    run = Budget(Limits(tokens=limit))
    children = [run.child(Limits(tokens=(n + 1) * 30), f"c{n}") for n in range(4)]
    used = [0] * 4
    held: list[tuple[int, Reservation]] = []
    for who, tokens, then in moves:
        try:
            reservation = children[who].reserve(tokens, 0)
        except BudgetExhausted:
            continue
        if then == "settle":
            reservation.settle(tokens // 2, 0)
            used[who] += tokens // 2
        elif then == "release":
            reservation.release()
        else:
            held.append((who, reservation))
        assert run.tokens <= limit
        assert all(child.tokens <= (child.limits.tokens or 0) for child in children)
    for _, reservation in held:
        reservation.release()
    assert [child.tokens for child in children] == used
    assert run.tokens == sum(used)
