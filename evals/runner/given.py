"""Answers that were made elsewhere, graded as runs are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import anyio

from swarm.config import RunConfig
from swarm.errors import UsageError
from swarm.evals.records import Arm
from swarm.evals.runner.arms import Way
from swarm.evals.runner.places import Places, Trial
from swarm.evals.runner.source import Ran
from swarm.result import RunResult
from swarm.types import RunStatus
from swarm.whole_file import write_whole

GIVEN = "given"


@dataclass(frozen=True, slots=True)
class Given:
    """An answer to an instance, of time number `epoch`: a text, a patch (None: it is no task of that kind), or both."""

    instance_id: str
    epoch: int = 1
    answer: str = ""
    patch: str | None = None


def given_way(model: str = "") -> Way:
    """The arm of answers that were given by a model, or somebody."""
    return Way(Arm(name=GIVEN, mode=GIVEN, model=model), RunConfig())


class Answers:
    """The source (`swarm.evals.runner.source.Source`) of answers that are there already.

    Raises:
        UsageError: two are for the same trial.
    """

    def __init__(self, places: Places, given: Sequence[Given]) -> None:
        self._places = places
        self._given = {(each.instance_id, each.epoch): each for each in given}
        if len(self._given) < len(given):
            raise UsageError(f"{len(given) - len(self._given)} of the answers are there twice", remedy="give each once")

    @property
    def sha256(self) -> str:
        """Of all answers."""
        return sha256(repr(sorted(self._given.items())).encode()).hexdigest()

    @property
    def epochs(self) -> int:
        """The highest of the answers'."""
        return max((epoch for _, epoch in self._given), default=1)

    def has(self, trial: Trial) -> bool:
        """Whether there is an answer for a trial."""
        return (trial.instance.id, trial.epoch) in self._given

    async def run(self, trial: Trial, over: anyio.Event) -> Ran:
        """The answer as if a run had given it."""
        answer = self._given[trial.instance.id, trial.epoch]
        folder = self._places.trial(*trial.key)
        await anyio.Path(folder).mkdir(parents=True, exist_ok=True)
        patch = None
        if answer.patch is not None:
            patch = folder / "patch.given.diff"
            await anyio.to_thread.run_sync(write_whole, patch, answer.patch.encode("utf-8", "surrogateescape"))
        result = RunResult(
            run_id=GIVEN,
            status=RunStatus.COMPLETED,
            exit_code=0,
            answer=answer.answer,
            patch_path=str(patch) if patch else None,
            run_dir=str(folder),
        )
        return Ran(result)
