"""The arms of some evaluations, with their trials."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from swarm.errors import UsageError
from swarm.evals.records import Arm, Manifest, TrialResult, read_manifest, read_results, standing


@dataclass(slots=True)
class Trials:
    """One arm of one evaluation. `graded` holds trials with a verdict and `machine` those without, by instance;
    `lines` are all that was ever run for it, `repeated` counts verdicts beyond the first of a trial."""

    label: str
    arm: Arm
    source: int
    folder: Path
    manifest: Manifest
    graded: dict[str, list[TrialResult]] = field(default_factory=dict)
    machine: dict[str, list[TrialResult]] = field(default_factory=dict)
    lines: list[TrialResult] = field(default_factory=list)
    repeated: int = 0

    def __repr__(self) -> str:
        return f"<Trials of {self.label}: {len(self.graded)} instances graded>"

    @property
    def asked(self) -> set[tuple[str, int]]:
        """Instance and epoch of each trial that it is to run, or ran."""
        every = {(name, epoch + 1) for name in self.manifest.instances for epoch in range(self.manifest.epochs)}
        return every | {(trial.instance_id, trial.epoch) for trial in self.lines}


@dataclass(frozen=True, slots=True)
class Gathered:
    """The arms in the order of their folders, and what was left aside, in sentences."""

    folders: list[Path]
    manifests: list[Manifest]
    arms: list[Trials]
    notes: list[str]


def gather(folders: Sequence[Path], only: Sequence[str] = ()) -> Gathered:
    """Read evaluations. `only` names the arms that are wanted, by label or by name; without it all are.

    Raises:
        UsageError: a folder holds no evaluation, cannot be read or is given twice, they are of different suites or
            versions of one, no arm has that name, or there is none with a verdict.
    """
    real = [folder.resolve() for folder in folders]
    if twice := next((folder for at, folder in enumerate(folders) if real[at] in real[:at]), None):
        raise UsageError(f"{twice} is given twice: an arm against itself tells nothing", remedy="name each folder once")
    manifests = [read_manifest(folder) for folder in folders]
    _same_suite(folders, manifests)
    arms: list[Trials] = []
    notes: list[str] = []
    for source, (folder, manifest) in enumerate(zip(folders, manifests, strict=True)):
        own = {arm.name: Trials(arm.name, arm, source, folder, manifest) for arm in manifest.arms}
        strangers = _fill(own, read_results(folder))
        arms += own.values()
        if strangers:
            notes.append(
                f"{folder}: results of arms that its {'eval.json'} does not name are left out: {', '.join(strangers)}."
            )
    _label(arms)
    chosen = [arm for arm in arms if not only or {arm.label, arm.arm.name} & set(only)]
    unknown = [name for name in only if not any(name in (arm.label, arm.arm.name) for arm in arms)]
    if unknown:
        raise UsageError(f"there is no arm {unknown[0]}", remedy=f"there are: {', '.join(arm.label for arm in arms)}")
    told = [arm for arm in chosen if arm.graded]
    if not told:
        raise UsageError("there are no verdicts to compare", remedy="finish or grade an evaluation first")
    for arm in chosen if not only else ():
        if not arm.graded:
            notes.append(f"{arm.label} has no verdict at all: it is left out.")
    return Gathered(list(folders), manifests, chosen if only else told, notes)


def _same_suite(folders: Sequence[Path], manifests: Sequence[Manifest]) -> None:
    first = manifests[0]
    for folder, manifest in zip(folders[1:], manifests[1:], strict=True):
        for what in ("suite", "version"):
            one, other = getattr(first, what), getattr(manifest, what)
            if one != other:
                name = "another suite" if what == "suite" else f"another version of {first.suite}"
                text = f"{folder} is of {name} ({other}) than {folders[0]} ({one}): they cannot be compared"
                raise UsageError(text, remedy="run both on the same data with the same grading")


def _fill(own: dict[str, Trials], results: list[TrialResult]) -> list[str]:
    """Give each arm its trials; the names of arms that there are none of."""
    verdicts: Counter[tuple[str, str, int]] = Counter()
    for result in results:
        if result.arm in own:
            own[result.arm].lines.append(result)
            verdicts[result.key] += result.resolved is not None
    for (_, name, _), number in verdicts.items():
        own[name].repeated += max(0, number - 1)
    for result in standing(results).values():
        if result.arm in own:
            kept = own[result.arm].machine if result.resolved is None else own[result.arm].graded
            kept.setdefault(result.instance_id, []).append(result)
    for trials in own.values():
        for kept in (trials.graded, trials.machine):
            for each in kept.values():
                each.sort(key=lambda trial: trial.epoch)
    return sorted({result.arm for result in results} - own.keys())


def _label(arms: Sequence[Trials]) -> None:
    """Tell arms of one name apart: by their folder, by its whole path, by a number."""
    for way in (
        lambda arm: arm.folder.resolve().name,
        lambda arm: str(arm.folder),
        lambda arm: f"{arm.folder} {arm.source + 1}",
    ):
        often = Counter(arm.label for arm in arms)
        for arm in arms:
            if often[arm.label] > 1:
                arm.label = f"{arm.arm.name} ({way(arm)})"
