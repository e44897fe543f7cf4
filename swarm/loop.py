"""The stations of the outer loop, and what a run has come to; in which order they come after the first work,
`swarm.graph` says.

Inside a stage the scheduler works without barriers. Stations are never cancelled from outside: each ends by itself when
`stop` is set. A question to the user is asked by a station that does nothing else: to do it again repeats no work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import anyio

from swarm.agents.board import has_siblings
from swarm.asking import Approvals, Record
from swarm.crew import Bounds, Crew
from swarm.discovery.verdict import unusable
from swarm.errors import BudgetExhausted, PlanError, SwarmError, UsageError
from swarm.events import Finished, Notice, StageEnded, StageStarted
from swarm.journal.totals import Totals
from swarm.mishap import blame_a_part, fault_of
from swarm.preview import Preview
from swarm.prompts.briefing import Occasion
from swarm.scheduling.plan_graph import problems
from swarm.scheduling.scheduler import Scheduler
from swarm.stages import Dispatch, Finish, GateReport, Harvest, Merged, RunState, StageReport
from swarm.stopping import unless_stopped
from swarm.types import AgentResult, AgentSpec, Plan, SubTask

if TYPE_CHECKING:
    from swarm.merging.queue import Arrived

Step = Literal["orchestrate", "dispatch", "aggregate", "finish"]

_LISTING_LINES = 400
_UNPLANNED = 4


class Position(TypedDict):
    """The graph's state: where the run stands."""

    stage: int
    step: Step


@dataclass
class Findings:
    """What a run has come to so far. A `void` answer tells only why there is none. `fault` is what ended it early,
    `declined` the kind of question that was answered with no."""

    commit: str | None = None
    answer: str = ""
    void: bool = False
    base_gate: GateReport | None = None
    stages: list[StageReport] = field(default_factory=list)
    fault: SwarmError | None = None
    declined: str = ""


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
        self._calls: Mapping[str, str] = {}
        self._results: tuple[AgentResult, ...] = ()
        self._merged = Merged("")
        self._preview: Preview | None = None
        self._approvals = Approvals(crew.approve, bounds.ask_usd, totals, stop, Record(crew.sink, crew.past))
        self.findings = Findings(commit=crew.repository.base if crew.repository else None)

    async def begin(self) -> Position:
        """What comes first, and needs no graph: where nobody is to be asked to the end of the first stage's work, else
        to the first decision."""
        position = await self.at(Loop._prepare, Position(stage=0, step="orchestrate"))
        if position["step"] == "orchestrate":
            position = await self.at(Loop.orchestrate, position)
        if position["step"] == "dispatch" and not self._approvals.asks:
            position = await self.at(Loop.approve, position)
            if position["step"] == "dispatch":
                position = await self.at(Loop.dispatch, position)
                position["step"] = "aggregate"
        return position

    @property
    def most_stations(self) -> int:
        """How many stations a run goes through at most."""
        return 10 + 6 * self._bounds.max_stages

    async def answer(self) -> Any:
        """The user's answer to the question that a station asks; see `Approvals.answer`."""
        return await self._approvals.answer()

    async def at(self, station: Station, position: Position) -> Position:
        """Do what a station of the graph is there for; gives where the run stands then."""
        try:
            if self._crew.controls.paused:
                await unless_stopped(self._stop, self._crew.controls.running)
            step = await station(self, position)
        except SwarmError as fault:
            self.findings.fault, step = fault, "finish"
        except OSError as broken:  # a full disk, no more descriptors: the machine, wherever it shows
            self.findings.fault, step = fault_of(broken, "the run's files"), "finish"
        except asyncio.CancelledError as error:
            blame_a_part(error)
            raise
        return Position(stage=len(self.findings.stages), step=step)

    async def _prepare(self, position: Position) -> Step:
        """The gate on the base: what is red before is what planners read first."""
        gate = self._crew.gate
        if not (self._bounds.dry_run or self._approvals.asks):  # nothing is prepared for before a yes
            self._crew.executor.expect(self._unplanned(), self.findings.commit)
        if gate is None:
            return "orchestrate"
        report = await unless_stopped(self._stop, lambda: gate.run(self.findings.commit, 0))
        if report is None:
            return "finish"
        why = unusable(gate.command, report.exit_code, report.output, report.reason) if self._bounds.test_found else ""
        if why:
            self._leave_out_the_gate(f"no gate: {gate.command!r} was found, but it tests nothing in the sandbox: {why}")
            return "orchestrate"
        if gate.missing(report):
            last = report.output.strip().splitlines()[-1:] or [""]
            raise UsageError(
                f"the test command {gate.command!r} cannot be run in the sandbox: {last[0]}",
                remedy="give a command with --test that works in a clean checkout",
            )
        self.findings.base_gate = report
        return "orchestrate"

    def _leave_out_the_gate(self, why: str) -> None:
        self._crew.briefing.forget_test()
        if self._crew.queue is not None:
            self._crew.queue.forget_gate()
        self._crew = replace(self._crew, gate=None)
        self._crew.sink.emit(Notice(level="warning", message=why, gate_left_out=True))

    def _unplanned(self) -> int:
        """Attempts that are prepared for while the plan is being made."""
        return 1 if self._single else min(self._bounds.concurrency, _UNPLANNED)

    async def orchestrate(self, position: Position) -> Step:
        found = self.findings
        state = await self._state()
        decision = await unless_stopped(self._stop, lambda: self._crew.orchestrator.decide(state))
        if decision is None and self._stop.is_set():
            return "finish"
        if isinstance(decision, Finish):
            found.answer, found.void = decision.answer or found.answer, found.void and not decision.answer
            if decision.note:
                self._crew.sink.emit(Notice(level="warning", message=decision.note))
            self._crew.sink.emit(
                Finished(answer=decision.answer, dropped=list(decision.dropped), commit=decision.commit or "")
            )
            await self._last_gate(decision.commit)
            if decision.limit:
                raise BudgetExhausted(decision.limit, what="steps")
            return "finish"
        if no_more := self._no_stage_left():
            raise BudgetExhausted(f"{no_more}, and the orchestrator asked for more", what="stages")
        if not isinstance(decision, Dispatch):
            raise PlanError(f"the orchestrator decided on {type(decision).__name__}, not on a Dispatch or Finish")
        self._check(decision.plan)
        found.commit = decision.commit or found.commit
        self._plan, self._calls = decision.plan, decision.calls
        if self._crew.previewer is not None and self._crew.past.plan(position["stage"] + 1) is None:
            self._preview = await self._crew.previewer.preview(self._plan, position["stage"] + 1)
        if self._bounds.dry_run:
            self._crew.sink.emit(StageStarted(stage=position["stage"] + 1, plan=decision.plan))
            return "finish"
        return "dispatch"

    def _asked(self) -> list[str]:
        return [subtask.id for report in self.findings.stages for subtask in report.plan.subtasks]

    def _check(self, plan: Plan) -> None:
        """Whoever made a plan, it is run only when it can be; raises PlanError."""
        earlier, ids = self._asked(), {subtask.id for subtask in plan.subtasks}
        room = self._bounds.max_agents - len(earlier)
        if self._crew.headcount is not None:  # it knows of the sub-agents' own, too
            room = min(room, len(plan.subtasks) - self._crew.headcount.excess(ids))
        found = problems(plan, earlier=earlier, room=room) or ([] if plan.subtasks else ["it has no sub-task"])
        if found:
            raise PlanError(f"the orchestrator gave a plan that cannot be run: {'; '.join(found)}")

    async def approve(self, position: Position) -> Step:
        """The user's word on the plan and its cost."""
        stage = position["stage"] + 1
        earlier = self._asked()
        room = self._bounds.max_agents - len(earlier) - sum(each.merged.repairs for each in self.findings.stages)
        plan = self._approvals.plan(self._plan, stage, self._bounds.max_steps, earlier, room, self._preview)
        if plan is None:
            return "finish"
        self._plan = plan
        self._crew.sink.emit(StageStarted(stage=stage, plan=plan, commit=self.findings.commit or ""))
        return "dispatch"

    async def deliver(self, position: Position) -> Step:
        """The user's word on the patch, where the run made one and came to its end."""
        found, repository = self.findings, self._crew.repository
        ended = self._ended() or self._approvals.declined or not self._approvals.asks
        if not ended and repository is not None and found.commit not in (None, repository.base):
            self._approvals.patch(await repository.diff(repository.base, found.commit or ""), len(found.stages))
        found.declined = self._approvals.declined
        return "finish"

    async def _last_gate(self, commit: str | None) -> None:
        """What the orchestrator changed itself at the end must pass the gate as well."""
        if commit is None:
            return
        self.findings.commit = commit
        gate = self._crew.gate
        if gate is not None:
            await unless_stopped(self._stop, lambda: gate.run(commit, len(self.findings.stages) + 1))

    async def _state(self) -> RunState:
        crew, found = self._crew, self.findings
        tree = await crew.repository.listing(crew.repository.base, _LISTING_LINES) if crew.repository else ""
        test = crew.gate.command if crew.gate else None
        closing = self._no_stage_left() or (crew.funds.closing(len(found.stages)) if found.stages else "")
        told = crew.briefing.guidance.shared
        return RunState(self._task, test, tree, found.base_gate, tuple(found.stages), found.commit, closing, told)

    def _no_stage_left(self) -> str:
        most = self._bounds.max_stages
        all_of_them = "the one stage of the run is" if most == 1 else f"all {most} stages of the run are"
        return f"{all_of_them} used: no further sub-agents can be started" if len(self.findings.stages) >= most else ""

    async def dispatch(self, position: Position) -> Step:
        stage = position["stage"] + 1
        crew, bounds = self._crew, self._bounds
        room = crew.funds.begin_stage(stage, self._plan)
        siblings = crew.width.count > 1 and has_siblings(self._plan)
        occasion = Occasion(stage, self.findings.commit, room, self._calls, siblings)
        crew.briefing.announce(self._plan)

        async def prepare(subtask: SubTask, attempt: int, needed: Sequence[AgentResult]) -> AgentSpec:
            steps = crew.funds.afford(stage, subtask.id)
            return await crew.briefing.spec(subtask, attempt, needed, replace(occasion, steps=steps))

        crew.executor.expect(len(self._plan.subtasks), self.findings.commit)
        scheduler = Scheduler(crew.executor, prepare, crew.sink, crew.width, bounds.stragglers, crew.controls)
        async with self._trials(stage) as arrived:
            outcome = await scheduler.run(self._plan, stage, self._stop, crew.past.turns(stage), arrived)
        self._results = outcome.results
        self.findings.fault = outcome.fault
        return "finish" if outcome.fault else "dispatch"

    async def aggregate(self, position: Position) -> Step:
        found = self.findings
        harvest = Harvest(self._plan, self._results, found.commit, tuple(found.stages))
        merged: object = await self._crew.aggregator.merge(harvest)
        if not isinstance(merged, Merged):
            raise UsageError(f"the aggregator gave {type(merged).__name__}, not Merged", remedy="mend the aggregator")
        self._merged = merged
        found.fault = found.fault or merged.fault
        return "dispatch"

    def _trials(self, stage: int) -> AbstractAsyncContextManager[Arrived | None]:
        """Whoever is to be told of results as they come."""
        queue = self._crew.queue
        return queue.trials(self._plan, stage, self.findings.commit) if queue is not None else nullcontext()

    async def gate(self, position: Position) -> Step:
        found, gate, stage = self.findings, self._crew.gate, len(self.findings.stages) + 1
        before, found.commit = found.commit, self._merged.commit or found.commit
        report = self._merged.gate
        if report is None and gate is not None and found.fault is None and not self._crew.halt.is_set():
            report = found.stages[-1].gate if found.stages else found.base_gate
            if found.commit != before:
                report = await unless_stopped(self._crew.halt, lambda: gate.run(found.commit, stage))
        posted = self._crew.board.found_in(stage) if self._crew.board else ()
        self._crew.briefing.remember(self._results, self._merged)
        found.stages.append(StageReport(stage, self._plan, self._results, self._merged, report, posted))
        texts = (self._merged.text,) if self._merged.whole else (found.answer, self._merged.text)
        found.answer = "\n".join(part for part in texts if part)
        found.void = self._merged.void
        main, sub = self._totals.steps_of_stage(stage)
        self._crew.sink.emit(
            StageEnded(stage=stage, main_steps=main, sub_steps=sub, answer=self._merged.text, commit=found.commit or "")
        )
        await self._crew.sink.flush()
        return "finish" if self._ended() else "orchestrate"

    def _ended(self) -> bool:
        return self._stop.is_set() or self.findings.fault is not None


Station = Callable[[Loop, Position], Awaitable[Step]]
