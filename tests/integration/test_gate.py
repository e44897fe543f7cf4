"""The gate over real trees, real pytest and real processes."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from swarm.errors import SandboxError
from swarm.events import ANY_EVENT, Event, GateFinished, GateStarted, Notice
from swarm.gating.affected import Affected
from swarm.gating.gate import Gate
from swarm.gating.judging import red_of
from swarm.journal.artifacts import Artifacts
from swarm.journal.past import Past
from swarm.journal.redaction import Redactor
from swarm.places.pool import Pool, open_pool
from swarm.places.shown import Showing, Shown
from swarm.places.workshop import Workshop
from swarm.protocols import Sandbox
from swarm.sandboxes.copies.layers import Layers
from swarm.sandboxes.git.repository import GitRepository
from swarm.sandboxes.git.workspace import snapshot
from swarm.sandboxes.process import ProcessBackend
from swarm.types import SandboxRequest
from tests.integration.checkouts import make_repository, put
from tests.integration.conftest import Cli, Files, Script, plan, submit, subtask, use

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_configuration")]

MakeRepo = Callable[[Files], Path]
PYTEST = f"PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 {shlex.quote(sys.executable)} -m pytest -q -p no:cacheprovider"
GOOD = "def test_a(): pass\ndef test_b(): pass\n"
ONE_RED = "def test_a(): assert 0\ndef test_b(): pass\n"
TWO_RED = "def test_a(): assert 0\ndef test_b(): assert 0\n"
LUCK = """
from pathlib import Path
def test_luck():
    been = Path({marker!r}, "been")
    if not been.exists():
        been.touch()
        raise OSError("the first time it fails")
"""


class Sink:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(ANY_EVENT.validate_json(event.model_dump_json()))

    async def flush(self) -> None:
        pass

    @property
    def runs(self) -> int:
        return sum(isinstance(event, GateStarted) for event in self.events)

    @property
    def last(self) -> GateFinished:
        return [event for event in self.events if isinstance(event, GateFinished)][-1]


class Dying(ProcessBackend):
    """A backend whose sandboxes die of the first commands."""

    deaths = 0

    @asynccontextmanager
    async def open(self, request: SandboxRequest) -> AsyncIterator[Sandbox]:  # type: ignore[override]  # a wider one
        if self.deaths:
            self.deaths -= 1
            raise SandboxError("it died")
        async with super().open(request) as sandbox:
            yield sandbox


class Bench(NamedTuple):
    tree: GitRepository
    pool: Pool
    backend: Dying
    sink: Sink
    artifacts: Path

    def gate(self, command: str = PYTEST, timeout: float = 60) -> Gate:
        """A gate that knows what the ones before it have on record."""
        artifacts = Artifacts(self.artifacts, Redactor({}))
        return Gate(command, timeout, self.pool, self.sink, Past(self.sink.events), artifacts)

    async def commit(self, files: Mapping[str, str], onto: str | None = None) -> str:
        async with self.pool.workshop.copy(onto or self.tree.base) as copy:
            put(copy.tree, {name: text.encode() for name, text in files.items()})
            captured = await self.tree.capture(copy.tree, onto or self.tree.base, author="a", message="m")
        assert captured.commit
        return captured.commit


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    lease = tmp_path / "lease"
    lease.mkdir()
    tree = await snapshot(make_repository(tmp_path / "repo", {"test_it.py": GOOD.encode()}), tmp_path / "store")
    backend = Dying()
    shown = Showing.of(Shown({"PATH": "/usr/bin:/bin"}))
    workshop = Workshop("run", lease, backend, Layers(lease, tree), tree, "/workspace", shown)
    async with open_pool(workshop, 2) as pool:
        yield Bench(tree, pool, backend, Sink(), tmp_path / "artifacts")


async def test_what_was_red_before_is_not_blamed_on_anybody(bench: Bench) -> None:
    red = await bench.commit({"test_it.py": ONE_RED, "test_more.py": "import missing_module\n"})
    gate = bench.gate(f"{PYTEST} --continue-on-collection-errors")
    base = await gate.run(red, 0)
    assert (base.passed, base.worse, base.tests.failed) == (False, False, ("test_it.py::test_a", "test_more.py"))
    assert bench.sink.runs == 2, "what is red on the base is run once more: is it luck?"

    better = await bench.commit({"test_more.py": "def test_new(): assert 0\n"}, red)
    report = await gate.run(better, 1)
    assert (report.passed, report.worse, report.base_passed) == (False, False, False)
    assert report.tests.broken == ()
    worse = await bench.commit({"test_it.py": TWO_RED, "test_more.py": "def test_new(): pass\n"}, red)
    report = await gate.run(worse, 1)
    assert (report.worse, report.tests.broken, report.tests.fixed) == (True, ("test_it.py::test_b",), ("test_more.py",))
    assert bench.sink.last.attempt == 2
    assert bench.sink.last.broken == ["test_it.py::test_b"]
    whole = (bench.artifacts / f"{report.artifact}.txt").read_text()
    assert "def test_b(): assert 0" in whole

    before = bench.sink.runs
    again = bench.gate(gate.command)  # of a resumed run
    assert (await again.run(red, 0), await again.run(worse, 1)) == (base, report)
    assert bench.sink.runs == before


async def test_what_is_green_when_it_is_run_once_more_is_flaky(bench: Bench, tmp_path: Path) -> None:
    gate = bench.gate()
    assert (await gate.run(bench.tree.base, 0)).passed
    luck = await bench.commit({"test_luck.py": LUCK.format(marker=str(tmp_path))})
    report = await gate.run(luck, 1)
    assert (report.passed, report.worse, report.tests.flaky) == (True, False, ("test_luck.py::test_luck",))
    assert "the first time it fails" in report.output
    first, second, third = [event for event in bench.sink.events if isinstance(event, GateFinished)][-3:]
    assert [(each.passed, each.settled) for each in (first, second, third)] == [
        *((False, False), (True, False), (True, True))
    ]
    assert (second.flaky, second.tests, third.ran) == ([*report.tests.flaky], [*report.tests.flaky], 3)

    (tmp_path / "been").unlink()
    more = await bench.commit({"test_it.py": "def test_a(): pass\n"}, luck)
    for event in (second, third):  # as if the run had died before the second look
        bench.sink.events.remove(event)
    gone_on = bench.gate()
    await gone_on.run(bench.tree.base, 0)
    before = bench.sink.runs
    (tmp_path / "been").touch()
    assert (await gone_on.run(luck, 1)).tests.flaky == report.tests.flaky
    assert bench.sink.runs == before + 2
    after = bench.gate()
    await after.run(bench.tree.base, 0)
    assert (await after.run(luck, 1)).passed
    assert bench.sink.runs == before + 2
    (tmp_path / "been").unlink()
    assert (await gone_on.run(more, 2)).passed, "it is known to be flaky, and green at the second look again"


async def test_what_is_red_only_among_the_others_is_not_flaky(bench: Bench) -> None:
    gate = bench.gate()
    files = {"state.py": "x = 0\n", "test_late.py": "import state\ndef test_state(): assert not state.x\n"}
    start = await bench.commit(files)
    await gate.run(start, 0)
    bad = await bench.commit({"test_it.py": "import state\ndef test_a(): state.x = 1\ndef test_b(): pass\n"}, start)
    report = await gate.run(bad, 1)
    names = ("test_late.py::test_state",)
    assert (report.worse, report.tests.broken, report.tests.flaky, gate.apart(names)) == (True, names, (), ())
    before = bench.sink.runs
    again = bench.gate()
    await again.run(start, 0)
    assert (await again.run(bad, 1), again.apart(names), bench.sink.runs) == (report, (), before)


async def test_a_whole_command_is_run_once_more_where_tests_cannot_be_chosen(bench: Bench, tmp_path: Path) -> None:
    been = shlex.quote(str(tmp_path / "been"))
    gate = bench.gate(f"! test -e new || test -e {been} || {{ touch {been}; exit 1; }}")
    assert (await gate.run(bench.tree.base, 0)).passed
    report = await gate.run(await bench.commit({"new": ""}), 1)
    assert (report.passed, report.tests.runner, bench.sink.runs) == (True, "", 3)
    assert await gate.check(bench.tree.base, 1, ["test_it.py"]) is None


async def test_why_it_is_not_passed_beside_tests_that_fail(bench: Bench) -> None:
    base = bench.tree.base
    none = await bench.gate(f"{PYTEST} -k nothing_is_named_so").run(base, 0)
    assert (none.passed, none.reason, none.tests.ran) == (False, "no test was run", 0)
    gate = bench.gate("no-such-command-at-all")
    gone = await gate.run(base, 0)
    assert gate.missing(gone)
    killed = await bench.gate("sh -c 'kill -KILL $$'").run(base, 0)
    assert "killed with signal 9" in killed.reason
    late = await bench.gate("sleep 60", timeout=0.2).run(base, 0)
    assert (late.timed_out, late.passed) == (True, False)
    assert bench.sink.runs == 4, "none of these is a matter of luck"
    broken = await bench.commit({"test_it.py": "def test_a(:\n"})
    uncollected = await bench.gate().run(broken, 0)
    assert "could not be collected" in uncollected.reason
    assert uncollected.tests.failed == ("test_it.py",)
    long = await bench.gate("seq 1 100000; exit 1").run(base, 0)
    assert "characters left out" in long.output
    assert (bench.artifacts / f"{long.artifact}.txt").read_text().count("\n") == 100_000


async def test_a_sandbox_that_fails_is_no_red_test(bench: Bench) -> None:
    gate = bench.gate("true")
    bench.backend.deaths = 1
    assert (await gate.run(bench.tree.base, 0)).passed
    assert any(isinstance(event, Notice) and "it died" in event.message for event in bench.sink.events)
    bench.backend.deaths = 2
    with pytest.raises(SandboxError):
        await bench.gate("true && true").run(bench.tree.base, 0)


async def test_the_affected_tests_and_the_culprit_among_commits(bench: Bench) -> None:
    files = {"app/__init__.py": "", "app/core.py": "x = 1\n", "app/far.py": "", "test_far.py": "def test_far(): pass\n"}
    files["test_core.py"] = "from app.core import x\ndef test_x(): assert x == 1\n"
    start = await bench.commit(files)
    gate, affected = bench.gate(), Affected(bench.tree, PYTEST)
    assert (await gate.run(start, 0)).passed
    chain = [start]
    for text in ("x = 1  # same\n", "x = 2\n", "x = 3\n"):
        chain.append(await bench.commit({"app/core.py": text}, chain[-1]))
    touched = await affected.between(chain[0], chain[1])
    assert (touched.tests, touched.whole) == (("test_core.py",), "")
    green, red = [await gate.check(commit, 1, touched.tests) for commit in chain[1:3]]
    assert green is not None
    assert (green.passed, green.tests.ran) == (True, 1)
    assert red is not None
    assert (red.worse, red.tests.broken) == (True, ("test_core.py::test_x",))
    names = ["test_core.py::test_x"]
    assert gate.apart(names) == (*names,)
    assert not (await gate.search(chain[1], 1, [*names, "test_core.py::test_not_there_yet"])).tests.failed
    broken = await bench.commit({"test_core.py": "def\n"}, chain[1])
    assert red_of(await gate.search(broken, 1, names), names) == (*names,)
    verdicts = [event for event in bench.sink.events if isinstance(event, GateFinished) and event.purpose == "verdict"]
    assert [event.commit for event in verdicts] == [start]


def test_a_run_tells_what_was_red_before(cli: Cli, script: Script, make_repo: MakeRepo) -> None:
    told = "FAILED t.py::test_old - assert 0\n1 failed, 3 passed in 0.01s\n"
    repo = make_repo({"told.txt": f"=== short test summary info ===\n{told}"})
    script.planner(plan(subtask("one")), plan())
    script.agent("one", use("write", path="new.txt", content="new\n"), submit())
    done = cli.run("x", repo, "--model", script.model, "--test", "cat told.txt; ! grep FAILED told.txt")
    assert (done.code, done.result["status"]) == (1, "partial")
    assert done.result["gate"] == {"command": "cat told.txt; ! grep FAILED told.txt", "passed": False}
    blame = "1 test was red before; nothing that was green broke"
    assert f"The test command failed: {blame}." in done.result["answer"]
    assert blame in done.of("run_end")[0]["error"]
    last = done.of("gate")[-1]
    assert (last["failed"], last["broken"], last["worse"]) == (["t.py::test_old"], [], False)

    run = cli.runs[0]  # as if it had been killed between the two looks at the base
    path = run / "events.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    first = next(n for n, text in enumerate(lines) if json.loads(text)["type"] == "gate")
    path.write_text("".join(lines[: first + 1]))
    (run / "result.json").unlink()
    again = cli("resume", run.name, "--json")
    assert again.result["answer"] == done.result["answer"]
    assert [look(gate) for gate in map(json.loads, path.read_text().splitlines()) if gate["type"] == "gate"] == [
        look(gate) for gate in done.of("gate")
    ]


def look(gate: dict[str, Any]) -> tuple[Any, ...]:
    return gate["stage"], gate["commit"], gate["attempt"], gate["settled"], gate["failed"]
