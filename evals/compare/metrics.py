"""What is measured of a trial, and which way is better."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from swarm.evals.records import TrialResult


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure of a graded trial; `of` is None where it is not known. `form` says how it is written: `share`,
    `dollars`, `seconds` or `count`. `more` says whether more of it is better, None where neither is."""

    name: str
    title: str
    form: str
    more: bool | None
    of: Callable[[TrialResult], float | None]


METRICS: tuple[Metric, ...] = (
    Metric("resolved", "Resolved", "share", True, lambda trial: float(bool(trial.resolved))),
    Metric("score", "Score", "share", True, lambda trial: trial.score),
    Metric("cost_usd", "Cost", "dollars", False, lambda trial: trial.cost_usd),
    Metric("tokens", "Tokens", "count", False, lambda trial: trial.prompt_tokens + trial.completion_tokens),
    Metric("completion_tokens", "Completion tokens", "count", False, lambda trial: trial.completion_tokens),
    Metric("cached_tokens", "Cached tokens", "count", None, lambda trial: trial.cached_tokens),
    Metric("calls", "Model calls", "count", False, lambda trial: trial.calls),
    Metric("wall_s", "Wall clock", "seconds", False, lambda trial: trial.wall_s),
    Metric("critical_steps", "Critical steps", "count", False, lambda trial: trial.critical_steps),
    Metric("total_steps", "All steps", "count", False, lambda trial: trial.total_steps),
    Metric("n_subagents", "Sub-agents", "count", None, lambda trial: trial.n_subagents),
    Metric("peak_concurrency", "At once at most", "count", None, lambda trial: trial.peak_concurrency),
)  # fmt: skip
BY_NAME = {metric.name: metric for metric in METRICS}


def instance_mean(metric: Metric, trials: Sequence[TrialResult]) -> float | None:
    """One instance's own mean over its graded trials: None where there are none, or it is not known of one."""
    values = [value for trial in trials if (value := metric.of(trial)) is not None]
    return fmean(values) if values and len(values) == len(trials) else None
