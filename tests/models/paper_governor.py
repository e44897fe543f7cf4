"""Admission on paper: who goes first, what a breaker does, and when nobody may be admitted. No code of the product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

from swarm.errors import EndpointError, EndpointFault
from swarm.types import Role

CLASS = (Role.ORCHESTRATOR, Role.AGGREGATOR, Role.SUBAGENT)
STOPPED_S, PATIENCE_S = 5.0, 900.0
PARTING = frozenset({EndpointFault.OVERLOADED, EndpointFault.NO_FIRST_TOKEN, EndpointFault.TIMED_OUT})
FOR_GOOD = frozenset({EndpointFault.WRONG_KEY, EndpointFault.QUOTA_EXHAUSTED, EndpointFault.UNTRUSTED})
OUTAGE = frozenset({EndpointFault.UNREACHABLE, EndpointFault.CONNECT_TIMED_OUT})


@dataclass(eq=False)
class Waiting:
    """A call that waits; `came` counts them."""

    role: Role
    turn: int
    since: float
    came: int


def first(waiting: Sequence[Waiting], taken: int) -> Waiting | None:
    """Whose turn it is after so many were taken: of each two the second is the oldest of all."""

    def urgency(each: Waiting) -> tuple[int, int, float, int]:
        return CLASS.index(each.role), -len(bin(each.turn)[2:] if each.turn else ""), each.since, each.came

    def age(each: Waiting) -> tuple[float, int]:
        return each.since, each.came

    return min(waiting, key=age if taken % 2 else urgency, default=None)


@dataclass
class PaperBreaker:
    """Three failures in a row open it, or one that is sure; then one call may try it after 1, 2, 4, ... 60 seconds."""

    row: int = 0
    opened: float | None = None
    pause: float = 0.0
    trials: int = 0

    def allows(self, now: float) -> bool:
        return self.opened is None or (now >= self.opened + self.pause and self.trials == 0)

    def failed(self, now: float, sent: float, surely: bool, least: float) -> None:
        if self.opened is None:
            self.row += 1
            if self.row == 3 or surely:
                self.opened, self.pause = now, min(60.0, max(1.0, least))
        elif sent >= self.opened:
            self.opened, self.pause = now, min(60.0, max(1.0, least, 2 * self.pause))

    def succeeded(self) -> None:
        self.row, self.opened, self.pause = 0, None, 0.0


@dataclass
class PaperGovernor:
    """When nobody may be admitted. `sent` are the times at which the calls in flight were admitted."""

    held_until: float = -inf
    stopped_until: float = -inf
    fault: EndpointFault | None = None
    since: float = inf
    """When the fault began that one call at a time tries."""
    met: float = inf
    cut: float = -inf
    answer: float = -inf
    sent: list[float] = field(default_factory=list)
    refuses: dict[EndpointFault, float] = field(default_factory=dict)
    """Until when calls are refused unsent for a fault that does not pass."""

    def problem(self, now: float) -> str:
        """Why nobody can be admitted now."""
        if now < self.held_until:
            return "the endpoint asked all to wait"
        return f"stopped for {self.fault}" if now < self.stopped_until else ""

    def tried(self) -> bool:
        """Whether a call tries if the fault is over."""
        return self.fault is not None and any(sent > self.since for sent in self.sent)

    def failed(self, error: EndpointError, now: float, sent: float, wanted: float) -> None:
        """A call failed that was admitted at `sent`, and wanted to be since `wanted`."""
        if error.kind is EndpointFault.RATE_LIMITED:
            pause = error.retry_after or 0.0
            if pause > PATIENCE_S or (sent > self.answer and now - max(wanted, self.answer) > PATIENCE_S):
                self._stop(EndpointFault.QUOTA_EXHAUSTED, now, STOPPED_S)
            else:
                self.held_until = max(self.held_until, now + pause)
        elif error.kind in PARTING and sent >= self.cut:
            self.cut = now
            self.held_until = max(self.held_until, now + min(60.0, error.retry_after or 0.0))
        elif error.kind in FOR_GOOD:
            self._stop(error.kind, now, STOPPED_S)
        if error.status is not None and self.fault in OUTAGE:
            self.fault, self.stopped_until = None, -inf

    def _stop(self, kind: EndpointFault, now: float, seconds: float) -> None:
        self.since = self.since if self.fault is not None else now
        self.fault, self.met, self.stopped_until = kind, now, now + seconds
        self.refuses[kind] = now + seconds

    def answered(self, now: float, sent: float) -> None:
        self.answer = now
        if self.fault is not None and sent >= self.met:
            self.fault, self.stopped_until = None, -inf
