"""How many calls may be in flight: additive increase, multiplicative decrease. Pure; the clock is passed in."""

from __future__ import annotations

from math import log2

START = 16
"""Calls that go at once to an endpoint of which nothing is known."""

_DECREASE = 0.7
_NEWEST = 1 / 24
_STRAY = 0.15
"""Refusals that may be the endpoint's own faults are no congestion while so few of the last calls met them; four in a
row are more. Else one in twenty, for whatever reason, held the window at eight, however much room there is."""

_STEP_S = (0.1, 0.5)
"""Bounds of the time in which the window doubles at first, in seconds: the upper one, unless answers come quicker than
that, or a connection tells that refusals do. It grows call by call, so that the first refusal finds few others on their
way."""

_TRIPS = 4
"""A refusal comes within so many times what it took to make a connection."""


class Window:
    """The window doubles while it is full and nobody complains; from the first congestion on it grows by one for each
    window of answers, and shrinks once for each congestion."""

    def __init__(self, ceiling: int, start: int = START) -> None:
        self.ceiling = ceiling
        self._size = float(min(start, ceiling))
        self._doubling = True
        self._full_at: float | None = None
        self._cut_at = float("-inf")
        self._quickest = _STEP_S[1]  # in which a refusal would have come
        self._refused = 0.0  # the share of the last calls

    def __repr__(self) -> str:
        return f"<Window of {self.size}, at most {self.ceiling}>"

    @property
    def size(self) -> int:
        return int(self._size)

    def limit(self, ceiling: int) -> None:
        """Another ceiling holds from now on."""
        self.ceiling = ceiling
        self._size = min(self._size, float(ceiling))

    def full(self, now: float) -> float | None:
        """A call waits because the window is full: let it grow. Gives the seconds until it has grown by one, or None
        where only an answer helps."""
        if not self._doubling or self._size >= self.ceiling:
            return None
        step = max(_STEP_S[0], self._quickest)
        if self._full_at is not None:
            self._size = min(float(self.ceiling), self._size * 2 ** (min(now - self._full_at, step / 4) / step))
        self._full_at = now
        return step * log2((self.size + 1) / self._size) + 1e-6

    def answered(self, seconds: float, pressed: bool) -> None:
        """A call was answered after so many seconds. It counts where the window is what others wait for."""
        self._quickest = min(self._quickest, 2 * seconds)
        self._refused -= _NEWEST * self._refused
        if pressed and not self._doubling:
            self._size = min(float(self.ceiling), self._size + 1 / self._size)

    def reached(self, seconds: float) -> None:
        """A connection was made in so many seconds, to a server of models itself: what it refuses, it refuses at once.
        Not to be told of an edge or gateway of somebody else, where a refusal takes longer than a connection: hundreds
        of calls would be on their way by then."""
        self._quickest = min(self._quickest, _TRIPS * seconds)

    def congested(self, now: float, sent_at: float, in_flight: int, *, surely: bool = True) -> bool:
        """A call that was sent at `sent_at` met congestion, beside `in_flight` others; not `surely`: or a fault of the
        endpoint that comes now and then. Gives whether that was news: calls that were on their way at the last cut
        tell of the same congestion."""
        if sent_at < self._cut_at:
            return False
        self._refused += _NEWEST * (1 - self._refused)
        if not surely and self._refused < _STRAY:
            return False
        self._doubling = False
        self._cut_at = now
        self._size = max(1.0, min(self._size, in_flight + 1.0) * _DECREASE)
        return True
