"""What a reader must know before he believes a figure: in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from swarm.evals.compare.gather import Gathered, Trials
from swarm.evals.stats import FEWEST_CLUSTERS

_NAMED = 5
_ENOUGH = 20
"""Instances from which on the bootstrap is to be trusted."""


def notes(gathered: Gathered, shared: Sequence[str]) -> list[str]:
    """Everything that keeps the arms from being alike but for what is compared."""
    few = _few(len(shared))
    return [*gathered.notes, *few, *_instances(gathered.arms, shared), *_trials(gathered.arms), *_made(gathered)]


def _few(number: int) -> Iterator[str]:
    """Whether the instances are too few for what is said of them."""
    if number < FEWEST_CLUSTERS:
        yield (
            f"{_many(number, 'instance')} {'is' if number == 1 else 'are'} too few to say how far a difference or a "
            "mean may be off: they have no interval. Read which instances flipped."
        )
    elif number < _ENOUGH:
        yield f"With {number} instances the intervals by the bootstrap are too narrow. Read which instances flipped."


def _instances(arms: Sequence[Trials], shared: Sequence[str]) -> Iterator[str]:
    every = {name for arm in arms for name, _ in arm.asked}
    if len(shared) == len(every):
        return
    yield (
        f"Compared are the {len(shared)} instances of {len(every)} on which all arms have a verdict; "
        "figures of the rest are left out."
    )
    for arm in arms:
        asked = {name for name, _ in arm.asked}
        if strange := every - asked:
            yield f"{arm.label} was not to run {_listed(sorted(strange))}."
        if without := asked - arm.graded.keys():
            yield f"{arm.label} has no verdict on {_listed(sorted(without))}."


def _trials(arms: Sequence[Trials]) -> Iterator[str]:
    for arm in arms:
        lost = sum(map(len, arm.machine.values()))
        if lost:
            yield (
                f"{arm.label}: {_many(lost, 'trial')} of {len(arm.asked)} {'was' if lost == 1 else 'were'} lost to the "
                "machine. They are no verdicts, and count neither for nor against the model."
            )
        missing = len(arm.asked) - lost - sum(map(len, arm.graded.values()))
        if missing:
            yield f"{arm.label}: {_many(missing, 'trial')} of {len(arm.asked)} not run yet."
        if arm.repeated:
            yield f"{arm.label}: {_many(arm.repeated, 'trial')} graded more than once; the last verdict stands."
        if any(trial.spent_usd is None for trial in arm.lines):
            yield f"{arm.label}: what some trials cost is not known; they are left out of the cost, and only of that."


def _made(gathered: Gathered) -> Iterator[str]:
    """How evaluations differ that the arms come from."""
    sources = sorted({arm.source for arm in gathered.arms})
    first = sources[0]
    for source in sources[1:]:
        one, other = gathered.manifests[first], gathered.manifests[source]
        name = f"{gathered.folders[source]} against {gathered.folders[first]}"
        both = one.digests.keys() & other.digests.keys()
        if changed := sorted(key for key in both if one.digests[key] != other.digests[key]):
            yield f"{name}: other images or data behind {_listed(changed)}."
        for what, mine, theirs in (
            ("versions", one.versions, other.versions),
            ("prompts", one.prompts, other.prompts),
            ("options", one.options, other.options),
        ):
            if differing := _differing(mine, theirs):
                yield f"{name}: other {what}: {'; '.join(differing)}."
        if one.seed != other.seed:
            yield f"{name}: another seed ({_told(one.seed)} → {_told(other.seed)})."
    yield from _settings(gathered.arms)


def _settings(arms: Sequence[Trials]) -> Iterator[str]:
    """How arms of one name differ in what their runs were given."""
    first: dict[str, Trials] = {}
    for arm in arms:
        base = first.setdefault(arm.arm.name, arm)
        if differing := _differing(_config(base), _config(arm)):
            yield f"{arm.label} against {base.label}: other settings: {'; '.join(differing)}."


def _config(arm: Trials) -> Mapping[str, Any]:
    """As the runner writes it down, which may tell more than a manifest must."""
    configs = (arm.manifest.model_extra or {}).get("configs")
    found = configs.get(arm.arm.name) if isinstance(configs, dict) else None
    return found if isinstance(found, dict) else {}


def _differing(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    names = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
    shown = [f"{name} ({_told(mine.get(name))} → {_told(theirs.get(name))})" for name in names[:_NAMED]]
    return shown + ([f"{len(names) - _NAMED} more"] if len(names) > _NAMED else [])


def _told(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 24 else f"{text[:23]}…"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    return f"{shown} and {len(names) - _NAMED} more" if len(names) > _NAMED else shown


def _many(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
