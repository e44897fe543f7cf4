"""SWE-bench as a suite: the agent works on the instance's files in the instance's image, and the package grades."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from swarm.errors import MachineError, SwarmError, UsageError
from swarm.evals.suite import Ended, Instance, Ready, Verdict
from swarm.evals.swebench.base import TESTBED, lay_out
from swarm.evals.swebench.bases import Bases
from swarm.evals.swebench.container import CALL_S, digest_of
from swarm.evals.swebench.grading import PATCH, TIMEOUT_S, Grader, Prediction
from swarm.evals.swebench.names import TEMPLATE, image_of
from swarm.evals.swebench.package import Package, open_package
from swarm.evals.swebench.patches import model_patch
from swarm.evals.swebench.predictions import as_lines, as_map
from swarm.evals.swebench.rows import Row, fingerprint
from swarm.evals.swebench.totals import HANDED_IN, totals
from swarm.result import RunResult
from swarm.sandboxes.docker.engine import Engine, connect
from swarm.sandboxes.leases.lease import open_lease

NAME = "swarm"
_NONE = "no_patch"
"""In a verdict's details: what was handed in has no patch, not even an empty one."""

_PROMPT = """Solve this issue in the repository of {repo}, which is your working directory ({testbed}). Its \
environment is installed, and there is no network. Change what is needed to solve it, in the sources; hidden tests \
decide whether it is solved, so changes to tests count for nothing.

{problem}
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """How images are named and patches graded. `python`: the interpreter of an environment with swebench; `timeout`:
    seconds for an eval script; `offline`: tests have no network, which they have in the official harness."""

    home: Path
    template: str | None = None
    python: str = sys.executable
    timeout: float = TIMEOUT_S
    offline: bool = False


@dataclass(frozen=True, slots=True)
class _Open:
    """What all instances share."""

    engine: Engine
    bases: Bases
    grader: Grader
    package: Package


class Swebench:
    """`swarm.evals.suite.Suite` of rows of SWE-bench."""

    name = "swebench"

    def __init__(self, rows: Sequence[Row], settings: Settings) -> None:
        self.version = fingerprint(rows)
        self._rows = {row.instance_id: row for row in rows}
        self._settings = settings
        self._open: _Open | None = None
        self.options: Mapping[str, Any] = {
            "--image-template": settings.template or "",
            "--test-timeout": settings.timeout,
            "--offline-tests": settings.offline,
        }

    def instances(self) -> Sequence[Instance]:
        """See `swarm.evals.suite.Suite`."""
        return [
            Instance(row.instance_id, _prompt(row), {"repo": row.repo, "version": row.version})
            for row in self._rows.values()
        ]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """See `swarm.evals.suite.Suite`."""
        name = f"swebench-{os.urandom(4).hex()}"
        async with (
            open_lease(self._settings.home, name) as lease,
            connect(timeout=CALL_S) as engine,
            open_package(self._settings.python) as package,
        ):
            network = "none" if self._settings.offline else None
            grader = Grader(engine, package, lease.folder, self._settings.timeout, network)
            self.options = {**self.options, "swebench": (await package.about()).version}
            self._open = _Open(engine, Bases(engine, lease.folder), grader, package)
            try:
                yield
            finally:
                self._open = None

    @asynccontextmanager
    async def ready(self, instance: Instance, place: Path) -> AsyncIterator[Ready]:
        """See `swarm.evals.suite.Suite`."""
        opened, row = self._opened, self._rows[instance.id]
        image = self.image(row)
        with _as_machine_error():
            await opened.package.eval_script(row.raw)  # that it cannot be graded is told before it is run
        async with opened.bases.open(image) as (base, digest):
            # Always at the same place: a run that was killed is gone on with over what is there then.
            repo = place / "testbed"
            await anyio.to_thread.run_sync(lay_out, base, repo)
            yield Ready(repo, image, TESTBED, env=base.env, digest=digest)

    async def grade(self, instance: Instance, result: RunResult, place: Path) -> Verdict:
        """See `swarm.evals.suite.Suite`. Where it cannot be graded, it is noted that something was handed in."""
        try:
            return await self._verdict(self._rows[instance.id], result, place)
        except SwarmError as error:
            return Verdict(None, error=str(error), details={HANDED_IN: True})

    async def _verdict(self, row: Row, result: RunResult, place: Path) -> Verdict:
        opened, image = self._opened, self.image(row)
        prediction = Prediction(row.instance_id, NAME, await self._patch_of(result, image))
        graded = await opened.grader.grade(row, image, prediction, place)
        about = await opened.package.about()
        details: dict[str, Any] = {"kind": graded.kind, "swebench": about.version, "seconds": round(graded.seconds, 1)}
        if prediction.patch is None:
            details[_NONE] = True
        if prediction.patch:
            details["image"] = await digest_of(opened.engine, image)
        if graded.reason and not graded.resolved:
            details["failure_reason"] = list(graded.reason)
        if graded.outside:
            details["outside_the_markers"] = True
        if graded.strange:
            details["officially"] = "error"
        return Verdict(graded.resolved, float(graded.resolved), details)

    def files(self, model: str, ended: Sequence[Ended]) -> Mapping[str, bytes]:
        """See `swarm.evals.suite.Suite`: the predictions in the official form. Of several trials the first."""
        found: dict[str, Prediction] = {}
        for each in sorted(ended, key=lambda one: (one.instance.id, one.trial.epoch)):
            patch = each.place / PATCH
            if patch.is_file():  # else the run came to no end: that is no empty patch
                text = None if each.trial.details.get(_NONE) else patch.read_bytes().decode(errors="replace")
                found.setdefault(each.instance.id, Prediction(each.instance.id, model, text))
        listed = list(found.values())
        return {"preds.json": as_map(listed), "all_preds.jsonl": as_lines(listed)}

    def summary(self, verdicts: Mapping[str, Sequence[Verdict]]) -> Mapping[str, Any]:
        """See `swarm.evals.suite.Suite`."""
        return totals(verdicts)

    def image(self, row: Row) -> str:
        """The image of an instance: by the template where one was given, else as the data says, else as ever."""
        if self._settings.template is None and row.image:
            return row.image
        return image_of(self._settings.template or TEMPLATE, row.instance_id)

    async def _patch_of(self, result: RunResult, image: str) -> str | None:
        store = Path(result.run_dir) / "repo.git"
        if result.patch_path is None:  # a run that changed nothing hands in an empty patch
            return "" if store.is_dir() else None
        patch = await anyio.Path(result.patch_path).read_bytes()
        if not patch or not store.is_dir():  # it is no run's, and given as it is
            return patch.decode(errors="replace")
        async with self._opened.bases.open(image) as (base, _):
            return await anyio.to_thread.run_sync(model_patch, patch, store, base)

    @property
    def _opened(self) -> _Open:
        if self._open is None:
            raise MachineError("the suite is not open")
        return self._open


def _prompt(row: Row) -> str:
    return _PROMPT.format(repo=row.repo, testbed=TESTBED, problem=row.problem_statement.strip())


@contextmanager
def _as_machine_error() -> Iterator[None]:
    """What cannot be graded is no verdict on what was done."""
    try:
        yield
    except UsageError as error:
        raise MachineError(error.message, remedy=error.remedy) from error
