"""Where the answers come from that are graded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import anyio

from swarm.evals.runner.places import Trial
from swarm.result import RunResult


@dataclass(frozen=True, slots=True)
class Ran:
    """A run that ended; `result` is None where there was none, told in `error`. `folder` is the run's. `set_aside` are
    tokens and dollars of runs of the trial that could not be gone on with, or gave no result. `unset`: it could not be
    set up."""

    result: RunResult | None
    error: str = ""
    folder: Path | None = None
    set_aside: tuple[int, float] = (0, 0.0)
    unset: bool = False


class Source(Protocol):
    """What makes runs, or has them."""

    def has(self, trial: Trial) -> bool:
        """Whether there is anything for a trial."""
        ...

    async def run(self, trial: Trial, over: anyio.Event) -> Ran | None:
        """A trial's run, when it has ended; None where it came to rest because `over` was set. Raises nothing that is
        the instance's own."""
        ...
