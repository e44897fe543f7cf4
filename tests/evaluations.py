"""Evaluations that were never run: folders as the runner leaves them, made from a seed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from swarm.evals.records import MANIFEST, RESULTS, Arm, Manifest, TrialResult
from swarm.types import RunStatus


@dataclass(frozen=True)
class MadeArm:
    """An arm that resolves this share, for about this price. `lost` is the share that the machine loses."""

    arm: Arm
    share: float
    cost: float | None = 0.05
    wall: float = 60.0
    steps: int = 20
    lost: float = 0.0


@dataclass(frozen=True)
class Made:
    """One evaluation. `hard` is how much instances differ: the same instance is as hard in every arm."""

    arms: Sequence[MadeArm]
    instances: Sequence[str]
    epochs: int = 1
    seed: int = 0
    suite: str = "widesearch"
    version: str = "1"
    more: Mapping[str, object] = field(default_factory=dict)


def arm(name: str, share: float, **more: float) -> MadeArm:
    """An arm by its name: `single`, `plan-16`."""
    mode, _, size = name.partition("-")
    arm = Arm(name=name, mode=mode, model="some-model", agents=int(size) if size.isdigit() else 1)
    return MadeArm(arm, share, **more)  # type: ignore[arg-type]  # figures only


def ids(number: int) -> list[str]:
    return [f"project__project-{1000 + index}" for index in range(number)]


def write(folder: Path, made: Made) -> Path:
    """Write `eval.json` and `results.jsonl` of an evaluation."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = Manifest.model_validate(
        {
            "suite": made.suite,
            "version": made.version,
            "arms": [each.arm for each in made.arms],
            "instances": made.instances,
            "epochs": made.epochs,
            "seed": made.seed,
            "versions": {"swarm": "1.0", "python": "3.11.2"},
            "digests": {name: f"sha256:{index:064x}" for index, name in enumerate(made.instances)},
            "command": ["swarm", "eval", made.suite, "--out", folder.name],
            **made.more,
        }
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json())
    lines = [
        trial(made, each, name, epoch + 1)
        for each in made.arms
        for name in made.instances
        for epoch in range(made.epochs)
    ]
    write_lines(folder, lines)
    return folder


def write_lines(folder: Path, lines: Sequence[TrialResult]) -> None:
    (folder / RESULTS).write_text("".join(line.model_dump_json() + "\n" for line in lines))


def trial(made: Made, how: MadeArm, name: str, epoch: int) -> TrialResult:
    """One trial, always the same."""
    hardness = random.Random(name).random()
    chance = random.Random(f"{made.seed} {how.arm.name} {name} {epoch}")
    lost = chance.random() < how.lost
    resolved = None if lost else chance.random() < how.share + (0.5 - hardness) * 0.8
    size = how.arm.agents
    return TrialResult(
        instance_id=name,
        arm=how.arm.name,
        epoch=epoch,
        seed=epoch,
        run=f"instances/{name}/{how.arm.name}/{epoch}",
        status=RunStatus.ERRORED
        if lost
        else chance.choice((RunStatus.COMPLETED, RunStatus.COMPLETED, RunStatus.PARTIAL)),
        resolved=resolved,
        score=1.0 if resolved else chance.random() * 0.8,
        error=f"the sandbox {chance.randrange(9999)} did not start: no space left on device" if lost else "",
        cost_usd=None if how.cost is None else how.cost * chance.lognormvariate(0, 0.5),
        prompt_tokens=int(20_000 * chance.lognormvariate(0, 0.4) * size**0.7),
        completion_tokens=int(1_500 * chance.lognormvariate(0, 0.4)),
        cached_tokens=int(9_000 * chance.random()),
        calls=chance.randrange(10, 40) * size,
        wall_s=how.wall * chance.lognormvariate(0, 0.4),
        critical_steps=chance.randrange(how.steps, how.steps * 2),
        total_steps=chance.randrange(how.steps, how.steps * 2) * size,
        n_subagents=0 if size == 1 else chance.randrange(1, size + 1),
        peak_concurrency=size,
        outcomes={} if size == 1 else {"completed": size - 1, "failed": 1},
        started=1_790_000_000.0,
        ended=1_790_000_060.0,
        details={} if resolved or lost else {"kind": chance.choice(("tests fail", "tests fail", "empty patch"))},
    )
