"""Which tokens and trajectories of a log may still train a policy that has moved on since it was recorded.

All of them compare log-probabilities: `rollout`, recorded by the endpoint when it sampled, and `old`, computed by the
trainer for the same tokens. Masks are 0 or 1 for each token; tokens of the environment are 0 in `trained` and stay so.
Every filter reports what it rejected: a bound that throws most of the data away must be seen.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

Row = Sequence[float]


@dataclass(frozen=True, slots=True)
class Rates:
    """What a filter let through: counts of sampled tokens and of trajectories with any."""

    tokens: int
    tokens_kept: int
    trajectories: int
    trajectories_kept: int

    @property
    def tokens_rejected(self) -> float:
        """The part of the sampled tokens that will not train, 0..1."""
        return 1 - self.tokens_kept / self.tokens if self.tokens else 0.0

    @property
    def trajectories_rejected(self) -> float:
        """The part of the trajectories of which no token will train, 0..1."""
        return 1 - self.trajectories_kept / self.trajectories if self.trajectories else 0.0


@dataclass(frozen=True, slots=True)
class Filtered:
    """For each trajectory, the weight of each token in the loss: 0 where it was rejected."""

    weights: tuple[tuple[float, ...], ...]
    rates: Rates


@dataclass(frozen=True, slots=True)
class MisPo:
    """MIS-PO of Step 3.5 Flash (arXiv 2602.10604): indicator filters in place of importance weights.

    With x_t = π_old/π_rollout, a token is kept if x_t lies in `token`, and a trajectory if the geometric mean of its
    x_t lies in `trajectory`. An independent study found the published trajectory band far too strict on stale data:
    look at the rates, and widen it.
    """

    token: tuple[float, float] = (0.5, 2.0)
    trajectory: tuple[float, float] = (0.996, 1.001)

    def __post_init__(self) -> None:
        _band(self.token)
        _band(self.trajectory)

    def of(self, old: Sequence[Row], rollout: Sequence[Row], trained: Sequence[Sequence[int]]) -> Filtered:
        """The tokens to keep. Raises ValueError for rows of unequal lengths, or a log-probability that is none."""
        low, high = (math.log(bound) for bound in self.token)
        least, most = (math.log(bound) for bound in self.trajectory)
        kept: list[list[float]] = []
        for ratios, mask in _ratios(old, rollout, trained):
            sampled = [ratio for ratio, one in zip(ratios, mask, strict=True) if one]
            mean = math.fsum(sampled) / len(sampled) if sampled else 0.0
            good = bool(sampled) and least <= mean <= most
            kept.append(
                [float(good and bool(one) and low <= ratio <= high) for ratio, one in zip(ratios, mask, strict=True)]
            )
        return _filtered(kept, trained)


@dataclass(frozen=True, slots=True)
class IcePop:
    """IcePop: a token whose ratio π_old/π_rollout leaves the band trains not at all, any other with that ratio as its
    weight."""

    band: tuple[float, float] = (0.5, 5.0)

    def __post_init__(self) -> None:
        _band(self.band)

    def of(self, old: Sequence[Row], rollout: Sequence[Row], trained: Sequence[Sequence[int]]) -> Filtered:
        """The weight of each token. Raises ValueError as `MisPo.of` does."""
        low, high = (math.log(bound) for bound in self.band)
        weights = [
            [math.exp(x) if one and low <= x <= high else 0.0 for x, one in zip(ratios, mask, strict=True)]
            for ratios, mask in _ratios(old, rollout, trained)
        ]
        return _filtered(weights, trained)


@dataclass(frozen=True, slots=True)
class Tis:
    """Truncated importance sampling: each token weighs min(π_old/π_rollout, cap). Rejects nothing."""

    cap: float = 2.0

    def __post_init__(self) -> None:
        if not self.cap > 0:
            raise ValueError(f"a cap is above 0, not {self.cap}")

    def of(self, old: Sequence[Row], rollout: Sequence[Row], trained: Sequence[Sequence[int]]) -> Filtered:
        """The weight of each token. Raises ValueError as `MisPo.of` does."""
        most = math.log(self.cap)
        weights = [
            [math.exp(min(x, most)) if one else 0.0 for x, one in zip(ratios, mask, strict=True)]
            for ratios, mask in _ratios(old, rollout, trained)
        ]
        return _filtered(weights, trained)


_WORDS = "step|steps|iter|ckpt|checkpoint|version|weights"
_STEP = re.compile(rf"(?:v|(?:.*[^a-z])?(?:{_WORDS})[-_=:.]?)?(\d+)", re.IGNORECASE)


def step_of(version: str) -> int | None:
    """The number in a policy's version as endpoints tell it: `41`, `v41`, `run/global_step_41`, `ckpt-41`. None where
    there is none, such as in the name of a model."""
    found = _STEP.fullmatch(version.strip())
    return int(found[1]) if found else None


def fresh(versions: Sequence[Sequence[int]], now: int, most: int) -> list[bool]:
    """Which trajectories are fresh enough: none of its segments was sampled by a policy more than `most` versions ago.
    A trajectory without a known version is not. For versions as endpoints tell them see `step_of`."""
    return [bool(segments) and now - min(segments) <= most for segments in versions]


def _ratios(
    old: Sequence[Row], rollout: Sequence[Row], trained: Sequence[Sequence[int]]
) -> list[tuple[list[float], Sequence[int]]]:
    if not len(old) == len(rollout) == len(trained):
        raise ValueError(f"{len(old)}, {len(rollout)} and {len(trained)} trajectories are not the same")
    rows: list[tuple[list[float], Sequence[int]]] = []
    for number, (new, was, mask) in enumerate(zip(old, rollout, trained, strict=True)):
        if not len(new) == len(was) == len(mask):
            raise ValueError(f"trajectory {number}: {len(new)}, {len(was)} and {len(mask)} tokens are not the same")
        ratios = [float(a) - float(b) if one else 0.0 for a, b, one in zip(new, was, mask, strict=True)]
        if not all(map(math.isfinite, ratios)):
            raise ValueError(f"trajectory {number}: a log-probability of a sampled token is not finite")
        rows.append((ratios, mask))
    return rows


def _filtered(weights: Sequence[Sequence[float]], trained: Sequence[Sequence[int]]) -> Filtered:
    sampled = [sum(1 for one in mask if one) for mask in trained]
    kept = [sum(1 for weight in row if weight) for row in weights]
    rates = Rates(sum(sampled), sum(kept), sum(map(bool, sampled)), sum(map(bool, kept)))
    return Filtered(tuple(tuple(row) for row in weights), rates)


def _band(bounds: tuple[float, float]) -> None:
    low, high = bounds
    if not 0 < low <= high < math.inf:
        raise ValueError(f"a band is 0 < low <= high, not {low}..{high}")
