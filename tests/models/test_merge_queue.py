"""The merge queue beside the one on paper: patches of several stages, in whatever order they arrive, with a gate that
is red where it should be, that breaks, and with a run that is stopped. Over trees on paper, and over real git."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import anyio
from anyio.lowlevel import checkpoint
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from swarm.errors import SandboxError
from swarm.events import MergeTried, PatchMerged
from swarm.gating.gate import Gate
from swarm.merging.queue import MergeQueue, Settled
from swarm.protocols import Repository
from swarm.stages import Change, GateReport, GateTests, Harvest, Merged, StageReport
from swarm.testing import RecordingSink
from swarm.testing.simulated_loop import Order, SimulatedLoop, by_bytes
from swarm.types import AgentResult, Outcome, Plan, SubTask
from tests.effort import examples
from tests.integration.stores import Store, open_store
from tests.models.paper_merge import SLOTS, PaperPatch, PaperRepository, Tree, lines_of, merged, red

T = TypeVar("T")

WORDS = [f"word{n}" for n in range(5)]
BASE: Tree = {name: tuple(f"{name}{n}" for n in range(SLOTS)) for name in ("a.txt", "b.txt", "c.txt")}
edits = st.tuples(st.sampled_from([*BASE, "new.txt"]), st.integers(0, SLOTS - 1), st.sampled_from(WORDS))
tests = st.dictionaries(
    st.sampled_from(["one", "two", "three"]), st.frozensets(st.sampled_from(WORDS), min_size=1, max_size=2), max_size=3
)


@dataclass
class PaperGate:
    """Runs tests on trees. At its run number `trouble` it does what `end` says."""

    trees: Any
    tests: dict[str, frozenset[str]]
    trouble: int = -1
    end: Any = None
    base: GateReport | None = None
    width: int = 1
    runs: int = 0

    def __post_init__(self) -> None:
        self.flaky: set[str] = set()

    async def run(self, commit: str | None, stage: int) -> GateReport:
        self.runs += 1
        number = self.runs
        await checkpoint()
        if number == self.trouble:
            await self.end()
        failed = tuple(sorted(red(self.trees(commit), self.tests)))
        found = GateTests(failed=failed, broken=failed, runner="it")
        return GateReport("test", int(bool(failed)), f"red: {failed}", False, 0.1, found, worse=bool(failed))

    async def check(self, commit: str, stage: int, tests: Sequence[str]) -> GateReport | None:
        return None

    def apart(self, tests: Sequence[str]) -> tuple[str, ...]:
        return ()

    async def search(self, commit: str, stage: int, tests: Sequence[str] = (), look: int = 1) -> GateReport:
        return await self.run(commit, stage)

    def lucky(self, commit: str, stage: int, tests: Sequence[str]) -> GateReport:
        raise AssertionError("nothing here is red by luck")


class Merges(RuleBasedStateMachine):
    """Over trees on paper, on a simulated loop."""

    @initialize(
        tests=tests, width=st.integers(1, 3), gated=st.sampled_from([True, True, False]), loop=st.binary(max_size=8)
    )
    def begin(self, tests: dict[str, frozenset[str]], width: int, gated: bool, loop: bytes) -> None:
        self.open(by_bytes(loop))
        self.tests, self.width, self.gated, self.number = tests, width, gated, 0
        self.another_run()

    def another_run(self) -> None:
        self.sink, self.stop, self.halt = RecordingSink(), anyio.Event(), anyio.Event()
        self.gate = PaperGate(self.tree, self.tests, width=self.width) if self.gated else None
        gate = cast(Gate, self.gate) if self.gate else None
        self.queue = MergeQueue(self.repository, self.sink, self.stop, gate, halt=self.halt)
        self.floor, self.earlier = self.repository.base, list[StageReport]()
        self.patches, self.results = list[PaperPatch](), list[AgentResult]()

    # what the machine over real git does in its own way

    def open(self, loop: Order) -> None:
        self.runner = asyncio.Runner(loop_factory=lambda: SimulatedLoop(loop))
        self.paper = PaperRepository({"base": BASE})
        self.repository = cast(Repository, self.paper)

    def tree(self, commit: str) -> Tree:
        return self.paper.trees[commit]

    def commit(self, tree: Tree) -> str:
        return self.paper.commit(tree, self.floor)

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return self.runner.run(work())

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.runner.close()

    # rules

    @precondition(lambda self: len(self.patches) < 6)
    @rule(data=st.data(), changed=st.lists(edits, min_size=1, max_size=4))
    def patch(self, data: st.DataObject, changed: list[tuple[str, int, str]]) -> None:
        """A sub-agent's work. It changes only what nobody has in the stages before: a word that is there stays."""
        old = self.tree(self.floor)
        new = dict(old)
        for file, slot, word in changed:
            if file == "new.txt":
                new.setdefault(file, tuple([word] * SLOTS))
            elif old[file][slot] == BASE[file][slot]:
                new[file] = (*new[file][:slot], word, *new[file][slot + 1 :])
        if new == old:
            return
        self.number += 1
        name, there = f"p{self.number}", [patch.name for patch in self.patches]
        needs = data.draw(st.frozensets(st.sampled_from(there), max_size=2)) if there else frozenset()
        commit = self.commit(new)

        async def changed_there() -> Sequence[Change]:
            return await self.repository.changes(commit)

        changes = self.run(changed_there)
        self.patches.append(PaperPatch(name, len(self.patches), old, new, changes, needs))
        self.results.append(AgentResult(name, name, Outcome.COMPLETED, "done", "submitted", keep=True, commit=commit))

    @precondition(lambda self: self.patches)
    @rule(data=st.data(), streamed=st.booleans())
    def settle(self, data: st.DataObject, streamed: bool) -> None:
        found = self._settle(data, streamed)
        wanted, inside, out = merged(self.tree(self.floor), self.patches, self.gate.tests if self.gate else {})
        assert self.tree(found.commit) == wanted
        assert [patch.subtask_id for patch in found.merged] == inside
        kinds = {
            each.patch.subtask_id: {"gate": "red", "alone": "red"}.get(each.kind, each.kind) for each in found.evicted
        }
        assert kinds == out
        assert found.fault is None, found.fault
        if self.gate is not None and found.report is not None:
            assert found.report.passed is not bool(red(wanted, self.gate.tests))
        for each in found.evicted:
            if each.kind == "alone":  # but for those that it builds on
                assert self.gate is not None
                own = [patch for patch in self.patches if patch.name in self._with_needs(each.patch.subtask_id)]
                assert red(merged(self.tree(self.floor), own, {})[0], self.gate.tests)
        self._next(found)

    @precondition(lambda self: self.patches and self.gate)
    @rule(data=st.data(), at=st.integers(1, 9), how=st.sampled_from(["breaks", "stopped", "halted"]))
    def settle_in_trouble(self, data: st.DataObject, at: int, how: str) -> None:
        """The gate breaks, or the run is stopped while it is at work: what is merged is what it seems, and green as far
        as anybody has seen."""
        assert self.gate is not None
        gate = self.gate
        self.gate.trouble = self.gate.runs + at

        async def end() -> None:
            if how == "breaks":
                raise SandboxError("no room for a sandbox")
            (self.stop if how == "stopped" else self.halt).set()
            if how == "halted":
                await anyio.sleep(1.0)

        self.gate.end = end
        found = self._settle(data, streamed=False)
        met = gate.runs >= gate.trouble
        assert (found.fault is not None) is (met and how == "breaks")
        names = [patch.subtask_id for patch in found.merged]
        tree, inside, _ = merged(self.tree(self.floor), [p for p in self.patches if p.name in names], {})
        assert self.tree(found.commit) == tree
        assert sorted(inside) == sorted(names)
        if found.report is not None and found.merged:
            assert found.report.passed
            assert not red(tree, gate.tests)
        if any(each.kind == "untested" and each.red for each in found.evicted):
            assert not red(tree, gate.tests), "more is merged than was seen green"
        assert not any(patch.needs - set(names) for patch in self.patches if patch.name in names)
        self.another_run()

    def _with_needs(self, name: str) -> set[str]:
        mine = next(patch for patch in self.patches if patch.name == name)
        return {name}.union(*(self._with_needs(need) for need in mine.needs))

    def _settle(self, data: st.DataObject, streamed: bool) -> Settled:
        plan = Plan(
            subtasks=tuple(
                SubTask(id=each.name, title=each.name, instructions="x", depends_on=tuple(sorted(each.needs)))
                for each in self.patches
            )
        )
        came = data.draw(st.permutations(self.results))
        harvest = Harvest(plan, tuple(came), self.floor, tuple(self.earlier))

        async def work() -> Settled:
            if streamed:
                async with self.queue.trials(plan, harvest.stage, self.floor) as arrived:
                    for result in came:
                        arrived(result)
                        await checkpoint()
            return await self.queue.settle(harvest)

        self.sink.events.clear()
        found = self.run(work)
        if streamed:
            assert [event.subtask_id for event in self.sink.of(MergeTried)] == [result.subtask_id for result in came]
        names = [patch.subtask_id for patch in found.merged] + [each.patch.subtask_id for each in found.evicted]
        assert sorted(names) == sorted(each.name for each in self.patches), "lost, or there twice"
        said = {event.subtask_id: event.merged for event in self.sink.of(PatchMerged)}
        assert said == {name: name in {patch.subtask_id for patch in found.merged} for name in names}
        self.plan = plan
        return found

    def _next(self, found: Settled) -> None:
        self.earlier.append(StageReport(len(self.earlier) + 1, self.plan, (), Merged(""), None))
        self.floor = found.commit
        self.patches, self.results = [], []


class GitMerges(Merges):
    """Over real git."""

    def open(self, loop: Order) -> None:
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.store: Store = open_store(Path(self.folder.name), lines_of(BASE))
        self.repository = self.store.repository

    def tree(self, commit: str) -> Tree:
        """Only slots: what is between them is as it was."""
        found: Tree = {}
        for name, text in self.store.tree(commit).items():
            lines = text.splitlines()
            found[name] = tuple(lines[::7])
            assert lines == lines_of({name: found[name]})[name].splitlines()
        return found

    def commit(self, tree: Tree) -> str:
        return self.store.commit(lines_of(tree), self.floor)

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "folder"):
            self.folder.cleanup()


Merges.TestCase.settings = settings(max_examples=examples(50), stateful_step_count=16)
TestMerges = Merges.TestCase
GitMerges.TestCase.settings = settings(max_examples=examples(2), stateful_step_count=6)
TestGitMerges = GitMerges.TestCase
