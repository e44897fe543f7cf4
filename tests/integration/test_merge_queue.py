"""The merge queue over real git: forced conflicts, and a gate that is red."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import anyio
import pytest

from swarm.errors import SandboxError
from swarm.events import CulpritSought, PatchMerged
from swarm.gating.gate import Gate as RealGate
from swarm.merging.patch import Eviction, Patch
from swarm.merging.queue import MergeQueue
from swarm.merging.repairs import Repaired
from swarm.stages import GateReport, GateTests
from swarm.testing import RecordingSink
from swarm.types import Plan
from tests.integration.stores import BASE, Store, harvest, open_store, settled

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path)


def edit(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


async def test_small_ones_go_first_and_each_is_one_commit_of_its_author(store: Store) -> None:
    big = {**BASE, "a.txt": "".join(f"new {n}\n" for n in range(40))}
    small = {**BASE, "b.txt": edit(str(BASE["b.txt"]), "line 3", "line three")}
    found = await settled(store, harvest({"big": store.commit(big), "small": store.commit(small)}))
    log = [line.split("|") for line in store.log(found.commit)]
    assert [line[:3] for line in log] == [["do small", "small", "small"], ["do big", "big", "big"]]
    assert [line[3].count(" ") for line in log] == [0, 0]


async def test_one_moves_what_another_edits(store: Store) -> None:
    moved = {name: text for name, text in BASE.items() if name != "a.txt"} | {"z.txt": BASE["a.txt"]}
    edited = {**BASE, "a.txt": edit(str(BASE["a.txt"]), "line 5\n", "line five\n")}
    found = await settled(store, harvest({"mover": store.commit(moved), "editor": store.commit(edited)}))
    assert not found.evicted
    final = store.tree(found.commit)
    assert "a.txt" not in final
    assert "line five" in final["z.txt"]


@pytest.mark.parametrize(
    ("one", "other", "file", "said"),
    [
        pytest.param({"a.txt": edit(str(BASE["a.txt"]), "line 5\n", "ONE\n")},
                     {"a.txt": edit(str(BASE["a.txt"]), "line 5\n", "TWO\nTWO\n")}, "a.txt", "content", id="one line"),
        pytest.param({"a.txt": None}, {"a.txt": edit(str(BASE["a.txt"]), "line 5\n", "TWO\n")},
                     "a.txt", "modify/delete", id="deleted and edited"),
        pytest.param({"n.txt": "one\n"}, {"n.txt": "two\ntwo\n"}, "n.txt", "add/add", id="both add"),
        pytest.param({"bin": b"\0one"}, {"bin": b"\0two" * 99}, "bin", "", id="both add binary"),
    ],
)  # fmt: skip
async def test_conflicts_evict_the_later_one_with_files_and_the_other_side(
    store: Store, one: dict[str, str | bytes | None], other: dict[str, str | bytes | None], file: str, said: str
) -> None:
    patches = {}
    for name, change in (("one", one), ("other", other)):
        tree = {key: value for key, value in {**BASE, **change}.items() if value is not None}
        patches[name] = store.commit(tree)
    sink = RecordingSink()
    found = await settled(store, harvest(patches), sink=sink)
    [eviction] = found.evicted
    [kept] = found.merged
    assert (eviction.kind, eviction.conflicts, eviction.against) == ("conflict", (file,), (kept.subtask_id,))
    assert any(said in note for note in eviction.notes)
    events = {event.subtask_id: event for event in sink.of(PatchMerged)}
    assert not events[eviction.patch.subtask_id].merged
    assert file in events[eviction.patch.subtask_id].reason
    assert events[kept.subtask_id].commit == found.commit


async def test_modes_that_differ_conflict_and_the_same_change_twice_does_not(store: Store) -> None:
    script = {**BASE, "run.sh": "echo\n"}
    plain, executable = store.commit(script), store.commit(script, modes={"run.sh": "100755"})
    found = await settled(store, harvest({"x": executable, "y": plain}))
    assert [each.conflicts for each in found.evicted] == [("run.sh",)]
    same = await settled(store, harvest({"x": plain, "y": plain}))
    assert not same.evicted
    assert len(store.log(same.commit)) == 1


async def test_what_builds_on_an_evicted_patch_is_held_back(store: Store) -> None:
    text = str(BASE["a.txt"])
    small = store.commit({**BASE, "a.txt": edit(text, "line 5\n", "ONE\n")})
    tree = {**BASE, "a.txt": edit(text, "line 5\n", "TWO\nTWO\n")}
    lost = store.commit(tree)
    after = store.commit({**tree, "b.txt": "uses TWO\n"}, parent=lost)
    found = await settled(store, harvest({"small": small, "lost": lost, "after": after}, {"after": ["lost"]}))
    assert {each.patch.subtask_id: each.kind for each in found.evicted} == {"lost": "conflict", "after": "held"}
    assert "builds on lost" in found.reasons["after"]


# -- the gate ----------------------------------------------------------------------------------------------------------


class Gate:
    """Tests by name, each a function of the tree; the base passes all."""

    width = 1

    def __init__(self, store: Store, **tests: str) -> None:
        self.base: GateReport | None = None
        self.flaky: set[str] = set()
        self._store = store
        self._tests = tests  # red where the tree holds all of these words
        self.runs = 0

    async def run(self, commit: str | None, stage: int) -> GateReport:
        self.runs += 1
        words = " ".join(self._store.tree(commit or "").values())
        failed = tuple(name for name, bad in self._tests.items() if all(word in words for word in bad.split()))
        tests = GateTests(failed=failed, broken=failed, runner="it")
        return GateReport("test", int(bool(failed)), f"red: {failed}", False, 0.1, tests, worse=bool(failed))

    async def check(self, commit: str, stage: int, tests: Sequence[str]) -> GateReport | None:
        return None

    def apart(self, tests: Sequence[str]) -> tuple[str, ...]:
        return ()

    async def search(self, commit: str, stage: int, tests: Sequence[str] = (), look: int = 1) -> GateReport:
        return await self.run(commit, stage)

    def lucky(self, commit: str, stage: int, tests: Sequence[str]) -> GateReport:
        raise NotImplementedError


def apart(store: Store, number: int) -> dict[str, str]:
    return {f"t{n:02}": store.commit({**BASE, f"n{n:02}.txt": f"word{n:02}\n" * (n + 1)}) for n in range(number)}


async def test_bisection_names_who_breaks_what_and_with_whom(store: Store) -> None:
    gate, sink = Gate(store, alone="word05", together="word02 word09"), RecordingSink()
    found = await settled(store, harvest(apart(store, 16)), cast(RealGate, gate), sink)
    evicted = {each.patch.subtask_id: each for each in found.evicted}
    assert set(evicted) == {"t05", "t09"}
    assert (evicted["t05"].kind, evicted["t05"].tests) == ("alone", ("alone",))
    assert (evicted["t09"].kind, evicted["t09"].against, evicted["t09"].tests) == ("gate", ("t02",), ("together",))
    assert "semantic conflict with t02" in found.reasons["t09"]
    assert found.report is not None
    assert found.report.passed
    assert len(found.merged) == 14
    assert [event.found for event in sink.of(CulpritSought) if event.found] == ["t05", "t09"]
    assert gate.runs < 25


async def test_what_builds_on_a_culprit_is_held_back_whatever_breaks_with_both(store: Store) -> None:
    first = {**BASE, "n.txt": "bad\n"}
    below = store.commit(first)
    above = store.commit({**first, "m.txt": "other\n"}, parent=below)
    gate = cast(RealGate, Gate(store, one="bad", two="bad other"))
    found = await settled(store, harvest({"p": below, "q": above}, {"q": ["p"]}), gate)
    assert {each.patch.subtask_id: each.kind for each in found.evicted} == {"p": "alone", "q": "held"}


async def test_a_gate_that_cannot_be_run_leaves_what_applies_and_the_fault(store: Store) -> None:
    class Broken(Gate):
        width = 3

        async def run(self, commit: str | None, stage: int) -> GateReport:
            raise SandboxError("no room for a sandbox")

    found = await settled(store, harvest(apart(store, 6)), cast(RealGate, Broken(store)))
    assert (len(found.merged), found.report) == (6, None)
    assert isinstance(found.fault, SandboxError)


async def test_what_was_seen_red_is_not_merged_where_the_culprit_cannot_be_found(store: Store) -> None:
    class Broken(Gate):
        width = 3

        async def search(self, commit: str, stage: int, tests: Sequence[str] = (), look: int = 1) -> GateReport:
            raise SandboxError("no room for a sandbox")

    found = await settled(store, harvest(apart(store, 6)), cast(RealGate, Broken(store, all="word03")))
    assert (found.commit, found.merged) == (store.repository.base, ())
    assert isinstance(found.fault, SandboxError)
    assert "the tests are red on what was merged with it" in found.reasons["t00"]


async def test_stopped_in_the_search_it_merges_what_was_seen_green(store: Store) -> None:
    stop = anyio.Event()

    class Stopping(Gate):
        async def search(self, commit: str, stage: int, tests: Sequence[str] = (), look: int = 1) -> GateReport:
            stop.set()
            return await super().search(commit, stage, tests, look)

    gate = Stopping(store, one="word03", two="word05")
    queue = MergeQueue(store.repository, RecordingSink(), stop, cast(RealGate, gate), halt=anyio.Event())
    found = await queue.settle(harvest(apart(store, 6)))
    assert {each.subtask_id for each in found.merged} <= {"t00", "t01", "t02"}
    assert {each.kind for each in found.evicted} <= {"alone", "gate", "untested"}
    assert gate.runs < 6


@pytest.mark.parametrize("verdict", ["halted", "broken"])
async def test_a_repair_that_could_not_be_tested_is_not_put_on_what_was_seen_green(store: Store, verdict: str) -> None:
    halt = anyio.Event()

    class Ending(Gate):
        async def run(self, commit: str | None, stage: int) -> GateReport:
            if repairs.asked:
                if verdict == "broken":
                    raise SandboxError("no room for a sandbox")
                halt.set()
                await anyio.sleep_forever()
            return await super().run(commit, stage)

    class Mended:
        """Stands for the repair sub-agents: the patch of another sub-task with a word less."""

        asked = False

        def next(self, evicted: Sequence[Eviction]) -> Sequence[Eviction]:
            return [] if self.asked else evicted

        async def run(
            self, wave: Sequence[Eviction], tip: str, stage: int, merged: Sequence[Patch], plan: Plan
        ) -> Repaired:
            self.asked = True
            made = store.commit({**BASE, "n.txt": "mended\n"})
            return Repaired([replace(wave[0].patch, commit=made, repair="r", repairs=1)], count=1)

    repairs = Mended()
    ending = cast(RealGate, Ending(store, all="word02"))
    queue = MergeQueue(store.repository, RecordingSink(), anyio.Event(), ending, halt=halt)
    queue._repairs = repairs  # type: ignore[assignment]  # a whole crew is beside the point
    found = await queue.settle(harvest(apart(store, 3)))
    assert [each.subtask_id for each in found.merged] == ["t00", "t01"]
    assert found.report is not None
    assert found.report.passed
    [left] = found.evicted
    assert (left.kind, left.patch.repair) == ("untested", "r")
    assert "before all tests were run with it" in left.reason


async def test_stopped_while_testing_it_merges_what_applies(store: Store) -> None:
    stop = anyio.Event()

    class Stopping(Gate):
        async def run(self, commit: str | None, stage: int) -> GateReport:
            stop.set()
            await anyio.sleep_forever()
            raise AssertionError

    queue = MergeQueue(store.repository, RecordingSink(), stop, cast(RealGate, Stopping(store)))
    found = await queue.settle(harvest(apart(store, 3)))
    assert (len(found.merged), found.report, found.evicted) == (3, None, ())
