"""The state machine of the scheduler where chance leads it seldom: each scene is played by hand, and held against the
stage on paper at every step."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from swarm.events import AgentTold, Notice, SubTaskSkipped
from swarm.types import AgentResult, Outcome, Plan, SubTask
from tests.models.stage_world import Script
from tests.models.test_scheduler import Stages


def task(name: str, *needs: str, group: str = "") -> SubTask:
    return SubTask(id=name, title="t", instructions="x", depends_on=needs, group=group)


class Scene(Stages):
    def __init__(
        self,
        *subtasks: SubTask,
        width: int = 3,
        hedge: bool = True,
        script: Script = Script(["at once"]),  # noqa: B008  it never changes
        paused: bool = False,
        told: int | None = None,
        need: dict[str, int] | None = None,
    ) -> None:
        super().__init__()
        plan = Plan(subtasks=subtasks, need=need or {})
        self.begin(plan, b"", width, hedge, script, paused, told)
        self.settle(0.0)

    @property
    def at_work(self) -> list[str]:
        return sorted(name for name, live in self.world.live.items() if not live.leaving)

    def ends(self, name: str, how: str = "completed") -> None:
        live = self.world.live[name]
        live.end = how
        self.sim.do(live.go.set)
        self.settle(0.0)

    def is_prepared(self, name: str, number: int = 1) -> None:
        self.sim.do(self.world.preparing[name, number].set)
        self.settle(0.0)

    def results(self) -> Sequence[AgentResult]:
        """All that is still at work completes."""
        self.teardown()
        assert self.outcome is not None
        return self.outcome.results

    def outcomes(self) -> list[str]:
        return [result.outcome.value for result in self.results()]


def beside(**more: object) -> Scene:
    """A second attempt at t1 is at work beside the first."""
    scene = Scene(task("t0"), task("t1"), task("t2", "t1"), width=2, **more)  # type: ignore[arg-type]
    scene.ends("t0")
    scene.settle(1.5)
    assert scene.at_work == ["t1", "t1#2"] and scene.world.late.told == {("t1", 1)}
    return scene


@pytest.mark.parametrize(
    ("first", "second", "outcome", "keep"),
    [
        ("failed", "completed", "completed", True),
        ("failed", "partial", "failed", True),
        ("partial", "failed", "failed", True),
        ("timed out", "unpaid", "timed_out", False),
        ("failed", "overloaded", "failed", False),
        ("overloaded", "failed", "failed", False),
        ("sandbox", "context", "errored", False),
    ],
)
def test_the_other_attempt_may_do_better(first: str, second: str, outcome: str, keep: bool) -> None:
    scene = beside()
    scene.ends("t1", first)
    assert scene.at_work == ["t1#2"]
    scene.ends("t1#2", second)
    assert scene.at_work == (["t2"] if outcome == "completed" else [])
    result = scene.results()[1]
    assert (result.outcome.value, result.keep) == (outcome, keep)


def test_the_other_attempt_ends_with_the_first_that_completes() -> None:
    scene = beside(script=Script(["slowly"]))
    scene.ends("t1#2")
    assert scene.world.live["t1"].leaving and scene.at_work == ["t2"]
    assert scene.outcomes() == ["completed"] * 3


def test_of_two_that_broke_another_is_made() -> None:
    scene = beside()
    scene.ends("t1", "sandbox")
    scene.ends("t1#2", "overloaded")
    assert scene.at_work == ["t1#3"]
    scene.ends("t1#3", "overloaded")
    assert scene.at_work == []
    assert scene.outcomes() == ["completed", "errored", "skipped"]


@pytest.mark.parametrize("dies", [False, True])
def test_there_is_one_second_attempt(dies: bool) -> None:
    scene = beside()
    if dies:
        scene.die_and_go_on()
        assert scene.at_work == ["t1", "t1#2"]
    scene.settle(8.0)
    assert scene.world.late.told == {("t1", 1), ("t1", 2)}
    scene.ends("t1", "overloaded")
    scene.settle(8.0)
    assert scene.at_work == ["t1#2"]
    assert scene.outcomes() == ["completed"] * 3


def test_work_worth_keeping_stays_when_the_run_ends_beside_a_second_attempt() -> None:
    scene = beside()
    scene.ends("t1", "partial")
    scene.end_the_run()
    result = scene.results()[1]
    assert (result.outcome, result.keep) == (Outcome.FAILED, True)


@pytest.mark.parametrize("manner", ["at once", "slowly"])
def test_what_is_needless_ends_and_is_told_when_nothing_works_on_it(manner: str) -> None:
    group = task("t0", group="g"), task("t1", group="g"), task("t2"), task("t3", "g")
    scene = Scene(*group, script=Script([manner]), need={"g": 1})
    scene.ends("t0")
    assert scene.at_work == ["t2", "t3"]
    assert any(isinstance(event, SubTaskSkipped) for event in scene.world.events) is (manner == "at once")
    if manner == "slowly":
        scene.ends("t1")
    assert scene.outcomes() == ["completed", "skipped", "completed", "completed"]


def test_what_began_too_late_is_not_begun_again() -> None:
    """It was being prepared when it became needless, and is at its clean-up when the process dies."""
    group = task("t0", group="g"), task("t1", group="g"), task("t2")
    scene = Scene(*group, script=Script(["slowly"], slow={("t1", 1): True}), need={"g": 1})
    scene.ends("t0")
    scene.is_prepared("t1")
    assert scene.world.live["t1"].leaving
    scene.die_and_go_on()
    assert scene.at_work == ["t2"]
    assert scene.outcomes() == ["completed", "skipped", "completed"]


def test_a_fault_ends_all_though_there_are_too_many() -> None:
    scene = Scene(task("t0"), task("t1"), task("t2"), script=Script(["slowly"]))
    scene.concurrency(1)
    scene.ends("t0", "wrong key")
    assert scene.at_work == [] and len(scene.world.live) == 2
    assert scene.outcomes() == ["errored", "cancelled", "cancelled"]


def test_the_end_of_the_run_ends_all() -> None:
    scene = Scene(task("t0"), task("t1"), task("t2"), width=2)
    scene.end_the_run()
    scene.settle(0.0)
    assert scene.outcome is not None
    assert scene.outcomes() == ["cancelled"] * 3


@pytest.mark.parametrize("dies", [False, True])
def test_what_was_ended_by_someone_is_not_made_again(dies: bool) -> None:
    scene = Scene(task("t0"), task("t1"), script=Script(["slowly"]))
    scene.stop_one("t0", soft=False)
    assert scene.at_work == ["t1"]
    if dies:
        scene.die_and_go_on()
    scene.ends("t0", "sandbox")
    assert scene.at_work == ["t1"]
    assert scene.outcomes() == ["cancelled", "completed"]


@pytest.mark.parametrize("soft", [False, True])
def test_what_waits_is_stopped_and_what_is_asked_to_finish_goes_on(soft: bool) -> None:
    scene = Scene(task("t0"), task("t1"), task("t2", "t1"), task("t3", "t0"), width=1)
    scene.stop_one("t1", soft=soft)
    scene.stop_one("t0", soft=True)
    assert scene.at_work == ["t0"]
    assert scene.outcomes() == ["completed", "cancelled", "skipped", "completed"]


@pytest.mark.parametrize("soft", [False, True])
def test_what_is_being_prepared_is_not_told_to_finish(soft: bool) -> None:
    scene = Scene(task("t0"), task("t1"), task("t2"), script=Script(["at once"], slow={("t1", 1): False}))
    scene.ends("t0")
    scene.settle(8.0)
    assert {name for name, _ in scene.world.late.told} == {"t2"}
    scene.stop_one("t1", soft=soft)
    scene.settle(0.0)
    assert not scene.world.preparing
    assert scene.outcomes() == ["completed", "cancelled", "completed"]


def test_who_is_told_stays_told_and_the_time_before_counts() -> None:
    scene = Scene(task("t0"), task("t1"), task("t2"), width=2, hedge=False)
    scene.settle(5.0)
    scene.ends("t0")  # from now on 5 seconds are long
    scene.settle(0.1)
    assert scene.world.late.told == {("t1", 1)}
    scene.settle(3.0)
    scene.world.emit(Notice(level="info", message="at work", trajectory_id="t2"))
    scene.die_and_go_on()
    assert len(scene.world.live["t1"].spec.steering._texts) == 1  # it had not heard it
    scene.settle(3.0)
    assert scene.world.late.told == {("t1", 1), ("t2", 1)}
    assert sum(isinstance(event, AgentTold) for event in scene.world.events) == 2
    assert scene.outcomes() == ["completed"] * 3


def test_a_pause_makes_nobody_late_and_who_is_first_late_is_told_first() -> None:
    scene = Scene(task("t0"), task("t1"), task("t2"), width=1, hedge=False)
    for width, seconds in ((2, 1.0), (3, 6.0)):
        scene.settle(seconds)
        scene.concurrency(width)
    scene.settle(1.0)
    scene.ends("t0")  # after 8 seconds; t1 is at work for 7, t2 for 1
    scene.steer("pause", 1)
    scene.settle(0.5)
    assert not scene.world.late.told
    scene.steer("resume", 1)
    scene.settle(1.0)
    scene.settle(3.0)
    assert scene.world.late.told == {("t1", 1)}
    scene.steer("pause", 1)
    scene.settle(9.0)
    assert scene.world.late.told == {("t1", 1)}
    assert scene.outcomes() == ["completed"] * 3


def test_the_longest_way_goes_first_and_a_second_attempt_last() -> None:
    chain = task("t0"), task("t1"), task("t2", "t1"), task("t3"), task("t4", "t3"), task("t5", "t3"), task("t6")
    scene = Scene(*chain, width=1)
    order = []
    for _ in range(4):
        order += scene.at_work
        scene.ends(scene.at_work[0])
    assert order == ["t3", "t1", "t0", "t2"]  # two long with two that wait, two long, and as in the plan
    scene.settle(1.0)
    scene.concurrency(2)
    scene.settle(3.0)
    assert scene.at_work == ["t4", "t5"] and {("t4", 1), ("t5", 1)} == scene.world.late.told
    scene.ends("t5", "failed")
    assert scene.at_work == ["t4", "t6"]
    scene.ends("t6")
    assert scene.at_work == ["t4", "t4#2"]
    assert scene.outcomes() == [*["completed"] * 5, "failed", "completed"]


def test_groups_on_which_others_wait() -> None:
    plan = (
        *(task("t0", group="g"), task("t1", "t0", group="g"), task("t2", "t0", "g")),
        *(task("t3", group="h"), task("t4", group="h"), task("t5", "h"), task("t6", "t5")),
    )
    scene = Scene(*plan, width=4, need={"g": 1})
    for name in ("t3", "t4"):
        scene.ends(name, "failed")
    scene.ends("t0")
    assert scene.at_work == ["t2"]
    assert scene.outcomes() == ["completed", "skipped", "completed", "failed", "failed", "skipped", "skipped"]


@pytest.mark.parametrize(("how", "attempts"), [("context", 1), ("failed", 1), ("overloaded", 2), ("disk", 2)])
def test_so_often_a_broken_machine_is_tried(how: str, attempts: int) -> None:
    scene = Scene(task("t0"), width=2)
    for number in range(1, attempts + 1):
        assert scene.at_work == ["t0" if number == 1 else f"t0#{number}"]
        scene.ends(scene.at_work[0], how)
    assert scene.outcome is not None
    assert scene.outcomes() == ["failed" if how == "failed" else "errored"]


def test_a_second_attempt_goes_on_as_such_though_the_first_left_no_record() -> None:
    scene = Scene(task("t0"), script=Script(["at once"], {("t0", 1): "disk"}))
    assert scene.at_work == ["t0#2"]
    scene.die_and_go_on()
    assert scene.at_work == ["t0#2"]
    assert scene.outcomes() == ["completed"]


def test_controls_that_were_used_before_hold() -> None:
    scene = Scene(task("t0"), task("t1"), width=1, paused=True, told=2)
    assert scene.at_work == []
    scene.steer("resume", 1)
    scene.settle(0.0)
    assert scene.at_work == ["t0", "t1"]
    scene.die_and_go_on(paused=True)  # what had begun stands still before its next call
    assert scene.at_work == ["t0", "t1"]
    assert scene.outcomes() == ["completed"] * 2


@pytest.mark.parametrize("how", ["overloaded", "sandbox"])
@pytest.mark.parametrize("lives", [2, 3])
def test_a_subtask_that_could_not_be_paid_again_stays_so(how: str, lives: int) -> None:
    scene = Scene(task("t0"), task("t1"), script=Script(["at once"], {("t0", 2): "unpaid"}))
    scene.ends("t0", how)
    for _ in range(1, lives):
        scene.die_and_go_on()
    assert scene.results()[0].outcome is Outcome.BUDGET_EXHAUSTED
    assert sum(isinstance(event, SubTaskSkipped) for event in scene.world.events) == 1
