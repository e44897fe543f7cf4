"""The gate: the command that a tree must pass, run in a sandbox of its own and judged beside the base.

What is red that was not red on the base is run once more on the same tree, in another sandbox: what is green then is
flaky, and nobody's fault, unless it is red again when all is run again: then it depends on what else is run. Every run
is on record: a resumed run takes them from there.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace

import anyio.to_thread

from swarm.discovery.verdict import no_runner
from swarm.events import GateStarted
from swarm.events.merging import GatePurpose
from swarm.gating.judging import NOT_FOUND, Seen, by_luck, doubtful, judged, settled, whole
from swarm.gating.reading import read
from swarm.gating.runs import Runs
from swarm.gating.selection import parse
from swarm.journal.artifacts import Artifacts
from swarm.journal.gate_record import record, report_of
from swarm.journal.past import Past
from swarm.places.pool import Pool
from swarm.protocols import EventSink
from swarm.stages import GateReport

_USAGE = 4  # pytest: a test that was asked for is not there
_AGAIN, _IN_COMPANY, _REVISED = 2, 3, 4  # attempts at one verdict
_LONGEST_CHOICE = 60_000  # characters: a shell takes no more than twice as many in one word
_NOT_THERE = re.compile(r"^ERROR: (?:not found|file or directory not found): (.+)$", re.MULTILINE)


class Gate:
    """Runs one command on commits. `timeout` is in seconds, for one run."""

    def __init__(
        self,
        command: str,
        timeout: float,
        pool: Pool,
        sink: EventSink,
        past: Past | None = None,
        artifacts: Artifacts | None = None,
    ) -> None:
        self.command = command
        self.base: GateReport | None = None
        """The verdict on the base, None until it is known."""
        self._call = parse(command)
        self._runs = Runs(timeout, pool, sink)
        self._sink = sink
        self._past = past or Past()
        self._artifacts = artifacts
        self._reports: dict[tuple[str, str], tuple[GatePurpose, GateReport]] = {}
        self._looks: dict[tuple[str, str, int], GateReport] = {}
        self._in_company: set[str] = set()  # red only where all others are run, too
        self.flaky: set[str] = set()
        """Tests that were red and then green on the same tree."""

    def __repr__(self) -> str:
        return f"<Gate {self.command!r}: {len(self._reports)} reports, {len(self.flaky)} flaky tests>"

    @property
    def width(self) -> int:
        """Trees that are tested at once; whoever asks for more waits."""
        return self._runs.width

    async def run(self, commit: str | None, stage: int) -> GateReport:
        """The verdict on a commit; `stage` 0 is the base. What the journal knows is not run again.

        Raises:
            SandboxError: the sandbox failed, not the command.
        """
        report = await self._report(commit, stage, "verdict", ())
        if stage == 0:
            self.base = report
        return report

    async def check(
        self, commit: str, stage: int, tests: Sequence[str], purpose: GatePurpose = "affected"
    ) -> GateReport | None:
        """What becomes of only these tests (files or names, as pytest has them) on a commit: no verdict on the tree.

        It is judged as a verdict is. A test that the tree does not have is not red. None where there are none, or the
        form of the command does not let them be chosen.

        Raises:
            SandboxError: as for `run`.
        """
        return await self._report(commit, stage, purpose, tuple(tests)) if self._call and tests else None

    def missing(self, report: GateReport) -> bool:
        """Whether there is no such command, or not the test runner that Python was to call by it."""
        red = report.exit_code != 0 and not report.tests.runner
        return report.reason == NOT_FOUND or (red and bool(no_runner(report.output)))

    def apart(self, tests: Sequence[str]) -> tuple[str, ...]:
        """Those of the tests that can be run without all others, and are not known to be red only among them."""
        found = tuple(name for name in tests if name not in self._in_company)
        return found if self._call and sum(map(len, found)) <= _LONGEST_CHOICE else ()

    async def search(self, commit: str, stage: int, tests: Sequence[str] = (), look: int = 1) -> GateReport:
        """One run, not looked at twice, of these tests (which are `apart`), of the whole command where none is named:
        for the search of a culprit. A further `look` is a run of its own.

        Raises:
            SandboxError: as for `run`.
        """
        chosen = tuple(tests)
        command = self._call.only(chosen) if self._call and chosen else self.command
        if look == 1 and (done := self._reports.get((commit, command))) is not None:
            return done[1]
        key = commit, command, look
        if key not in self._looks:
            known = self._past.gate(*key)
            if known is not None and (known.settled or known.purpose != "search"):
                self._looks[key] = report_of(known)
            else:
                self._looks[key] = await self._look(key[:2], stage, "search", chosen, look)
        return self._looks[key]

    def lucky(self, commit: str, stage: int, tests: Sequence[str]) -> GateReport:
        """The verdict on a commit anew, after these tests were red there and green in a further look: they are
        flaky. There is a verdict on it."""
        key = commit, self.command
        report = by_luck(self._reports[key][1], tests, self.base)
        self._sink.emit(record(report, commit, stage, "verdict", attempt=_REVISED))
        self._reports[key] = ("verdict", report)
        self.flaky.update(report.tests.flaky)
        return report

    async def _report(self, commit: str | None, stage: int, purpose: GatePurpose, tests: tuple[str, ...]) -> GateReport:
        command = self._call.only(tests) if self._call and tests else self.command
        key, is_base = (commit or "", command), stage == 0
        done, looked = self._reports.get(key), self._looks.get((*key, 1))
        known = self._past.gate(*key) if done is None and looked is None else None
        if known is not None and known.purpose == "search":
            looked, known = report_of(known), None
        if known is not None and known.settled:
            done = (known.purpose, report_of(known))
            if known.attempt == _IN_COMPANY:
                self._in_company.update(name for name in known.failed if name in known.tests)
        if done is None:
            if looked is not None:  # it was met on the way, and has the last word now
                sure = doubtful(looked, self.flaky, base=is_base) is None
                self._sink.emit(record(looked, key[0], stage, purpose, settled=sure, tests=tests))
            first = looked or (report_of(known) if known else await self._look(key, stage, purpose, tests))
            if known is not None and known.attempt == _AGAIN:
                report = await self._whole(first, key, stage, purpose)
            else:
                again = doubtful(first, self.flaky, base=is_base)
                report = first if again is None else await self._again(first, key, stage, purpose, again)
        else:
            report = done[1]
            if purpose == "verdict" and done[0] != "verdict":
                self._sink.emit(record(report, key[0], stage, purpose))
        self.flaky.update(report.tests.flaky)
        self._reports[key] = (purpose, report)
        return report

    async def _look(
        self, key: tuple[str, str], stage: int, purpose: GatePurpose, tests: tuple[str, ...], attempt: int = 1
    ) -> GateReport:
        """A run of its own, recorded."""
        commit, command = key
        self._sink.emit(
            GateStarted(
                stage=stage, command=command, commit=commit, purpose=purpose, attempt=attempt, tests=list(tests)
            )
        )
        seen = await self._run(command, commit, stage)
        if tests and seen.ran.exit_code == _USAGE and self._call is not None:
            seen = await self._without(_gone(seen.ran.output, tests), tests, seen, commit, stage)
        if purpose == "verdict" or seen.ran.exit_code:
            seen = await self._kept(seen, stage)
        report = judged(seen, self.base if stage else None, self.flaky, chosen=bool(tests))
        report = report if stage else replace(report, worse=False)
        sure = purpose == "search" or doubtful(report, self.flaky, base=not stage) is None
        self._sink.emit(record(report, commit, stage, purpose, attempt=attempt, settled=sure, tests=tests))
        return report

    async def _without(
        self, gone: Collection[str], tests: tuple[str, ...], seen: Seen, commit: str, stage: int
    ) -> Seen:
        """The run again without tests that the tree does not have: pytest runs none where one is not there."""
        left = [name for name in tests if name not in gone]
        if self._call is None or not gone:
            return seen
        if left:
            return replace(await self._run(self._call.only(left), commit, stage), command=seen.command)
        return replace(seen, ran=replace(seen.ran, exit_code=0), outcomes=replace(seen.outcomes, ran=None))

    async def _again(
        self, first: GateReport, key: tuple[str, str], stage: int, purpose: GatePurpose, again: tuple[str, ...]
    ) -> GateReport:
        """What is in doubt is run once more, and the judgement recorded."""
        commit, command = key
        again = again if self._call else ()
        self._sink.emit(
            GateStarted(stage=stage, command=command, commit=commit, purpose=purpose, attempt=_AGAIN, tests=list(again))
        )
        seen = await self._run(self._call.only(again) if self._call and again else command, commit, stage)
        report = settled(first, seen, again, self.base if stage else None, self.flaky)
        report = report if stage else replace(report, worse=False)
        sure = not (again and report.tests.flaky)
        self._sink.emit(record(report, commit, stage, purpose, attempt=_AGAIN, settled=sure, tests=again))
        return report if sure else await self._whole(report, key, stage, purpose)

    async def _whole(self, lucky: GateReport, key: tuple[str, str], stage: int, purpose: GatePurpose) -> GateReport:
        """All of it once more, after tests were green by themselves: are they also among the others?"""
        (commit, command), doubted = key, lucky.tests.flaky
        self._sink.emit(GateStarted(stage=stage, command=command, commit=commit, purpose=purpose, attempt=_IN_COMPANY))
        seen = await self._run(command, commit, stage)
        report = whole(lucky, seen, self.base if stage else None, self.flaky)
        report = report if stage else replace(report, worse=False)
        self._in_company.update(name for name in report.tests.failed if name in doubted)
        self._sink.emit(record(report, commit, stage, purpose, attempt=_IN_COMPANY, tests=doubted))
        return report

    async def _run(self, command: str, commit: str, stage: int) -> Seen:
        ran = await self._runs.run(command, commit or None, f"gate-{stage}")
        outcomes = await anyio.to_thread.run_sync(read, ran.output)
        return Seen(command, ran, outcomes.below(ran.folder))

    async def _kept(self, seen: Seen, stage: int) -> Seen:
        """The same, with the whole output among the run's artifacts."""
        if self._artifacts is None:
            return seen
        artifact = self._artifacts.of(f"gate-{stage}", seen.ran.output)
        await self._artifacts.keep(artifact)
        return replace(seen, artifact=artifact.handle)


def _gone(output: str, tests: Collection[str]) -> set[str]:
    """Those of the tests that pytest did not find."""
    told = _NOT_THERE.findall(output)
    return {name for name in tests if any(each == name or each.endswith(f"/{name}") for each in told)}
