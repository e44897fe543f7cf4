"""Which past runs count for a preview, and how much: those most like it first, others only while those are few."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import islice

from swarm.forecast.assumed import assumed_rows
from swarm.forecast.rows import Row
from swarm.forecast.terms import Terms
from swarm.preview import QUANTITIES, Basis, Calibration, Held, Quantity

_FEW = 3.0
"""So many runs that are more alike halve what less alike ones count for."""

_LIKE = (1.0, 0.5, 0.2, 0.1)
"""What a run counts for: of this model on this repository; of this model; of another model; in another mode."""

ASSUMED = 0.5
"""Runs like this one that the built-in assumptions are worth."""

_LAST = 20
"""Previews whose outcome is told."""

_SCORED, _ENOUGH = 40, 4
_WIDEST, _NARROWEST = 4.0, 0.7


def weighed(terms: Terms, rows: Sequence[Row]) -> tuple[list[tuple[Row, float]], Basis]:
    """The runs to draw from with their weights, invented ones among them, and what to say of that."""
    tiers: list[list[Row]] = [[] for _ in _LIKE]
    for row in rows:
        tier = terms.unlike(row)
        if tier is not None:
            tiers[tier].append(row)
    found: list[tuple[Row, float]] = []
    better = 0
    for like, tier_rows in zip(_LIKE, tiers, strict=True):
        weight = like * _FEW / (_FEW + better)
        found += [(row, weight) for row in tier_rows]
        better += len(tier_rows)
    support = sum(weight for _, weight in found)
    invented = assumed_rows(terms.single, bool(terms.repository))
    found += [(row, ASSUMED / len(invented)) for row in invented]
    basis = Basis(
        repository=len(tiers[0]),
        model=len(tiers[1]),
        others=len(tiers[2]) + len(tiers[3]),
        support=support,
        assumed=ASSUMED / (ASSUMED + support),
    )
    return found, basis


def calibration(rows: Sequence[Row]) -> dict[Quantity, Calibration]:
    """How the last previews came out, whatever they were about. `rows` oldest first."""
    found: dict[Quantity, Calibration] = {}
    for quantity in QUANTITIES:
        last = _held(rows, quantity, _LAST)
        ratios = [held.actual / held.range.likely for held in last if held.range.likely > 0]
        found[quantity] = Calibration(
            previews=len(last),
            held=sum(held.held for held in last),
            median_ratio=statistics.median(ratios) if ratios else None,
        )
    return found


def alike(rows: Sequence[Row], support: float) -> list[Row]:
    """Those whose previews stood on at least half as much."""
    return [row for row in rows if row.support >= max(1.0, support / 2)]


def widening(like: Sequence[Row], quantity: Quantity) -> float:
    """The factor for the half-widths of a range (logarithmic), with which 80 % of the ranges of runs whose previews
    were alike would have held. Below 1 where more did, nearer to 1 the fewer there were."""
    scores = sorted([score for one in _held(like, quantity, _SCORED) if (score := _score(one)) is not None])
    if len(scores) < _ENOUGH:
        return 1.0
    place = math.ceil(0.8 * (len(scores) + 1))  # conformal: the one of the next preview is as likely in each gap
    found = scores[min(place, len(scores)) - 1]
    sure = len(scores) / (len(scores) + _FEW)
    return math.exp(sure * math.log(min(_WIDEST, max(_NARROWEST, found))))


def _held(rows: Sequence[Row], quantity: Quantity, last: int) -> list[Held]:
    """Not more than so many, the newest first; without those that could not fail: of what is free."""
    found = (held for row in reversed(rows) if (held := row.held.get(quantity)) is not None and held.range.high > 0)
    return list(islice(found, last))


def _score(held: Held) -> float | None:
    """How many half-widths of the range, as it was before it was widened, the actual value lay from the likely one."""
    range_, actual = held.range, held.actual
    if min(range_.low, range_.likely, actual) <= 0:
        return None
    end = range_.high if actual > range_.likely else range_.low
    half = abs(math.log(end / range_.likely)) / range_.widened
    return abs(math.log(actual / range_.likely)) / max(half, 0.02)
