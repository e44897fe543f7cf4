"""A run as an episode of reinforcement learning: PARL's components, as a reducer of the run's events.

Raw values; weights (λ) stand beside them. The closed forms, version 1 (the report gives none: see parl.md's sources):

    r_parallel = min(n, 10) / 10       n: sub-tasks that the orchestrator answers for
    r_finish   = completed / n         0 where there is none
    r_perf     = 1 where the gate passed, or the run completed without one; else 0

What a machine failed, or was never begun, is no decision of the orchestrator's and is not counted; nor are repairs and
hedges, which the runtime starts by itself. Other forms are in `swarm.rl.rewards`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from swarm.config import Rollout
from swarm.events import AgentEnded, AgentStarted, CallFinished, Event, RewardGiven, RunEnded, RunResumed, StageStarted
from swarm.events.run import StageSteps
from swarm.journal.critical import longest_of, longest_way
from swarm.journal.totals import Totals
from swarm.stages import edges
from swarm.types import Outcome, Role, RunStatus

FORMULAS = 1
"""The version of the closed forms."""

SOURCE = "swarm.journal.parl"

MANY = 10
"""Sub-agents beyond which `r_parallel` grows no more."""


NOT_COUNTED = (Outcome.ERRORED, Outcome.CANCELLED, Outcome.SKIPPED)
"""Ends of a sub-task that say nothing of whoever asked for it."""


def r_parallel(n: int) -> float:
    """Against falling back to one agent."""
    return min(n, MANY) / MANY


def r_finish(n: int, completed: int) -> float:
    """Against starting agents for their number alone."""
    return completed / n if n else 0.0


def r_perf(status: RunStatus, gate: bool | None) -> float:
    """The outcome of the whole task; `gate` is whether it passed, None without one."""
    return float(status is RunStatus.COMPLETED if gate is None else gate)


_MOST_STAGES = 10_000  # a record of others may tell of any number


class _Agent(NamedTuple):
    """What is kept of a trajectory."""

    role: str
    stage: int
    subtask_id: str
    name: str


@dataclass
class StageClock:
    """Feed it every event, in order, with `observe`."""

    _ways: dict[int, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    _agents: dict[str, _Agent] = field(default_factory=dict)
    _seconds: dict[tuple[int, str], float] = field(default_factory=dict)
    _main: dict[str, float] = field(default_factory=dict)

    def observe(self, event: Event) -> None:
        match event:
            case StageStarted():
                self._ways[event.stage] = edges(event.plan)
            case AgentStarted():
                subtask_id = event.subtask.id if event.subtask is not None else ""
                self._agents[event.trajectory_id] = _Agent(event.role, event.stage, subtask_id, event.name)
            case CallFinished():
                start = self._agents.get(event.trajectory_id)
                if start is not None and start.role != Role.SUBAGENT:
                    seconds = max(0.0, event.t_done - event.t_sent)
                    self._main[event.trajectory_id] = self._main.get(event.trajectory_id, 0.0) + seconds
            case AgentEnded():
                start = self._agents.get(event.trajectory_id)
                if start is not None and start.role == Role.SUBAGENT:
                    key = (start.stage, start.subtask_id or start.name)
                    if event.outcome is Outcome.COMPLETED or event.seconds > self._seconds.get(key, 0.0):
                        self._seconds[key] = event.seconds
            case RunResumed():
                for name in event.again:
                    if (start := self._agents.get(name)) is not None and start.subtask_id:
                        self._seconds.pop((start.stage, start.subtask_id), None)
            case _:
                pass

    @property
    def critical_path_s(self) -> float:
        """Seconds of calls of the orchestrator and of aggregators, and of the longest way through each stage."""
        stages: dict[int, dict[str, float]] = {}
        for (stage, name), seconds in self._seconds.items():
            stages.setdefault(stage, {})[name] = seconds
        ways = (longest_of(self._ways.get(stage, {}), seconds) for stage, seconds in stages.items())
        return sum(self._main.values()) + sum(ways)

    def stages(self, totals: Totals) -> list[StageSteps]:
        """The steps of each stage, and last of what the orchestrator did after it."""
        found = []
        for stage in range(1, min(totals.stage, _MOST_STAGES) + 2):
            main, subs = totals.steps_of_stage(stage)
            if main or subs or stage <= totals.stage:
                longest = longest_way(self._ways.get(stage, {}), subs)
                found.append(StageSteps(stage=stage, main_steps=main, sub_steps=subs, longest=longest))
        return found


def about_learning(ended: RunEnded, clock: StageClock, totals: Totals, rollout: Rollout) -> list[Event]:
    """The raw components of a run's reward, and its end with them and their weights."""
    gate = totals.last_gate.passed if totals.last_gate is not None else None
    begun = totals.begun & totals.subtasks.keys()
    ends = [end for name, end in totals.outcome_of.items() if name in begun and end not in NOT_COUNTED]
    values = {
        "r_parallel": r_parallel(len(ends)),
        "r_finish": r_finish(len(ends), ends.count(Outcome.COMPLETED)),
        "r_perf": r_perf(ended.status, gate),
    }
    weights = {"r_parallel": rollout.lambda1, "r_finish": rollout.lambda2, "r_perf": 1.0}
    ended.stages, ended.critical_path_s = clock.stages(totals), clock.critical_path_s
    ended.r_parallel, ended.r_finish, ended.r_perf = values.values()
    ended.lambda1, ended.lambda2, ended.anneal_step = rollout.lambda1, rollout.lambda2, rollout.anneal_step
    given = [
        RewardGiven(
            scope="run",
            target_id=str(ended.result.get("run_id", "")),
            name=name,
            value=value,
            weight=weights[name],
            source=SOURCE,
            formula_version=FORMULAS,
        )
        for name, value in values.items()
    ]
    return [*given, ended]
