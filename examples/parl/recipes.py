"""What is compared: the recipe, and each of its parts left out or changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from swarm.rl.annealing import Annealing, Schedule
from swarm.rl.filters import MisPo

BANDS = MisPo(token=(0.5, 2.0), trajectory=(0.8, 1.25))
"""The published band of tokens; that of trajectories, (0.996, 1.001), is said to be far too strict on stale data."""


HOLD, END, ITERATIONS = 10, 40, 80
"""Iterations for which the weights of what only helps are held, at which they are gone, and of a training."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to train: so many `iterations`, each of `k` runs of each task and one step of the optimizer. The endpoint
    is given new weights each `refresh` iterations, so that the rollouts of those between are stale. `filter` is MIS-PO,
    None: everything trains. `entropy` weighs a bonus for not being sure of a token; `rate` is the optimizer's."""

    annealing: Annealing
    entropy: Schedule
    rate: Schedule
    iterations: int = ITERATIONS
    k: int = 4
    refresh: int = 1
    filter: MisPo | None = BANDS
    optimizer: Literal["adamw", "muon"] = "adamw"


LAMBDA1, LAMBDA2, ENTROPY, RATE = 0.5, 0.3, 0.02, 1e-3


def annealed(parallel: float, finish: float) -> Annealing:
    """λ1 and λ2 as they are annealed here."""
    return Annealing(Schedule(parallel, END, "linear", HOLD), Schedule(finish, END, "linear", HOLD))


FULL = Recipe(
    annealed(LAMBDA1, LAMBDA2),
    Schedule(ENTROPY, END, "linear", HOLD),
    Schedule(RATE, ITERATIONS, "linear", END),
)
_FOREVER = Annealing(Schedule(LAMBDA1, 1, "constant"), Schedule(LAMBDA2, 1, "constant"))

BEFORE = "before"
"""Not a training, but the many held-out tasks of its end, tried by what all begin with."""

RECIPES: Mapping[str, Recipe] = {
    BEFORE: replace(FULL, iterations=0),
    "full": FULL,
    "no-parallel": replace(FULL, annealing=annealed(0.0, LAMBDA2)),
    "no-finish": replace(FULL, annealing=annealed(LAMBDA1, 0.0)),
    "never-annealed": replace(FULL, annealing=_FOREVER),
    "stale-mispo": replace(FULL, refresh=6),
    "stale-no-mispo": replace(FULL, refresh=6, filter=None),
    "muon": replace(FULL, optimizer="muon"),
}
