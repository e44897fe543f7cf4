"""The attempts at one sub-task, one after the other or two at once, and what is to be done when one of them ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Protocol

import anyio

from swarm.errors import EndpointFault
from swarm.steering import Steering
from swarm.types import AgentResult, Outcome, SubTask

ATTEMPTS = 2
"""Attempts at a sub-task whose machine failed, each in a fresh sandbox."""

_PASSING = frozenset({EndpointFault.OVERLOADED, EndpointFault.TIMED_OUT, EndpointFault.CUT, EndpointFault.MALFORMED})
"""Faults of an endpoint that a new attempt may not meet again; a context that is too long it would."""

_WORTH = (Outcome.FAILED, Outcome.TIMED_OUT, Outcome.BUDGET_EXHAUSTED, Outcome.ERRORED)


class Verdict(Enum):
    """What the end of an attempt means for its sub-task."""

    OVER = auto()
    """It has its result; whatever else is at work on it is cancelled."""

    AGAIN = auto()
    """A new attempt is due."""

    WAIT = auto()
    """The other attempt may still do better."""


class Cancellable(Protocol):
    """A task, or a block of one."""

    def cancel(self) -> None: ...


@dataclass(slots=True, eq=False)
class Attempt:
    """One attempt at work. `began` is on the loop's clock; `told` that it was asked to finish, `stopped` that someone
    ended it, `cancelled` that it is to end, and nothing else with it."""

    number: int
    began: float
    steering: Steering = field(default_factory=Steering)
    trajectory_id: str = ""
    told: bool = False
    stopped: bool = False
    cancelled: bool = False
    _where: Cancellable | None = None

    def runs_in(self, where: Cancellable) -> None:
        """It is made there, and by nobody else."""
        self._where = where
        if self.cancelled:
            where.cancel()

    def cancel(self) -> None:
        """End it, or do not let it begin."""
        self.cancelled = True
        if self._where is not None:
            self._where.cancel()

    def stop(self) -> None:
        """Someone ends it."""
        self.stopped = True
        self.cancel()

    @property
    def seconds(self) -> float:
        """Seconds of work; where nobody keeps its clock, seconds since it began."""
        clock = self.steering.clock
        return clock.seconds if clock.ever_started else anyio.current_time() - self.began


@dataclass(slots=True, eq=False)
class Job:
    """One sub-task on its way to its one result."""

    subtask: SubTask
    running: list[Attempt] = field(default_factory=list)
    made: int = 0
    hedged: bool = False
    result: AgentResult | None = None
    untold: bool = False
    _lost: tuple[AgentResult, ...] = ()
    _errored: int = 0

    @property
    def over(self) -> bool:
        return self.result is not None

    def begin(self, now: float, number: int = 0) -> Attempt:
        """The next attempt, or the one of this number."""
        self.made = number or self.made + 1
        attempt = Attempt(self.made, now)
        self.running.append(attempt)
        return attempt

    def end(self, attempt: Attempt, result: AgentResult) -> Verdict:
        """An attempt ended. The first completed one is the result; an errored one is made again, as often as
        `ATTEMPTS` says; of a failed one it is the orchestrator's to say."""
        self.running.remove(attempt)
        if self.over:
            return Verdict.WAIT
        if attempt.stopped and result.outcome is Outcome.ERRORED:  # its clean-up failed: it is over all the same
            result = replace(result, outcome=Outcome.CANCELLED)
        if result.outcome is Outcome.COMPLETED:
            self.result = result
            return Verdict.OVER
        self._lost += (result,)
        if self.running:
            return Verdict.WAIT
        self._errored += may_pass(result)
        if may_pass(result) and self._errored < ATTEMPTS and not any(map(_said_no, self._lost)):
            return Verdict.AGAIN
        self.result = _best(self._lost)
        return Verdict.OVER

    def cut(self, attempt: Attempt, result: AgentResult) -> None:
        """An attempt ended with the whole stage. What an earlier one left is kept, where it is worth it."""
        self.running.remove(attempt)
        if not self.over:
            self.result = next((lost for lost in self._lost if lost.keep), result)
            self.untold = not self.result.trajectory_id


def may_pass(result: AgentResult) -> bool:
    """Whether the machine failed in a way that a fresh attempt need not meet."""
    if result.outcome is not Outcome.ERRORED:
        return False
    return result.stop not in set(EndpointFault) or result.stop in _PASSING


def _said_no(result: AgentResult) -> bool:
    """The work itself came to an end, or someone ended it: not a case for another attempt."""
    return result.outcome is not Outcome.ERRORED


def _best(results: Sequence[AgentResult]) -> AgentResult:
    """What is worth keeping first, then the work's own failure, then the machine's; of equals the first."""

    def rank(result: AgentResult) -> tuple[bool, int]:
        known = result.outcome in _WORTH
        return not result.keep, _WORTH.index(result.outcome) if known else len(_WORTH)

    return min(results, key=rank)


def without_work(subtask: SubTask, trajectory_id: str, outcome: Outcome, reason: str, stop: str = "") -> AgentResult:
    """The result where no agent gave one."""
    return AgentResult(
        subtask_id=subtask.id, trajectory_id=trajectory_id, outcome=outcome, text=reason, stop=stop or outcome.value
    )
