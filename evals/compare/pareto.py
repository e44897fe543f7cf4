"""Success against its price: which arms no other one beats."""

from __future__ import annotations

from collections.abc import Sequence

from swarm.evals.compare.model import ArmSummary, Picture, Point

_PRICES = ("cost_usd", "wall_s", "critical_steps")
_INSTEAD = "tokens"


def pictures(arms: Sequence[ArmSummary], success: str) -> list[Picture]:
    """Success against cost, wall clock and critical steps; where no arm cost money, against tokens in place of cost."""
    prices = [_INSTEAD if price == "cost_usd" and not _known(arms, price) else price for price in _PRICES]
    return [picture for price in prices if (picture := _picture(arms, price, success)).points]


def frontier(points: Sequence[tuple[float, float]]) -> list[bool]:
    """For each point (price, success) whether no other succeeds as often for less, or more often for as much."""
    return [
        not any(x <= price and y >= success and (x, y) != (price, success) for x, y in points)
        for price, success in points
    ]


def _known(arms: Sequence[ArmSummary], name: str) -> bool:
    return any(_value(arm, name) for arm in arms)


def _value(arm: ArmSummary, name: str) -> float | None:
    return arm.figures[name].mean.value


def _picture(arms: Sequence[ArmSummary], price: str, success: str) -> Picture:
    known = [arm for arm in arms if _value(arm, price) is not None and _value(arm, success) is not None]
    points = [Point(arm=arm.label, x=arm.figures[price].mean, y=arm.figures[success].mean) for arm in known]
    best = frontier([(point.x.value or 0.0, point.y.value or 0.0) for point in points])
    for point, mark in zip(points, best, strict=True):
        point.best = mark
    return Picture(x=price, y=success, points=points)
