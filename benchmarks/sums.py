"""What is made of samples: medians, spreads, and ratios to ours within a round. Only the standard library."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from benchmarks.record import Entrant, Figure, Heading, Results


@dataclass(frozen=True)
class Summed:
    """A figure of one competitor: median, least, most, and how many times as good ours is (None for ours itself).

    The ratio is the median of those within each round: what loads the machine meets all that stand in it alike.
    """

    median: float
    least: float
    most: float
    times: float | None


def ours_of(row: Heading) -> Entrant | None:
    """Whom ratios are to: the first of ours that takes part."""
    return next((each for each in row.competitors if each.kind == "ours" and not each.left_out), None)


def summed(
    results: Results, row: Heading, name: str, figure: Figure, *, to: str = "", at: float | None = None
) -> Summed | None:
    """None where the competitor has no such figure. `to`: whom it is compared with, in place of ours."""
    key = figure.key
    found = {each.round: each.figures[key] for each in results.of(row.name, name, at) if key in each.figures}
    if not found:
        return None
    ours = ours_of(row)
    to = to or (ours.name if ours else "")
    base = {each.round: each.figures[key] for each in results.of(row.name, to, at) if key in each.figures}
    pairs = [(value, base[number]) for number, value in found.items() if base.get(number, 0) > 0 and value > 0]
    ratios = [mine / theirs if figure.better == "more" else theirs / mine for theirs, mine in pairs]
    times = statistics.median(ratios) if ratios and name != to else None
    values = list(found.values())
    return Summed(statistics.median(values), min(values), max(values), times)


def failures(results: Results, row: Heading, name: str) -> tuple[int, int, str]:
    """How many pieces of work failed, of how many, and what was said of the first."""
    samples = results.of(row.name, name)
    said = next((each.error for each in samples if each.failed), "")
    return sum(each.failed for each in samples), sum(each.of for each in samples), said


def short(value: float) -> str:
    """Three digits that count."""
    if value >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{float(f'{value:.3g}'):.6f}".rstrip("0").rstrip(".")
