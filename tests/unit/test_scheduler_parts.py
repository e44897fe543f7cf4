"""What the scheduler and the agents' loops ask for decisions: order, limits, clocks, attempts, rounds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio import wait_all_tasks_blocked
from hypothesis import given
from hypothesis import strategies as st

from swarm.agents.agent import AgentLoop, LoopEnd, ToolUser
from swarm.agents.conversation import Conversation, Line
from swarm.agents.repetition import REPEATS, ROUNDS
from swarm.budgets.budget import Budget
from swarm.budgets.levels import Limits
from swarm.calls import ModelReply, ModelRequest
from swarm.retry import RetryPolicy
from swarm.scheduling.attempts import ATTEMPTS, Attempt, Job, Verdict
from swarm.scheduling.controls import Command, Controls
from swarm.scheduling.ordering import Durations, Queue
from swarm.scheduling.plan_graph import Progress, problems
from swarm.scheduling.stragglers import StragglerPolicy
from swarm.stages import edges
from swarm.steering import Steering
from swarm.testing import FakeSandbox, RecordingSink, ScriptedModel
from swarm.types import AgentLimits, AgentResult, Outcome, Plan, Role, SubTask
from tests.unit.test_agent import Tools, play, use

pytestmark = pytest.mark.anyio


def agent(line: Line) -> tuple[Conversation, ToolUser]:
    conversation = Conversation(line, "t", Role.SUBAGENT, [{"role": "user", "content": "go"}])
    return conversation, ToolUser(conversation, Tools(), RecordingSink())


def task(name: str, *needs: str, kind: str = "", group: str = "") -> SubTask:
    return SubTask(id=name, title=name, instructions="x", depends_on=needs, kind=kind, group=group)


def queue(plan: Plan, durations: Durations) -> Queue:
    return Queue(edges(plan), {s.id: s.kind for s in plan.subtasks}, durations)


def test_the_longest_way_goes_first_as_soon_as_kinds_are_known() -> None:
    plan = Plan(subtasks=(task("a", kind="slow"), task("b", kind="fast"), task("c", "b", kind="fast"), task("d")))
    durations = Durations()
    ready = queue(plan, durations)
    for name in "abd":
        ready.push(name)
    assert ready.pop() == "b"  # two sub-tasks long, where all count alike
    ready.push("b")
    for _ in range(3):
        durations.observe("slow", 90.0)
        durations.observe("fast", 1.0)
    assert [ready.pop() for _ in "abd"] == ["a", "b", "d"]
    assert ready.way("c") == 1.0


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30), st.floats(0, 1))
def test_a_quantile_is_one_of_the_values_and_covers_its_part(values: list[float], q: float) -> None:
    durations = Durations()
    for value in values:
        durations.observe("", value)
    found = durations.quantile(q, "", 1)
    assert found in values
    assert sum(value <= found for value in values) >= q * len(values) - 1e-6
    assert durations.quantile(q, "", len(values) + 1) is None


def test_the_soft_limit_is_a_multiple_of_what_siblings_took() -> None:
    durations = Durations()
    policy = StragglerPolicy(factor=3, least_s=10, enough=5)
    for seconds in (1, 2, 3, 4):
        durations.observe("k", seconds)
    assert policy.limit(durations, "k") is None
    durations.observe("k", 50)
    assert policy.limit(durations, "k") == 150
    for _ in range(5):
        durations.observe("other", 1)
    assert policy.limit(durations, "other") == 10  # its own kind, and never less than that
    assert StragglerPolicy(factor=0).limit(durations, "k") is None


def test_groups_are_checked_with_the_plan() -> None:
    good = Plan(subtasks=(task("a", group="g"), task("b", group="g"), task("c", "g")), need={"g": 1})
    assert problems(good) == []
    bad = Plan(subtasks=(task("a", "g", group="g"), task("g")), need={"g": 2, "ghost": 1})
    found = "\n".join(problems(bad))
    assert "'g' is both a group and a sub-task" in found
    assert "2 of the group 'g' cannot complete: it has 1" in found
    assert "1 of the group 'ghost' cannot complete" in found
    circular = Plan(subtasks=(task("a", "g", group="g"),))
    assert "form a cycle" in "\n".join(problems(circular))


def test_the_end_of_a_group_says_what_is_ready_hopeless_and_spare() -> None:
    plan = Plan(
        subtasks=(*(task(i, group="g") for i in "abc"), task("d", "g"), task("e", "c"), task("f", "e")), need={"g": 2}
    )
    progress = Progress(plan)
    assert progress.first() == ["a", "b", "c"]
    assert progress.end("a", completed=True).ready == []
    found = progress.end("b", completed=True)
    assert (found.ready, set(found.spare), set(found.hopeless)) == (["d"], {"c"}, {"e", "f"})
    assert progress.handed("d") == ["a", "b"]


def test_a_member_that_waits_for_its_own_group_to_be_enough_is_spare_not_ready() -> None:
    plan = Plan(subtasks=(task("a", group="g"), task("b", "a", group="g"), task("c", "b", group="g")), need={"g": 1})
    found = Progress(plan).end("a", completed=True)
    assert (found.ready, list(found.spare), found.hopeless) == ([], ["b", "c"], {})


def ended(outcome: Outcome, stop: str = "", *, keep: bool = False) -> AgentResult:
    return AgentResult("t", "t", outcome, "", stop or outcome.value, keep=keep)


async def test_errored_attempts_are_made_again_and_failed_ones_are_not() -> None:
    job = Job(task("t"))
    for _ in range(ATTEMPTS - 1):
        assert job.end(job.begin(0), ended(Outcome.ERRORED, "cut")) is Verdict.AGAIN
    assert job.end(job.begin(0), ended(Outcome.ERRORED, "cut")) is Verdict.OVER
    job = Job(task("t"))
    assert job.end(job.begin(0), ended(Outcome.ERRORED, "context_too_long")) is Verdict.OVER
    for outcome in (Outcome.FAILED, Outcome.TIMED_OUT, Outcome.BUDGET_EXHAUSTED, Outcome.CANCELLED):
        job = Job(task("t"))
        assert job.end(job.begin(0), ended(outcome)) is Verdict.OVER
        assert job.result is not None and job.result.outcome is outcome


async def test_of_two_attempts_the_first_completed_wins_and_else_what_is_worth_keeping() -> None:
    job = Job(task("t"))
    first, second = job.begin(0), job.begin(0)
    assert job.end(first, ended(Outcome.FAILED, keep=True)) is Verdict.WAIT
    assert job.end(second, ended(Outcome.ERRORED)) is Verdict.OVER
    assert job.result is not None and job.result.keep
    job = Job(task("t"))
    first, second = job.begin(0), job.begin(0)
    assert job.end(second, ended(Outcome.COMPLETED)) is Verdict.OVER
    assert job.end(first, ended(Outcome.COMPLETED, "late")) is Verdict.WAIT
    assert job.result is not None and job.result.stop == "completed"


async def test_waiting_for_admission_is_no_work_and_the_time_limit_is_kept_by_work() -> None:
    seen: list[tuple[str, bool]] = []

    class Model(ScriptedModel):
        @asynccontextmanager
        async def admit(self, ask: object) -> AsyncIterator[Any]:
            seen.append(("admission", steering.clock.running))
            yield self

        async def complete(self, request: ModelRequest) -> ModelReply:
            seen.append(("call", steering.clock.running))
            return await super().complete(request)

    steering = Steering()
    model = Model(["done"])
    line = Line(model, Budget(Limits()), RecordingSink())
    loop = AgentLoop(
        *agent(line),
        FakeSandbox(),
        steering,
    )
    assert (await loop.run(AgentLimits(timeout=60))).outcome is Outcome.COMPLETED
    assert seen == [("admission", False), ("call", True)]

    async def never(request: ModelRequest) -> str:
        await anyio.sleep_forever()
        return ""

    silent = ScriptedModel(never)
    line = Line(silent, Budget(Limits()), RecordingSink())
    loop = AgentLoop(
        *agent(line),
        FakeSandbox(),
    )
    end = await loop.run(AgentLimits(timeout=0.01))
    assert (end.outcome, end.stop) == (Outcome.TIMED_OUT, "timeout")


@dataclass
class Box(FakeSandbox):
    log: list[str] = field(default_factory=list)

    async def pause(self) -> None:
        self.log.append("pause")

    async def resume(self) -> None:
        self.log.append("resume")


async def test_a_held_agent_stands_still_with_its_sandbox_and_hears_what_it_was_told() -> None:
    model, steering, box = ScriptedModel(["done"]), Steering(), Box()
    steering.sandbox = box
    line = Line(model, Budget(Limits()), RecordingSink(), retry=RetryPolicy(base=0.0))
    loop = AgentLoop(
        *agent(line),
        box,
        steering,
    )
    steering.hold()
    ends: list[LoopEnd] = []

    async def run() -> None:
        ends.append(await loop.run(AgentLimits(timeout=60)))

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await wait_all_tasks_blocked()
        assert (box.log, model.requests, steering.clock.running) == (["pause"], [], False)
        steering.tell("finish")
        steering.release()
    assert box.log == ["pause", "resume"]
    assert model.requests[0].messages[1] == {"role": "user", "content": "finish"}
    assert ends[0].outcome is Outcome.COMPLETED


async def test_a_held_sandbox_goes_on_before_a_cancelled_attempt_leaves_it() -> None:
    steering, box = Steering(), Box()
    steering.sandbox = box
    steering.hold()
    async with anyio.create_task_group() as group:
        group.start_soon(steering.before_call)
        await wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert box.log == ["pause", "resume"]


async def test_who_is_held_again_before_its_turn_stays_held() -> None:
    steering, went = Steering(), anyio.Event()

    async def agent() -> None:
        await steering.before_call()
        went.set()

    steering.hold()
    async with anyio.create_task_group() as group:
        group.start_soon(agent)
        await wait_all_tasks_blocked()
        steering.release()
        steering.hold()
        await wait_all_tasks_blocked()
        assert not went.is_set()
        steering.release()


async def test_going_round_in_circles_ends_an_attempt() -> None:
    turns = [use(name) for name in "abc" * ROUNDS]
    end, model, *_ = await play(*turns)
    assert (end.outcome, end.stop, len(model.requests)) == (Outcome.FAILED, "repetition", 3 * ROUNDS)
    assert "a, b, c" in end.text
    changing = [use("ab"[n % 2], f'{{"n": {n}}}') for n in range(4 * REPEATS)]
    end, *_ = await play(*changing, "done")
    assert end.outcome is Outcome.COMPLETED


async def test_controls_tell_each_use_and_what_holds_already() -> None:
    controls = Controls()
    heard: list[Command] = []
    controls.set_concurrency(3)
    controls.pause()
    with controls.heard_by(heard.append):
        controls.pause()
        controls.resume()
        controls.stop_agent("a", soft=False)
    controls.pause()
    assert [command.action for command in heard] == ["pause", "concurrency", "resume", "stop_agent"]
    with pytest.raises(ValueError, match="pause"):
        controls.set_concurrency(0)


async def test_an_attempt_that_was_cancelled_before_it_had_a_task_does_not_begin() -> None:
    attempt, begun = Attempt(1, 0.0), list[bool]()
    attempt.cancel()
    with anyio.CancelScope() as scope:
        attempt.runs_in(scope)
        await anyio.lowlevel.checkpoint()
        begun.append(True)
    assert attempt.cancelled
    assert not begun


async def test_an_attempt_that_is_cancelled_ends_its_task_and_no_other() -> None:
    attempt = Attempt(1, 0.0)
    async with anyio.create_task_group() as group:
        task = group.start_soon(anyio.sleep_forever)
        attempt.runs_in(task)
        beside = group.start_soon(anyio.sleep, 0.01)
        await wait_all_tasks_blocked()
        attempt.stop()
    assert attempt.stopped
    assert task.status is task.Status.CANCELLED
    assert beside.status is beside.Status.FINISHED


def test_sub_tasks_of_thousands_share_what_is_the_same_for_all() -> None:
    plan = Plan(subtasks=(task("a"), task("b"), task("c", "a")))
    first, second, third = plan.subtasks
    assert first.model_fields_set is second.model_fields_set
    waits = edges(plan)
    assert waits == {"a": (), "b": (), "c": ("a",)}
    assert first == task("a")
    assert third.model_copy(update={"kind": "k"}).kind == "k"
    assert SubTask.model_fields.keys() == first.model_fields_set
