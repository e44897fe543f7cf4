"""Runs the sub-tasks of a plan: each as soon as its own dependencies are done, so many at once, never at a barrier.

The scheduler owns the one task group in which agents run. It alone acts on retries and on the end of a stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectSendStream

from swarm.errors import EndpointError, JournalError, MachineError
from swarm.events import Notice, SubTaskSkipped
from swarm.plan_graph import sorter
from swarm.protocols import EventSink, Executor
from swarm.retry import FATAL
from swarm.types import AgentResult, AgentSpec, Outcome, Plan, SubTask

ATTEMPTS = 2
"""Attempts at a sub-task whose machine failed, each in a fresh sandbox."""


class Prepare(Protocol):
    """Turns a sub-task, and the results of this stage that it depends on, into what an executor needs."""

    async def __call__(self, subtask: SubTask, attempt: int, needed: Sequence[AgentResult]) -> AgentSpec: ...


class SchedulerStatistics(NamedTuple):
    running: int
    done: int
    waiting: int


@dataclass(frozen=True, slots=True)
class StageOutcome:
    """What a stage gave, in the plan's order. `fault` is the machine's failure that ended it early, if one did."""

    results: tuple[AgentResult, ...]
    fault: MachineError | None


class Scheduler:
    """Runs one stage; make a new one for the next."""

    def __init__(self, executor: Executor, prepare: Prepare, sink: EventSink, concurrency: int) -> None:
        self._executor = executor
        self._prepare = prepare
        self._sink = sink
        self._slots = anyio.CapacityLimiter(concurrency)
        self._results: dict[str, AgentResult] = {}
        self._fault: MachineError | None = None
        self._budget_gone = False
        self._plan = Plan(subtasks=())
        self._stage = 0

    def __repr__(self) -> str:
        s = self.statistics()
        return f"<Scheduler {s.running} running, {s.done} done, {s.waiting} waiting>"

    def statistics(self) -> SchedulerStatistics:
        running = self._slots.borrowed_tokens
        done = len(self._results)
        return SchedulerStatistics(running, done, max(0, len(self._plan.subtasks) - running - done))

    async def run(self, plan: Plan, stage: int, stop: anyio.Event) -> StageOutcome:
        """Run a valid plan to its end, or until `stop` is set; then what runs is cancelled.

        Never raises for a sub-task: each has a result, also those that were cancelled or never started.
        """
        self._plan, self._stage = plan, stage
        graph = sorter(plan)
        graph.prepare()
        subtasks = {subtask.id: subtask for subtask in plan.subtasks}
        finished, ended = anyio.create_memory_object_stream[str](len(subtasks) + 1)
        with finished, ended:
            async with anyio.create_task_group() as agents:
                agents.start_soon(_cancel_when, stop, agents)
                while graph.is_active():
                    for subtask_id in graph.get_ready():
                        agents.start_soon(self._work, subtasks[subtask_id], finished, agents)
                    graph.done(await ended.receive())
                agents.cancel_scope.cancel()
        for subtask in plan.subtasks:
            if subtask.id not in self._results:
                self._skip(subtask, Outcome.CANCELLED, "the run ended before it was started")
        return StageOutcome(tuple(self._results[subtask.id] for subtask in plan.subtasks), self._fault)

    async def _work(self, subtask: SubTask, finished: MemoryObjectSendStream[str], agents: TaskGroup) -> None:
        async with self._slots:
            needed = [self._results[i] for i in subtask.depends_on if i in self._results]
            failed = [result.subtask_id for result in needed if result.outcome is not Outcome.COMPLETED]
            if failed:
                self._skip(subtask, Outcome.SKIPPED, f"it depends on {', '.join(failed)}, which did not complete")
            elif self._budget_gone:
                self._skip(subtask, Outcome.BUDGET_EXHAUSTED, "the budget was used up before it was started")
            else:
                await self._attempts(subtask, needed)
        if self._fault is not None:
            agents.cancel_scope.cancel()
        elif subtask.id in self._results:
            finished.send_nowait(subtask.id)

    async def _attempts(self, subtask: SubTask, needed: Sequence[AgentResult]) -> None:
        """Attempts until one ends by the work's own doing; a broken machine gets a fresh one."""
        trajectory_id = ""
        error: OSError | MachineError | None = None
        for attempt in range(1, ATTEMPTS + 1):
            try:
                spec = await self._prepare(subtask, attempt, needed)
                trajectory_id = spec.trajectory_id
                result = await self._executor.run(spec)
            except (MachineError, OSError) as broken:  # whatever fails that is not the work
                error = broken
                if isinstance(broken, JournalError) or (isinstance(broken, EndpointError) and broken.kind in FATAL):
                    self._fault = self._fault or broken
                    break
                self._sink.emit(Notice(level="warning", message=f"{subtask.id}: {broken}", trajectory_id=trajectory_id))
            except anyio.get_cancelled_exc_class():
                self._results[subtask.id] = _without_work(subtask, trajectory_id, Outcome.CANCELLED, "cancelled")
                raise
            else:
                self._results[subtask.id] = result
                self._budget_gone = self._budget_gone or result.stop == "budget"
                return
        self._results[subtask.id] = _without_work(subtask, trajectory_id, Outcome.ERRORED, str(error))

    def _skip(self, subtask: SubTask, outcome: Outcome, reason: str) -> None:
        self._results[subtask.id] = _without_work(subtask, "", outcome, reason)
        self._sink.emit(SubTaskSkipped(stage=self._stage, subtask_id=subtask.id, outcome=outcome, reason=reason))


def _without_work(subtask: SubTask, trajectory_id: str, outcome: Outcome, reason: str) -> AgentResult:
    return AgentResult(
        subtask_id=subtask.id, trajectory_id=trajectory_id, outcome=outcome, text=reason, stop=outcome.value
    )


async def _cancel_when(stop: anyio.Event, agents: TaskGroup) -> None:
    await stop.wait()
    agents.cancel_scope.cancel()
