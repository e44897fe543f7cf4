"""A task with its answer key, and what a verifier makes of a run of it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from swarm.events import RewardGiven
from swarm.result import RunResult
from swarm.rl.episode import PERF


class Task(BaseModel):
    """One task of a set. `prompt` is all that a run is told; `answer` is the key, for verifiers alone. `kind` names who
    made it, `repo` is the folder of a repository to work on, `test` the gate there, `about` is what else is known."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1)
    prompt: str = Field(min_length=1)
    answer: Any = None
    kind: str = ""
    repo: str | None = None
    test: str | None = None
    about: dict[str, Any] = Field(default_factory=dict)


Verify = Callable[[Task, RunResult], Sequence[RewardGiven] | Awaitable[Sequence[RewardGiven]]]
"""Judges a run that has ended; gives no reward where it cannot tell. One that is no coroutine function is called in a
worker thread."""


def perf(run_id: str, value: float, source: str, version: int = 1) -> RewardGiven:
    """How well the whole task was done, as a record; the weight is 1. `source` names who says so, `version` is that of
    its arithmetic.

    Raises:
        ValueError: the value is no number.
    """
    if not math.isfinite(value):
        raise ValueError(f"{source} of {run_id}: {value} is no reward")
    return RewardGiven(
        scope="run",
        target_id=run_id,
        name=PERF,
        value=value,
        weight=1.0,
        source=source,
        formula_version=version,
    )


def by_score(score: Callable[[Task, str], float], source: str, version: int = 1) -> Verify:
    """A verifier that is a function of the task and of the text of the answer, 0..1."""

    def verify(task: Task, result: RunResult) -> Sequence[RewardGiven]:
        return [perf(result.run_id, score(task, result.answer), source, version)]

    return verify
