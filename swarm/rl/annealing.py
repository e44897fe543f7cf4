"""The weights λ1 and λ2 of PARL's reward over a training: they help at the beginning, and must be gone at its end.

PARL anneals both to zero (K2.5 report); its schedules are unpublished. A reproduction that never annealed (OpenPARL)
saw its delegation rate rise to 1.00 while quality fell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from swarm.rl.episode import PERF
from swarm.rl.rewards import FINISH, PARALLEL

Shape = Literal["constant", "linear", "cosine", "exponential", "step"]

_SHAPES: Mapping[Shape, Callable[[float], float]] = {
    "constant": lambda part: 1.0,
    "linear": lambda part: 1 - part,
    "cosine": lambda part: (1 + math.cos(math.pi * part)) / 2,
    "exponential": lambda part: (math.exp(-5 * part) - math.exp(-5)) / (1 - math.exp(-5)),
    "step": lambda part: 1.0,
}


@dataclass(frozen=True, slots=True)
class Schedule:
    """A weight over training steps: `start` until step `hold`, then down by `shape` to exactly 0 at step `end` and
    after it. `constant` stays as it is (for ablations); `step` falls at once at `end`."""

    start: float
    end: int
    shape: Shape = "linear"
    hold: int = 0

    def __post_init__(self) -> None:
        if self.shape not in _SHAPES:
            raise ValueError(f"no schedule {self.shape!r}: there are {', '.join(_SHAPES)}")
        if not 0 <= self.hold < self.end:
            raise ValueError(f"a schedule must end after it is held, not hold={self.hold}, end={self.end}")
        if self.start < 0 or not math.isfinite(self.start):
            raise ValueError(f"a weight is 0 or more, not {self.start}")

    def at(self, step: int) -> float:
        """The weight at a training step, counted from 0."""
        if self.shape == "constant" or step <= self.hold:
            return self.start
        if step >= self.end:
            return 0.0
        return self.start * _SHAPES[self.shape]((step - self.hold) / (self.end - self.hold))


@dataclass(frozen=True, slots=True)
class Annealing:
    """The weights of all components at each training step. Defaults: OpenPARL's 0.3 and 0.2, gone after 100 steps."""

    parallel: Schedule = field(default_factory=lambda: Schedule(0.3, 100))
    finish: Schedule = field(default_factory=lambda: Schedule(0.2, 100))

    def weights(self, step: int) -> dict[str, float]:
        """λ1, λ2 and the weight of the task's outcome, which is 1."""
        return {PARALLEL: self.parallel.at(step), FINISH: self.finish.at(step), PERF: 1.0}
