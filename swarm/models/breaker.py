"""A circuit breaker: leaves out what fails, and tries it by one call after a pause that grows. Pure."""

from __future__ import annotations

from enum import StrEnum

PAUSE_S = (1.0, 60.0)
"""Seconds until an open breaker lets one call through: at first, and at most. They double with each that fails."""

FAILURES = 3
"""Failures in a row that open a breaker, where one may be bad luck."""


class BreakerState(StrEnum):
    """Whether calls are let through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    """Its pause is over: one call may try it, or does."""


class Breaker:
    """Whether calls go somewhere. Ask `allows`, tell it of each call with `sent` and then one of the other three."""

    def __init__(self, failures: int = FAILURES, pause_s: tuple[float, float] = PAUSE_S) -> None:
        self._failures = failures
        self._first, self._longest = pause_s
        self._in_a_row = 0
        self._pause = 0.0
        self._open = False
        self._opened_at = 0.0
        self._until = 0.0
        self._trial_out = False

    def __repr__(self) -> str:
        return f"<Breaker {'open' if self._open else 'closed'}, {self._in_a_row} failures in a row>"

    def state(self, now: float) -> BreakerState:
        if not self._open:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if now >= self._until else BreakerState.OPEN

    def allows(self, now: float) -> bool:
        """Whether a call may go there now."""
        return not self._open or (now >= self._until and not self._trial_out)

    def sent(self, now: float) -> bool:
        """A call goes there. Gives whether it is the one that tries it, for which `untried` is due when it is over."""
        trial = self._open and self.allows(now)
        self._trial_out = self._trial_out or trial
        return trial

    def untried(self) -> None:
        """The call that tried it is over, with or without a verdict."""
        self._trial_out = False

    def succeeded(self) -> bool:
        """A call was answered. Gives whether that closed it."""
        opened, self._open = self._open, False
        self._in_a_row, self._pause = 0, 0.0
        return opened

    def failed(self, now: float, sent_at: float, *, surely: bool = False, at_least: float = 0.0) -> bool:
        """A call that was sent at `sent_at` failed. `surely`: the next would fail as well, so that one is enough;
        `at_least` are seconds that the pause has. Gives whether that opened it: calls that were on their way when it
        opened tell of the same."""
        if self._open:
            if sent_at >= self._opened_at:
                self._reopen(now, at_least)
            return False
        self._in_a_row += 1
        if self._in_a_row < self._failures and not surely:
            return False
        self._open = True
        self._reopen(now, at_least)
        return True

    def _reopen(self, now: float, at_least: float) -> None:
        self._pause = min(self._longest, max(self._first, at_least, 2 * self._pause))
        self._opened_at = now
        self._until = now + self._pause
