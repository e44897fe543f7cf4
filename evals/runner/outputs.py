"""The files of an evaluation that tell of all trials so far: written whole, now and then, and at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from pydantic_core import to_json

from swarm.errors import JournalError
from swarm.evals.records import MANIFEST, TrialResult
from swarm.evals.runner.ledger import GO_ON
from swarm.evals.runner.manifest import EvalManifest
from swarm.evals.runner.places import Places
from swarm.evals.runner.tally import Key, count, failures
from swarm.evals.suite import Ended, Instance, Suite, Verdict
from swarm.whole_file import write_whole

REPORT = "report.json"
EVERY_S = 2.0
"""Seconds between two times that they are written while trials end."""


class Outputs:
    """Writes the manifest, reports and the suite's own files. Call `note` when something has changed."""

    def __init__(
        self,
        suite: Suite,
        instances: Sequence[Instance],
        places: Places,
        manifest: EvalManifest,
        every: float = EVERY_S,
    ) -> None:
        self._suite = suite
        self._instances = {instance.id: instance for instance in instances}
        self._places = places
        self._every = every
        self._changed = anyio.Event()
        self.manifest = manifest

    def note(self) -> None:
        """Something has changed: it is written soon."""
        self._changed.set()

    async def keep(self, trials: Mapping[Key, TrialResult]) -> None:
        """Write what changes, until cancelled.

        Raises:
            JournalError: a file cannot be written.
        """
        while True:
            await self._changed.wait()
            self._changed = anyio.Event()
            await self.write(trials)
            await anyio.sleep(self._every)

    async def write(self, trials: Mapping[Key, TrialResult]) -> None:
        """Write all of them, from the lines there are. Raises as `keep`."""
        lines, manifest = dict(trials), self.manifest.model_copy(deep=True)
        with anyio.CancelScope(shield=True):
            try:
                await anyio.to_thread.run_sync(self._write, lines, manifest)
            except OSError as error:
                what = error.filename or self._places.root
                raise JournalError(f"{what} cannot be written: {error.strerror or error}", remedy=GO_ON) from error

    def _write(self, lines: Mapping[Key, TrialResult], manifest: EvalManifest) -> None:
        write_whole(self._places.root / MANIFEST, manifest.model_dump_json(indent=2).encode())
        reports: dict[str, dict[str, Any]] = {}
        for arm in manifest.arms:
            keys = [(name, arm.name, epoch) for name in manifest.instances for epoch in range(1, manifest.epochs + 1)]
            own = [lines[key] for key in keys if key in lines]
            verdicts: dict[str, list[Verdict]] = {name: [] for name in manifest.instances}
            for line in own:
                verdicts[line.instance_id].append(Verdict(line.resolved, line.score, line.details, line.error))
            reports[arm.name] = {**self._suite.summary(verdicts), "evaluation": _evaluation(len(keys), own)}
            ended = [self._ended(line) for line in own if line.instance_id in self._instances]
            folder = self._places.arm(arm.name)
            folder.mkdir(parents=True, exist_ok=True)
            for name, data in self._suite.files(arm.model or arm.name, ended).items():
                write_whole(folder / name, data)
            if not self._places.alone:
                _write_json(folder / REPORT, reports[arm.name])
        head = {"suite": manifest.suite, "version": manifest.version}
        if self._places.alone:
            [report] = reports.values()
            _write_json(self._places.root / REPORT, {**report, "evaluation": {**head, **report["evaluation"]}})
        else:
            _write_json(self._places.root / REPORT, {"evaluation": head, "arms": reports})

    def _ended(self, line: TrialResult) -> Ended:
        return Ended(self._instances[line.instance_id], self._places.graded(*line.key), line)


def _evaluation(asked: int, lines: Sequence[TrialResult]) -> dict[str, Any]:
    return {**count(asked, lines).figures(), "failures": dict(failures(lines))}


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_whole(path, to_json(value, indent=2) + b"\n")
