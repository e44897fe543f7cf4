"""What must hold of the agents of a run and of the run itself: beginnings, ends, and the sums that its end tells."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator, Mapping
from math import isclose, isfinite

from pydantic import ValidationError
from pydantic_core import to_json

from swarm.config import Rollout
from swarm.events import (
    AgentEnded,
    AgentStarted,
    CallFinished,
    Event,
    Finished,
    RewardGiven,
    RunEnded,
    RunResumed,
    RunStarted,
    StageEnded,
    StageStarted,
)
from swarm.journal.check_calls import HIDDEN, Finding
from swarm.journal.check_trunk import Ids
from swarm.journal.open_calls import is_turn
from swarm.journal.parl import SOURCE as PARL
from swarm.journal.parl import StageClock, about_learning
from swarm.journal.redaction import VERSION as REDACTION
from swarm.journal.totals import Totals
from swarm.types import Outcome, RunStatus, Usage

MODE_GATEWAY = "gateway"
"""Of a run that is a record of other agents: nobody says what their work was worth."""


class Agents:
    """Each begins once and ends once, in one of two ways. Shown all events, in order, with their lines."""

    def __init__(self) -> None:
        self._open: dict[str, int] = {}
        self._known: set[str] = set()
        self._turns: dict[str, int] = {}
        self._usage: dict[str, Usage] = {}
        self._resumed = False
        self._calls = Ids()
        self._stages: set[int] = set()

    def see(self, event: Event, line: int) -> Iterator[Finding]:
        name = str(getattr(event, "trajectory_id", ""))
        if name and name not in self._known and not isinstance(event, AgentStarted):
            yield line, f"{event.type} of the agent {name}, which has no start"
        match event:
            case AgentStarted():
                if name in self._known:
                    yield line, f"a second start of the agent {name}"
                self._known.add(name)
                self._open[name] = line
            case CallFinished(accepted=True):
                self._calls.add(event.call_id)
                self._usage[name] = self._usage.get(name, Usage()) + event.usage
                if is_turn(event):
                    self._turns[name] = self._turns.get(name, 0) + 1
                if name not in self._open:
                    yield line, f"a call of {name} after its end"
            case AgentEnded():
                yield from ((line, f"the end of {name}: {text}") for text in self._ended(event))
            case StageStarted():
                self._stages.add(event.stage)
            case StageEnded():
                if event.stage not in self._stages:
                    yield line, f"the end of stage {event.stage}, which has no start"
            case RewardGiven():
                yield from ((line, f"the reward {event.name}: {text}") for text in self._rewarded(event))
            case RunResumed():
                self._resumed = True
                self._open |= {each: line for each in event.again if each in self._known}
            case RunEnded():
                yield from ((at, f"the agent {each} has no end") for each, at in self._open.items())
                self._open.clear()
            case _:
                pass

    def _ended(self, end: AgentEnded) -> Iterator[str]:
        if self._open.pop(end.trajectory_id, None) is None:
            yield "it had ended before"
        if end.terminated == end.truncated:
            yield f"terminated and truncated are both {end.terminated}"
        if end.outcome is Outcome.ERRORED and end.terminated:
            yield "a failure of the machine is no end of its own"
        if end.outcome is Outcome.COMPLETED and end.truncated:
            yield "it is completed, and was truncated"
        if not (isfinite(end.seconds) and end.seconds >= 0):
            yield f"it took {end.seconds} seconds"
        turns, usage = self._turns.get(end.trajectory_id, 0), self._usage.get(end.trajectory_id, Usage())
        if end.terminated and not self._resumed:
            if end.steps != turns:
                yield f"it tells {end.steps} steps, and there are {turns}"
            if end.usage != usage:
                yield "its usage is not that of its calls"

    def _rewarded(self, reward: RewardGiven) -> Iterator[str]:
        if not (isfinite(reward.value) and isfinite(reward.weight)):
            yield "no number"
        known: dict[str, Container[str]] = {"run": {reward.run_id}, "trajectory": self._known, "call": self._calls}
        if reward.target_id not in known[reward.scope]:
            yield f"there is no {reward.scope} {reward.target_id}"


class Ends:
    """What the run's end tells follows from the records before it. Shown all events, in order, with their lines, and
    the hash of all before."""

    def __init__(self) -> None:
        self.ended: RunEnded | None = None
        """The end, if nothing came after it."""
        self.started = 0
        self._rollout = Rollout()
        self._totals = Totals()
        self._clock = StageClock()
        self._mode = ""
        self._given: dict[str, RewardGiven] = {}
        self._over: set[int] = set()
        self._planned = 0  # stages that are never worked on: of a dry run the first
        self._finished = False

    def see(self, event: Event, line: int, before: str) -> Iterator[Finding]:
        if self.ended is not None and event.type not in ("run_resume", "gap"):
            yield line, f"{event.type} after the run's end"
        self.ended = self.ended if event.type == "gap" else None
        self._totals.observe(event)
        self._clock.observe(event)
        match event:
            case RunStarted():
                self.started += 1
                self._mode = event.mode
                self._planned = int(event.dry_run)
                if self.started > 1:
                    yield line, "a second start of the run"
                yield from ((line, text) for text in _hashes(event))
                try:
                    self._rollout = Rollout.model_validate(event.config.get("rollout") or {})
                except ValidationError:
                    yield line, "the rollout of the configuration is none"
                else:
                    yield from ((line, text) for text in _configured(event, self._rollout))
            case StageStarted() if event.stage != self._totals.stage or self._totals.stage != len(self._totals.plans):
                yield line, f"stage {event.stage}, after {len(self._totals.plans) - 1}"
            case StageEnded():
                if event.stage in self._over:
                    yield line, f"a second end of stage {event.stage}"
                self._over.add(event.stage)
                if (event.main_steps, event.sub_steps) != self._totals.steps_of_stage(event.stage):
                    yield line, f"the end of stage {event.stage} tells other steps than there are"
            case RewardGiven() if event.source == PARL:
                if event.name in self._given:
                    yield line, f"a second reward {event.name} of the run itself"
                self._given[event.name] = event
            case Finished():
                if self._finished:
                    yield line, "a second decision to end"
                self._finished = True
            case RunResumed():
                self._given.clear()
                self._finished = False
                self._over = {stage for stage in self._over if not 0 < event.stage <= stage}
            case RunEnded():
                self.ended = event
                if event.log_sha256 != before:
                    yield line, "what was written before has another hash than the end tells"
                yield from ((line, f"the run's end tells another {name}") for name in self._wrong(event))
            case _:
                pass

    def _wrong(self, ended: RunEnded) -> Iterator[str]:
        totals, attempts = self._totals, self._totals.attempts
        completed, cancelled = attempts[Outcome.COMPLETED], attempts[Outcome.CANCELLED]
        told = ended.model_copy(
            update={
                "spawned": totals.n_subagents,
                "finished": completed,
                "failed": attempts.total() - completed - cancelled,
                "cancelled": cancelled,
                "peak_concurrency": totals.peak_concurrency,
                "total_steps": totals.total_steps,
                "critical_steps": totals.critical_steps,
            }
        )
        *rewards, _ = about_learning(told, self._clock, totals, self._rollout)
        for name in RunEnded.model_fields:
            one, other = getattr(ended, name), getattr(told, name)
            same = isclose(one, other, abs_tol=1e-9) if isinstance(one, float) else one == other
            if not same:
                yield f"{name}: {one} where {other} follows"
        result = ended.result
        usage = totals.usage.model_dump(include={"prompt_tokens", "completion_tokens", "cached_tokens", "calls"})
        follows = {
            "run_id": ended.run_id,
            "status": ended.status.value,
            "exit_code": ended.exit_code,
            "wall_s": ended.wall_s,
            "usage": usage,
            "total_steps": totals.total_steps,
            "critical_steps": totals.critical_steps,
            "n_subagents": totals.n_subagents,
            "peak_concurrency": totals.peak_concurrency,
            "outcomes": dict(totals.outcomes),
            "coverage": totals.coverage.model_dump(),
            "cost_usd": totals.cost,
        }
        yield from (f"result.{name}" for name, value in follows.items() if result.get(name) != value)
        if (ended.error == "") != (ended.status is RunStatus.COMPLETED) or ended.exit_code not in _EXITS[ended.status]:
            yield f"status: {ended.status.value}, with exit code {ended.exit_code} and the error {ended.error[:80]!r}"
        open_stages = totals.stage - len(self._over)
        if ended.status is RunStatus.COMPLETED and open_stages > self._planned:
            yield f"status: completed, and {open_stages} stages have no end"
        if self._mode != MODE_GATEWAY:
            given = {name: _worth(reward) for name, reward in self._given.items()}
            if given != {each.name: _worth(each) for each in rewards if isinstance(each, RewardGiven)}:
                yield "reward than the records of rewards before it"


_EXITS: Mapping[RunStatus, tuple[int, ...]] = {
    RunStatus.COMPLETED: (0,),
    RunStatus.PARTIAL: (1,),
    RunStatus.FAILED: (1,),
    RunStatus.ERRORED: (2, 3),
    RunStatus.BUDGET_EXHAUSTED: (4,),
    RunStatus.CANCELLED: (130,),
}


def _worth(reward: RewardGiven) -> tuple[str, str, float, float, int]:
    return reward.scope, reward.target_id, reward.value, reward.weight, reward.formula_version


def _configured(started: RunStarted, rollout: Rollout) -> Iterator[str]:
    """What stands by itself of the configuration is what stands in it."""
    config = started.config
    follows = {
        "group_id": rollout.group_id,
        "rollout_index": rollout.index,
        **rollout.policy,
        "seed": config.get("seed"),
        "mode": config.get("mode") if started.mode != MODE_GATEWAY else MODE_GATEWAY,
        "redaction_version": REDACTION,
    }
    for name, value in follows.items():
        if getattr(started, name) != value:
            yield f"{name}: {getattr(started, name)!r} where the configuration has {value!r}"


def _hashes(started: RunStarted) -> Iterator[str]:
    config = to_json(started.config).decode()
    for what, text, told in (
        ("task", started.task, started.task_sha256),
        ("configuration", config, started.config_sha256),
    ):
        if HIDDEN not in text and hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest() != told:
            yield f"the {what} has another hash"
