"""Whom to evict of a chain that the gate does not let pass: for every test that breaks, the patch with which it turns
red, whether it does so alone, and with whom it clashes otherwise. Nobody is evicted for what was seen red only once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import anyio

from swarm.errors import MachineError
from swarm.events import CulpritSought
from swarm.gating.bisect import Span, Turns, between
from swarm.gating.gate import Gate
from swarm.gating.judging import red_of
from swarm.merging.chain import Chain, Link, Picker
from swarm.merging.patch import Eviction, Patch
from swarm.protocols import EventSink
from swarm.stages import GateReport

_ALL = ""  # stands for the test command where no test has a name
_OUTPUT = 6_000
_MOST_PREFIXES = 4
"""Places of a chain at which it is looked whether something was mended, and broken again."""


@dataclass(slots=True)
class Hunt:
    """How far the proof of a chain has come, of `left` patches on top of the `merged` ones."""

    chain: Chain
    left: Sequence[Patch]
    merged: Sequence[Patch]
    stage: int
    stopped: Callable[[], bool]
    guilty: dict[str, Eviction] = field(default_factory=dict)
    """Whom the searches before this one found."""

    report: GateReport = field(init=False, repr=False)
    """What the gate says of the tip."""

    red: bool = False
    """Whether all of the chain was seen red: by `tests`, none where they have no names."""
    tests: tuple[str, ...] = ()

    known: int = 0
    """Links that are known to hold before the search begins."""

    green: int = 0
    """Links of which it is known by now that they hold."""

    culprits: list[Eviction] = field(default_factory=list)
    ended: bool = True
    """False where the search was stopped before its end."""

    excused: bool = False
    """Whether a test is as red without the chain."""

    verdict: GateReport | None = None
    """That on what is known to hold; `done`: on all of the chain."""
    done: bool = False

    def begin(self, chain: Chain, left: Sequence[Patch]) -> None:
        """Go on with another chain, of those who are left. What a search saw green of the one before is in it."""
        self.chain, self.left, self.verdict = chain, left, None
        self.green = self.green if self.red else 0
        self.red, self.known, self.culprits, self.ended, self.excused = False, 0, [], True, False

    @property
    def last(self) -> int:
        """The place of the tip among the steps."""
        return len(self.chain.steps) - 1


@dataclass(slots=True)
class _Suspect:
    """A step of a chain with which tests turn red; `report` is what showed it, `first` whether it is the first step."""

    at: int
    tests: tuple[str, ...]
    report: GateReport
    first: bool
    alone: GateReport | None = None


class Culprits:
    """Searches chains. `gate` runs the tests."""

    def __init__(self, picker: Picker, gate: Gate, sink: EventSink) -> None:
        self._picker = picker
        self._gate = gate
        self._sink = sink

    async def find(self, hunt: Hunt, tests: tuple[str, ...]) -> None:
        """Find who breaks these tests, or the command where there are none. Who is not found at the end was not there:
        it was luck.

        Raises:
            SandboxError: the gate could not be run.
        """
        tip, names, apart = hunt.chain.tip, tests or (_ALL,), self._gate.apart(tests)
        self._say(hunt, tip, len(hunt.chain.steps), tests)
        if apart:
            await self._hunt(hunt, dict.fromkeys(apart, (-1, hunt.last)), chosen=True)
            if hunt.culprits or not hunt.ended:
                return
            names = await self._red(tip, hunt, names, chosen=False, look=2)  # among all others it may be red
        if names:
            known = sum(step in hunt.chain.links[: hunt.known] for step in hunt.chain.steps) - 1
            await self._hunt(hunt, dict.fromkeys(names, (min(known, hunt.last - 1), hunt.last)), chosen=False)
        if hunt.culprits or not hunt.ended or hunt.excused or not names:
            return
        if apart or await self._red(tip, hunt, names, chosen=False, look=2):
            # Red again and again on the tip, if not on every tree: with the last patch, as far as can be known.
            index = hunt.chain.links.index(hunt.chain.steps[-1])
            self._evict(hunt, index, names, hunt.report)

    async def undone(self, hunt: Hunt, tests: tuple[str, ...]) -> None:
        """Find who broke again what was red before the chain and is red after it, where a patch in it had mended it.

        Raises:
            SandboxError: the gate could not be run.
        """
        steps, apart = hunt.chain.steps, self._gate.apart(tests)
        names, chosen = apart or tests, bool(apart)
        spans: dict[str, Span] = {}
        for at in between(-1, hunt.last, _MOST_PREFIXES):
            if hunt.stopped():
                return
            red = await self._red(steps[at].commit, hunt, names, chosen)
            spans.update({test: (at, hunt.last) for test in names if test not in red})
        if not spans:
            return
        self._say(hunt, hunt.chain.tip, len(steps), tuple(spans))
        turns = Turns(spans)

        async def probe(at: int, wanted: tuple[str, ...]) -> tuple[str, ...]:
            return await self._red(steps[at].commit, hunt, wanted, chosen)

        async def mended(at: int, wanted: tuple[str, ...]) -> tuple[str, ...]:
            red = await self._red(steps[at].commit, hunt, wanted, chosen)
            return tuple(test for test in wanted if test not in red)

        if not await turns.search(probe, hunt.stopped):
            return
        for at, group in _grouped(turns.spans).items():
            red = await self._red(steps[at].commit, hunt, group, chosen, look=2)
            red = tuple(t for t in red if t not in self._gate.flaky)
            if red and (still := await self._red(steps[at - 1].commit, hunt, red, chosen, look=2)):
                red = tuple(test for test in red if test not in still)
            if not red:
                continue
            menders = Turns({test: (-1, turns.spans[test][0]) for test in red})
            await menders.search(mended)
            by = hunt.chain.links.index(steps[max(place for _, place in menders.spans.values())])
            report = await self._look(steps[at].commit, hunt, red, chosen, 2)
            self._evict(hunt, hunt.chain.links.index(steps[at]), red, report, partner=by)

    async def _hunt(self, hunt: Hunt, spans: Mapping[str, Span], *, chosen: bool) -> None:
        """For each test the step with which it turns red, and whether that is to be evicted."""
        steps, turns = hunt.chain.steps, Turns(spans, self._gate.width)
        seen: dict[int, GateReport] = {hunt.last: hunt.report}
        broken: list[MachineError] = []

        def green() -> None:
            lowest = min(place for place, _ in turns.spans.values())
            hunt.green = hunt.chain.links.index(steps[lowest]) + 1 if lowest >= 0 else 0

        def stopped() -> bool:
            green()
            return bool(broken) or hunt.stopped()

        async def probe(at: int, tests: tuple[str, ...]) -> tuple[str, ...]:
            try:
                seen[at] = await self._look(steps[at].commit, hunt, tests, chosen)
            except MachineError as error:  # several are at work: raised again below, outside of their group
                broken.append(error)
                return tests
            return _red(seen[at], tests)

        hunt.ended = await turns.search(probe, stopped)
        green()
        if broken:
            raise broken[0]
        if not hunt.ended:
            return
        suspects = [
            _Suspect(at, tests, seen[at], at == 0 or turns.spans[tests[0]][0] < 0)
            for at, tests in _grouped(turns.spans).items()
        ]
        await self._alone(hunt, suspects, chosen)
        for each in suspects:
            if hunt.stopped():
                hunt.ended = False
                return
            await self._judge(hunt, each, chosen)

    async def _alone(self, hunt: Hunt, suspects: Sequence[_Suspect], chosen: bool) -> None:
        """What each is without those before it that it does not build on, side by side."""
        broken: list[MachineError] = []

        async def look(each: _Suspect, commit: str) -> None:
            try:
                if not hunt.stopped():
                    each.alone = await self._look(commit, hunt, each.tests, chosen)
            except MachineError as error:
                broken.append(error)

        trees = [(each, await self._tree(hunt, (self._index(hunt, each),))) for each in suspects]
        async with anyio.create_task_group() as group:
            for each, commit in trees:
                if commit is not None and self._earlier(hunt, each):
                    group.start_soon(look, each, commit)
        if broken:
            raise broken[0]

    async def _judge(self, hunt: Hunt, each: _Suspect, chosen: bool) -> None:
        """Evict it, unless it was luck, or the fault of one that is evicted already."""
        index, tests, earlier = self._index(hunt, each), each.tests, self._earlier(hunt, each)
        gone = {eviction.patch.subtask_id for eviction in hunt.culprits}
        if any(hunt.chain.links[at].patch.subtask_id in gone for at in _closure(hunt.chain.links, (index,))):
            return  # it builds on that one, and goes with it: what it does by itself is not known
        single = not hunt.last and set(tests) <= {*hunt.report.tests.broken, _ALL}
        if each.first and chosen and not single:  # are they green there by themselves at all?
            before = await self._red(hunt.chain.floor, hunt, tests, chosen)
            tests = tuple(test for test in tests if test not in before)
        if lucky := tuple(test for test in tests if test in self._gate.flaky):
            before = await self._red(hunt.chain.floor, hunt, lucky, chosen, look=2)
            hunt.excused |= bool(before)
            tests = tuple(test for test in tests if test not in before)
        if each.alone is not None and (red := _red(each.alone, tests)):
            self._evict(hunt, index, red, each.alone, alone=True)
            return
        free = [at for at in earlier if hunt.chain.links[at].patch.subtask_id not in gone]
        report: GateReport | None = each.report
        if not single or lucky:
            if free == earlier:
                report = await self._look(hunt.chain.links[index].commit, hunt, tests, chosen, 2) if tests else None
            else:
                commit = await self._tree(hunt, (*free, index)) if free else None
                report = await self._look(commit, hunt, tests, chosen) if commit and tests else None
            tests = _red(report, tests) if report is not None else ()
        if not tests or report is None:
            return
        other = await self._partner(hunt, index, free, tests, chosen) if each.alone is not None and free else None
        self._evict(hunt, index, tests, report, alone=not earlier, partner=other)

    async def _partner(
        self, hunt: Hunt, index: int, earlier: Sequence[int], tests: tuple[str, ...], chosen: bool
    ) -> int | None:
        """The link with which one clashes that is green alone, and red on top of all these `earlier` ones: the last
        without which they are green. None where nobody can know."""
        unknown = False

        async def probe(count: int, _: tuple[str, ...]) -> tuple[str, ...]:
            nonlocal unknown
            commit = await self._tree(hunt, (*earlier[:count], index)) if not hunt.stopped() else None
            unknown = commit is None
            return (_ALL,) if commit is not None and await self._red(commit, hunt, tests, chosen) else ()

        turns = Turns({_ALL: (0, len(earlier))})
        await turns.search(probe, lambda: unknown)
        return None if unknown else earlier[turns.spans[_ALL][1] - 1]

    def _index(self, hunt: Hunt, each: _Suspect) -> int:
        return hunt.chain.links.index(hunt.chain.steps[each.at])

    def _earlier(self, hunt: Hunt, each: _Suspect) -> list[int]:
        """Links before it that changed something, and that it does not build on."""
        links, steps, index = hunt.chain.links, set(hunt.chain.steps), self._index(hunt, each)
        with_it = _closure(links, (index,))
        return [at for at in range(index) if at not in with_it and links[at] in steps]

    async def _tree(self, hunt: Hunt, indices: Sequence[int]) -> str | None:
        """The floor with only these links, and those that they build on; None where they cannot be merged so."""
        links = hunt.chain.links
        chosen = [links[index].patch for index in _closure(links, indices)]
        tried = await self._picker.chain(hunt.chain.floor, chosen, hunt.merged)
        return None if tried.evicted else tried.tip

    async def _look(self, commit: str, hunt: Hunt, tests: tuple[str, ...], chosen: bool, look: int = 1) -> GateReport:
        return await self._gate.search(commit, hunt.stage, tests if chosen else (), look)

    async def _red(
        self, commit: str, hunt: Hunt, tests: tuple[str, ...], chosen: bool, look: int = 1
    ) -> tuple[str, ...]:
        return _red(await self._look(commit, hunt, tests, chosen, look), tests) if tests else ()

    def _evict(
        self,
        hunt: Hunt,
        index: int,
        tests: tuple[str, ...],
        report: GateReport,
        *,
        alone: bool = False,
        partner: int | None = None,
    ) -> None:
        """`alone`: the patch is red by itself. `partner`: the link that it clashes with, where one was found."""
        links = hunt.chain.links
        guilty, names = links[index], tuple(test for test in tests if test != _ALL)
        against = (links[partner].patch.subtask_id,) if partner is not None else ()
        wrong = "" if names else report.reason
        hunt.culprits.append(
            Eviction(
                guilty.patch,
                "alone" if alone else "gate",
                against,
                tests=names,
                output=report.output[-_OUTPUT:],
                wrong=f"the test command{wrong[2:]}" if wrong.startswith("it ") else wrong,
            )
        )
        self._say(hunt, guilty.commit, index + 1, names, guilty.patch.subtask_id)

    def _say(self, hunt: Hunt, commit: str, patches: int, tests: Sequence[str], found: str = "") -> None:
        names = [test for test in tests if test != _ALL]
        self._sink.emit(CulpritSought(stage=hunt.stage, commit=commit, patches=patches, tests=names, found=found))


def _red(report: GateReport, tests: tuple[str, ...]) -> tuple[str, ...]:
    if tests == (_ALL,):
        return tests if report.worse else ()
    return red_of(report, tests)


def _grouped(spans: Mapping[str, Span]) -> dict[int, tuple[str, ...]]:
    """The tests that turn red with each step, in the order of the steps."""
    found: defaultdict[int, list[str]] = defaultdict(list)
    for test, (_, red) in spans.items():
        found[red].append(test)
    return {at: tuple(found[at]) for at in sorted(found)}


def _closure(links: Sequence[Link], indices: Sequence[int]) -> tuple[int, ...]:
    """These links with those that they build on, in the chain's order."""
    place = {link.patch.subtask_id: index for index, link in enumerate(links)}
    found: set[int] = set()
    todo = list(indices)
    while todo:
        at = todo.pop()
        if at not in found:
            found.add(at)
            todo += [place[other] for need in links[at].patch.needs for other in need if other in place]
    return tuple(sorted(found))
