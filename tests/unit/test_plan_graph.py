"""What is wrong with a plan is said in words that its author can act on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swarm.scheduling.plan_graph import problems, sorter
from swarm.types import Plan, SubTask


def task(name: str, *needs: str, replaces: tuple[str, ...] = ()) -> SubTask:
    return SubTask(id=name, title=name, instructions="do it", depends_on=needs, replaces=replaces)


def test_a_good_plan_has_no_problems_and_may_depend_on_earlier_stages() -> None:
    plan = Plan(subtasks=(task("a"), task("b", "a", "old"), task("c", replaces=("old",))))
    assert problems(plan, earlier=["old"]) == []


def test_each_problem_is_named() -> None:
    plan = Plan(subtasks=(task("a", "b"), task("b", "a"), task("c", "zz"), task("c")), dropped=("ghost",))
    found = "\n".join(problems(plan, earlier=["x"], room=3))
    assert "form a cycle: a → b → a" in found or "form a cycle: b → a → b" in found
    assert "'c' depends on 'zz', which does not exist" in found
    assert "'c' is given to 2 sub-tasks" in found
    assert "'ghost' cannot be dropped" in found
    assert "4 sub-tasks are too many: at most 3" in found


@given(st.lists(st.lists(st.integers(0, 7), max_size=4), min_size=1, max_size=8))
def test_a_plan_without_problems_can_be_run_to_its_end(needs: list[list[int]]) -> None:
    plan = Plan(subtasks=tuple(task(f"t{i}", *{f"t{n}" for n in some}) for i, some in enumerate(needs)))
    if problems(plan):
        return
    graph = sorter(plan)
    order = list(graph.static_order())
    assert sorted(order) == sorted(s.id for s in plan.subtasks)
    for subtask in plan.subtasks:
        assert all(order.index(other) < order.index(subtask.id) for other in subtask.depends_on)
