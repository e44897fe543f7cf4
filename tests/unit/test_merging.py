"""The pure parts of the merge queue: order, who is repaired side by side, names, and what a repair counts for."""

from __future__ import annotations

import itertools

from swarm.budgets.budget import Budget
from swarm.budgets.headcount import Headcount
from swarm.budgets.levels import Limits, Room
from swarm.budgets.shares import Shares, stage_budget, steps_before, subtask_budget
from swarm.embedded.repair import prompt
from swarm.events import RepairsStarted, StageStarted
from swarm.journal.critical import CriticalSteps
from swarm.merging.order import in_order
from swarm.merging.patch import Eviction, Patch
from swarm.merging.repairs import of_files, repair_id
from swarm.prompts.repairs import Case, repair_instructions
from swarm.stages import Change
from swarm.types import Plan, SubTask


def patch(name: str, lines: int = 1, files: str = "", place: int = 0, needs: str = "") -> Patch:
    changes = tuple(Change(path, lines) for path in (files or name).split())
    wanted = tuple(frozenset((other,)) for other in needs.split())
    return Patch(name, name, f"c-{name}", name, changes=changes, place=place, needs=wanted)


def names(patches: list[Patch]) -> list[str]:
    return [each.subtask_id for each in patches]


def test_the_order_follows_from_the_patches_alone() -> None:
    patches = [
        patch("large", 40, place=0),
        patch("shares", 2, files="f", place=1),
        patch("shared", 2, files="f", place=2),
        patch("lonely", 2, place=3),
        patch("after", 1, place=4, needs="large"),
    ]
    for order in itertools.permutations(patches):
        assert names(in_order(order)) == ["lonely", "shares", "shared", "large", "after"]


def test_needs_that_go_round_or_are_not_there_hold_nothing_up() -> None:
    assert names(in_order([patch("a", needs="b", place=1), patch("b", needs="a")])) == ["b", "a"]
    assert names(in_order([patch("a", needs="gone")])) == ["a"]


def test_names_of_repairs_are_ids_and_no_two_are_the_same() -> None:
    assert repair_id(patch("one")) == "one.repair-1"
    found = {repair_id(patch("x" * 63 + end)) for end in "ab"}
    assert len(found) == 2
    assert all(SubTask(id=name, title="t", instructions="x") for name in found)


def test_only_what_is_about_a_file_is_shown_of_a_diff() -> None:
    diff = "diff --git a/f b/f\n-1\n+2\ndiff --git a/sub/f b/sub/f\n-3\n+4\n"
    assert of_files(diff, {"f"}) == "diff --git a/f b/f\n-1\n+2"
    assert of_files(diff, {"other"}) == diff


def test_reasons_name_files_tests_and_the_other_side() -> None:
    one = patch("one")
    assert Eviction(one, "gate", ("two",), tests=("t::a",)).reason == (
        "semantic conflict with two: both apply, but t::a fails"
    )
    assert Eviction(one, "alone", tests=("t::a", "t::b")).reason == "even by itself it breaks t::a, t::b"
    assert Eviction(one, "conflict", ("two",), ("f",), tried="its repair failed").reason == (
        "conflict with what was merged before in f (changed by two); its repair failed"
    )


def test_the_embedded_policy_reads_which_files_are_in_conflict() -> None:
    case = Case("a", "t", "test_m.py::test_a", "", "", applies=False, reason="r", files=["m.py", "a b.py"])
    assert prompt.conflicts(repair_instructions(case)) == ["m.py", "a b.py"]
    assert prompt.conflicts("anything else") == []


def test_repairs_come_after_all_of_the_stage_and_count_as_agents() -> None:
    plan = Plan(subtasks=(SubTask(id="a", title="a", instructions="x"), SubTask(id="b", title="b", instructions="x")))
    asked = SubTask(id="b.repair-1", title="r", instructions="x")
    critical, headcount = CriticalSteps(), Headcount(3)
    critical.plan(1, {"a": [], "b": []})
    repairs = RepairsStarted(stage=1, commit="c", subtasks=[asked], repairs={asked.id: "b"})
    headcount.observe(StageStarted(stage=1, plan=plan))
    headcount.observe(repairs)
    assert headcount.room == 0
    for _ in range(2):  # a stage that is gone through again says it again
        critical.then(1, [asked.id])
    for name, steps in (("a", 5), ("b", 2), (asked.id, 3)):
        critical.start(name, 1, name)
        for _ in range(steps):
            critical.step(name)
        critical.end(name, completed=True)
    assert critical.longest == 8

    work = Budget(Limits(tokens=100), clock=lambda: 0.0)
    stage = stage_budget(work, 1)
    shares = Shares(stage, plan, Room(100, 1.0))
    for name in ("a", "b"):
        shares.end(name)
    shares.then([asked.id])
    shares.then([asked.id])
    subtask_budget(stage, "a").book(0, 0.0, 4)
    assert steps_before(stage, asked.id) == (4, 4)
    assert subtask_budget(stage, asked.id).room().tokens == 100
