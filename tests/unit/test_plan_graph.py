"""What is wrong with a plan is said in words that its author can act on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swarm.budgets.headcount import Headcount
from swarm.orchestrators.delegation import Delegation
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


RUNTIME = [
    "orchestrator",
    "aggregator-1",
    "aggregator-2.1.3",
    "judge-1",
    "judge-1.2",
    "Judge-1-g.1",
    "gate-0",
    "ahead-3",
]


def test_an_id_can_never_be_that_of_a_trajectory_of_the_runtime() -> None:
    for name in RUNTIME:
        assert problems(Plan(subtasks=(task(name),))) == [f"the id {name!r} is taken by the runtime"]
    for made in ("x.1", "x.1.12", "x_.2.1"):  # of sub-agents of `x`, of `x.1`, and of its second attempt
        assert Delegation(Headcount(9), "x#2")._owner == "x_.2"
        (found,) = problems(Plan(subtasks=(task(made), task("x"))))
        assert "may be given to a sub-agent of 'x" in found
        assert problems(Plan(subtasks=(task("x"),)), earlier=[made])
        assert problems(Plan(subtasks=(task(made),)), earlier=["x"])
    fine = ("gate-3d", "judge", "aggregator", "judges-1", "py-3.11", "x_2", "x")
    assert problems(Plan(subtasks=tuple(map(task, fine)))) == []
    assert problems(Plan(subtasks=(task("x_"),)))


def test_what_no_agent_could_work_with_is_refused_with_a_reason() -> None:
    def told(**fields: object) -> str:
        return "\n".join(problems(Plan(subtasks=(task("a").model_copy(update=fields), task("b")))))

    assert "'a': `instructions` are blank" in told(instructions=" \n")
    assert "'a': `title` is blank" in told(title=" ")
    for path in ("../x", "src/../../x", ".."):
        assert f"{path!r} in `files` leaves the repository" in told(files=(path,))
    for path in ("/etc/x", " /x", "~/x", "C:\\x"):
        assert f"{path!r} in `files` is absolute" in told(files=(path,))
    assert told(files=("src/../x", "a/", "..x", "*", ".", "src/**/*.py")) == ""
    assert "the id 'B' differs from 'b' only by case" in "\n".join(problems(Plan(subtasks=(task("b"), task("B")))))
    assert "'A' differs from 'a' only by case" in "\n".join(problems(Plan(subtasks=(task("A"),)), earlier=["a"]))
    none = Plan(subtasks=(task("a").model_copy(update={"group": "g"}),), need={"g": 0})
    assert "the need of the group 'g' is 0: at least 1" in "\n".join(problems(none))
