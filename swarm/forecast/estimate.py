"""From past runs to a preview: some hundred futures are drawn, and the range is where eight of ten of them end.

A future takes one past run (how long and slow its sub-tasks were, what came after them) and for each sub-task of the
plan one of that run's, of the same kind where it had some; then noise for what so few runs cannot know. Limits end
it. The numbers of chance are the same each time: one plan and one history give one preview.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from swarm.config import RunConfig
from swarm.forecast.ahead import Ahead
from swarm.forecast.centre import centre
from swarm.forecast.chance import Chance
from swarm.forecast.pattern import Future, Pattern, Scale
from swarm.forecast.rows import Row
from swarm.forecast.terms import Terms
from swarm.forecast.weights import alike, calibration, weighed, widening
from swarm.preview import LEVEL, QUANTITIES, Preview, Quantity, Range
from swarm.scheduling.ordering import quantile
from swarm.types import Plan

_DRAWS, _LEAST_DRAWS, _DRAWN = 233, 55, 60_000
_NOISE = 0.5  # of the logarithm of calls, with one run like this; less by the root of their number
_RESENT = 1.5  # the power of the calls with which tokens grow, as each call sends all that was said again
_WHOLE: tuple[Quantity, ...] = ("tokens", "calls", "critical_steps")


@dataclass(frozen=True, slots=True)
class SpentSoFar:
    """What is gone already. Dollars are None where they are not known."""

    usd: float | None = 0.0
    tokens: int = 0
    calls: int = 0
    wall_s: float = 0.0
    critical_steps: int = 0

    def of(self, quantity: Quantity) -> float:
        return float(getattr(self, quantity) or 0.0)


def estimate(plan: Plan, stage: int, terms: Terms, spent: SpentSoFar, rows: Sequence[Row]) -> Preview:
    """The preview of a plan. `rows` are the past runs, oldest first. Pure, but slow for an event loop: milliseconds to
    a second."""
    drawn_from, basis = weighed(terms, rows)
    draws = max(_LEAST_DRAWS, min(_DRAWS, _DRAWN // max(1, len(plan.subtasks))))
    futures = _futures(Ahead(plan, stage, terms, draws), drawn_from, basis.support)
    parts = _parts(futures, terms, spent)
    like = alike(rows, basis.support)
    told: dict[Quantity, Range] = {}
    for quantity, column in zip(QUANTITIES, zip(*futures, strict=True), strict=True):
        gone = spent.of(quantity)
        ordered = sorted([gone + part * value for part, value in zip(parts, column, strict=True)])
        told[quantity] = _range(quantity, ordered, terms, spent, widening(like, quantity))
    usd = told["usd"] if terms.priced and spent.usd is not None else None
    return Preview(
        stage=stage,
        subtasks=len(plan.subtasks),
        usd=usd,
        tokens=told["tokens"],
        calls=told["calls"],
        wall_s=told["wall_s"],
        critical_steps=told["critical_steps"],
        spent_usd=spent.usd,
        spent_tokens=spent.tokens,
        calls_at_most=len(plan.subtasks) * terms.config.max_steps,
        unpriced=terms.unpriced if usd is None else (),
        limited=sum(part < 1.0 for part in parts) / len(parts),
        basis=basis,
        calibration=calibration(rows),
    )


def _futures(ahead: Ahead, drawn_from: Sequence[tuple[Row, float]], support: float) -> list[Future]:
    """What is still to come, once for each draw."""
    ends = list(accumulate([weight for _, weight in drawn_from]))
    noise = _noise(ahead.chance, support) if support else []
    assumed: Scale | None = None
    known: dict[str, Pattern] = {}
    futures: list[Future] = []
    for number, at in enumerate(ahead.chance.rows()):
        row = drawn_from[bisect_left(ends, at * ends[-1])][0]
        pattern = known.get(row.run)
        if pattern is None:
            pattern = known[row.run] = Pattern(row, ahead)
        if row.model:
            scale = noise[number]
        else:  # the assumptions are spread as they should be
            scale = assumed = assumed or centre(drawn_from, support, ahead.terms)
        futures.append(pattern.future(number, scale))
    return futures


def _noise(chance: Chance, support: float) -> list[Scale]:
    """What so few runs cannot know."""
    unsure = _NOISE / math.sqrt(max(1.0, support))
    found: list[Scale] = []
    for one, other in zip(*chance.noise(), strict=True):
        longer, slower = math.exp(unsure * one), math.exp(unsure * other)
        found.append(Scale(longer, longer**_RESENT, longer * slower, slower))
    return found


def _parts(futures: Sequence[Future], terms: Terms, spent: SpentSoFar) -> list[float]:
    """The part of each future that is left of it where it ends at the first limit that is reached."""
    parts = [1.0] * len(futures)
    for place, quantity in enumerate(QUANTITIES):
        limit = _limits(terms.config).get(quantity)
        if limit is not None:
            left = max(0.0, limit - spent.of(quantity))
            parts = [
                min(part, left / value) if (value := future[place]) > left else part
                for part, future in zip(parts, futures, strict=True)
            ]
    return parts


def _range(quantity: Quantity, ordered: Sequence[float], terms: Terms, spent: SpentSoFar, widened: float) -> Range:
    """The middle eight of ten, as much wider as earlier ones were too narrow, within what can be."""
    low, likely, high = (quantile(ordered, q) for q in ((1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2))
    if likely > 0:
        low, high = likely * (low / likely) ** widened, likely * (high / likely) ** widened
    gone = spent.of(quantity)
    cap = max(gone, _limits(terms.config).get(quantity) or math.inf)
    low, likely, high = (min(cap, max(gone, value)) for value in (low, likely, high))
    if quantity in _WHOLE:
        low, likely, high = float(math.floor(low)), float(round(likely)), float(math.ceil(high))
    return Range(low=low, likely=likely, high=high, widened=widened)


def _limits(config: RunConfig) -> dict[Quantity, float | None]:
    """What a whole run may come to; None: no limit."""
    return {
        "usd": config.budget_usd,
        "tokens": config.budget_tokens,
        "wall_s": config.timeout,
        "critical_steps": config.max_critical_steps,
    }
