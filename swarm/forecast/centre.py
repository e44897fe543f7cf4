"""What brings the assumptions near what is known of real runs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from swarm.forecast.assumed import assumed_rows
from swarm.forecast.pattern import Scale
from swarm.forecast.rows import Row
from swarm.forecast.terms import Terms
from swarm.forecast.weights import ASSUMED

_RUNS = 40
"""So many, evenly out of all, tell where the middle is."""

Weighted = Sequence[tuple[Row, float]]


def centre(drawn_from: Weighted, support: float, terms: Terms) -> Scale:
    """For the assumed runs among those: the nearer to the real ones, the more of these there are."""
    real = [one for one in drawn_from if one[0].model]
    if not real:
        return Scale()
    there = _middle(real[:: 1 + (len(real) - 1) // _RUNS])
    here = _assumed(terms.single, bool(terms.repository))
    near = support / (support + ASSUMED)
    calls, tokens, seconds = ((b / a) ** near for a, b in zip(here, there, strict=True))
    return Scale(calls, tokens, seconds, seconds / calls)


@lru_cache(maxsize=4)
def _assumed(single: bool, on_repository: bool) -> tuple[float, float, float]:
    return _middle([(row, 1.0) for row in assumed_rows(single, on_repository)])


def _middle(rows: Weighted) -> tuple[float, float, float]:
    """The medians of what their sub-tasks took: calls, tokens, seconds."""
    each = [(sample, weight / len(row.samples)) for row, weight in rows for sample in row.samples]
    half = sum([weight for _, weight in each]) / 2
    return (
        max(1, _median([(sample.use.calls, weight) for sample, weight in each], half)),
        max(1, _median([(sample.use.prompt + sample.use.completion, weight) for sample, weight in each], half)),
        max(0.001, _median([(sample.seconds, weight) for sample, weight in each], half)),
    )


def _median(weighted: list[tuple[float, float]], half: float) -> float:
    weighted.sort()
    for value, weight in weighted:
        half -= weight
        if half <= 0:
            return value
    return weighted[-1][0]
