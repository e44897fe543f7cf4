"""Two arms on the same instances: differences that the pairs carry, and which instances flipped."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from swarm.evals.compare.gather import Trials
from swarm.evals.compare.metrics import Metric, instance_mean
from swarm.evals.compare.model import Difference, Estimate, Flips
from swarm.evals.records import TrialResult
from swarm.evals.stats import bootstrap, holm, mcnemar, sign_flips

_EQUAL = 1e-9
"""Of shares."""


def differences(
    base: Trials, others: Sequence[Trials], shared: Sequence[str], metrics: Sequence[Metric], confidence: float
) -> list[Difference]:
    """Each arm less the base, in each metric; metrics in order, arms within."""
    table = [[_difference(base, other, shared, metric, confidence) for other in others] for metric in metrics]
    for row in table:
        known = [each for each in row if each.p is not None]
        for each, adjusted in zip(known, holm([each.p or 0.0 for each in known]), strict=True):
            each.p_holm = adjusted
    return [each for row in table for each in row]


def _difference(base: Trials, other: Trials, shared: Sequence[str], metric: Metric, confidence: float) -> Difference:
    pairs = [
        (one, two)
        for name in shared
        if (one := instance_mean(metric, base.graded[name])) is not None
        and (two := instance_mean(metric, other.graded[name])) is not None
    ]
    found = Difference(arm=other.label, metric=metric.name, instances=len(pairs))
    if not pairs:
        return found
    changes = [0.0 if math.isclose(one, two) else two - one for one, two in pairs]
    found.base, found.value = fmean(one for one, _ in pairs), fmean(two for _, two in pairs)
    found.difference = Estimate.of(bootstrap(changes, confidence))
    found.ratio = found.value / found.base if found.base > 0 else None
    if metric.more is None:
        return found  # neither way is better: there is nothing to test
    if all(abs(change) < _EQUAL or abs(abs(change) - 1) < _EQUAL for change in changes) and metric.name == "resolved":
        found.test, found.p = "McNemar, exact", mcnemar(*_discordant(changes))
    else:
        found.test, found.p = "sign flips", sign_flips(changes)
    return found


def _discordant(changes: Sequence[float]) -> tuple[int, int]:
    return sum(change > _EQUAL for change in changes), sum(change < -_EQUAL for change in changes)


def flips(base: Trials, other: Trials, shared: Sequence[str]) -> Flips:
    """How the instances stand, the base against another arm."""
    ends = Counter(flip(base.graded[name], other.graded[name]) for name in shared)
    return Flips(arm=other.label, **ends)


def flip(base: Sequence[TrialResult], other: Sequence[TrialResult]) -> str:
    """What another arm does on an instance against the base: the name of a field of `Flips`."""
    before, after = (fmean(bool(trial.resolved) for trial in each) for each in (base, other))
    if abs(after - before) > _EQUAL:
        return "won" if after > before else "lost"
    return {0.0: "neither", 1.0: "both"}.get(before, "mixed")
