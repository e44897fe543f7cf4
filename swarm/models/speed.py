"""How fast replicas answer, each against the others. Pure; the clock is passed in.

An answer of many tokens takes longer, and each takes some time however short it is: so a replica is measured by what
its answers took over what answers of those lengths take at all of them, by the least squares' line of the newest.
"""

from __future__ import annotations

SLOW = 1.5
"""A replica is slow that takes so many times as long as the others: what is less may be chance."""

_KNOWN = 4
_WEIGHT = 1 / 12
"""Of the newest answer; of the first twelve all count alike."""

_KEPT = 255 / 256
"""What is left of an answer in the line when there is a newer one."""

_FADES_S = 60.0
"""After so many seconds without an answer half is left of what was known: else a slow one were never tried again."""


class Speed:
    """What the last answers of one replica took, and what they would have taken at any."""

    __slots__ = ("_all", "_answers", "_at", "_expected", "_seconds")

    def __init__(self, of_all: Speeds) -> None:
        self._all = of_all
        self._seconds = self._expected = 0.0
        self._answers = 0
        self._at = 0.0

    def __repr__(self) -> str:
        return f"<Speed {self._seconds:.3g} s for {self._expected:.3g} s, {self._answers} answers>"

    def answered(self, seconds: float, tokens: int, now: float) -> None:
        """An answer of so many tokens took so long, its wait at the replica and its prompt included."""
        self._answers += 1
        part = max(_WEIGHT, 1 / self._answers)
        more_s = part * (seconds - self._seconds)
        more = part * (self._all.expected(seconds, tokens) - self._expected)
        self._seconds += more_s
        self._expected += more
        self._at = now
        self._all.changed(more_s, more, first=self._answers == 1)

    def times(self, now: float) -> float:
        """How many times as long as the others it takes: 1 where it is not slow, or too little is known."""
        others = self._all.seconds - self._seconds, self._all.sum_expected - self._expected
        if self._answers < _KNOWN or self._all.count < 2 or min(*others, self._expected) <= 0:
            return 1.0
        times = self._seconds / self._expected / (others[0] / others[1])
        if times < SLOW:
            return 1.0
        return float(1 + (times - 1) * 0.5 ** ((now - self._at) / _FADES_S))

    def lag(self, now: float) -> float:
        """Seconds that an answer takes longer here than at the others."""
        times = self.times(now)
        return 0.0 if times == 1.0 else (times - 1) * (self._all.seconds - self._seconds) / (self._all.count - 1)


class Speeds:
    """The sums over all replicas that have answered, and the line through their answers."""

    __slots__ = ("_answers", "_s", "_t", "_ts", "_tt", "count", "seconds", "sum_expected")

    def __init__(self) -> None:
        self.seconds = self.sum_expected = 0.0
        self.count = 0
        self._answers = self._s = self._t = self._tt = self._ts = 0.0

    def __repr__(self) -> str:
        return f"<Speeds of {self.count}>"

    def expected(self, seconds: float, tokens: int) -> float:
        """What an answer of so many tokens takes by the newest, of which this is one."""
        self._answers = self._answers * _KEPT + 1
        self._s = self._s * _KEPT + seconds
        self._t = self._t * _KEPT + tokens
        self._tt = self._tt * _KEPT + tokens * tokens
        self._ts = self._ts * _KEPT + tokens * seconds
        mean_s, mean_t = self._s / self._answers, self._t / self._answers
        spread = self._tt / self._answers - mean_t * mean_t
        slope = (self._ts / self._answers - mean_t * mean_s) / spread if spread > 0 else 0.0
        slope = min(
            max(slope, 0.0), mean_s / mean_t if mean_t else 0.0
        )  # neither a token nor a call takes less than none
        return mean_s + slope * (tokens - mean_t)

    def changed(self, seconds: float, expected: float, *, first: bool) -> None:
        self.seconds += seconds
        self.sum_expected += expected
        self.count += first
