"""A past run as the pattern of a future one."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import NamedTuple

from swarm.forecast.rows import Row, Sample, Use
from swarm.forecast.terms import Terms
from swarm.forecast.timing import Timing
from swarm.models.pricing import cost
from swarm.preview import Quantity
from swarm.types import Role

_A_KIND = 3
"""So many sub-tasks of a kind are a pattern for those of that kind; of fewer, all are."""

Future = dict[Quantity, float]


class Scale(NamedTuple):
    """Factors for the calls, tokens and seconds of sub-tasks, and for the seconds of the rest."""

    calls: float = 1.0
    tokens: float = 1.0
    seconds: float = 1.0
    rest: float = 1.0


@dataclass(frozen=True, slots=True)
class Piece:
    """A past sub-task, as it would be under the limits of now."""

    kind: str
    tokens: float
    calls: float
    usd: float
    seconds: float


class Pattern:
    """One past run, under the terms of now."""

    def __init__(self, row: Row, terms: Terms) -> None:
        self._row = row
        self._terms = terms
        self._pieces = [_under_limits(sample, terms) for sample in row.samples]
        by_kind: dict[str, list[Piece]] = {}
        for piece in self._pieces:
            by_kind.setdefault(piece.kind, []).append(piece)
        self._by_kind = {kind: pieces for kind, pieces in by_kind.items() if kind and len(pieces) >= _A_KIND}

    def __repr__(self) -> str:
        return f"<Pattern {self._row.run}: {len(self._pieces)} sub-tasks>"

    def pieces(self, kinds: Sequence[str], rng: random.Random) -> list[Piece]:
        """One for each sub-task: none twice before all were taken, as drawing them freely would count twice how far
        runs of so few sub-tasks are from each other."""
        every = rng.sample(self._pieces, len(self._pieces))
        if not self._by_kind:
            return list(islice(cycle(every), len(kinds)))
        own = {kind: rng.sample(pieces, len(pieces)) for kind, pieces in self._by_kind.items()}
        taken: Counter[str] = Counter()
        found: list[Piece] = []
        for kind in kinds:
            known = kind if kind in own else ""
            pool = own.get(known, every)
            found.append(pool[taken[known] % len(pool)])
            taken[known] += 1
        return found

    def future(self, pieces: Sequence[Piece], timing: Timing, stage: int, scale: Scale) -> Future:
        """What is to come from the start of a stage to the end of the run."""
        row, terms = self._row, self._terms
        at = row.stages[min(stage, len(row.stages)) - 1]
        behind = row.stages[min(stage, len(row.stages)) :]
        again = stage < terms.config.rounds
        more = 1.0 + (sum(later.tokens for later in behind) / max(1, at.tokens) if again else 0.0)
        rest_s = max(0.0, at.rest_s) * (1.0 if again else 1.0 / (1 + len(behind)))
        calls = [min(terms.config.max_steps, piece.calls * scale.calls) for piece in pieces]
        tokens, usd = sum(piece.tokens for piece in pieces), sum(piece.usd for piece in pieces)
        lead = row.lead.scaled((len(behind) + 1) / len(row.stages))
        merging = row.merging.scaled(min(4.0, max(0.25, len(pieces) / row.subtasks)))
        wall = timing.takes([piece.seconds * scale.seconds for piece in pieces]) * row.slack
        return {
            "usd": usd * scale.tokens * more
            + _dollars(terms, Role.ORCHESTRATOR, lead)
            + _dollars(terms, Role.AGGREGATOR, merging),
            "tokens": tokens * scale.tokens * more + lead.tokens + merging.tokens,
            "calls": sum(calls) * more + lead.calls + merging.calls,
            "wall_s": wall + rest_s * scale.rest,
            "critical_steps": timing.longest(calls) + (at.rest_critical if again else min(1, at.rest_critical)),
        }


def _under_limits(sample: Sample, terms: Terms) -> Piece:
    """A sub-task cut to the steps, tokens and seconds that one may have now."""
    config, use, seconds = terms.config, sample.use, sample.seconds
    if use.calls > config.max_steps:
        part = config.max_steps / use.calls
        prompt = _prompt_of(sample, config.max_steps)
        cached = use.cached * prompt // max(1, use.prompt)
        use = Use(config.max_steps, prompt, cached, *use.scaled(part)[3:])
        seconds *= part
    part = min(
        1.0,
        config.agent_tokens / use.tokens if config.agent_tokens and use.tokens else 1.0,
        config.agent_seconds / seconds if config.agent_seconds and seconds else 1.0,
    )
    usd = _dollars(terms, Role.SUBAGENT, use)
    return Piece(sample.kind, part * use.tokens, part * use.calls, part * usd, part * seconds)


def _prompt_of(sample: Sample, calls: int) -> int:
    """The prompts of the first calls of a sub-task, each of which holds the one before and as much more every time."""
    use, first = sample.use, min(sample.first, sample.use.prompt // max(1, sample.use.calls))
    growth = (use.prompt - first * use.calls) / max(1, use.calls * (use.calls - 1) / 2)
    return min(use.prompt, round(first * calls + growth * calls * (calls - 1) / 2))


def _dollars(terms: Terms, role: Role, use: Use) -> float:
    """With calls of the mean size; nothing where there is no price: then no dollars are told."""
    return (cost(terms.prices.get(role), use.each) or 0.0) * use.calls
