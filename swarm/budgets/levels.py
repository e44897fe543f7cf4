"""What limits are made of: quantities, what was used of them, how much is left."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from swarm.errors import UsageError
from swarm.events import LimitReached
from swarm.values import value

Quantity = Literal["tokens", "dollars", "steps", "seconds"]


@value(frozen=True, slots=True)
class Limits:
    """None means no limit of its own. Tokens are prompt and completion together, steps are answered model calls (for
    what works in parallel, those of the longest), seconds those of the budget's own clock.

    Raises:
        UsageError: dollars or seconds are not a number: nothing would ever fit into them, nor be refused.
    """

    tokens: int | None = None
    usd: float | None = None
    steps: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        usd, seconds = self.usd, self.seconds
        if (usd is not None and math.isnan(usd)) or (seconds is not None and math.isnan(seconds)):
            raise UsageError("a limit that is no number limits nothing", remedy="give a number, or no limit")

    @property
    def any(self) -> bool:
        """Whether anything is limited."""
        return not (self.tokens is None and self.usd is None and self.steps is None and self.seconds is None)

    def without(self, part: float, steps: int, time: float, least: tuple[int, float] = (0, 0.0)) -> Limits:
        """What is left of them where this part of tokens and dollars, so many steps and this part of the time are kept
        back; of tokens and dollars the `least`, where that is more, and less than half of the whole."""
        tokens, usd = least
        return Limits(
            None if self.tokens is None else self.tokens - math.ceil(_kept(self.tokens * part, tokens, self.tokens)),
            None if self.usd is None else min(self.usd * (1 - part), self.usd - _kept(0.0, usd, self.usd)),
            None if self.steps is None else self.steps - steps,
            None if self.seconds is None else self.seconds * (1 - time),
        )


NO_LIMITS = Limits()


def _kept(part: float, least: float, whole: float) -> float:
    return max(part, least) if 2 * least < whole else part


@value(frozen=True, slots=True)
class Terms:
    """What holds between a budget and the one above. It leaves a `part` of its parent's tokens and dollars to others,
    so many `steps`, and a part of the `time`; where the part is small, at least so many `tokens` and `usd`, if they are
    less than half. `parallel`: of its own children's steps only the longest way counts.
    Without `counted` its steps do not count above at all."""

    part: float = 0.0
    steps: int = 0
    time: float = 0.0
    parallel: bool = False
    counted: bool = True
    tokens: int = 0
    usd: float = 0.0


PLAIN = Terms()


@dataclass(slots=True)
class Amount:
    """What was used or is left."""

    tokens: int = 0
    usd: float = 0.0
    steps: int = 0

    def add(self, tokens: int, usd: float) -> None:
        self.tokens += tokens
        self.usd += usd


@value(frozen=True, slots=True)
class Gauge:
    """How far a limit of a budget is used up; `scope` is the budget's name."""

    scope: str
    what: Quantity
    used: float
    limit: float

    def __str__(self) -> str:
        return f"{figure(self.used)} of {figure(self.limit)} {self.what}"

    @property
    def left(self) -> float:
        return max(0.0, self.limit - self.used)

    def past(self, part: float) -> bool:
        """Whether this part of the limit is used."""
        return self.used >= part * self.limit


@value(frozen=True, slots=True)
class Room:
    """What may still be used: of it, what is not set aside for calls in flight is `free`. Infinite without a limit."""

    tokens: float = math.inf
    usd: float = math.inf
    free_tokens: float = math.inf
    free_usd: float = math.inf

    @property
    def unlimited(self) -> bool:
        return self.tokens == self.usd == math.inf


ANY_ROOM = Room()
"""Where nothing is limited."""


def figure(value: float) -> str:
    """A number as it is read: whole ones whole, others with few digits."""
    return str(int(value)) if value == int(value) else f"{value:.4g}"


def limit_words(event: LimitReached) -> str:
    """What was reached of a limit of the run, and what follows."""
    consequence = {
        "soft": "agents are asked to finish",
        "hard": "a call was not sent",
        "over": "an endpoint counted more than was asked for; nothing further is sent",
        "closed": "no further sub-agents are started",
    }[event.level]
    return f"{figure(event.used)} of {figure(event.limit)} {event.what} are used: {consequence}"
