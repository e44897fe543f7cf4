"""The sums of a run, as a reducer of its events: what the envelope, the screen and `show` agree on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from swarm.events import (
    AgentEnded,
    AgentStarted,
    AgentTold,
    CallFinished,
    CallSent,
    Event,
    Finished,
    GateFinished,
    GroupEnded,
    GroupStarted,
    LimitReached,
    Notice,
    PatchMerged,
    RepairsStarted,
    RunResumed,
    StageStarted,
    SubTaskSkipped,
    ToolFinished,
    ToolStarted,
    TreeKept,
)
from swarm.journal.critical import CriticalSteps
from swarm.result import Coverage
from swarm.stages import edges, spare
from swarm.types import Outcome, Plan, Role, SubTask, Usage

NOT_MERGED = "not merged"
"""Why a sub-task is missing that completed."""

UNCOUNTED = frozenset((CallSent, ToolStarted, ToolFinished, TreeKept))
"""Kinds of events, most of all, that what adds up a run does not look at."""

_BUDGETS = {"budget_tokens", "budget_usd", "max_critical_steps", "max_steps"}


class _Agent(NamedTuple):
    """What is kept of a trajectory. `name` is what its steps are counted under."""

    role: str
    stage: int
    name: str
    subtask_id: str


@dataclass
class Totals:
    """Feed it every event, in order, with `observe`."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    calls: int = 0
    cost_usd: float = 0.0
    unpriced: set[str] = field(default_factory=set)
    n_subagents: int = 0
    peak_concurrency: int = 0
    total_steps: int = 0
    stage: int = 0
    subtasks: dict[str, SubTask] = field(default_factory=dict)
    outcome_of: dict[str, Outcome] = field(default_factory=dict)
    plans: list[Plan] = field(default_factory=list)
    dropped: set[str] = field(default_factory=set)
    unmerged: dict[str, str] = field(default_factory=dict)
    budget_gone: bool = False
    broken: str = ""
    """What the machine failed the last attempt with that it failed."""
    last_gate: GateFinished | None = None
    gates: dict[str, GateFinished] = field(default_factory=dict)
    """The gate's verdict on each commit."""
    gate_left_out: bool = False
    _agents: dict[str, _Agent] = field(default_factory=dict)
    _ends: dict[str, Outcome] = field(default_factory=dict)
    _skips: set[str] = field(default_factory=set)
    _working: set[str] = field(default_factory=set)
    _short: set[str] = field(default_factory=set)  # told to finish because the budget of the run is nearly used up
    _groups: dict[tuple[str, int], list[str]] = field(default_factory=dict)
    _main_steps: Counter[int] = field(default_factory=Counter)
    _sub_steps: CriticalSteps = field(default_factory=CriticalSteps)

    def observe(self, event: Event) -> None:
        if type(event) in UNCOUNTED:  # most are, and each further test costs
            return
        match event:
            case StageStarted():
                self.stage = event.stage
                self.plans.append(event.plan)
                self._sub_steps.plan(event.stage, edges(event.plan))
                self.subtasks |= {subtask.id: subtask for subtask in event.plan.subtasks}
                self.dropped |= set(event.plan.dropped)
            case Finished():
                self.dropped |= set(event.dropped)
            case AgentStarted():
                subtask_id = event.subtask.id if event.subtask else ""
                self._agents[event.trajectory_id] = _Agent(
                    event.role, event.stage, subtask_id or event.name, subtask_id
                )
                if event.role == Role.SUBAGENT:
                    self.n_subagents += 1
                    self._sub_steps.start(event.trajectory_id, event.stage, subtask_id or event.name)
                    self._working.add(event.trajectory_id)
                    self.peak_concurrency = max(self.peak_concurrency, len(self._working))
            case CallFinished():
                self._count_call(event)
            case AgentEnded():
                started = self._agents.get(event.trajectory_id)
                if started is not None and started.role == Role.SUBAGENT:
                    self._working.discard(event.trajectory_id)
                    self._sub_steps.end(event.trajectory_id, completed=event.outcome == Outcome.COMPLETED)
                    self._ends[event.trajectory_id] = event.outcome
                    if event.outcome == Outcome.ERRORED:
                        self.broken = event.final_output.strip().partition("\n")[0]
                    short = event.trajectory_id in self._short and event.outcome != Outcome.COMPLETED
                    self.budget_gone = self.budget_gone or event.stop == "budget" or short
                    if started.subtask_id:
                        self._outcome(started.subtask_id, event.outcome)
            case GroupStarted():
                self._groups[event.trajectory_id, event.group] = [subtask.id for subtask in event.subtasks]
                self._working.discard(event.trajectory_id)  # it waits
            case GroupEnded():
                names = self._groups.pop((event.trajectory_id, event.group), [])
                self._sub_steps.waited(event.trajectory_id, event.group, names)
                self._working.add(event.trajectory_id)
            case SubTaskSkipped():
                self._skips.add(event.subtask_id)
                self.outcome_of[event.subtask_id] = event.outcome
                self.budget_gone = self.budget_gone or event.outcome == Outcome.BUDGET_EXHAUSTED
            case AgentTold(reason="budget", scope="run") if event.what != "seconds":
                self._short.add(event.trajectory_id)
            case LimitReached(level="closed") if event.what != "seconds":
                self.budget_gone = True
            case PatchMerged():
                self.unmerged.pop(event.subtask_id, None)
                if not event.merged:
                    self.unmerged[event.subtask_id] = event.reason
            case RepairsStarted():
                self._sub_steps.then(event.stage, [subtask.id for subtask in event.subtasks])
            case RunResumed():
                self._resume(event)
            case GateFinished() if event.purpose == "verdict":
                self.last_gate = self.gates[event.commit] = event
            case Notice(gate_left_out=True):
                self.gate_left_out = True
            case _:
                pass

    @property
    def begun(self) -> set[str]:
        """The sub-tasks that a sub-agent has worked on."""
        return {agent.subtask_id for agent in self._agents.values() if agent.role == Role.SUBAGENT}

    @property
    def outcomes(self) -> Counter[str]:
        """How many sub-tasks came to which end, each counted once: that of the attempt that decided."""
        return Counter(outcome.value for outcome in self.outcome_of.values())

    @property
    def attempts(self) -> Counter[str]:
        """How many attempts came to which end; those of a hedge that lost were cancelled."""
        return Counter(outcome.value for outcome in self._ends.values())

    def _resume(self, event: RunResumed) -> None:
        for trajectory_id in event.again:
            self._ends.pop(trajectory_id, None)
        again = (
            {subtask.id for plan in self.plans[event.stage - 1 :] for subtask in plan.subtasks} if event.stage else ()
        )
        for subtask_id in [name for name in self._skips if name in again]:
            self._skips.discard(subtask_id)
            self.outcome_of.pop(subtask_id, None)
        agents = ((name, self._agents.get(name)) for name in event.again)
        going = {name: agent for name, agent in agents if agent is not None and agent.role == Role.SUBAGENT}
        for name, agent in going.items():
            self._sub_steps.start(name, agent.stage, agent.name)
        self._working = set(going)
        self.budget_gone = self.budget_gone and not event.config.keys() & _BUDGETS

    def _outcome(self, subtask_id: str, outcome: Outcome) -> None:
        """Of two attempts at once the one that lost may be the last to end."""
        before = self.outcome_of.get(subtask_id)
        if before is None or (before != Outcome.COMPLETED and outcome != Outcome.CANCELLED):
            self.outcome_of[subtask_id] = outcome

    def _count_call(self, event: CallFinished) -> None:
        usage = event.usage
        self.prompt_tokens += usage.prompt_tokens
        self.completion_tokens += usage.completion_tokens
        self.cached_tokens += usage.cached_tokens
        self.reasoning_tokens += usage.reasoning_tokens
        self.calls += usage.calls
        if event.cost_usd is not None:
            self.cost_usd += event.cost_usd
        elif usage.calls or event.estimated:
            self.unpriced.add(event.model)
        if not event.accepted:
            return
        self.total_steps += 1
        agent = self._agents.get(event.trajectory_id)
        if agent is None or agent.role == Role.AGGREGATOR:
            return
        if agent.role == Role.SUBAGENT:
            self._sub_steps.step(event.trajectory_id)
        else:
            self._main_steps[self.stage + 1] += 1  # it works for the stage that it is about to start

    @property
    def cost(self) -> float | None:
        """Dollars, or None where the price is not known of any model that answered, or may bill a failed attempt."""
        return None if self.unpriced else self.cost_usd

    @property
    def usage(self) -> Usage:
        return Usage(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            cached_tokens=self.cached_tokens,
            reasoning_tokens=self.reasoning_tokens,
            calls=self.calls,
        )

    @property
    def critical_steps(self) -> int:
        """Sum over stages of the orchestrator's steps and those of the longest way through the sub-tasks (PARL,
        parl.md: there all of a stage work side by side)."""
        return sum(self._main_steps.values()) + self._sub_steps.longest

    def steps_of_stage(self, stage: int) -> tuple[int, dict[str, int]]:
        """The orchestrator's steps for a stage, and the steps of each of its sub-tasks."""
        return self._main_steps[stage], self._sub_steps.of_stage(stage)

    @property
    def coverage(self) -> Coverage:
        """A sub-task is useful if it completed and its patch was merged. One that a later sub-task took over, that the
        orchestrator dropped as no longer needed, or whose group has enough others, is neither asked for nor missing."""
        useful, missing = self._useful(), self.missing
        return Coverage(asked=len(useful) + len(missing), useful=len(useful), missing=len(missing))

    @property
    def missing(self) -> dict[str, str]:
        """The sub-tasks that are missing, and in a few words why."""
        useful = self._useful()
        gone = self.dropped.union(*(subtask.replaces for subtask in self.subtasks.values()))
        gone |= {i for plan in self.plans for i in spare(plan, useful)}
        return {i: self._why(i) for i in self.subtasks if i not in useful and i not in gone}

    def _useful(self) -> set[str]:
        completed = {i for i, outcome in self.outcome_of.items() if outcome == Outcome.COMPLETED}
        return (completed & self.subtasks.keys()) - self.unmerged.keys()

    def _why(self, subtask_id: str) -> str:
        outcome = self.outcome_of.get(subtask_id)
        if outcome is None:
            return "not run"
        return outcome.value.replace("_", " ") if outcome != Outcome.COMPLETED else NOT_MERGED
