"""From past runs to a preview: some hundred futures are drawn, and the range is where eight of ten of them end.

A future takes one past run (how long and slow its sub-tasks were, what came after them) and for each sub-task of the
plan one of that run's, of the same kind where it had some; then noise for what so few runs cannot know. Limits end
it. The numbers of chance are the same each time: one plan and one history give one preview.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from swarm.config import RunConfig
from swarm.forecast.pattern import Future, Pattern, Scale
from swarm.forecast.rows import Row, digest
from swarm.forecast.terms import Terms
from swarm.forecast.timing import Timing
from swarm.forecast.weights import ASSUMED, calibration, weighed, widening
from swarm.preview import LEVEL, QUANTITIES, Preview, Quantity, Range
from swarm.scheduling.ordering import quantile
from swarm.types import Plan

_DRAWS, _LEAST_DRAWS, _DRAWN = 400, 48, 60_000
_NOISE = 0.5  # of the logarithm of calls, with one run like this; less by the root of their number
_RESENT = 1.5  # the power of the calls with which tokens grow, as each call sends all that was said again
_GOLDEN = 0.6180339887498949
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
    futures = _futures(plan, stage, terms, drawn_from, basis.support)
    limited = sum([_end_at_limits(future, terms, spent) for future in futures])
    told: dict[Quantity, Range] = {}
    for quantity in QUANTITIES:
        ordered = sorted(future[quantity] for future in futures)
        told[quantity] = _range(quantity, ordered, terms, spent, widening(rows, quantity, basis.support))
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
        limited=limited / len(futures),
        basis=basis,
        calibration=calibration(rows),
    )


def _futures(
    plan: Plan, stage: int, terms: Terms, drawn_from: Sequence[tuple[Row, float]], support: float
) -> list[Future]:
    """What is still to come, once for each draw."""
    number = len(plan.subtasks)
    timing = Timing(plan, terms.config.concurrency)
    kinds = [digest(subtask.kind) for subtask in plan.subtasks]
    ends = list(accumulate(weight for _, weight in drawn_from))
    centre = _centre(drawn_from, support)
    unsure = _NOISE / math.sqrt(max(1.0, support))
    known: dict[str, Pattern] = {}
    futures: list[Future] = []
    for draw in range(max(_LEAST_DRAWS, min(_DRAWS, _DRAWN // max(1, number)))):
        at = (0.5 + draw * _GOLDEN) % 1.0 * ends[-1]  # evenly over the runs
        row = drawn_from[bisect_left(ends, at)][0]
        pattern = known.get(row.run)
        if pattern is None:
            pattern = known[row.run] = Pattern(row, terms)
        rng = random.Random(draw)
        scale = centre
        if row.model:  # the assumptions are spread as they should be
            longer, slower = rng.lognormvariate(0.0, unsure), rng.lognormvariate(0.0, unsure)
            scale = Scale(longer, longer**_RESENT, longer * slower, slower)
        futures.append(pattern.future(pattern.pieces(kinds, rng), timing, stage, scale))
    return futures


def _centre(drawn_from: Sequence[tuple[Row, float]], support: float) -> Scale:
    """What brings the assumptions near what is known of real runs: the nearer, the more of these there are."""
    sides: list[list[tuple[float, float, float, float]]] = [[], []]
    for row, weight in drawn_from:
        for sample in row.samples:
            figures = (max(1, sample.use.calls), max(1, sample.use.tokens), max(0.001, sample.seconds))
            sides[bool(row.model)].append((weight / len(row.samples), *figures))
    if not sides[1]:
        return Scale()
    assumed, real = ([_median(side, n) for n in (1, 2, 3)] for side in sides)
    near = support / (support + ASSUMED)
    calls, tokens, seconds = ((b / a) ** near for a, b in zip(assumed, real, strict=True))
    return Scale(calls, tokens, seconds, seconds / calls)


def _median(weighted: Sequence[tuple[float, ...]], place: int) -> float:
    """Of the figures at a place; the first is the weight."""
    ordered = sorted((one[place], one[0]) for one in weighted)
    half = sum(weight for _, weight in ordered) / 2
    for value, weight in ordered:
        half -= weight
        if half <= 0:
            return value
    return ordered[-1][0]


def _end_at_limits(future: Future, terms: Terms, spent: SpentSoFar) -> bool:
    """Let a future end where the first limit is reached, and make it the whole run. Whether one was."""
    part = 1.0
    for quantity, limit in _limits(terms.config).items():
        if limit is not None and future[quantity] > 0:
            part = min(part, max(0.0, limit - spent.of(quantity)) / future[quantity])
    for quantity in future:
        future[quantity] = spent.of(quantity) + part * future[quantity]
    return part < 1.0


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
