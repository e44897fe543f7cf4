"""What a call is to be set aside for: its prompt as estimated, and an answer as long as answers are.

The answer is bounded by `max_tokens`, so that a call never uses more than was set aside. Where there is plenty, the
bound is generous; where room is scarce it is what answers of this role really took, so that many calls fit at once.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace

from swarm.budgets.levels import Room
from swarm.config import Price
from swarm.values import value

ASSUMED = 8192
"""Tokens of an answer as long as nothing is known, and the least bound where there is plenty."""

LEAST = 64
"""An answer with less room than this is not worth its prompt: with this much left beside it a call is still made."""

MOST = 65_536

PLENTY = 16
"""Room for so many generous calls is plenty."""

_KEPT = 64
_ENOUGH = 4
_QUANTILE = 0.95
_MARGIN = 1.5


@value(frozen=True, slots=True)
class Needs:
    """What is set aside for a call; `max_tokens` bounds its answer (None: nothing is limited)."""

    tokens: int
    usd: float
    max_tokens: int | None

    @property
    def aside(self) -> tuple[int, float]:
        """Tokens and dollars that are set aside."""
        return self.tokens, self.usd

    def within(self, window: int | None, prompt_tokens: int) -> Needs:
        """The same with an answer that fits into a window beside the prompt: servers refuse what does not."""
        if window is None or self.max_tokens is None:
            return self
        return replace(self, max_tokens=min(self.max_tokens, max(LEAST, window - prompt_tokens)))


class Sizes:
    """How long the answers of one role are, in tokens, learnt from its last calls."""

    def __init__(self) -> None:
        self._seen: deque[int] = deque(maxlen=_KEPT)
        self._likely = ASSUMED

    def __repr__(self) -> str:
        return f"<Sizes likely {self.likely} after {len(self._seen)} answers>"

    def observe(self, tokens: int, *, cut: bool = False) -> None:
        """An answer had so many tokens; one that was cut off at its bound would have had more."""
        self._seen.append(min(MOST, 2 * tokens if cut else tokens))
        self._likely = 0

    @property
    def likely(self) -> int:
        """The tokens that few answers exceed."""
        if not self._likely:  # it is asked for more often than it changes
            self._likely = self._found()
        return self._likely

    def _found(self) -> int:
        if len(self._seen) < _ENOUGH:
            return max([ASSUMED, *self._seen])
        ordered = sorted(self._seen)
        return max(LEAST, min(MOST, int(_MARGIN * ordered[math.ceil(_QUANTILE * len(ordered)) - 1])))

    def needs(self, prompt: int, room: Room, price: Price | None) -> Needs:
        """What a call with a prompt of so many tokens needs, at least an answer of `LEAST` tokens."""
        if room.unlimited:
            return Needs(prompt + ASSUMED, dearest(price, prompt, ASSUMED), None)
        generous = max(ASSUMED, self.likely)
        plenty = room.free_tokens >= PLENTY * (prompt + generous) and room.free_usd >= PLENTY * dearest(
            price, prompt, generous
        )
        answer = min(generous if plenty else self.likely, room.tokens - prompt, _affordable(price, prompt, room.usd))
        tokens = max(LEAST, int(answer))
        return Needs(prompt + tokens, dearest(price, prompt, tokens), tokens)


def dearest(price: Price | None, prompt: int, answer: int) -> float:
    """Dollars that a call can cost at most; 0 where the price is not known."""
    by_prompt, by_answer = _rates(price, prompt)
    return (prompt * by_prompt + answer * by_answer) / 1e6


def _affordable(price: Price | None, prompt: int, usd: float) -> float:
    """Tokens of an answer that so many dollars pay beside the prompt."""
    by_prompt, by_answer = _rates(price, prompt)
    if usd == math.inf or by_answer == 0:
        return math.inf
    return math.floor((usd * 1e6 - prompt * by_prompt) / by_answer * (1 - 1e-9))  # the last digit is not given away


def _rates(price: Price | None, prompt: int) -> tuple[float, float]:
    """Dollars per million tokens of prompt and answer, the highest that may hold: the prompt is estimated, and what it
    exceeds decides the price of all."""
    if price is None:
        return 0.0, 0.0
    prices = [price, *(above for start, above in price.above.items() if prompt * _MARGIN > start)]
    by_prompt = max(max(each.prompt, each.cached or 0.0) for each in prices)
    return by_prompt, max(max(each.completion, each.reasoning or 0.0) for each in prices)
