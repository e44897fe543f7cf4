"""A run as later previews need it: a reducer of its events, while it goes on or out of its journal."""

from __future__ import annotations

from dataclasses import dataclass, field

from swarm.events import (
    AgentEnded,
    AgentStarted,
    CallFinished,
    CostPreviewed,
    Event,
    PreviewHeld,
    RewardGiven,
    RunEnded,
    RunResumed,
    RunStarted,
    StageStarted,
)
from swarm.forecast.rows import MOST_SAMPLES, Row, Sample, StageRow, Use, digest
from swarm.forecast.timing import Timing
from swarm.journal.critical import longest_way
from swarm.journal.totals import UNCOUNTED
from swarm.preview import QUANTITIES, Held, Preview, Quantity
from swarm.result import RunResult
from swarm.stages import edges
from swarm.types import Plan, Role, RunStatus

_AFTER = frozenset((PreviewHeld, RewardGiven, RunEnded))
"""Kinds of what is told when all is done."""

_TO_THE_END = (RunStatus.COMPLETED, RunStatus.PARTIAL, RunStatus.FAILED)


@dataclass(slots=True)
class _Work:
    """One sub-task of one stage, with all its attempts."""

    kind: str
    began: float
    ended: float
    use: Use = field(default_factory=Use)
    first: int = 0
    steps: int = 0
    done: bool = False


@dataclass
class _Stage:
    plan: Plan
    began: float
    work: dict[str, _Work] = field(default_factory=dict)
    main_steps: int = 0
    """Steps of the orchestrator after this stage's plan, before the next."""

    @property
    def ended(self) -> float:
        return max((work.ended for work in self.work.values()), default=self.began)

    @property
    def longest(self) -> int:
        return longest_way(edges(self.plan), {name: work.steps for name, work in self.work.items()})

    @property
    def tokens(self) -> int:
        return sum(work.use.tokens for work in self.work.values())


class Measured:
    """Feed it every event, in order, with `observe`."""

    def __init__(self) -> None:
        self._run = RunStarted(task="", task_sha256="", mode="", swarm_version="", config={}, config_sha256="")
        self._stages: list[_Stage] = []
        self._owner: dict[str, _Work] = {}
        self._role: dict[str, str] = {}
        self._lead = Use()
        self._merging = Use()
        self._asked_since: float | None = None
        self._paused = 0.0
        self._now = 0.0
        self._since = 0.0  # the time of the record before
        self._clock_broke = False
        self._held: PreviewHeld | None = None
        self.preview: Preview | None = None
        """What was said of the first stage's plan."""

    def __repr__(self) -> str:
        return f"<Measured {self._run.run_id}: {len(self._stages)} stages>"

    def observe(self, event: Event) -> None:
        kind = type(event)
        if kind not in _AFTER:  # so that a journal tells the same as the run
            now, self._since = event.mono, self._now
            self._clock_broke = self._clock_broke or now < self._since
            self._now = now
        if kind in UNCOUNTED:
            return
        match event:
            case RunStarted() if not self._run.run_id:
                self._run = event
            case CostPreviewed():
                self._asked_since = event.mono if self._asked_since is None else self._asked_since
                if not self._stages:
                    self.preview = event.preview
            case RunResumed():
                self._clock_broke = True
                self._leave_out(event)
            case StageStarted():
                self._stage_started(event)
            case AgentStarted():
                self._agent_started(event)
            case CallFinished():
                self._call(event)
            case AgentEnded() if (work := self._owner.get(event.trajectory_id)) is not None:
                work.ended, work.done = max(work.ended, event.mono), True
            case PreviewHeld():
                self._held = event
            case _:
                pass

    def held(self, result: RunResult) -> PreviewHeld | None:
        """The preview against what the run came to; None where none was made, or it did not come to its end."""
        if self.preview is None or not self._stages or result.status not in _TO_THE_END:
            return None
        first = self._stages[0]
        if not first.work or self.preview.subtasks != len(first.plan.subtasks):
            return None  # a dry run, or one with another plan
        usage = result.usage
        actual: dict[Quantity, float | None] = {
            "usd": result.cost_usd,
            "tokens": usage.prompt_tokens + usage.completion_tokens,
            "calls": usage.calls,
            "wall_s": None if self._clock_broke else max(0.0, result.wall_s - self._paused),
            "critical_steps": result.critical_steps,
        }
        held: dict[Quantity, Held] = {}
        for quantity in QUANTITIES:
            said, came = self.preview.of(quantity), actual[quantity]
            if said is not None and came is not None:
                held[quantity] = Held(range=said, actual=came, held=said.holds(came))
        return PreviewHeld(support=self.preview.basis.support, held=held)

    def row(self, result: RunResult) -> Row | None:
        """What is kept of the run; None where it did not come to its end, or ran no sub-task."""
        if not self._stages or result.status not in _TO_THE_END:
            return None
        first = self._stages[0]
        works = [work for stage in self._stages for work in stage.work.values() if work.done and work.use.calls]
        if not works or not first.plan.subtasks:
            return None
        steps = [sum(s.main_steps + s.longest for s in self._stages[n + 1 :]) for n in range(len(self._stages))]
        stages = [
            StageRow(stage.tokens, self._rest(stage), after + stage.main_steps)
            for stage, after in zip(self._stages, steps, strict=True)
        ]
        return Row(
            run=self._run.run_id,
            started=self._run.t,
            mode=self._run.mode[:16],
            model=digest(self._run.models.get(Role.SUBAGENT, "")),
            repository=digest(self._run.repo),
            subtasks=len(first.plan.subtasks),
            samples=tuple(_sample(work) for work in _some(works)),
            slack=self._slack(first),
            stages=tuple(stages),
            lead=self._lead,
            merging=self._merging,
            support=self._held.support if self._held else 0.0,
            held=self._held.held if self._held else {},
        )

    def _leave_out(self, event: RunResumed) -> None:
        """Of what goes on the time does not count in which nobody was at work."""
        for work in {id(work): work for name, work in self._owner.items() if name in event.going_on}.values():
            work.began += max(0.0, event.mono - (work.ended if work.done else self._since))
            work.done = False

    def _stage_started(self, event: StageStarted) -> None:
        if self._asked_since is not None:
            self._paused += max(0.0, event.mono - self._asked_since)
            self._asked_since = None
        if event.stage <= len(self._stages):  # gone through again
            self._stages[event.stage - 1].plan = event.plan
        else:
            self._stages.append(_Stage(event.plan, event.mono))

    def _agent_started(self, event: AgentStarted) -> None:
        self._role[event.trajectory_id] = event.role
        if event.role != Role.SUBAGENT or not self._stages:
            return
        mother = self._owner.get(event.parent_trajectory_id)
        if mother is None:  # else it works for the sub-task that called it
            name, kind = (event.subtask.id, event.subtask.kind) if event.subtask else (event.name, "")
            mother = self._stages[-1].work.setdefault(name, _Work(digest(kind), event.mono, event.mono))
        self._owner[event.trajectory_id] = mother

    def _call(self, event: CallFinished) -> None:
        work, role = self._owner.get(event.trajectory_id), self._role.get(event.trajectory_id)
        if work is not None:
            work.use = work.use.plus(event.usage)
            work.steps += event.accepted
            work.first = work.first or (event.usage.prompt_tokens if event.accepted else 0)
        elif self._stages and role == Role.AGGREGATOR:
            self._merging = self._merging.plus(event.usage)
        elif self._stages and role == Role.ORCHESTRATOR:
            self._lead = self._lead.plus(event.usage)
            self._stages[-1].main_steps += event.accepted

    def _rest(self, stage: _Stage) -> float:
        return -1.0 if self._clock_broke else max(0.0, self._now - stage.ended)

    def _slack(self, stage: _Stage) -> float:
        """Times what its schedule should have taken: sandboxes that start, waits for the endpoint."""
        width = self._run.config.get("concurrency")
        seconds = [
            work.ended - work.began if (work := stage.work.get(subtask.id)) else 0.0 for subtask in stage.plan.subtasks
        ]
        should = Timing(stage.plan, width if isinstance(width, int) else len(seconds)).takes(seconds)
        took = stage.ended - stage.began
        return 1.0 if self._clock_broke or should <= 0 else min(10.0, max(1.0, took / should))


def _some(works: list[_Work]) -> list[_Work]:
    """Not more than are kept, from the cheapest to the dearest at even steps."""
    ordered = sorted(works, key=lambda work: work.use.tokens)
    if len(ordered) <= MOST_SAMPLES:
        return ordered
    return [ordered[(2 * n + 1) * len(ordered) // (2 * MOST_SAMPLES)] for n in range(MOST_SAMPLES)]


def _sample(work: _Work) -> Sample:
    return Sample(work.kind, work.use, work.first, round(max(0.0, work.ended - work.began), 3))
