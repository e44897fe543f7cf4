"""When a sub-agent takes much longer than its siblings did: a decision without side effects, and what it is told."""

from __future__ import annotations

from swarm.scheduling.ordering import Durations
from swarm.values import value

FINISH_WORK = (
    "Finish now with what you have: make no new starts, bring what is half done into a state that holds, and submit. "
    "Say plainly what is missing."
)

FINISH = f"You have worked on this much longer than others on theirs. {FINISH_WORK}"
"""What a straggler is told, and whoever is asked to end softly."""


@value(frozen=True, slots=True)
class StragglerPolicy:
    """The soft limit is `factor` times what the part `quantile` of the finished siblings took, `least_s` at least,
    once `enough` have completed; a factor of 0 is no limit. With `hedge` a second attempt is made beside a straggler
    when a place is free: it costs as much again."""

    factor: float = 3.0
    quantile: float = 0.9
    enough: int = 5
    least_s: float = 60.0
    hedge: bool = False

    def limit(self, finished: Durations, kind: str) -> float | None:
        """Seconds of work after which an attempt is a straggler; None while that cannot be said."""
        if self.factor <= 0:
            return None
        seconds = finished.quantile(self.quantile, kind, self.enough)
        return None if seconds is None else max(self.least_s, self.factor * seconds)
