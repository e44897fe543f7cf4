"""The longest way through sub-tasks that wait for each other: what their budgets allow, and what is counted after."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swarm.budgets.budget import Budget, Reservation, Terms
from swarm.budgets.levels import Limits
from swarm.budgets.shares import Shares, stage_budget, subtask_budget
from swarm.errors import BudgetExhausted
from swarm.journal.critical import longest_way
from swarm.scheduling.ways import Ways
from swarm.stages import edges
from swarm.types import Plan, SubTask

GRAPHS = st.lists(st.lists(st.integers(0, 7), max_size=3), min_size=1, max_size=8).map(
    lambda rows: {str(n): [str(other) for other in dict.fromkeys(row) if other < n] for n, row in enumerate(rows)}
)


@given(GRAPHS, st.lists(st.tuples(st.integers(0, 7), st.integers(0, 4)), max_size=30))
def test_it_is_the_same_as_measured_anew(needs: dict[str, list[str]], moves: list[tuple[int, int]]) -> None:
    ways, steps = Ways(needs), dict[str, int]()
    for number, value in moves:
        node = str(number % len(needs))
        more = steps.get(node, 0) + value
        assert ways.longest_with(node, more) == longest_way(needs, {**steps, node: more})
        before = ways.longest
        longer = ways.set(node, value)
        steps[node] = value
        assert ways.longest == before + longer == longest_way(needs, steps)


def planned(needs: dict[str, list[str]], **shares: float) -> Plan:
    return Plan(
        subtasks=tuple(
            SubTask(id=i, title=i, instructions=i, depends_on=tuple(some), budget_share=shares.get(i, 0.0))
            for i, some in needs.items()
        )
    )


@given(GRAPHS, st.integers(1, 12), st.booleans(), st.lists(st.integers(0, 7), max_size=60))
def test_the_limit_binds_on_the_longest_way_and_nowhere_before(
    needs: dict[str, list[str]], limit: int, shared: bool, calls: list[int]
) -> None:
    """In whatever order: also where one that others have waited for is gone on with after them."""
    run = Budget(Limits(steps=limit, tokens=10**6))
    work = run.part("work")
    stage = stage_budget(work, 1)
    plan = planned(needs, **({"0": 0.3} if shared else {}))
    Shares(stage, plan, work.room())
    steps: dict[str, int] = {}
    for number in calls:
        name = str(number % len(needs))
        more = {**steps, name: steps.get(name, 0) + 1}
        try:
            reservation = subtask_budget(stage, name).child(Limits(), "attempt").try_reserve(1, 0.0)
            assert reservation is not None
            reservation.settle(1, 0.0)
        except BudgetExhausted:
            assert longest_way(edges(plan), more) > limit
            continue
        steps = more
        assert run.used.steps == longest_way(edges(plan), steps) <= limit
        assert run.held.steps == 0


@given(GRAPHS, st.integers(1, 8), st.lists(st.tuples(st.integers(0, 7), st.booleans()), max_size=60))
def test_calls_in_flight_count_as_well(needs: dict[str, list[str]], limit: int, moves: list[tuple[int, bool]]) -> None:
    run = Budget(Limits(steps=limit))
    stage = run.part("stage", terms=Terms(parallel=True))
    stage.ways = Ways(needs), Ways(needs)
    open_: list[Reservation] = []
    for number, settles in moves:
        if settles and open_:
            open_.pop(number % len(open_)).settle(1, 0.0)
        else:
            try:
                if (reservation := stage.part(str(number % len(needs))).try_reserve(1, 0.0)) is not None:
                    open_.append(reservation)
            except BudgetExhausted:
                continue
        assert run.used.steps + run.held.steps <= limit
    for reservation in open_:
        reservation.release()
    assert run.held.steps == 0
    assert run.used.steps == longest_way(needs, {name: stage.part(name).used.steps for name in needs})
