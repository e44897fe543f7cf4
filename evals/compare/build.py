"""From folders of evaluations to their comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from swarm.errors import UsageError
from swarm.evals.compare.arms import summary
from swarm.evals.compare.gather import Trials, gather
from swarm.evals.compare.metrics import BY_NAME, METRICS, instance_mean
from swarm.evals.compare.model import Cell, Comparison, MetricInfo, Row, Source
from swarm.evals.compare.notes import notes
from swarm.evals.compare.pairs import differences, flips
from swarm.evals.compare.pareto import pictures


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to compare: the arms (all where none is named), against which (the first), in which metrics (all) and at
    which k (all that there are verdicts for), and how sure the intervals are to be."""

    arms: tuple[str, ...] = ()
    base: str = ""
    metrics: tuple[str, ...] = ()
    ks: tuple[int, ...] = ()
    confidence: float = 0.95


def compare(folders: Sequence[Path], wanted: Wanted) -> Comparison:
    """Read evaluations and hold their arms against each other. Blocks.

    Raises:
        UsageError: they cannot be read or compared (another suite or version, no instance in common), or what is
            wanted is not there, such as a k that nothing was tried often enough for.
    """
    gathered = gather(folders, wanted.arms)
    arms = gathered.arms
    base = _base(arms, wanted.base)
    metrics = [metric for metric in METRICS if not wanted.metrics or metric.name in wanted.metrics]
    order = [name for manifest in gathered.manifests for name in manifest.instances]
    order = list(dict.fromkeys([*order, *(name for arm in arms for name in [*arm.graded, *arm.machine])]))
    shared = [name for name in order if all(name in arm.graded for arm in arms)]
    if not shared:
        empty = next((arm.label for arm in arms if not arm.graded), "")
        reason = f"{empty} has no verdict at all" if empty else "no instance has a verdict in all of them"
        raise UsageError(f"the arms cannot be compared: {reason}", remedy="finish them, or choose with `--arms`")
    _enough(arms, shared, wanted.ks)
    every = [summary(arm, shared, METRICS, wanted.ks, wanted.confidence) for arm in arms]
    others = [arm for arm in arms if arm is not base]
    success = (
        "score" if wanted.metrics and "resolved" not in wanted.metrics and "score" in wanted.metrics else "resolved"
    )
    drawn = pictures(every, success)
    for arm in every:
        arm.figures = {metric.name: arm.figures[metric.name] for metric in metrics}
    return Comparison(
        suite=gathered.manifests[0].suite,
        version=gathered.manifests[0].version,
        confidence=wanted.confidence,
        base=base.label,
        instances=shared,
        notes=notes(gathered, shared),
        arms=every,
        differences=differences(base, others, shared, metrics, wanted.confidence),
        flips=[flips(base, other, shared) for other in others],
        rows=[_row(name, arms, name in set(shared)) for name in order],
        pictures=drawn,
        metrics=[MetricInfo(name=each.name, title=each.title, form=each.form, more=each.more) for each in METRICS],
        sources=[
            Source(folder=str(folder), manifest=manifest)
            for folder, manifest in zip(gathered.folders, gathered.manifests, strict=True)
        ],
    )


def _enough(arms: Sequence[Trials], shared: Sequence[str], ks: Sequence[int]) -> None:
    most = max(len(arm.graded[name]) for arm in arms for name in shared)
    if ks and max(ks) > most:
        reason = f"no instance has more than {most} verdict{'' if most == 1 else 's'} in an arm"
        raise UsageError(f"--k {max(ks)} cannot be told: {reason}", remedy="run more --epochs, or give a smaller k")


def _base(arms: Sequence[Trials], name: str) -> Trials:
    found = [arm for arm in arms if not name or name in (arm.label, arm.arm.name)]
    if not found:
        raise UsageError(f"there is no arm {name}", remedy=f"there are: {', '.join(arm.label for arm in arms)}")
    if name and len(found) > 1 and name not in (arm.label for arm in found):
        raise UsageError(f"{name} is the name of several arms", remedy=", ".join(arm.label for arm in found))
    return found[0]


def _row(name: str, arms: Sequence[Trials], shared: bool) -> Row:
    return Row(instance_id=name, cells=[_cell(name, arm) for arm in arms], shared=shared)


def _cell(name: str, arm: Trials) -> Cell:
    graded, lost = arm.graded.get(name, []), arm.machine.get(name, [])
    runs = []
    for trial in sorted([*graded, *lost], key=lambda trial: trial.epoch):
        end = "machine" if trial.resolved is None else "resolved" if trial.resolved else "not resolved"
        runs.append((str(arm.folder / trial.run) if trial.run else "", end))
    return Cell(
        resolved=sum(bool(trial.resolved) for trial in graded),
        graded=len(graded),
        machine=len(lost),
        score=instance_mean(BY_NAME["score"], graded),
        cost_usd=instance_mean(BY_NAME["cost_usd"], graded),
        wall_s=instance_mean(BY_NAME["wall_s"], graded),
        critical_steps=instance_mean(BY_NAME["critical_steps"], graded),
        runs=runs,
    )
