"""A past run as the pattern of future ones."""

from __future__ import annotations

from typing import NamedTuple

from swarm.forecast.ahead import Ahead
from swarm.forecast.rows import Row, Sample, Use
from swarm.forecast.terms import Terms
from swarm.models.pricing import dollars
from swarm.types import Role


class Future(NamedTuple):
    """What is still to come of each quantity."""

    usd: float
    tokens: float
    calls: float
    wall_s: float
    critical_steps: float


class Scale(NamedTuple):
    """Factors for the calls, tokens and seconds of sub-tasks, and for the seconds of the rest."""

    calls: float = 1.0
    tokens: float = 1.0
    seconds: float = 1.0
    rest: float = 1.0


class Piece(NamedTuple):
    """A past sub-task, as it would be under the limits of now."""

    tokens: float
    calls: float
    usd: float
    seconds: float


class Pattern:
    """One past run, before what is ahead: all that is the same in the futures that it is the pattern of."""

    def __init__(self, row: Row, ahead: Ahead) -> None:
        terms, stage = ahead.terms, ahead.stage
        self._row = row
        self._terms = terms
        self._number = ahead.number
        self._timing = ahead.timing
        self._pools = ahead.pools(row.samples)
        self._pieces: list[Piece | None] = [None] * len(row.samples)  # of those that are looked at
        at, behind = row.stages[min(stage, len(row.stages)) - 1], row.stages[stage:]
        again = ahead.again
        more = sum([later.tokens for later in behind]) if again and behind else 0
        self._more = 1.0 + more / max(1, at.tokens)
        self._rest_s = max(0.0, at.rest_s) / (1.0 if again else 1 + len(behind))
        lead = row.lead.scaled((len(behind) + 1) / len(row.stages))
        merging = row.merging.scaled(min(4.0, max(0.25, ahead.number / row.subtasks)))
        self._usd = _dollars(terms, Role.ORCHESTRATOR, lead) + _dollars(terms, Role.AGGREGATOR, merging)
        self._tokens = lead.tokens + merging.tokens
        self._calls = lead.calls + merging.calls
        self._critical = at.rest_critical if again else min(1, at.rest_critical)

    def __repr__(self) -> str:
        return f"<Pattern {self._row.run}: {len(self._pieces)} sub-tasks>"

    def future(self, number: int, scale: Scale) -> Future:
        """What is to come from the start of the stage to the end of the run."""
        by, most, pieces = scale.calls, self._terms.config.max_steps, self._pieces
        usd = tokens = calls = 0.0
        steps, seconds = [0.0] * self._number, [0.0] * self._number
        for pool in self._pools:
            own: list[float] = []
            took: list[float] = []
            for n, times in zip(pool.taken(number), pool.times, strict=True):
                piece = pieces[n] or self._cut(n)
                step = min(most, piece.calls * by)
                calls += times * step
                tokens += times * piece.tokens
                usd += times * piece.usd
                own.append(step)
                took.append(piece.seconds)
            pool.put(own, steps)
            pool.put(took, seconds)
        return Future(
            usd * scale.tokens * self._more + self._usd,
            tokens * scale.tokens * self._more + self._tokens,
            calls * self._more + self._calls,
            self._timing.takes(seconds) * scale.seconds * self._row.slack + self._rest_s * scale.rest,
            self._timing.longest(steps) + self._critical,
        )

    def _cut(self, number: int) -> Piece:
        piece = self._pieces[number] = _under_limits(self._row.samples[number], self._terms)
        return piece


def _under_limits(sample: Sample, terms: Terms) -> Piece:
    """A sub-task cut to the steps, tokens and seconds that one may have now."""
    config, use, seconds = terms.config, sample.use, sample.seconds
    if use.calls > config.max_steps:
        part = config.max_steps / use.calls
        prompt = _prompt_of(sample, config.max_steps)
        cached = use.cached * prompt // max(1, use.prompt)
        use = Use(config.max_steps, prompt, cached, *use.scaled(part)[3:])
        seconds *= part
    tokens, usd = use.tokens, _dollars(terms, Role.SUBAGENT, use)
    part = 1.0
    if config.agent_tokens and tokens > config.agent_tokens:
        part = config.agent_tokens / tokens
    if config.agent_seconds and seconds > config.agent_seconds:
        part = min(part, config.agent_seconds / seconds)
    return Piece(part * tokens, part * use.calls, part * usd, part * seconds)


def _prompt_of(sample: Sample, calls: int) -> int:
    """The prompts of the first calls of a sub-task, each of which holds the one before and as much more every time."""
    use, first = sample.use, min(sample.first, sample.use.prompt // max(1, sample.use.calls))
    growth = (use.prompt - first * use.calls) / max(1, use.calls * (use.calls - 1) / 2)
    return min(use.prompt, round(first * calls + growth * calls * (calls - 1) / 2))


def _dollars(terms: Terms, role: Role, use: Use) -> float:
    """With calls of the mean size; nothing where there is no price: then no dollars are told."""
    price = terms.prices.get(role)
    if price is None or not use.calls:
        return 0.0
    each = (use.prompt // use.calls, use.cached // use.calls, use.completion // use.calls, use.reasoning // use.calls)
    return dollars(price, *each) * use.calls
