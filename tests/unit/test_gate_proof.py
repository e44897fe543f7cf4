"""A chain is proven: who is evicted, for which tests, and after how many runs of the gate. Trees are told by the names
of the patches in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import cast

import anyio
import pytest

from swarm.errors import MachineError, SandboxError
from swarm.gating.affected import Affected, Touched
from swarm.gating.gate import Gate as RealGate
from swarm.gating.judging import by_luck
from swarm.merging.chain import Picker
from swarm.merging.patch import Patch
from swarm.merging.proof import Proven, Prover
from swarm.protocols import Repository
from swarm.stages import Change, GateReport, GateTests, Picked
from swarm.testing import RecordingSink

pytestmark = pytest.mark.anyio

Red = Callable[[set[str], int, tuple[str, ...]], Sequence[str]]
"""The tests that are red on a tree that holds these patches, at the n-th look at it, with these tests chosen."""


class Trees:
    async def pick(self, onto: str, commit: str, *, message: str, author: str) -> Picked:
        return Picked(f"{onto} {commit}")


class Gate:
    """Its tests are red by a function; a verdict that is red is looked at twice, as the real one does."""

    width = 2

    def __init__(self, red: Red, *, chooses: bool = False, named: bool = True, before: Sequence[str] = ()) -> None:
        self.flaky: set[str] = set()
        self.runs: Counter[str] = Counter()
        self.base: GateReport | None = None
        self._red, self._chooses, self._named = red, chooses, named
        self._known: dict[tuple[str, tuple[str, ...], int], GateReport] = {}
        self._before = before
        self.base = self._look("base", 1, ())

    async def run(self, commit: str | None, stage: int) -> GateReport:
        report = self._look(commit or "", 1, ())
        if report.worse:
            again = self._look(commit or "", 2, ())
            lucky = [name for name in report.tests.failed if name not in again.tests.failed]
            report = by_luck(report, lucky, self.base) if lucky else report
        return report

    async def check(self, commit: str, stage: int, tests: Sequence[str]) -> GateReport | None:
        return self._look(commit, 1, tuple(tests))

    def apart(self, tests: Sequence[str]) -> tuple[str, ...]:
        return tuple(tests) if self._chooses else ()

    async def search(self, commit: str, stage: int, tests: Sequence[str] = (), look: int = 1) -> GateReport:
        await anyio.lowlevel.checkpoint()
        return self._look(commit, 10 + look if look > 1 else 1, tuple(tests))

    def lucky(self, commit: str, stage: int, tests: Sequence[str]) -> GateReport:
        self.flaky.update(tests)
        return by_luck(self._known[commit, (), 1], tests, self.base)

    def _look(self, commit: str, look: int, tests: tuple[str, ...]) -> GateReport:
        key = commit, tests, look
        if key not in self._known:
            self.runs[commit] += 1
            failed = tuple(self._red(set(commit.split()) - {"base"}, self.runs[commit], tests))
            new = tuple(name for name in failed if name not in self._before)
            told = GateTests(failed, new, runner="it") if self._named else GateTests()
            code, worse = int(bool(failed)), bool(new) and commit != "base"
            out = f"red: {failed}"
            self._known[key] = GateReport("t", code, out, False, 0.0, told, base_passed=not self._before, worse=worse)
        return self._known[key]


def patches(*names: str) -> list[Patch]:
    return [Patch(name, name, name, name, changes=(Change(name, 1),), place=n) for n, name in enumerate(names)]


def prover(gate: Gate, affected: Affected | None = None) -> Prover:
    return Prover(Picker(cast(Repository, Trees())), cast(RealGate, gate), RecordingSink(), "base", affected)


async def prove(gate: Gate, names: str, floor: str = "base", **events: anyio.Event) -> Proven:
    return await prover(gate).prove(floor, patches(*names.split()), (), 1, events.get("stop"), events.get("halt"))


def told(proven: Proven) -> dict[str, str]:
    return {each.patch.subtask_id: " ".join((each.kind, *each.against, *each.tests)) for each in proven.evicted}


def merged(proven: Proven) -> str:
    return " ".join(link.patch.subtask_id for link in proven.chain.links)


async def test_many_culprits_are_found_in_one_search_each_with_its_own_tests() -> None:
    bad = [f"p{n:02}" for n in range(18)]
    gate = Gate(lambda tree, look, tests: [f"t-{name}" for name in bad if name in tree])
    found = await prove(gate, " ".join((*bad, "q1", "q2", "q3", "q4")))
    assert (merged(found), found.report and found.report.passed) == ("q1 q2 q3 q4", True)
    assert told(found) == {name: f"alone t-{name}" for name in bad}
    assert {each.output for each in found.evicted} == {f"red: ('t-{name}',)" for name in bad}
    assert gate.runs.total() <= 41


async def test_what_clashes_only_with_an_evicted_patch_stays() -> None:
    def red(tree: set[str], look: int, tests: tuple[str, ...]) -> list[str]:
        return [*(["own"] if "b" in tree else []), *(["both"] if {"b", "d"} <= tree else [])]

    found = await prove(Gate(red), "a b c d e")
    assert (merged(found), told(found)) == ("a c d e", {"b": "alone own"})
    clash = await prove(Gate(lambda tree, look, tests: ["both"] if {"b", "d"} <= tree else []), "a b c d e")
    assert (merged(clash), told(clash)) == ("a b c e", {"d": "gate b both"})


async def test_more_nameless_culprits_than_are_looked_for_leave_what_is_green() -> None:
    bad = [f"p{n:02}" for n in range(20)]
    gate = Gate(lambda tree, look, tests: ["x"] if tree & set(bad) else [], named=False)
    found = await prove(gate, " ".join((*bad, "q1", "q2")))
    assert merged(found) == "q1 q2"
    assert Counter(each.kind for each in found.evicted) == {"alone": 16, "untested": 4}


async def test_red_twice_and_never_again_evicts_nobody() -> None:
    gate = Gate(lambda tree, look, tests: ["luck"] if tree == {"a", "b", "c"} and look < 3 else [])
    found = await prove(gate, "a b c")
    assert (merged(found), told(found), gate.flaky) == ("a b c", {}, {"luck"})
    assert found.report is not None
    assert (found.report.passed, found.report.tests.flaky) == (True, ("luck",))


def lucky(*, before: bool) -> Red:
    def red(tree: set[str], look: int, tests: tuple[str, ...]) -> list[str]:
        return ["luck"] if tree or (before and look > 1) else []

    return red


async def test_what_is_known_to_be_flaky_is_looked_at_without_the_patch() -> None:
    for names, before in (("", False), ("a", True)):
        gate = Gate(lucky(before=before))
        gate.flaky.add("luck")
        found = await prove(gate, "a")
        assert (merged(found), told(found)) == (names, {} if before else {"a": "alone luck"})


async def test_tests_that_need_others_are_not_blamed_on_those_who_do_not_break_them() -> None:
    class Reached:
        async def between(self, old: str, new: str) -> Touched:
            return Touched(("late",), of=9)

    gate = Gate(lambda tree, look, tests: ["late"] if tests else [], chooses=True)
    found = await prover(gate, cast(Affected, Reached())).prove("base", patches("a", "b"), (), 1)
    assert (merged(found), told(found), gate.runs.total()) == ("a b", {}, 4)
    always = Gate(lambda tree, look, tests: ["late"] if "b" in tree or tests else [], chooses=True)
    found = await prove(always, "a b c")
    assert (merged(found), told(found)) == ("a c", {"b": "alone late"}), "the whole command finds it"


async def test_who_breaks_again_what_was_mended_is_found() -> None:
    def red(tree: set[str], look: int, tests: tuple[str, ...]) -> list[str]:
        return [] if "fix" in tree and "undo" not in tree else ["old"]

    gate = Gate(red, before=("old",))
    later = await prove(gate, "other undo", floor="base fix")
    assert (merged(later), told(later)) == ("other", {"undo": "alone old"})
    for chooses in (False, True):
        gate = Gate(red, before=("old",), chooses=chooses)
        found = await prove(gate, "a fix b undo c")
        assert (merged(found), told(found)) == ("a fix b c", {"undo": "gate fix old"})
    never = Gate(lambda tree, look, tests: ["old"], before=("old",))
    assert merged(await prove(never, "a b c d e f g h")) == "a b c d e f g h"
    assert never.runs.total() <= 6


@pytest.mark.parametrize("by", ["stop", "halt", "fault"])
async def test_what_is_known_when_the_proof_is_ended_is_kept(by: str) -> None:
    stop, halt = anyio.Event(), anyio.Event()

    class Ending(Gate):
        async def search(self, commit: str, stage: int, tests: Sequence[str] = (), look: int = 1) -> GateReport:
            if "d" in commit:  # the second time it is looked for a culprit
                {"stop": stop, "halt": halt}.get(by, anyio.Event()).set()
                await anyio.lowlevel.checkpoint()
                if by == "fault":
                    raise SandboxError("no room")
            return await super().search(commit, stage, tests, look)

    gate = Ending(lambda tree, look, tests: ["x"] if "e" in tree else [])
    gate.width = 1
    found = await prove(gate, "a b c d e f", stop=stop, halt=halt)
    assert (merged(found), found.red) == ("a b c" if by != "stop" else "a b c d", True)
    assert {each.kind for each in found.evicted} == {"untested"}
    assert [each.subtask_id for each in found.rest] == ["d", "e", "f"][by == "stop" :]
    assert isinstance(found.fault, MachineError) == (by == "fault")


async def test_without_a_patch_nothing_is_tested() -> None:
    gate = Gate(lambda tree, look, tests: ["x"])
    none = await prove(gate, "")
    assert (none.chain.links, none.evicted, none.report, gate.runs.total()) == ((), (), None, 1)
