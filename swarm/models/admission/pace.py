"""How fast calls to one endpoint may follow each other, in requests and in tokens. Pure; the clock is passed in."""

from __future__ import annotations

import random

from swarm.calls import Ask
from swarm.errors import RateLimits
from swarm.models.admission.rates import Allowance, LearntRate

OVERLOAD_S = 60.0
"""The longest that an overloaded endpoint is left alone at its word, before it is tried again."""

_JITTER = 0.02


class Pace:
    """The `rate` that is learnt from refusals, and what the endpoint tells of its limits."""

    def __init__(self) -> None:
        self.rate = LearntRate()
        self._requests, self._tokens = Allowance(), Allowance()
        self._ratio = 1.0  # tokens that calls use for each that was estimated

    def __repr__(self) -> str:
        return f"<Pace {self.rate!r}, {self._requests!r} requests, {self._tokens!r} tokens>"

    def delay(self, now: float, ask: Ask) -> float:
        """Seconds until such a call may be sent."""
        return max(
            self.rate.delay(now), self._requests.delay(now, 1.0), self._tokens.delay(now, ask.tokens * self._ratio)
        )

    def plenty(self, now: float) -> bool:
        """Whether no limit was learnt, and none that was told is near."""
        if self.rate.rate is not None or self.rate.delay(now) > 0:
            return False
        return self._requests.plenty(now) and self._tokens.plenty(now)

    def sent(self, now: float, ask: Ask, *, waited: bool) -> None:
        """A call is sent; `waited`: for its turn by the learnt rate."""
        self.rate.sent(now, waited)
        self._requests.spent(now, 1.0)
        self._tokens.spent(now, ask.tokens * self._ratio)

    def unsent(self, now: float, ask: Ask) -> None:
        """The last call was not sent after all."""
        self.rate.unsent()
        self._requests.spent(now, -1.0)
        self._tokens.spent(now, -ask.tokens * self._ratio)

    def rest(self) -> None:
        """No call is on its way."""
        self._requests.rest()
        self._tokens.rest()

    def used(self, ask: Ask, tokens: int) -> None:
        """A call used so many tokens; 0 where nobody counted them."""
        if tokens:
            self._ratio += 0.2 * (tokens / max(1, ask.tokens) - self._ratio)

    def told(self, limits: RateLimits | None, sent_at: float) -> None:
        """The endpoint told of its limits in answer to a call that was sent then."""
        if limits is not None:
            self._requests.told(limits.requests_limit, limits.requests_left, limits.requests_reset_s, sent_at)
            self._tokens.told(limits.tokens_limit, limits.tokens_left, limits.tokens_reset_s, sent_at)


def jitter_of(seconds: float) -> float:
    """Seconds after a pause, so that not every process comes back at the same moment."""
    return random.uniform(0.0, min(1.0, 0.005 + _JITTER * seconds))
