"""The scheduler steered: groups, stragglers and hedges, pause and resume, agents stopped; always one result each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from anyio.lowlevel import checkpoint

from swarm.errors import SandboxError
from swarm.events import AgentTold, Notice, SubTaskSkipped
from swarm.scheduling.controls import Controls
from swarm.scheduling.ordering import Durations
from swarm.scheduling.scheduler import SPARE, Scheduler, StageOutcome
from swarm.scheduling.stragglers import FINISH, StragglerPolicy
from swarm.stages import spare
from swarm.testing.simulated_loop import SimulatedLoop
from swarm.types import AgentLimits, AgentResult, AgentSpec, Outcome, Plan, SubTask
from tests.unit.test_scheduler import Player, Sink, task

pytestmark = pytest.mark.anyio
AT_ONCE = StragglerPolicy(least_s=0.0, enough=3)


async def prepare(subtask: SubTask, attempt: int, needed: Sequence[AgentResult]) -> AgentSpec:
    return AgentSpec(f"{subtask.id}.{attempt}", subtask, 1, attempt, 0, "", "", None, AgentLimits())


def member(name: str, group: str, *needs: str) -> SubTask:
    return SubTask(id=name, title=name, instructions="x", depends_on=needs, group=group)


class Stage:
    """A scheduler with what is handed to it."""

    def __init__(self, player: Player, *subtasks: SubTask, need: dict[str, int] | None = None, **more: Any) -> None:
        self.plan = Plan(subtasks=subtasks, need=need or {})
        self.player, self.sink, self.controls = player, Sink(), Controls()
        policy = more.get("policy", StragglerPolicy())
        self.scheduler = Scheduler(player, prepare, self.sink, more.get("concurrency", 4), policy, self.controls)

    async def run(self, stop: anyio.Event | None = None) -> dict[str, AgentResult]:
        with anyio.fail_after(300):
            outcome: StageOutcome = await self.scheduler.run(self.plan, 1, stop or anyio.Event())
        assert [result.subtask_id for result in outcome.results] == [subtask.id for subtask in self.plan.subtasks]
        assert self.player.running == 0
        assert self.scheduler.statistics() == (0, len(self.plan.subtasks), 0)
        return {result.subtask_id: result for result in outcome.results}

    def skipped(self) -> dict[str, str]:
        events = [event for event in self.sink.events if isinstance(event, SubTaskSkipped)]
        assert len({event.subtask_id for event in events}) == len(events)
        return {event.subtask_id: event.reason for event in events}


def never_ends(*names: str) -> Callable[[AgentSpec], Any]:
    async def work(spec: AgentSpec) -> Outcome:
        if spec.trajectory_id.split(".")[0] in names or spec.trajectory_id in names:
            await anyio.sleep_forever()
        return Outcome.COMPLETED

    return work


async def test_what_depends_on_a_result_need_not_wait_for_the_end_of_the_stage_to_see_others_cancelled() -> None:
    gone: dict[str, anyio.Event] = {"late.1": anyio.Event(), "spare.1": anyio.Event()}

    async def work(spec: AgentSpec) -> Outcome:
        if spec.trajectory_id in gone:
            try:
                await anyio.sleep_forever()
            finally:
                gone[spec.trajectory_id].set()
        if spec.subtask.id == "last":
            for event in gone.values():
                await event.wait()
        return Outcome.COMPLETED

    policy = StragglerPolicy(least_s=0.0, enough=3, hedge=True)
    subtasks = [*map(task, ["late", "a", "b"]), member("c", "g"), member("spare", "g"), task("last", "late", "c")]
    stage = Stage(Player(work), *subtasks, need={"g": 1}, policy=policy, concurrency=6)
    results = await stage.run()
    assert results["last"].outcome is Outcome.COMPLETED
    assert results["spare"].stop == SPARE


async def test_enough_of_a_group_start_what_depends_on_it_and_end_the_rest() -> None:
    stage = Stage(
        Player(never_ends("c", "d")),
        *[member(name, "g") for name in "abcd"], member("e", "", "g"),
        need={"g": 2},
    )  # fmt: skip
    results = await stage.run()
    assert [results[i].outcome for i in "abe"] == [Outcome.COMPLETED] * 3
    assert [(results[i].outcome, results[i].stop) for i in "cd"] == [(Outcome.SKIPPED, SPARE)] * 2
    assert set(stage.skipped()) == {"c", "d"}
    assert "2 of the group g completed" in stage.skipped()["c"]
    assert spare(stage.plan, {"a", "b", "e"}) == {"c", "d"}


async def test_a_group_that_cannot_be_satisfied_keeps_its_dependents_from_starting() -> None:
    async def work(spec: AgentSpec) -> Outcome:
        return Outcome.FAILED if spec.subtask.id in "ab" else Outcome.COMPLETED

    stage = Stage(Player(work), *[member(name, "g") for name in "abc"], member("d", "", "g"), need={"g": 2})
    results = await stage.run()
    assert (results["c"].outcome, results["d"].outcome) == (Outcome.COMPLETED, Outcome.SKIPPED)
    assert "depends on g" in stage.skipped()["d"]


async def test_best_of_lets_all_come_to_their_end_and_hands_over_those_that_completed() -> None:
    async def work(spec: AgentSpec) -> Outcome:
        return Outcome.FAILED if spec.subtask.id == "a" else Outcome.COMPLETED

    handed: list[list[str]] = []

    async def note(subtask: SubTask, attempt: int, needed: Sequence[AgentResult]) -> AgentSpec:
        handed.append([result.subtask_id for result in needed])
        return await prepare(subtask, attempt, needed)

    stage = Stage(Player(work), *[member(name, "g") for name in "abc"], member("d", "", "g"))
    stage.scheduler = Scheduler(stage.player, note, stage.sink, 4)
    results = await stage.run()
    assert results["d"].outcome is Outcome.COMPLETED
    assert handed[-1] == ["b", "c"]
    assert stage.skipped() == {}


async def test_a_straggler_is_told_to_finish_by_what_its_siblings_took() -> None:
    told: list[list[str]] = []

    async def work(spec: AgentSpec) -> Outcome:
        if spec.subtask.id == "late":
            while not (texts := await spec.steering.before_call()):
                await checkpoint()
            told.append(texts)
        return Outcome.COMPLETED

    stage = Stage(Player(work), *map(task, ["late", "a", "b", "c"]), policy=AT_ONCE)
    results = await stage.run()
    assert results["late"].outcome is Outcome.COMPLETED
    assert told == [[FINISH]]
    (event,) = [event for event in stage.sink.events if isinstance(event, AgentTold)]
    assert (event.trajectory_id, event.reason) == ("late.1", "straggler")
    assert event.seconds >= event.limit_s > 0
    assert stage.player.started == ["late.1", "a.1", "b.1", "c.1"]


def test_a_crowd_of_stragglers_is_looked_at_seldom() -> None:
    """Each is late at a time of its own: a look for each would be as many looks at all."""
    looks = 0

    class Counting(StragglerPolicy):
        def limit(self, finished: Durations, kind: str) -> float | None:
            nonlocal looks
            looks += 1
            return super().limit(finished, kind)

    async def work(spec: AgentSpec) -> Outcome:
        clock = spec.steering.clock
        clock.stop()
        if spec.subtask.id.startswith("quick"):
            clock.start()
            await anyio.sleep(10.0)
            clock.stop()
            return Outcome.COMPLETED
        await anyio.sleep(int(spec.subtask.id) / 50)
        clock.start()
        while not await spec.steering.before_call():  # noqa: ASYNC110  the sleep is a call
            await anyio.sleep(5.0)
        return Outcome.FAILED  # else the limit were another one

    crowd = 500
    names = [*(f"quick{n}" for n in range(5)), *map(str, range(crowd))]
    stage = Stage(Player(work), *map(task, names), policy=Counting(least_s=0.0, enough=5), concurrency=len(names))
    results = anyio.run(stage.run, backend_options={"loop_factory": SimulatedLoop})
    assert Counter(result.outcome for result in results.values()) == {Outcome.COMPLETED: 5, Outcome.FAILED: crowd}
    told = [event for event in stage.sink.events if isinstance(event, AgentTold)]
    assert len(told) == crowd
    assert all(event.limit_s <= event.seconds <= 1.3 * event.limit_s for event in told)
    assert looks <= 60 * crowd, "every straggler was looked at for every other"


async def test_a_hedge_wins_and_the_other_is_cancelled() -> None:
    policy = StragglerPolicy(least_s=0.0, enough=3, hedge=True)
    stage = Stage(Player(never_ends("late.1")), *map(task, ["late", "a", "b", "c"]), policy=policy)
    results = await stage.run()
    assert (results["late"].outcome, results["late"].trajectory_id) == (Outcome.COMPLETED, "late.2")
    assert stage.player.started[-1] == "late.2"
    assert stage.player.ended.count("late") == 1
    assert any(isinstance(event, Notice) and "second attempt" in event.message for event in stage.sink.events)


async def test_a_hedge_that_fails_does_not_spoil_what_the_first_attempt_does() -> None:
    second_is_over = anyio.Event()

    async def work(spec: AgentSpec) -> Outcome:
        if spec.trajectory_id == "late.2":
            second_is_over.set()
            raise SandboxError("it died")
        if spec.subtask.id == "late":
            await second_is_over.wait()
        return Outcome.COMPLETED

    policy = StragglerPolicy(least_s=0.0, enough=3, hedge=True)
    stage = Stage(Player(work), *map(task, ["late", "a", "b", "c"]), policy=policy)
    results = await stage.run()
    assert (results["late"].outcome, results["late"].trajectory_id) == (Outcome.COMPLETED, "late.1")
    assert stage.player.started.count("late.3") == 0


async def test_paused_nothing_starts_and_agents_stand_still_before_their_next_call() -> None:
    calls: list[str] = []
    first_called = anyio.Event()

    async def work(spec: AgentSpec) -> Outcome:
        for turn in "12":
            await spec.steering.before_call()
            calls.append(spec.subtask.id + turn)
            first_called.set()
            if turn == "1":
                await wait_all_tasks_blocked()
        return Outcome.COMPLETED

    stage = Stage(Player(work), *map(task, "abc"), concurrency=1)
    async with anyio.create_task_group() as group:
        group.start_soon(stage.run)
        await first_called.wait()
        stage.controls.pause()
        await wait_all_tasks_blocked()
        assert calls == ["a1"]
        assert "paused" in repr(stage.scheduler)
        stage.controls.set_concurrency(3)
        stage.controls.resume()
    assert sorted(calls) == ["a1", "a2", "b1", "b2", "c1", "c2"]
    assert stage.player.peak == 3


async def test_narrower_lets_what_runs_come_to_its_end() -> None:
    go = anyio.Event()

    async def work(spec: AgentSpec) -> Outcome:
        if spec.subtask.id in "abc":
            await go.wait()
        await checkpoint()
        return Outcome.COMPLETED

    stage = Stage(Player(work), *map(task, "abcdef"), concurrency=3)
    async with anyio.create_task_group() as group:
        group.start_soon(stage.run)
        await wait_all_tasks_blocked()
        stage.controls.set_concurrency(1)
        go.set()
    assert stage.player.ended == list("abcdef")


async def test_agents_are_stopped_softly_and_hard_and_before_they_start() -> None:
    async def work(spec: AgentSpec) -> Outcome:
        if spec.subtask.id == "soft":
            while not await spec.steering.before_call():
                await checkpoint()
            return Outcome.COMPLETED
        await anyio.sleep_forever()
        return Outcome.COMPLETED

    stage = Stage(Player(work), *map(task, ["soft", "hard", "waits"]), task("after", "hard"), concurrency=2)
    results: dict[str, AgentResult] = {}

    async def run() -> None:
        results.update(await stage.run())

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        while stage.player.running < 2:
            await checkpoint()
        stage.controls.stop_agent("waits")
        stage.controls.stop_agent("hard.1", soft=False)
        stage.controls.stop_agent("soft.1")
        stage.controls.stop_agent("nobody")
    assert [results[i].outcome for i in ("soft", "hard", "waits", "after")] == [
        Outcome.COMPLETED,
        Outcome.CANCELLED,
        Outcome.CANCELLED,
        Outcome.SKIPPED,
    ]
    assert set(stage.skipped()) == {"waits", "after"}
    assert sorted(stage.player.started) == ["hard.1", "soft.1"]
