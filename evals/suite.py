"""A suite: instances, how each is set up for a run, how what came out is graded. The runner knows no more of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from swarm.evals.records import TrialResult
from swarm.protocols import Tool
from swarm.result import RunResult


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance. `prompt` is all that a run is told; `about` is what filters look at, such as the repository."""

    id: str
    prompt: str
    about: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ready:
    """An instance set up for one run: the repository to work on (None: none), the image and the folder in it at which
    the copy of the repository stands (None: as ever), the gate, tools of its own, variables of its sandboxes and
    folders of this machine that they show."""

    repo: Path | None = None
    image: str | None = None
    workdir: str | None = None
    test: str | None = None
    tools: Sequence[Tool] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    toolchain: tuple[Path, ...] = ()
    digest: str = ""
    """Of the image or of the data: what another person needs to have the same."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a grader says of one run. `resolved` is None where it could not be graded: the machine's failure, told in
    `error`, which is no verdict and is tried again. `score` is 0..1. `details` goes into the instance's report.

    Raises:
        ValueError: the score is no number.
    """

    resolved: bool | None
    score: float = 0.0
    details: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""

    def __post_init__(self) -> None:
        if not math.isfinite(self.score):
            raise ValueError(f"a verdict's score is a number from 0 to 1, not {self.score}")


@dataclass(frozen=True, slots=True)
class Ended:
    """A trial that has a line in the results. `place` is its own folder, with `patch.diff` (empty: no change) and
    `answer.txt` of its run, where that came to an end."""

    instance: Instance
    place: Path
    trial: TrialResult


class Suite(Protocol):
    """A benchmark. Opened once (`async with`) for what all its instances share."""

    name: str
    version: str
    """Of the data and of the arithmetic: two results compare only where it is the same."""

    @property
    def options(self) -> Mapping[str, Any]:
        """What else verdicts depend on, known once it is open: one folder holds verdicts of the same alone, and what
        compares folders tells where they differ."""
        ...

    def instances(self) -> Sequence[Instance]:
        """All there are, known before it is open."""
        ...

    def open(self) -> AbstractAsyncContextManager[None]: ...

    def ready(self, instance: Instance, place: Path) -> AbstractAsyncContextManager[Ready]:
        """Set one up in an empty folder, for the length of one run.

        Raises:
            MachineError: it cannot be set up here.
        """
        ...

    async def grade(self, instance: Instance, result: RunResult, place: Path) -> Verdict:
        """Judge a run that ended; `place` is the trial's own folder, for what the grader wants to leave there.

        Raises:
            MachineError: it cannot be graded now; it is tried again.
        """
        ...

    def summary(self, verdicts: Mapping[str, Sequence[Verdict]]) -> Mapping[str, Any]:
        """The suite's own figures over all instances (official names), from each instance's verdicts, one a trial: none
        where it has not been run to its end yet, one without `resolved` where the machine failed."""
        ...

    def files(self, model: str, ended: Sequence[Ended]) -> Mapping[str, bytes]:
        """Further files of an arm beside its report, by name, whole: predictions in the official form. Called now and
        then in a worker thread, with all trials so far in the order of the instances."""
        ...
