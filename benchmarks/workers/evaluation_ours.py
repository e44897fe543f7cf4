"""One evaluation by our own runner, for `workers.evaluation`: copies of one repository, one agent for each.

python -m benchmarks.workers.evaluation_ours URL REPO OUT INSTANCES WORKERS SANDBOX [IMAGE]
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from swarm.config import RunConfig
from swarm.evals.runner.arms import ways
from swarm.evals.runner.evaluation import Halt, Width
from swarm.evals.runner.whole import Asked, evaluate
from swarm.evals.suite import Ended, Instance, Ready, Verdict
from swarm.result import RunResult
from swarm.tuning import has_fast_loop, quiet_collector, spare_arrow

TASK = "VALUE in pkg/mod_7.py is 7, and should be 8. Mend it."


class Copies:
    """Instances that are all the same, graded by a look at the patch."""

    name, version = "overhead", "1"

    def __init__(self, repo: Path, number: int, image: str | None) -> None:
        self._repo = repo
        self._number = number
        self._image = image

    @property
    def options(self) -> Mapping[str, Any]:
        return {}

    def instances(self) -> Sequence[Instance]:
        return [Instance(f"copy__copy-{index}", TASK) for index in range(self._number)]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        yield

    @asynccontextmanager
    async def ready(self, instance: Instance, place: Path) -> AsyncIterator[Ready]:
        workdir = "/testbed" if self._image else None
        yield Ready(repo=self._repo, image=self._image, workdir=workdir)

    async def grade(self, instance: Instance, result: RunResult, place: Path) -> Verdict:
        return Verdict("+VALUE = 8" in (place / "patch.diff").read_text())

    def summary(self, verdicts: Mapping[str, Sequence[Verdict]]) -> Mapping[str, Any]:
        return {"resolved": sum(bool(each.resolved) for trials in verdicts.values() for each in trials)}

    def files(self, model: str, ended: Sequence[Ended]) -> Mapping[str, bytes]:
        return {}


async def main(url: str, repo: str, out: str, number: int, workers: int, sandbox: str, image: str | None) -> None:
    config = RunConfig.model_validate(
        {"mode": "single", "model": "script", "base_url": [url], "api_key": "none", "sandbox": sandbox}
    )
    asked = Asked(width=Width(workers=workers))
    with quiet_collector():  # as `swarm eval` does, and the event loop below
        done = await evaluate(
            Copies(Path(repo), number, image), ways(config), Path(out), asked, Halt(), lambda line, progress: None
        )
    counted = done.progress.count()
    print(f"{counted}; {done.message}")
    sys.exit(0 if done.exit_code == 0 and counted.resolved == number else 1)


if __name__ == "__main__":
    url, repo, out, number, workers, sandbox, *image = sys.argv[1:]
    spare_arrow()
    given = (url, repo, out, int(number), int(workers), sandbox, image[0] if image else None)
    anyio.run(main, *given, backend_options={"use_uvloop": has_fast_loop()})
