"""Runs the sub-tasks of a plan: each as soon as its own dependencies are done, so many at once, never at a barrier.

The scheduler owns the one task group in which agents run, and it alone acts: what goes first, what is made again, who
is late and what is not needed any more are decisions of `ordering`, `attempts`, `lateness` and `plan_graph`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple, Protocol

import anyio
from anyio.abc import TaskGroup

from swarm.errors import BudgetExhausted, EndpointError, JournalError, MachineError
from swarm.events import Notice, SubTaskSkipped
from swarm.journal.course import Turn
from swarm.mishap import blame_a_part
from swarm.protocols import EventSink, Executor
from swarm.retry import FATAL
from swarm.scheduling.attempts import Attempt, Job, Verdict, without_work
from swarm.scheduling.controls import Command, Controls
from swarm.scheduling.lateness import Lateness
from swarm.scheduling.ordering import Durations, Queue
from swarm.scheduling.plan_graph import Progress
from swarm.scheduling.stragglers import StragglerPolicy
from swarm.scheduling.width import Loan, Width
from swarm.types import AgentResult, AgentSpec, Outcome, Plan, SubTask
from swarm.values import value

SPARE = "spare"
"""The `stop` of a sub-task that others of its group made needless."""

UNPAID = "unpaid"
"""The `stop` of an attempt that was not begun, because it could not be paid."""


class Prepare(Protocol):
    """Turns a sub-task, and the results of this stage that it depends on, into what an executor needs."""

    async def __call__(self, subtask: SubTask, attempt: int, needed: Sequence[AgentResult]) -> AgentSpec: ...


class SchedulerStatistics(NamedTuple):
    """Attempts at work; sub-tasks that have their result; sub-tasks that have neither."""

    running: int
    done: int
    waiting: int


@value(frozen=True, slots=True)
class StageOutcome:
    """What a stage gave, in the plan's order. `fault` is the machine's failure that ended it early, if one did."""

    results: tuple[AgentResult, ...]
    fault: MachineError | None


class Scheduler:
    """Runs one stage; make a new one for the next. `concurrency`, which others may share, holds until the controls say
    otherwise."""

    def __init__(
        self,
        executor: Executor,
        prepare: Prepare,
        sink: EventSink,
        concurrency: int | Width | Loan,
        stragglers: StragglerPolicy | None = None,
        controls: Controls | None = None,
    ) -> None:
        self._executor = executor
        self._prepare = prepare
        self._sink = sink
        self._width = Width(concurrency) if isinstance(concurrency, int) else concurrency
        self._controls = controls or Controls()
        self._took = Durations()  # from start to end: what a place is occupied for
        self._jobs: dict[str, Job] = {}
        self._at_work: dict[Attempt, Job] = {}
        self._lateness = Lateness(stragglers or StragglerPolicy(), self._at_work, self._controls, sink, self._hedge)
        self._hedges: deque[Job] = deque()
        self._changed = anyio.Event()
        self._left = 0
        self._fault: MachineError | None = None
        self._stage = 0
        self._arrived: Callable[[AgentResult], None] | None = None
        self._progress = Progress(Plan(subtasks=()))
        self._queue = Queue({}, {}, self._took)

    def __repr__(self) -> str:
        s = self.statistics()
        paused = ", paused" if self._controls.paused else ""
        return f"<Scheduler {s.running} running, {s.done} done, {s.waiting} waiting{paused}>"

    def statistics(self) -> SchedulerStatistics:
        jobs = self._jobs.values()
        waiting = sum(not job.over and not job.running for job in jobs)
        return SchedulerStatistics(len(self._at_work), sum(job.over for job in jobs), waiting)

    async def run(
        self,
        plan: Plan,
        stage: int,
        stop: anyio.Event,
        before: Sequence[Turn] = (),
        arrived: Callable[[AgentResult], None] | None = None,
    ) -> StageOutcome:
        """Run a valid plan to its end, or until `stop` is set; then what runs is cancelled. `before`: what there was of
        it in a process that is gone. `arrived` is told of each result that an agent gave, as it comes.

        Never raises for a sub-task: each has one result, also those that were cancelled or never started.
        """
        self._stage, self._left, self._arrived = stage, len(plan.subtasks), arrived
        self._jobs = {subtask.id: Job(subtask) for subtask in plan.subtasks}
        self._progress = Progress(plan)
        self._queue = Queue(self._progress.edges, {s.id: s.kind for s in plan.subtasks}, self._took)
        with self._width.heard_by(self._look_up), self._controls.heard_by(self._obey):
            async with anyio.create_task_group() as agents:
                agents.start_soon(_cancel_when, stop, agents)
                agents.start_soon(self._lateness.watch)
                self._enqueue(self._progress.first())
                await self._recall(before, agents)
                while self._left and self._fault is None:
                    self._fill(agents)
                    await self._changed.wait()
                    self._changed = anyio.Event()
                agents.cancel_scope.cancel()
        for job in self._jobs.values():
            if not job.over:
                self._give(job, Outcome.CANCELLED, "the run ended before it was started")
            self._tell_skipped(job)
        return StageOutcome(tuple(job.result for job in self._jobs.values() if job.result), self._fault)

    def _enqueue(self, ready: Iterable[str]) -> None:
        for subtask_id in ready:
            self._queue.push(subtask_id)
        self._changed.set()

    def _fill(self, agents: TaskGroup) -> None:
        """Let no place be empty that could be used; second attempts beside stragglers get what nobody else wants."""
        while self._width.free and not self._controls.paused and (self._queue or self._hedges):
            if self._queue:
                job = self._jobs[self._queue.pop()]
                if job.over or job.running:  # not needed any more, or stopped while it waited; or it went on
                    continue
            else:
                job = self._hedges.popleft()
                if job.over or len(job.running) != 1:
                    continue
                self._notice(job.running[0], f"{job.subtask.id} is late: a second attempt is made beside it", "info")
            self._start(agents, job, self._begin(job))

    def _hedge(self, job: Job) -> None:
        self._hedges.append(job)
        self._changed.set()

    def _begin(self, job: Job, turn: Turn | None = None) -> Attempt:
        self._width.take()
        attempt = job.begin(anyio.current_time() - (turn.seconds if turn else 0.0), turn.attempt if turn else 0)
        self._at_work[attempt] = job
        if turn is None:
            return attempt
        attempt.told, attempt.stopped = turn.told, turn.stopped
        if self._controls.paused:
            attempt.steering.hold()
        for text in turn.unheard:
            attempt.steering.tell(text)
        return attempt

    async def _recall(self, before: Sequence[Turn], agents: TaskGroup) -> None:
        """Go through the attempts that there were in their order. Those that had not ended go on, all at once."""
        begun: dict[str, tuple[Job, Attempt]] = {}
        for turn in before:
            job = self._jobs.get(turn.subtask_id)
            if job is None:
                continue
            if not turn.trajectory_id:
                if not job.over and not job.running:
                    self._give(job, turn.outcome, turn.reason)
                    self._settle(job)
            elif not turn.ended and not job.over:
                job.hedged = job.hedged or bool(job.running)
                begun[turn.trajectory_id] = job, self._begin(job, turn)
            elif turn.trajectory_id in begun:
                job, attempt = begun.pop(turn.trajectory_id)
                with anyio.CancelScope() as scope:
                    attempt.runs_in(scope)
                    await self._work(job, attempt)
        for job, attempt in begun.values():
            self._start(agents, job, attempt)  # ends at once where it was cancelled by now

    def _start(self, agents: TaskGroup, job: Job, attempt: Attempt) -> None:
        attempt.runs_in(agents.start_soon(self._work, job, attempt))

    async def _work(self, job: Job, attempt: Attempt) -> None:
        """One attempt from its place to its verdict."""
        handed = [self._jobs[i].result for i in self._progress.handed(job.subtask.id)]
        try:
            spec = await self._prepare(job.subtask, attempt.number, [result for result in handed if result])
            spec = replace(spec, steering=attempt.steering)
            attempt.trajectory_id = spec.trajectory_id
            result = await self._executor.run(spec)
        except (BudgetExhausted, MachineError, OSError) as error:  # whatever fails that is not the work
            result = self._broken(job, attempt, error)
        except asyncio.CancelledError as error:
            result = without_work(job.subtask, attempt.trajectory_id, Outcome.CANCELLED, "cancelled")
            if not attempt.cancelled:  # the whole stage ends
                job.cut(attempt, result)
                blame_a_part(error)
                raise
        finally:
            del self._at_work[attempt]
            self._width.give()
            self._changed.set()
        if result.outcome is Outcome.COMPLETED:
            self._took.observe(job.subtask.kind, anyio.current_time() - attempt.began)
            self._lateness.completed(attempt, job.subtask.kind)
        verdict = job.end(attempt, replace(result, trajectory_id=result.trajectory_id or attempt.trajectory_id))
        if verdict is Verdict.AGAIN:
            if self._fault is None:
                self._enqueue([job.subtask.id])
            else:
                job.result = result
        elif verdict is Verdict.OVER:
            if self._arrived is not None and job.result is not None:
                self._arrived(job.result)
            job.untold = job.result is not None and not job.result.trajectory_id
            self._settle(job)
        if job.over and not job.running:
            self._tell_skipped(job)

    def _broken(self, job: Job, attempt: Attempt, error: BudgetExhausted | MachineError | OSError) -> AgentResult:
        """The result of an attempt that could not be paid, or that the machine ended."""
        if isinstance(error, BudgetExhausted):
            outcome = Outcome.TIMED_OUT if error.what == "seconds" else Outcome.BUDGET_EXHAUSTED
            return without_work(job.subtask, "", outcome, error.message, UNPAID)
        if isinstance(error, JournalError) or (isinstance(error, EndpointError) and error.kind in FATAL):
            self._fault = self._fault or error
        else:
            self._notice(attempt, f"{job.subtask.id}: {error}", "warning")
        return without_work(job.subtask, attempt.trajectory_id, Outcome.ERRORED, str(error))

    def _settle(self, job: Job) -> None:
        """A sub-task has its result: whatever else works on it ends, and what follows from it happens."""
        self._end_attempts(job)
        self._left -= 1
        completed = job.result is not None and job.result.outcome is Outcome.COMPLETED
        found = self._progress.end(job.subtask.id, completed=completed)
        for reasons, stop in ((found.hopeless, Outcome.SKIPPED.value), (found.spare, SPARE)):
            for subtask_id, reason in reasons.items():
                other = self._jobs[subtask_id]
                self._left -= 1
                self._give(other, Outcome.SKIPPED, reason, stop)
                self._end_attempts(other)
        self._enqueue(found.ready)

    def _end_attempts(self, job: Job) -> None:
        for attempt in job.running:
            attempt.cancel()

    def _give(self, job: Job, outcome: Outcome, reason: str, stop: str = "") -> None:
        """A result without work. It is told when nothing works on the sub-task any more."""
        job.result = without_work(job.subtask, "", outcome, reason, stop)
        job.untold = True
        if not job.running:
            self._tell_skipped(job)

    def _tell_skipped(self, job: Job) -> None:
        if job.untold and job.result is not None:
            job.untold = False
            outcome, reason = job.result.outcome, job.result.text
            self._sink.emit(
                SubTaskSkipped(stage=self._stage, subtask_id=job.subtask.id, outcome=outcome, reason=reason)
            )

    def _look_up(self) -> None:
        """A place may be free."""
        self._changed.set()

    def _obey(self, command: Command) -> None:
        """The controls were used."""
        if command.action == "concurrency":
            self._width.count = command.concurrency
        elif command.action == "stop_agent":
            self._stop_agent(command.agent, soft=command.soft)
        else:
            for attempt in self._at_work:
                if command.action == "pause":
                    attempt.steering.hold()
                else:
                    attempt.steering.release()
        self._changed.set()

    def _stop_agent(self, agent: str, *, soft: bool) -> None:
        for attempt, job in self._at_work.items():
            if (attempt.trajectory_id or job.subtask.id) == agent:
                if soft and attempt.trajectory_id:  # else there is nothing to finish with
                    self._lateness.tell_to_finish(attempt, "asked")
                else:
                    attempt.stop()
                return
        waiting = self._jobs.get(agent)
        if waiting is not None and not waiting.over and not waiting.running:
            self._give(waiting, Outcome.CANCELLED, "it was stopped before it was started")
            self._settle(waiting)

    def _notice(self, attempt: Attempt, message: str, level: Literal["info", "warning"]) -> None:
        self._sink.emit(Notice(level=level, message=message, trajectory_id=attempt.trajectory_id))


async def _cancel_when(stop: anyio.Event, agents: TaskGroup) -> None:
    await stop.wait()
    agents.cancel_scope.cancel()
