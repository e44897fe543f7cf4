"""What must hold of the agents of a run and of the run itself: beginnings, ends, and the sums that its end tells."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from math import isclose, isfinite

from pydantic_core import to_json

from swarm.config import Rollout
from swarm.events import (
    AgentEnded,
    AgentStarted,
    CallFinished,
    Event,
    RewardGiven,
    RunEnded,
    RunResumed,
    RunStarted,
    StageEnded,
    StageStarted,
)
from swarm.journal.check_calls import HIDDEN, Finding
from swarm.journal.open_calls import is_turn
from swarm.journal.parl import StageClock, about_learning
from swarm.journal.totals import Totals
from swarm.types import Outcome, Usage


class Agents:
    """Each begins once and ends once, in one of two ways. Shown all events, in order, with their lines."""

    def __init__(self) -> None:
        self._open: dict[str, int] = {}
        self._known: set[str] = set()
        self._turns: dict[str, int] = {}
        self._usage: dict[str, Usage] = {}
        self._resumed = False
        self._calls: set[str] = set()
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
        turns, usage = self._turns.get(end.trajectory_id, 0), self._usage.get(end.trajectory_id, Usage())
        if end.terminated and not self._resumed:
            if end.steps != turns:
                yield f"it tells {end.steps} steps, and there are {turns}"
            if end.usage != usage:
                yield "its usage is not that of its calls"

    def _rewarded(self, reward: RewardGiven) -> Iterator[str]:
        if not (isfinite(reward.value) and isfinite(reward.weight)):
            yield "no number"
        known = {"run": {reward.run_id}, "trajectory": self._known, "call": self._calls}[reward.scope]
        if reward.target_id not in known:
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

    def see(self, event: Event, line: int, before: str) -> Iterator[Finding]:
        if self.ended is not None and event.type not in ("run_resume", "gap"):
            yield line, f"{event.type} after the run's end"
        self.ended = self.ended if event.type == "gap" else None
        self._totals.observe(event)
        self._clock.observe(event)
        match event:
            case RunStarted():
                self.started += 1
                if self.started > 1:
                    yield line, "a second start of the run"
                yield from ((line, text) for text in _hashes(event))
                self._rollout = Rollout.model_validate(event.config.get("rollout") or {})
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
        about_learning(told, self._clock, totals, self._rollout)
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
        }
        yield from (f"result.{name}" for name, value in follows.items() if result.get(name) != value)


def _hashes(started: RunStarted) -> Iterator[str]:
    config = to_json(started.config).decode()
    for what, text, told in (
        ("task", started.task, started.task_sha256),
        ("configuration", config, started.config_sha256),
    ):
        if HIDDEN not in text and hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest() != told:
            yield f"the {what} has another hash"
