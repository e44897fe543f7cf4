"""What one arm did: shares with intervals, prices, and what its failures were."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from swarm.evals.compare.gather import Trials
from swarm.evals.compare.metrics import BY_NAME, Metric, instance_mean
from swarm.evals.compare.model import ArmSummary, Coverage, Estimate, Figure
from swarm.evals.records import TrialResult
from swarm.evals.stats import bootstrap, mean_share, pass_all, pass_at, quantile
from swarm.evals.stats import share as clustered_share

_KINDS = 12
_NUMBERS = re.compile(r"0x[0-9a-f]+|\d+|[0-9a-f]{12,}")


def summary(
    trials: Trials, shared: Sequence[str], metrics: Sequence[Metric], ks: Sequence[int], confidence: float
) -> ArmSummary:
    """An arm over the instances that all arms share, and how far it came by itself. Without `ks`: every k that some
    shared instance has verdicts enough for."""
    graded = [trials.graded[name] for name in shared]
    flat = [trial for each in graded for trial in each]
    wrong = [trial for trial in flat if not trial.resolved]
    lost = [trial for each in trials.machine.values() for trial in each]
    alone = list(trials.graded.values())
    verdicts = sum(map(len, alone))
    tallies = [(len(each), sum(bool(trial.resolved) for trial in each)) for each in graded]
    most = max((number for number, _ in tallies), default=0)
    wanted = [k for k in (ks or range(1, most + 1)) if k <= most]
    asked = len(trials.asked)
    return ArmSummary(
        label=trials.label,
        name=trials.arm.name,
        mode=trials.arm.mode,
        model=trials.arm.model,
        agents=trials.arm.agents,
        source=trials.source,
        coverage=Coverage(asked=asked, graded=verdicts, machine=len(lost), missing=asked - verdicts - len(lost)),
        resolved_alone=share(alone, confidence),
        instances_alone=len(alone),
        trials=len(flat),
        figures={metric.name: figure(metric, graded, confidence) for metric in metrics},
        best_score=_over(graded, lambda each: max(trial.score for trial in each), confidence),
        worst_score=_over(graded, lambda each: min(trial.score for trial in each), confidence),
        pass_at={k: _passed(pass_at, k, tallies, confidence) for k in wanted},
        pass_all={k: _passed(pass_all, k, tallies, confidence) for k in wanted},
        short={k: number for k in wanted if (number := sum(samples < k for samples, _ in tallies))},
        by_status=_counted(trial.status.value if trial.status else "no run" for trial in wrong),
        by_kind=_counted(_kind(trial) for trial in wrong),
        machine=_counted(_fault(trial) for trial in lost),
        subtasks=_summed(trial.outcomes for trial in flat),
        spent_usd=_spent(trials),
    )


def share(graded: Sequence[Sequence[TrialResult]], confidence: float) -> Estimate:
    """The mean over instances of the share of their trials that are resolved."""
    verdicts = [[bool(trial.resolved) for trial in each] for each in graded]
    return Estimate.of(clustered_share(verdicts, confidence)) if verdicts else Estimate()


def figure(metric: Metric, graded: Sequence[Sequence[TrialResult]], confidence: float) -> Figure:
    """One metric over some instances."""
    means = [each for one in graded if (each := instance_mean(metric, one)) is not None]
    values = [metric.of(trial) for each in graded for trial in each]
    known = sorted(value for value in values if value is not None)
    mean = share(graded, confidence) if metric is BY_NAME["resolved"] else _mean(means, confidence)
    if not known:
        return Figure(mean=mean, unknown=len(values))
    return Figure(
        mean=mean,
        median=quantile(known, 0.5),
        p90=quantile(known, 0.9),
        total=math.fsum(known),
        unknown=len(values) - len(known),
    )


def _spent(trials: Trials) -> float | None:
    """All that was spent, tries that were set aside included; None where it is not known of one."""
    costs = [trial.spent_usd for trial in trials.lines]
    known = [cost for cost in costs if cost is not None]
    return math.fsum(known) if len(known) == len(costs) else None


def _over(
    graded: Sequence[Sequence[TrialResult]], of: Callable[[Sequence[TrialResult]], float], confidence: float
) -> Estimate:
    return _mean([of(each) for each in graded], confidence)


def _mean(values: Sequence[float], confidence: float) -> Estimate:
    return Estimate.of(bootstrap(values, confidence)) if values else Estimate()


def _passed(
    of: Callable[[int, int, int], float], k: int, tallies: Sequence[tuple[int, int]], confidence: float
) -> Estimate:
    shares = [of(k, samples, correct) for samples, correct in tallies if samples >= k]
    return Estimate.of(mean_share(shares, confidence)) if shares else Estimate()


def _kind(trial: TrialResult) -> str:
    """Why it is not resolved: what the suite says, else how the run ended."""
    said = trial.details.get("kind")
    if isinstance(said, str) and said:
        return said[:60]
    ended = trial.status.value if trial.status else "no run"
    return "completed, but wrong" if ended == "completed" else f"run {ended.replace('_', ' ')}"


def _fault(trial: TrialResult) -> str:
    """What the machine's failures have in common: the beginning of what is told, without numbers."""
    return _NUMBERS.sub("…", trial.error.split("\n", 1)[0])[:90].strip() or "not told"


def _counted(names: Iterable[str]) -> dict[str, int]:
    """How often each, most first; of very many the rest together."""
    counts = sorted(Counter(names).items(), key=lambda pair: (-pair[1], pair[0]))
    rest = sum(number for _, number in counts[_KINDS:])
    return dict(counts[:_KINDS]) | ({f"{len(counts) - _KINDS} other kinds": rest} if rest else {})


def _summed(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in parts:
        total.update(each)
    return dict(sorted(total.items(), key=lambda pair: (-pair[1], pair[0])))
