"""What is assumed of runs as long as there are none: invented past runs, drawn once and for all from the figures here.

The figures are guesses of ours about coding agents and research with present models, and wide for that reason: no
more is claimed of them. Past runs take their place as fast as there are any (`swarm.forecast.estimate`).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache

from swarm.forecast.rows import Row, Sample, StageRow, Use

RUNS = 60
SPREAD = 0.5
"""How far one run is from another (the standard deviation of the logarithm), beside the spread of its sub-tasks."""


@dataclass(frozen=True, slots=True)
class _Figures:
    """Medians of one sub-task: calls, tokens of its first prompt, tokens that each call adds to all later prompts,
    tokens of an answer, seconds of a call with the tools that it wanted."""

    calls: float
    first: float
    growth: float
    answer: float
    seconds: float


_FIGURES = {
    # (one agent for all, on a repository)
    (False, True): _Figures(calls=14, first=3_000, growth=900, answer=250, seconds=8),
    (False, False): _Figures(calls=4, first=1_500, growth=1_200, answer=500, seconds=10),
    (True, True): _Figures(calls=30, first=3_500, growth=900, answer=250, seconds=8),
    (True, False): _Figures(calls=8, first=1_500, growth=1_200, answer=500, seconds=10),
}
_AGAIN = 0.35  # a stage is followed by another in so many of all runs with a planner
_SUBTASKS = 8
_CACHED = (0.3, 0.9)  # the share of all prompts but the first that an endpoint has cached


@lru_cache(maxsize=8)
def assumed_rows(single: bool, on_repository: bool) -> tuple[Row, ...]:
    """The invented runs; always the same."""
    rng = random.Random(5)
    return tuple(_run(n, rng, _FIGURES[single, on_repository], single) for n in range(RUNS))


def _run(number: int, rng: random.Random, figures: _Figures, single: bool) -> Row:
    longer, wordier, slower = (rng.lognormvariate(0, SPREAD) for _ in range(3))
    cached = rng.uniform(*_CACHED)
    samples = [_subtask(rng, figures, longer, wordier, slower, cached) for _ in range(1 if single else _SUBTASKS)]
    tokens, longest = sum(sample.use.tokens for sample in samples), max(sample.use.calls for sample in samples)
    results = round(figures.answer * len(samples))
    call = slower * figures.seconds
    merging, lead, rest = Use(), Use(), call
    stages = [StageRow(tokens, rest, 0)]
    if not single:
        merging = Use(1, results + 800, 0, round(2 * figures.answer * wordier), 0)
        lead = Use(1, round(figures.first + results), 0, round(figures.answer * wordier), 0)
        stages = [StageRow(tokens, 3 * call, 1)]
        if rng.random() < _AGAIN:
            share = rng.uniform(0.1, 0.8)
            steps = round(longest * share) + 2
            stages = [
                StageRow(tokens, 6 * call + steps * call, steps),
                StageRow(round(tokens * share), 3 * call, 1),
            ]
            merging, lead = merging.scaled(2), lead.scaled(2)
    return Row(
        run=f"assumed-{number}",
        started=0.0,
        mode="single" if single else "plan",
        model="",
        repository="",
        subtasks=len(samples),
        samples=tuple(samples),
        slack=1.0 + rng.random() / 2,
        stages=tuple(stages),
        lead=lead,
        merging=merging,
    )


def _subtask(
    rng: random.Random, figures: _Figures, longer: float, wordier: float, slower: float, cached: float
) -> Sample:
    calls = max(1, round(figures.calls * longer * rng.lognormvariate(0, 0.5)))
    answer = figures.answer * wordier * rng.lognormvariate(0, 0.3)
    first = round(figures.first * rng.lognormvariate(0, 0.2))
    growth = figures.growth * wordier * rng.lognormvariate(0, 0.3) + answer
    again = sum(first + growth * turn for turn in range(1, calls))
    use = Use(calls, round(first + again), round(cached * again), round(answer * calls), 0)
    return Sample("", use, first, figures.seconds * slower * calls * rng.lognormvariate(0, 0.3))
