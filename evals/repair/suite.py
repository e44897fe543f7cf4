"""Repair as a suite of the runner."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

import anyio
import anyio.to_thread

from swarm.config import RunConfig
from swarm.errors import MachineError, UsageError
from swarm.evals.fates import Fate, fates
from swarm.evals.repair.damage import TASK, VERSION, Damaged, Wanted, copy_seen, prepared
from swarm.evals.repair.hiding import is_test_file
from swarm.evals.repair.retest import Retested, Retester, applied, open_retester
from swarm.evals.suite import Ended, Instance, Ready, Verdict
from swarm.result import RunResult
from swarm.whole_file import write_whole


@dataclass(frozen=True, slots=True)
class Settings:
    """`config` says in which sandboxes tests are run; `home` keeps leases, `kept` instances that were made."""

    config: RunConfig
    home: Path
    kept: Path


class Repair:
    """`swarm.evals.suite.Suite`. Instances are made when they are first wanted. Use it within `open()`."""

    name = "repair"

    def __init__(self, wanted: Sequence[Wanted], settings: Settings) -> None:
        self._wanted = {each.id: each for each in wanted}
        if len(self._wanted) < len(wanted):
            raise UsageError("two of the packages have one name and version", remedy="rename a folder")
        self._settings = settings
        self._made: dict[str, Damaged] = {}
        self._making = anyio.Lock()
        self._retester: Retester | None = None
        digests = repr(sorted(each.digest for each in wanted))
        self.options: Mapping[str, Any] = {}
        self.version = f"{VERSION}-{sha256(digests.encode()).hexdigest()[:12]}"

    def __repr__(self) -> str:
        return f"<Repair: {len(self._wanted)} instances, {len(self._made)} at hand>"

    def instances(self) -> Sequence[Instance]:
        """See `Suite.instances`."""
        return [
            Instance(each.id, TASK.format(sources=each.origin.sources), {"package": each.origin.name})
            for each in self._wanted.values()
        ]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """See `Suite.open`: the sandboxes in which tests are run."""
        async with open_retester(self._settings.config, self._settings.home) as self._retester:
            try:
                yield
            finally:
                self._retester = None

    @asynccontextmanager
    async def ready(self, instance: Instance, place: Path) -> AsyncIterator[Ready]:
        """See `Suite.ready`: a repository without the tests that are held back, and the others as its gate."""
        damaged, wanted = await self._damaged(instance.id), self._wanted[instance.id]
        repo = place / wanted.origin.name
        await anyio.to_thread.run_sync(copy_seen, damaged, repo)
        shown = await (await self._tester.site()).shown()  # agents run the tests with the same Python
        yield Ready(repo=repo, test=wanted.origin.test, env=shown.env, toolchain=shown.toolchain, digest=wanted.digest)

    async def grade(self, instance: Instance, result: RunResult, place: Path) -> Verdict:
        """See `Suite.grade`. Resolved: all tests pass that did before faults were planted, hidden ones included. The
        score is the part of the faults whose tests pass again.

        Raises:
            MachineError: the tests cannot be run here.
        """
        damaged, wanted = await self._damaged(instance.id), self._wanted[instance.id]
        await anyio.to_thread.run_sync(functools.partial(place.mkdir, parents=True, exist_ok=True))
        patch = Path(result.patch_path) if result.patch_path else None
        tests = Retested()
        if patch is None or not patch.is_file() or not patch.stat().st_size:
            verdict = _unchanged(damaged, "empty patch")
        else:
            async with self._tester.room() as folder:
                final = folder / "final"
                if await anyio.to_thread.run_sync(applied, damaged.seen, patch, final):
                    await anyio.to_thread.run_sync(restore_tests, damaged.whole, final)
                    tests = await self._tester.run(final, wanted.origin.test)
                    verdict = judged(damaged, final, tests)
                else:
                    verdict = _unchanged(damaged, "patch does not apply")
        await anyio.to_thread.run_sync(_leave, place, instance.id, verdict, tests)
        return verdict

    def summary(self, verdicts: Mapping[str, Sequence[Verdict]]) -> Mapping[str, Any]:
        """See `Suite.summary`."""
        graded = [each for given in verdicts.values() for each in given if each.resolved is not None]
        planted = sum(each.details["planted"] for each in graded)
        repaired = sum(each.details["repaired"] for each in graded)
        return {
            "total_instances": len(verdicts),
            "graded_trials": len(graded),
            "resolved_trials": sum(bool(each.resolved) for each in graded),
            "planted": planted,
            "repaired": repaired,
            "repaired_share": repaired / planted if planted else None,
            "kinds": dict(Counter(each.details["kind"] for each in graded if "kind" in each.details)),
            "instances": {
                name: [{"resolved": each.resolved, "score": each.score, "error": each.error} for each in given]
                for name, given in verdicts.items()
            },
        }

    def files(self, model: str, ended: Sequence[Ended]) -> Mapping[str, bytes]:
        """See `Suite.files`: none."""
        return {}

    @property
    def _tester(self) -> Retester:
        if self._retester is None:
            raise RuntimeError("the suite is not open")
        return self._retester

    async def _damaged(self, name: str) -> Damaged:
        async with self._making:  # one after the other: planting uses the whole machine
            if name not in self._made:
                try:
                    self._made[name] = await prepared(self._wanted[name], self._settings.kept, self._tester)
                except UsageError as error:
                    raise MachineError(f"{name} cannot be made: {error.message}", remedy=error.remedy) from None
            return self._made[name]


def _unchanged(damaged: Damaged, kind: str) -> Verdict:
    """The verdict where all faults are still there."""
    return Verdict(False, 0.0, {"planted": len(damaged.faults), "repaired": 0, "kind": kind})


def judged(damaged: Damaged, final: Path, tests: Retested) -> Verdict:
    """The verdict on a tree by what became of its tests."""
    red = damaged.green - tests.passed
    ends = fates(damaged.faults, damaged.whole, final, red if tests.ended else None, {})
    repaired = sum(end.fate is not Fate.LEFT for end in ends)
    hidden = sorted(test for test in red if damaged.is_hidden(test))
    details: dict[str, Any] = {
        "planted": len(ends),
        "repaired": repaired,
        "red_seen": len(red) - len(hidden),
        "red_hidden": len(hidden),
        "fates": {f"{end.fault.file}:{end.fault.line}": end.fate.value for end in ends},
    }
    if red:
        told = "tests fail" if len(red) > len(hidden) else "hidden tests fail"
        details["kind"] = told if tests.ended else "tests come to no end"
    return Verdict(not red, repaired / len(ends), details)


def restore_tests(whole: Path, final: Path) -> None:
    """Put all tests, and what says how they are run, as they are in `whole`; blocks. What is new of that kind goes."""
    for path in sorted(final.rglob("*"), reverse=True):
        relative = path.relative_to(final)
        if path.is_symlink() or (path.is_file() and is_test_file(PurePosixPath(relative))):
            if path.is_symlink() and (whole / relative).is_symlink():
                continue
            path.unlink()
    for path in sorted(whole.rglob("*")):
        own = PurePosixPath(path.relative_to(whole))
        if path.is_file() and not path.is_symlink() and is_test_file(own) and "__pycache__" not in own.parts:
            (final / own).parent.mkdir(parents=True, exist_ok=True)
            (final / own).write_bytes(path.read_bytes())


def _leave(place: Path, name: str, verdict: Verdict, tests: Retested) -> None:
    report = {"instance_id": name, "resolved": verdict.resolved, "score": verdict.score, **verdict.details}
    try:
        write_whole(place / "report.json", json.dumps(report, indent=2).encode())
        write_whole(place / "test_output.txt", tests.output.encode("utf-8", "replace"))
    except OSError as error:
        raise MachineError(f"{place} cannot be written: {error.strerror}") from None
