"""The sums of a run, as a reducer of its events: what the envelope, the screen and `show` agree on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from swarm.events import (
    AgentEnded,
    AgentStarted,
    CallFinished,
    Event,
    Finished,
    GateFinished,
    PatchMerged,
    StageStarted,
    SubTaskSkipped,
)
from swarm.result import Coverage
from swarm.stages import spare
from swarm.types import Outcome, Plan, Role, SubTask, Usage


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
    outcomes: Counter[str] = field(default_factory=Counter)
    subtasks: dict[str, SubTask] = field(default_factory=dict)
    outcome_of: dict[str, Outcome] = field(default_factory=dict)
    plans: list[Plan] = field(default_factory=list)
    dropped: set[str] = field(default_factory=set)
    unmerged: dict[str, str] = field(default_factory=dict)
    budget_gone: bool = False
    last_gate: GateFinished | None = None
    _role: dict[str, AgentStarted] = field(default_factory=dict)
    _working: set[str] = field(default_factory=set)
    _main_steps: Counter[int] = field(default_factory=Counter)
    _sub_steps: dict[int, Counter[str]] = field(default_factory=dict)

    def observe(self, event: Event) -> None:
        match event:
            case StageStarted():
                self.stage = event.stage
                self.plans.append(event.plan)
                self.subtasks |= {subtask.id: subtask for subtask in event.plan.subtasks}
                self.dropped |= set(event.plan.dropped)
            case Finished():
                self.dropped |= set(event.dropped)
            case AgentStarted():
                self._role[event.trajectory_id] = event
                if event.role == Role.SUBAGENT:
                    self.n_subagents += 1
                    self._working.add(event.trajectory_id)
                    self.peak_concurrency = max(self.peak_concurrency, len(self._working))
            case CallFinished():
                self._count_call(event)
            case AgentEnded():
                started = self._role.get(event.trajectory_id)
                if started is not None and started.role == Role.SUBAGENT:
                    self._working.discard(event.trajectory_id)
                    self.outcomes[event.outcome] += 1
                    self.budget_gone = self.budget_gone or event.stop == "budget"
                    if started.subtask is not None:
                        self._outcome(started.subtask.id, event.outcome)
            case SubTaskSkipped():
                self.outcomes[event.outcome] += 1
                self.outcome_of[event.subtask_id] = event.outcome
            case PatchMerged() if not event.merged:
                self.unmerged[event.subtask_id] = event.reason
            case GateFinished():
                self.last_gate = event
            case _:
                pass

    def _outcome(self, subtask_id: str, outcome: Outcome) -> None:
        """Of two attempts at once the one that lost may be the last to end."""
        if self.outcome_of.get(subtask_id) != Outcome.COMPLETED:
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
        agent = self._role.get(event.trajectory_id)
        if agent is None or agent.role == Role.AGGREGATOR:
            return
        if agent.role == Role.SUBAGENT:
            steps = self._sub_steps.setdefault(agent.stage, Counter())
            steps[agent.subtask.id if agent.subtask else agent.name] += 1
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
        """Sum over stages of the orchestrator's steps and the most steps of any sub-agent (PARL, parl.md)."""
        longest = sum(max(steps.values(), default=0) for steps in self._sub_steps.values())
        return sum(self._main_steps.values()) + longest

    def steps_of_stage(self, stage: int) -> tuple[int, dict[str, int]]:
        """The orchestrator's steps for a stage, and the steps of each of its sub-tasks."""
        return self._main_steps[stage], dict(self._sub_steps.get(stage, {}))

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
        return outcome.value.replace("_", " ") if outcome != Outcome.COMPLETED else "not merged"
