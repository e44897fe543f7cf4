"""What the scheduler's state machine (tests/models) has found: nothing ends without a record, and what is on record
holds, for a process that goes on as well."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from swarm.errors import SandboxError
from swarm.events import AgentEnded, AgentStarted, ControlUsed, Event, StageStarted, SubTaskSkipped
from swarm.journal.past import Past
from swarm.scheduling.controls import Controls
from swarm.scheduling.scheduler import Scheduler, StageOutcome
from swarm.scheduling.stragglers import StragglerPolicy
from swarm.testing import RecordingSink
from swarm.types import AgentLimits, AgentResult, AgentSpec, Outcome, Plan, Role, SubTask
from tests.unit.test_scheduler import Player, task

pytestmark = pytest.mark.anyio


async def prepare(subtask: SubTask, attempt: int, needed: Sequence[AgentResult]) -> AgentSpec:
    name = subtask.id if attempt == 1 else f"{subtask.id}#{attempt}"
    return AgentSpec(name, subtask, 1, attempt, 0, "", "", None, AgentLimits())


async def never(spec: AgentSpec) -> Outcome:
    await anyio.sleep_forever()
    return Outcome.COMPLETED


@pytest.mark.parametrize("how", ["the run ends", "it is stopped", "the machine fails"])
async def test_an_attempt_that_ends_while_it_is_prepared_is_recorded_as_not_begun(how: str) -> None:
    stop, controls, sink, preparing = anyio.Event(), Controls(), RecordingSink(), anyio.Event()

    async def slow(subtask: SubTask, attempt: int, needed: Sequence[AgentResult]) -> AgentSpec:
        if how == "the machine fails":
            raise SandboxError("no tree can be made")
        preparing.set()
        await anyio.sleep_forever()
        raise AssertionError

    async def trouble() -> None:
        await preparing.wait()
        if how == "the run ends":
            stop.set()
        else:
            controls.stop_agent("a", soft=False)

    scheduler = Scheduler(Player(never), slow, sink, 4, controls=controls)
    with anyio.fail_after(300):
        async with anyio.create_task_group() as group:
            group.start_soon(trouble)
            outcome = await scheduler.run(Plan(subtasks=(task("a"),)), 1, stop)
            group.cancel_scope.cancel()
    [result], [told] = outcome.results, sink.of(SubTaskSkipped)
    assert (told.subtask_id, told.outcome) == ("a", result.outcome)
    assert told.reason


async def test_work_worth_keeping_is_kept_when_the_run_ends_beside_a_second_attempt() -> None:
    stop, controls = anyio.Event(), Controls()
    second = anyio.Event()

    class Executor(Player):
        async def run(self, spec: AgentSpec) -> AgentResult:
            if spec.trajectory_id == "late":
                await second.wait()
                return AgentResult("late", "late", Outcome.FAILED, "half of it", "max_steps", keep=True)
            if spec.trajectory_id == "late#2":
                second.set()
                await wait_all_tasks_blocked()
                stop.set()
                await anyio.sleep_forever()
            return AgentResult(spec.subtask.id, spec.trajectory_id, Outcome.COMPLETED, "", "submitted", keep=True)

    policy = StragglerPolicy(least_s=0.0, enough=3, hedge=True)
    scheduler = Scheduler(Executor(never), prepare, RecordingSink(), 4, policy, controls)
    with anyio.fail_after(300):
        outcome = await scheduler.run(Plan(subtasks=tuple(map(task, ["late", "a", "b", "c"]))), 1, stop)
    assert (outcome.results[0].text, outcome.results[0].keep) == ("half of it", True)


async def test_an_agent_that_was_stopped_is_not_made_again_because_its_sandbox_broke() -> None:
    controls = Controls()

    async def work(spec: AgentSpec) -> Outcome:
        if spec.attempt > 1:
            return Outcome.COMPLETED
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class() as cancelled:
            raise SandboxError("it cannot be removed") from cancelled
        return Outcome.COMPLETED

    player = Player(work)
    scheduler = Scheduler(player, prepare, RecordingSink(), 4, controls=controls)
    outcomes: list[StageOutcome] = []

    async def run() -> None:
        outcomes.append(await scheduler.run(Plan(subtasks=(task("a"),)), 1, anyio.Event()))

    with anyio.fail_after(300):
        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await wait_all_tasks_blocked()
            controls.stop_agent("a", soft=False)
    assert [result.outcome for result in outcomes[0].results] == [Outcome.CANCELLED]
    assert player.started == ["a"]


async def test_what_a_second_attempt_did_is_not_done_again_though_nothing_is_recorded_of_the_first() -> None:
    plan = Plan(subtasks=(task("a"), task("b")))
    started = AgentStarted(trajectory_id="a#2", role=Role.SUBAGENT, name="a", trainable=False, stage=1, attempt=2,
                           subtask=plan.subtasks[0])  # fmt: skip
    broke = AgentStarted(trajectory_id="b", role=Role.SUBAGENT, name="b", trainable=False, stage=1,
                         subtask=plan.subtasks[1])  # fmt: skip
    events: list[Event] = [
        StageStarted(stage=1, plan=plan),
        started,
        broke,
        AgentEnded(trajectory_id="a#2", outcome=Outcome.COMPLETED, stop="submitted", terminated=True, truncated=False),
        ControlUsed(action="stop_agent", agent="b"),
        AgentEnded(trajectory_id="b", outcome=Outcome.ERRORED, stop="SandboxError", terminated=False, truncated=True),
    ]
    for seq, event in enumerate(events):
        event.seq = seq
    past = Past(events)

    class Executor(Player):
        async def run(self, spec: AgentSpec) -> AgentResult:
            ended = past.result(spec.trajectory_id)
            assert ended is not None, f"{spec.trajectory_id} is made again"
            return AgentResult(spec.subtask.id, spec.trajectory_id, ended.outcome, "", ended.stop)

    scheduler = Scheduler(Executor(never), prepare, RecordingSink(), 4)
    with anyio.fail_after(300):
        outcome = await scheduler.run(plan, 1, anyio.Event(), past.turns(1))
    assert [(result.trajectory_id, result.outcome) for result in outcome.results] == [
        ("a#2", Outcome.COMPLETED),
        ("b", Outcome.CANCELLED),
    ]
