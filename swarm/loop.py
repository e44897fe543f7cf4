"""The outer loop on LangGraph: orchestrate → dispatch → aggregate → gate → again, or finish.

The graph's checkpoint says only where the run stands; what was done is in the journal. Inside a stage the scheduler
works without barriers. Nodes are never cancelled from outside: each ends by itself when `stop` is set.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypedDict

import anyio
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph

from swarm.errors import BudgetExhausted, MachineError, SwarmError, UsageError
from swarm.events import Finished, Notice, StageEnded, StageStarted
from swarm.gate import Gate, missing
from swarm.prompting import subagent_request, system_prompt
from swarm.protocols import Aggregator, EventSink, Executor, Orchestrator, Repository
from swarm.scheduler import Scheduler
from swarm.stages import Finish, GateReport, Merged, RunState, StageReport, all_is_well
from swarm.stopping import unless_stopped
from swarm.totals import Totals
from swarm.types import AgentLimits, AgentResult, AgentSpec, Plan, SubTask

Step = Literal["orchestrate", "dispatch", "finish"]

_LISTING_LINES = 400
_UNPLANNED = 4


class Position(TypedDict):
    """The graph's state: where the run stands."""

    stage: int
    step: Step


class _Node(Protocol):
    """A node as LangGraph takes it."""

    def __call__(self, state: Position) -> Awaitable[Position]: ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits that the loop itself keeps. A dry run ends with the first plan."""

    concurrency: int
    max_stages: int
    max_steps: int
    max_critical_steps: int | None
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Crew:
    """Who does the work of a run. `repository` and `gate` are None where the task has none."""

    orchestrator: Orchestrator
    executor: Executor
    aggregator: Aggregator
    sink: EventSink
    repository: Repository | None
    gate: Gate | None


@dataclass
class Findings:
    """What a run has come to so far. `fault` is what ended it early."""

    commit: str | None = None
    answer: str = ""
    base_gate: GateReport | None = None
    stages: list[StageReport] = field(default_factory=list)
    fault: SwarmError | None = None


class Loop:
    """One run's way through the stations. `totals` sees every event of the run."""

    def __init__(self, task: str, single: bool, crew: Crew, bounds: Bounds, totals: Totals, stop: anyio.Event) -> None:
        self._task = task
        self._single = single
        self._crew = crew
        self._bounds = bounds
        self._totals = totals
        self._stop = stop
        self._plan = Plan(subtasks=())
        self._results: tuple[AgentResult, ...] = ()
        self._merged = Merged("")
        self._spawned = 0
        self.findings = Findings(commit=crew.repository.base if crew.repository else None)

    async def run(self, checkpoint: Path, run_id: str) -> Findings:
        """Go the whole way. A fault of ours is a finding, not an exception."""
        async with AsyncSqliteSaver.from_conn_string(str(checkpoint)) as saver:
            graph = self._graph().compile(checkpointer=saver)
            await graph.ainvoke(
                Position(stage=0, step="orchestrate"),
                {"configurable": {"thread_id": run_id}, "recursion_limit": 10 + 5 * self._bounds.max_stages},
                durability="sync",
            )
        return self.findings

    def _graph(self) -> StateGraph[Position, None, Position, Position]:
        graph = StateGraph(Position)
        stations: dict[str, Callable[[Position], Awaitable[Step]]] = {
            "prepare": self._prepare,
            "orchestrate": self._orchestrate,
            "dispatch": self._dispatch,
            "aggregate": self._aggregate,
            "gate": self._gate,
        }
        for name, station in stations.items():
            graph.add_node(name, self._node(station))
        graph.add_edge(START, "prepare")
        graph.add_edge("dispatch", "aggregate")
        graph.add_edge("aggregate", "gate")
        ways: dict[Any, str] = {"orchestrate": "orchestrate", "dispatch": "dispatch", "finish": END}
        for name in ("prepare", "orchestrate", "gate"):
            graph.add_conditional_edges(name, lambda position: position["step"], ways)
        return graph

    def _node(self, station: Callable[[Position], Awaitable[Step]]) -> _Node:
        async def node(state: Position) -> Position:
            try:
                step = await station(state)
            except SwarmError as fault:
                self.findings.fault, step = fault, "finish"
            except OSError as broken:  # a full disk, no more descriptors: the machine, wherever it shows
                self.findings.fault, step = MachineError(f"the run's files: {broken}"), "finish"
            return Position(stage=len(self.findings.stages), step=step)

        return node

    async def _prepare(self, position: Position) -> Step:
        """The gate on the base: what is red before is what planners read first."""
        gate = self._crew.gate
        if not self._bounds.dry_run:
            self._crew.executor.expect(self._unplanned(), self.findings.commit)
        if gate is None:
            return "orchestrate"
        report = await unless_stopped(self._stop, lambda: gate.run(self.findings.commit, 0))
        if report is None:
            return "finish"
        if missing(report):
            last = report.output.strip().splitlines()[-1:] or [""]
            raise UsageError(
                f"the test command {gate.command!r} cannot be run in the sandbox: {last[0]}",
                remedy="give a command with --test that works in a clean checkout",
            )
        self.findings.base_gate = report
        return "orchestrate"

    def _unplanned(self) -> int:
        """Attempts that are prepared for while the plan is being made."""
        return 1 if self._single else min(self._bounds.concurrency, _UNPLANNED)

    async def _orchestrate(self, position: Position) -> Step:
        found = self.findings
        state = await self._state()
        if not all_is_well(state.stages):
            self._need_critical_room()
        decision = await unless_stopped(self._stop, lambda: self._crew.orchestrator.decide(state))
        if decision is None:
            return "finish"
        if isinstance(decision, Finish):
            found.answer = decision.answer or found.answer
            if decision.note:
                self._crew.sink.emit(Notice(level="warning", message=decision.note))
            self._crew.sink.emit(Finished(answer=decision.answer, dropped=list(decision.dropped)))
            return "finish"
        self._plan = decision.plan
        self._crew.sink.emit(StageStarted(stage=position["stage"] + 1, plan=decision.plan))
        return "finish" if self._bounds.dry_run else "dispatch"

    async def _state(self) -> RunState:
        crew, found = self._crew, self.findings
        tree = await crew.repository.listing(crew.repository.base, _LISTING_LINES) if crew.repository else ""
        test = crew.gate.command if crew.gate else None
        return RunState(self._task, test, tree, found.base_gate, tuple(found.stages))

    async def _dispatch(self, position: Position) -> Step:
        stage = position["stage"] + 1
        self._need_critical_room()
        room = self._critical_room()

        async def prepare(subtask: SubTask, attempt: int, needed: Sequence[AgentResult]) -> AgentSpec:
            return await self._spec(subtask, stage, attempt, needed, room)

        self._crew.executor.expect(len(self._plan.subtasks), self.findings.commit)
        scheduler = Scheduler(self._crew.executor, prepare, self._crew.sink, self._bounds.concurrency)
        outcome = await scheduler.run(self._plan, stage, self._stop)
        self._results = outcome.results
        self.findings.fault = outcome.fault
        return "finish" if outcome.fault else "dispatch"

    async def _spec(
        self, subtask: SubTask, stage: int, attempt: int, needed: Sequence[AgentResult], room: float
    ) -> AgentSpec:
        titles = {s.id: s.title for report in self.findings.stages for s in report.plan.subtasks}
        titles |= {s.id: s.title for s in self._plan.subtasks}
        earlier = [r for report in self.findings.stages for r in report.results if r.subtask_id in subtask.depends_on]
        handed = [(titles[r.subtask_id], r) for r in [*earlier, *needed]]
        test = self._crew.gate.command if self._crew.gate else None
        self._spawned += 1
        return AgentSpec(
            trajectory_id=subtask.id if attempt == 1 else f"{subtask.id}#{attempt}",
            subtask=subtask,
            stage=stage,
            attempt=attempt,
            spawn_index=self._spawned,
            system_prompt=system_prompt("single" if self._single else "subagent"),
            instructions=subtask.instructions if self._single else subagent_request(self._task, test, subtask, handed),
            base=await self._base_of(needed),
            limits=AgentLimits(max_steps=int(min(self._bounds.max_steps, room))),
        )

    async def _base_of(self, needed: Sequence[AgentResult]) -> str | None:
        """What was merged so far, with the changes of the sub-tasks that this one depends on."""
        base, repository = self.findings.commit, self._crew.repository
        if base is None or repository is None:
            return None
        for result in needed:
            if result.keep and result.commit:
                merged, _ = await repository.merge(
                    base, result.commit, message=f"For a dependent of {result.subtask_id}"
                )
                base = merged or base
        return base

    async def _aggregate(self, position: Position) -> Step:
        titles = {subtask.id: subtask.title for subtask in self._plan.subtasks}
        self._merged = await self._crew.aggregator.merge(self._results, titles, self.findings.commit)
        return "dispatch"

    async def _gate(self, position: Position) -> Step:
        found, gate, stage = self.findings, self._crew.gate, len(self.findings.stages) + 1
        before, found.commit = found.commit, self._merged.commit
        report: GateReport | None = None
        if gate is not None and not self._ended():
            report = found.stages[-1].gate if found.stages else found.base_gate
            if found.commit != before:
                report = await unless_stopped(self._stop, lambda: gate.run(found.commit, stage))
        found.stages.append(StageReport(stage, self._plan, self._results, self._merged, report))
        found.answer = "\n".join(part for part in (found.answer, self._merged.text) if part)
        main, sub = self._totals.steps_of_stage(stage)
        self._crew.sink.emit(
            StageEnded(stage=stage, main_steps=main, sub_steps=sub, answer=self._merged.text, commit=found.commit or "")
        )
        await self._crew.sink.flush()
        return "finish" if self._ended() or stage >= self._bounds.max_stages else "orchestrate"

    def _ended(self) -> bool:
        return self._stop.is_set() or self.findings.fault is not None

    def _need_critical_room(self) -> None:
        if self._critical_room() < 1:
            raise BudgetExhausted(f"all {self._bounds.max_critical_steps} critical steps are used")

    def _critical_room(self) -> float:
        limit = self._bounds.max_critical_steps
        return float("inf") if limit is None else limit - self._totals.critical_steps
