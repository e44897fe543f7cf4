"""A chain that the gate lets pass: whoever breaks what was green is found by bisection and left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import anyio

from swarm.errors import MachineError
from swarm.gating.affected import Affected
from swarm.gating.gate import Gate
from swarm.gating.judging import hits
from swarm.merging.chain import Chain, Picker
from swarm.merging.culprits import Culprits, Hunt
from swarm.merging.order import in_order
from swarm.merging.patch import Eviction, Patch
from swarm.protocols import EventSink
from swarm.stages import GateReport
from swarm.stopping import unless_stopped

MOST_ROUNDS = 16
"""Searches in a stage's chains, each of which evicts at least one patch. Then what is green is filled up with the rest,
as far as that holds."""

MOST_FILLED = 16
"""Trees that are tested for that."""


@dataclass(frozen=True, slots=True)
class Proven:
    """A chain as far as it holds, the verdict on its tip (None where it was not run), and who is not in it.

    Where the proof did not come to its end, the chain is what was seen green of it; all the `rest` is evicted as
    untested. `red`: a tree with the rest was seen red. `fault` is what ended the proof, None where it was stopped.
    """

    chain: Chain
    report: GateReport | None
    evicted: tuple[Eviction, ...]
    rest: tuple[Patch, ...] = ()
    red: bool = False
    fault: MachineError | None = None


class Prover:
    """Makes chains and has them tested: where they can be told, the tests that the patches reach come first, as long as
    they are the smaller part."""

    def __init__(
        self, picker: Picker, gate: Gate, sink: EventSink, base: str, affected: Affected | None = None
    ) -> None:
        self._picker = picker
        self._gate = gate
        self._sink = sink
        self._base = base
        self._affected = affected
        self._reports: dict[str, GateReport] = {}
        self._whole: set[str] = set()  # trees of which the affected tests told nothing

    async def prove(
        self,
        floor: str,
        waiting: Sequence[Patch],
        merged: Sequence[Patch],
        stage: int,
        stop: anyio.Event | None = None,
        halt: anyio.Event | None = None,
    ) -> Proven:
        """Merge what can be merged onto `floor`, which holds the `merged` patches.

        `stop` ends the search of culprits after the test that is at work, `halt` all tests at once; a machine's failure
        does so, too, and is not raised. What is known by then holds: see `Proven`.
        """
        hunt = Hunt(Chain(floor, (), ()), in_order(waiting), merged, stage, lambda: stop is not None and stop.is_set())
        fault: MachineError | None = None
        if halt is None or not halt.is_set():
            try:
                await unless_stopped(halt or anyio.Event(), lambda: self._prove(hunt))
            except MachineError as error:
                fault = error
        return _so_far(hunt, fault)

    async def _prove(self, hunt: Hunt) -> None:
        """Prove until nothing is left to do, or until it is stopped."""
        floor, ordered, stage = hunt.chain.floor, hunt.left, hunt.stage
        culprits, known = Culprits(self._picker, self._gate, self._sink), set[str]()
        for rounds in count():
            left = [patch for patch in ordered if patch.subtask_id not in hunt.guilty]
            chain = await self._picker.chain(floor, left, hunt.merged)
            hunt.begin(chain, left)
            if not chain.steps:
                hunt.verdict, hunt.done = self._reports.get(chain.tip), True
                return
            hunt.report, tests = await self._look(chain, stage)
            if tests is not None:
                hunt.red, hunt.tests, hunt.green = True, tests, 0
                hunt.known = 0 if tests else sum(link.commit in known for link in chain.links)
                if hunt.stopped():
                    return
                await culprits.find(hunt, tests)
            else:
                hunt.green, hunt.verdict = len(chain.links), hunt.report
                if still := await self._still(chain, hunt.report, stage):
                    await culprits.undone(hunt, still)
            if not hunt.culprits and hunt.ended:
                if chain.tip not in self._reports:  # only chosen tests were red, and by luck
                    self._whole.add(chain.tip)
                    continue
                if tests is not None and not hunt.excused:
                    self._reports[chain.tip] = self._gate.lucky(chain.tip, stage, tests)
                hunt.verdict, hunt.done = self._reports[chain.tip], True
                return
            hunt.guilty |= {each.patch.subtask_id: each for each in hunt.culprits}
            if not tests:
                known.update(link.commit for link in chain.links[: hunt.green])
            if not hunt.ended:
                return
            if rounds + 1 >= MOST_ROUNDS:
                await self._fill(hunt)
                return

    async def _fill(self, hunt: Hunt) -> None:
        """No culprit is looked for any more: put the rest onto what is green, in halves, as long as that holds."""
        chain = Chain(hunt.chain.floor, hunt.chain.links[: hunt.green], ())
        kept = {link.patch for link in chain.links}
        todo = [[patch for patch in hunt.left if patch not in kept and patch.subtask_id not in hunt.guilty]]
        hunt.tests, looks = (), 0
        while todo and looks < MOST_FILLED and not hunt.stopped():
            part = todo.pop()
            patches = [*(link.patch for link in chain.links), *part]
            tried = await self._picker.chain(chain.floor, patches, hunt.merged)
            looks += 1
            report = await self._verdict(tried.tip, hunt.stage)
            if await self._broken(report, chain.floor, hunt.stage) is None:
                chain, hunt.verdict = tried, report
                hunt.chain, hunt.green = chain, len(chain.links)
            elif len(part) > 1:
                middle = len(part) // 2
                todo += [part[middle:], part[:middle]]

    async def _still(self, chain: Chain, report: GateReport, stage: int) -> tuple[str, ...]:
        """The tests that are red on a chain's tip as they were on its floor."""
        if report.passed or len(chain.steps) < 2 or report.reason or not report.tests.complete:
            return ()
        before = await self._before(chain.floor, stage)
        if before is None or before.reason or not before.tests.complete:
            return ()
        return tuple(test for test in report.tests.failed if hits(before.tests.failed, (test,)))

    async def _before(self, floor: str, stage: int) -> GateReport | None:
        """The verdict on what a chain begins with."""
        return self._gate.base if floor == self._base else await self._verdict(floor, stage)

    async def _verdict(self, commit: str, stage: int) -> GateReport:
        if commit not in self._reports:
            self._reports[commit] = await self._gate.run(commit, stage)
        return self._reports[commit]

    async def _look(self, chain: Chain, stage: int) -> tuple[GateReport, tuple[str, ...] | None]:
        """What the gate says of a chain, and the tests that it breaks as `_broken` has them."""
        if self._affected is not None and chain.tip not in self._reports and chain.tip not in self._whole:
            touched = await self._affected.between(chain.floor, chain.tip)
            if touched.tests and not touched.whole and 2 * len(touched.tests) <= touched.of:
                early = await self._gate.check(chain.tip, stage, touched.tests)
                if early is not None and early.worse and early.tests.failed and not early.reason:
                    # By themselves they may be red without the chain, too.
                    before = await self._gate.search(chain.floor, stage, touched.tests)
                    if new := tuple(test for test in early.tests.broken if not hits(before.tests.failed, (test,))):
                        return early, new
        report = await self._verdict(chain.tip, stage)
        return report, await self._broken(report, chain.floor, stage)

    async def _broken(self, report: GateReport, floor: str, stage: int) -> tuple[str, ...] | None:
        """The tests that are red on a tree and were not on its floor: none where no names are known; None where the
        tree is no worse."""
        if report.passed:
            return None
        if floor == self._base:
            return report.tests.broken if report.worse else None
        before = await self._verdict(floor, stage)
        if before.passed or (before.tests.complete and before.tests.failed and not before.reason):
            # What was mended since the base is green on the floor: red again, it is broken.
            if new := tuple(test for test in report.tests.failed if not hits(before.tests.failed, (test,))):
                return new
            if report.tests.failed and not report.reason:
                return None
        return () if report.worse and not before.worse else None


def _so_far(hunt: Hunt, fault: MachineError | None) -> Proven:
    """What is known of a chain, whether its proof came to its end or not."""
    chain, known = hunt.chain, dict(hunt.guilty)
    if hunt.done:
        return Proven(chain, hunt.verdict, (*known.values(), *chain.evicted), fault=fault)
    known |= {each.patch.subtask_id: each for each in hunt.culprits}
    cut = Chain(chain.floor, chain.links[: hunt.green], chain.evicted)
    there = {link.patch.subtask_id for link in cut.links}
    guilty = tuple(each for name, each in known.items() if name not in there)
    out = {*there, *known, *(each.patch.subtask_id for each in chain.evicted)}
    rest = tuple(patch for patch in hunt.left if patch.subtask_id not in out)
    tests = hunt.tests if hunt.red else ()
    untested = (Eviction(patch, "untested", tests=tests) for patch in rest)
    return Proven(cut, hunt.verdict, (*guilty, *untested, *chain.evicted), rest, hunt.red, fault)
