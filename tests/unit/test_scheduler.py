"""The scheduler: no barriers, no lost sub-task, no retry of honest failure, nothing left when stopped."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import anyio
import pytest
from anyio.lowlevel import checkpoint

from swarm.errors import EndpointError, EndpointFault, SandboxError
from swarm.events import Event, SubTaskSkipped
from swarm.scheduling.scheduler import Scheduler, StageOutcome
from swarm.types import AgentLimits, AgentResult, AgentSpec, Outcome, Plan, SubTask

pytestmark = pytest.mark.anyio
Work = Callable[[AgentSpec], Awaitable[Outcome]]


@dataclass
class Sink:
    events: list[Event] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        self.events.append(event)

    async def flush(self) -> None: ...


@dataclass
class Player:
    """An executor whose work is a function of the spec."""

    work: Work
    running: int = 0
    peak: int = 0
    started: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)

    def expect(self, count: int, commit: str | None) -> None: ...

    async def run(self, spec: AgentSpec) -> AgentResult:
        self.started.append(spec.trajectory_id)
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            outcome = await self.work(spec)
        finally:
            self.running -= 1
        self.ended.append(spec.subtask.id)
        return AgentResult(spec.subtask.id, spec.trajectory_id, outcome, "text", outcome.value, keep=True)


async def prepare(subtask: SubTask, attempt: int, needed: Sequence[AgentResult]) -> AgentSpec:
    assert [result.subtask_id for result in needed] == list(subtask.depends_on)
    return AgentSpec(f"{subtask.id}.{attempt}", subtask, 1, attempt, 0, "", "", None, AgentLimits())


def task(name: str, *needs: str) -> SubTask:
    return SubTask(id=name, title=name, instructions="x", depends_on=needs)


async def play(
    player: Player, *subtasks: SubTask, concurrency: int = 4, stop: anyio.Event | None = None
) -> tuple[StageOutcome, Sink]:
    sink = Sink()
    scheduler = Scheduler(player, prepare, sink, concurrency)
    outcome = await scheduler.run(Plan(subtasks=subtasks), 1, stop or anyio.Event())
    assert player.running == 0
    assert scheduler.statistics() == (0, len(subtasks), 0)
    return outcome, sink


async def done(spec: AgentSpec) -> Outcome:
    await checkpoint()
    return Outcome.COMPLETED


async def test_a_subtask_starts_when_its_own_dependency_is_done_not_at_a_barrier() -> None:
    child_of_fast_ran = anyio.Event()

    async def work(spec: AgentSpec) -> Outcome:
        if spec.subtask.id == "slow":
            await child_of_fast_ran.wait()  # a barrier would wait for slow first, and hang
        if spec.subtask.id == "child":
            child_of_fast_ran.set()
        return Outcome.COMPLETED

    with anyio.fail_after(300):
        outcome, _ = await play(Player(work), task("fast"), task("slow"), task("child", "fast"))
    assert [result.outcome for result in outcome.results] == [Outcome.COMPLETED] * 3


async def test_dependents_of_a_failure_are_skipped_with_the_reason_and_it_is_not_tried_again() -> None:
    async def work(spec: AgentSpec) -> Outcome:
        return Outcome.FAILED if spec.subtask.id == "a" else Outcome.COMPLETED

    player = Player(work)
    outcome, sink = await play(player, task("a"), task("b", "a"), task("c", "b"), task("d"))
    assert [r.outcome for r in outcome.results] == [Outcome.FAILED, Outcome.SKIPPED, Outcome.SKIPPED, Outcome.COMPLETED]
    assert sorted(player.started) == ["a.1", "d.1"]
    skipped = [event for event in sink.events if isinstance(event, SubTaskSkipped)]
    assert [(event.subtask_id, "a" in event.reason or "b" in event.reason) for event in skipped] == [
        ("b", True),
        ("c", True),
    ]


async def test_a_broken_machine_gets_a_second_attempt_and_then_the_subtask_is_errored() -> None:
    async def work(spec: AgentSpec) -> Outcome:
        if spec.subtask.id == "never" or spec.attempt == 1:
            raise SandboxError("it died")
        return Outcome.COMPLETED

    player = Player(work)
    outcome, _ = await play(player, task("once"), task("never"))
    assert [r.outcome for r in outcome.results] == [Outcome.COMPLETED, Outcome.ERRORED]
    assert outcome.fault is None
    assert sorted(player.started) == ["never.1", "never.2", "once.1", "once.2"]


async def test_a_wrong_key_ends_the_stage_at_once_with_the_reason() -> None:
    async def work(spec: AgentSpec) -> Outcome:
        if spec.subtask.id == "bad":
            raise EndpointError(EndpointFault.WRONG_KEY, "no")
        await anyio.sleep_forever()
        return Outcome.COMPLETED

    with anyio.fail_after(300):
        outcome, _ = await play(Player(work), task("a"), task("bad"), task("later", "a"))
    assert isinstance(outcome.fault, EndpointError)
    assert [r.outcome for r in outcome.results] == [Outcome.CANCELLED, Outcome.ERRORED, Outcome.CANCELLED]


async def test_stop_cancels_what_runs_and_every_subtask_still_has_a_result() -> None:
    stop = anyio.Event()

    async def work(spec: AgentSpec) -> Outcome:
        if spec.subtask.id == "first":
            return Outcome.COMPLETED
        stop.set()
        await anyio.sleep_forever()
        return Outcome.COMPLETED

    with anyio.fail_after(300):
        outcome, _ = await play(Player(work), task("first"), task("b", "first"), task("c", "b"), stop=stop)
    assert [r.outcome for r in outcome.results] == [Outcome.COMPLETED, Outcome.CANCELLED, Outcome.CANCELLED]
