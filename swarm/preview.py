"""What a run will probably cost: ranges, where they come from, and how well such ranges held so far."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

LEVEL = 0.8
"""The part of all runs that should end within a range: nine of ten below its `high`, one of ten below its `low`."""

Quantity = Literal["usd", "tokens", "calls", "wall_s", "critical_steps"]
QUANTITIES: tuple[Quantity, ...] = ("usd", "tokens", "calls", "wall_s", "critical_steps")
"""Dollars; prompt and completion tokens; model calls that were answered; seconds; critical steps."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Range(_Value):
    """Where a quantity will lie, with 80 % probability. `widened`: times as wide, on the logarithmic scale, as the past
    runs alone would have it, because earlier ranges held too seldom (below 1: too often)."""

    low: float = Field(ge=0)
    likely: float = Field(ge=0)
    high: float = Field(ge=0)
    widened: float = Field(default=1.0, gt=0)

    def holds(self, actual: float) -> bool:
        """Whether it came out so; the last digit of a sum of floats does not count."""
        slip = 1e-9 * (1.0 + abs(actual))
        return self.low - slip <= actual <= self.high + slip


class Basis(_Value):
    """Where a preview comes from: past runs of this model on this repository (or without one, as this), further ones of
    this model, further ones of others. `support` is how many runs like this one they are worth together, `assumed` the
    share (0 to 1) of built-in assumptions."""

    repository: int = 0
    model: int = 0
    others: int = 0
    support: float = 0.0
    assumed: float = 1.0


class Calibration(_Value):
    """How the last previews of a quantity came out: how many there were, how many held, and the median of actual to
    likely (None without any)."""

    previews: int = 0
    held: int = 0
    median_ratio: float | None = None


class Preview(_Value):
    """What a whole run will probably come to, with `spent` of it gone already: the plan of `stage` as it was shown, and
    what past runs had after such a stage.

    `usd` is None where the price of a model is not known; `unpriced` names those. `calls_at_most` is the bound that
    the limits set to this stage alone. `limited` is the probability that a limit (budget, time, critical steps) ends
    the run: up to it the ranges go.
    """

    stage: int
    subtasks: int
    usd: Range | None
    tokens: Range
    calls: Range
    wall_s: Range
    critical_steps: Range
    spent_usd: float | None = None
    spent_tokens: int = 0
    calls_at_most: int = 0
    unpriced: tuple[str, ...] = ()
    limited: float = 0.0
    basis: Basis = Basis()
    calibration: dict[Quantity, Calibration] = Field(default_factory=dict)

    def of(self, quantity: Quantity) -> Range | None:
        """The range of a quantity, None where it cannot be told."""
        found: Range | None = getattr(self, quantity)
        return found


class Held(_Value):
    """A range, held against what it came to."""

    range: Range
    actual: float
    held: bool
