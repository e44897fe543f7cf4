"""The evaluation runner: verdicts that are not lost, machine failures told apart, one budget, going on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from swarm.budgets.levels import Limits
from swarm.calls import ModelRequest
from swarm.config import RunConfig
from swarm.errors import EndpointError, EndpointFault, SandboxError, UsageError
from swarm.evals.records import TrialResult, read_manifest, read_results
from swarm.evals.runner.arms import ways
from swarm.evals.runner.evaluation import Halt, Why, Width
from swarm.evals.runner.given import Given
from swarm.evals.runner.selection import Selection
from swarm.evals.runner.whole import Asked, Evaluated, evaluate, grade_given
from swarm.evals.suite import Instance, Verdict
from swarm.journal.validation import validate
from swarm.parts import Parts
from swarm.result import RunResult
from swarm.rl.rollout.keeping import Patience
from swarm.testing import FakeBackend, ScriptedModel, Turn
from tests.sums import Sums, number_of, right

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]
QUICK = Patience(tries=2, retry_s=0.01, grace=0.0)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))
    yield


class Case:
    """Evaluations in one folder, with a model that counts its calls by instance."""

    def __init__(self, out: Path, answer: Callable[[ModelRequest], Turn] = right) -> None:
        self.out = out
        self.suite = Sums()
        self.config = RunConfig(mode="single")
        self.answer = answer
        self.calls: list[int] = []
        self.modes: tuple[str, ...] = ()

    async def go(self, stop_after: int = 0, **asked: Any) -> Evaluated:
        halt = Halt()
        seen: list[TrialResult] = []

        def watch(line: TrialResult | None, progress: object) -> None:
            if line is not None:
                seen.append(line)
                if len(seen) == stop_after:
                    halt.end(Why.USER)

        def answer(request: ModelRequest) -> Turn:
            self.calls.append(number_of(str(request.messages[1]["content"])))
            return self.answer(request)

        wanted = Asked(**{"width": Width(2, 2), "patience": QUICK, "command": ("swarm", "eval"), **asked})
        parts = Parts(model=ScriptedModel(answer), backend=FakeBackend())
        return await evaluate(self.suite, ways(self.config, self.modes), self.out, wanted, halt, watch, parts)

    def lines(self) -> dict[str, TrialResult]:
        found = read_results(self.out)
        assert len({each.key for each in found}) == len(found), "one line a trial"
        return {each.instance_id: each for each in found}


async def test_every_trial_has_its_line_its_run_and_its_files(tmp_path: Path) -> None:
    case = Case(tmp_path / "e")
    found = await case.go(epochs=2, seed=5, selection=Selection(ids=("sum-1", "sum-3")))
    assert (found.exit_code, found.progress.count().graded, found.progress.count().resolved) == (0, 4, 2)
    lines = read_results(case.out)
    assert sorted(each.key for each in lines) == [
        (name, "single", epoch) for name in ("sum-1", "sum-3") for epoch in (1, 2)
    ]
    assert len({each.seed for each in lines}) == 4
    for each in lines:
        run = case.out / each.run
        assert list(validate(run)) == []
        assert json.loads((run / "result.json").read_text())["answer"] == ("2" if each.resolved else "-1")
        assert each.started <= each.ended
        assert (each.calls, each.status, each.n_subagents) == (1, "completed", 1)
    assert (case.out / "instances/sum-1/answer.txt").read_text() == "2"
    assert (case.out / "instances/sum-1/single/2/answer.txt").read_text() == "2"
    assert (case.out / "instances/sum-1/patch.diff").read_bytes() == b""
    report = json.loads((case.out / "report.json").read_text())
    assert (report["total_instances"], report["resolved_ids"]) == (2, ["sum-1"])
    assert report["evaluation"]["failures"] == {"wrong": 2}
    manifest = read_manifest(case.out)
    assert manifest.digests == {"sum-1": "sum-1", "sum-3": "sum-3"}
    assert {"swarm", "python", "anyio", "pydantic"} <= manifest.versions.keys()
    assert manifest.prompts
    assert manifest.command == ["swarm", "eval"]

    calls = len(case.calls)
    again = await case.go(epochs=2, seed=5)  # with more instances: what has a verdict is not run again
    assert (len(case.calls) - calls, again.progress.count().graded) == (8, 12)
    assert len(read_results(case.out)) == 12
    assert json.loads((case.out / "report.json").read_text())["total_instances"] == 6


async def test_arms_beside_each_other(tmp_path: Path) -> None:
    def answer(request: ModelRequest) -> Turn:
        system = str(request.messages[0]["content"])
        return (
            {"rationale": "nothing to split", "subtasks": []} if "planner" in system.lower()[:400] else right(request)
        )

    case = Case(tmp_path / "e", answer)
    case.modes = ("single", "parl")
    case.suite.size = 2
    found = await case.go()
    assert {each.arm for each in read_results(case.out)} == {"single", "parl"}
    assert found.progress.count().graded == 4
    report = json.loads((case.out / "report.json").read_text())
    assert set(report["arms"]) == {"single", "parl"}
    assert (case.out / "arms/parl/report.json").exists()
    assert (case.out / "instances/sum-1/parl/1/answer.txt").exists()


async def test_what_the_machine_failed_is_told_apart_and_run_again(tmp_path: Path) -> None:
    broken = {1, 2}

    def answer(request: ModelRequest) -> Turn:
        if number_of(str(request.messages[1]["content"])) in broken:
            return EndpointError(EndpointFault.BAD_REQUEST, "it broke")
        return right(request)

    case = Case(tmp_path / "e", answer)
    case.suite.unset = {"sum-4"}
    case.suite.ungraded = {"sum-5": 99}
    found = await case.go()
    lines = case.lines()
    assert {name for name, each in lines.items() if each.resolved is None} == {"sum-1", "sum-2", "sum-4", "sum-5"}
    assert (found.exit_code, found.progress.count().errored) == (3, 4)
    assert case.calls.count(1) == 2, "tried twice"
    assert "it broke" in lines["sum-1"].error
    assert lines["sum-4"].error == "there is no image of sum-4"
    assert (lines["sum-4"].status, lines["sum-5"].status, lines["sum-5"].error) == (
        None,
        "completed",
        "the grader broke",
    )

    broken.clear()
    case.suite.unset, case.suite.ungraded = set(), {}
    before = list(case.calls)
    again = await case.go()
    lines = case.lines()
    assert again.exit_code == 0
    assert {name: each.resolved for name, each in lines.items()} == {f"sum-{n}": n % 3 != 0 for n in range(6)}
    assert sorted(case.calls[len(before) :]) == [1, 2, 4], "graded again without being run again"


async def test_a_score_that_is_no_number_is_no_verdict(tmp_path: Path) -> None:
    """It would count as 0, and nobody would look for what is wrong with the suite."""

    class Odd(Sums):
        async def grade(self, instance: Instance, result: RunResult, place: Path) -> Verdict:
            verdict = await super().grade(instance, result, place)
            return replace(verdict, score=float("nan")) if instance.id == "sum-1" else verdict

    case = Case(tmp_path / "e")
    case.suite = Odd()
    found = await case.go()
    odd = case.lines()["sum-1"]
    assert (found.exit_code, found.progress.count().errored, odd.resolved) == (3, 1, None)
    assert "sum-1 cannot be graded: a verdict's score is a number from 0 to 1, not nan" in odd.error


async def test_a_run_that_another_user_began_is_begun_anew(tmp_path: Path) -> None:
    """It is not gone on with, for what its record would open; its trial is not lost for that."""
    broken = {1}

    def answer(request: ModelRequest) -> Turn:
        if number_of(str(request.messages[1]["content"])) in broken:
            return EndpointError(EndpointFault.BAD_REQUEST, "it broke")
        return right(request)

    case = Case(tmp_path / "e", answer)
    case.config = RunConfig(mode="single", sandbox="process")
    case.suite.size = 2
    assert (await case.go()).exit_code == 3
    line = case.lines()["sum-1"]
    refused = case.out / line.run
    (refused / "seals").write_text("of-another-user\n")
    began = (refused / "events.jsonl").read_bytes()
    broken.clear()
    assert (await case.go()).exit_code == 0
    again = case.lines()["sum-1"]
    assert (again.resolved, again.run != line.run) == (True, True)
    assert (refused / "events.jsonl").read_bytes() == began


async def test_stopped_and_gone_on_with(tmp_path: Path) -> None:
    case = Case(tmp_path / "e")
    first = await case.go(stop_after=2)
    done = set(case.lines())
    assert (first.exit_code, first.why, 2 <= len(done) < 6) == (130, Why.USER, True)
    calls = list(case.calls)
    assert (await case.go()).exit_code == 0
    assert not {f"sum-{n}" for n in case.calls[len(calls) :]} & done
    assert len(case.lines()) == 6


async def test_an_endpoint_that_answers_nobody_ends_it_early_and_nothing_is_lost(tmp_path: Path) -> None:
    def answer(request: ModelRequest) -> Turn:
        if number_of(str(request.messages[1]["content"])) == 3:
            return EndpointError(EndpointFault.WRONG_KEY, "the key is not known")
        return right(request)

    case = Case(tmp_path / "e", answer)
    found = await case.go(width=Width(1, 1))
    assert (found.exit_code, found.why) == (3, Why.ENDPOINT)
    assert "the key is not known" in found.message
    assert set(case.lines()) == {"sum-0", "sum-1", "sum-2"}
    case.answer = right
    assert (await case.go()).exit_code == 0
    assert len(case.lines()) == 6


async def test_whatever_breaks_every_run_ends_it_early(tmp_path: Path) -> None:
    class Gone(FakeBackend):
        async def check(self, lease: Path) -> None:
            raise SandboxError("the engine is gone")

    suite = Sums(size=60)
    parts = Parts(model=ScriptedModel(right), backend=Gone())
    asked = Asked(width=Width(2, 2), patience=QUICK)
    out = tmp_path / "e"
    found = await evaluate(suite, ways(RunConfig(mode="single")), out, asked, Halt(), lambda *_: None, parts)
    assert (found.exit_code, found.why) == (3, Why.MACHINE)
    assert "the engine is gone" in found.message
    assert len(read_results(out)) < 20


async def test_one_budget_for_all_is_never_exceeded(tmp_path: Path) -> None:
    case = Case(tmp_path / "e")
    limit, spent, rounds = 1_800, 0, 0
    while (found := await case.go(limits=Limits(tokens=limit))).exit_code == 4:
        spent = sum(each.prompt_tokens + each.completion_tokens for each in case.lines().values())
        assert spent <= limit
        assert {each.calls for each in case.lines().values()} <= {1}
        assert "the budget of the evaluation is used up" in found.message
        limit, rounds = limit + 700, rounds + 1
    assert found.exit_code == 0
    assert rounds
    assert len(case.lines()) == len(case.calls) == 6, "a run that was refused a call goes on, and pays nothing twice"


async def test_the_budget_knows_what_is_spent_on_trials_that_are_not_asked_for_now(tmp_path: Path) -> None:
    def answer(request: ModelRequest) -> Turn:
        name = number_of(str(request.messages[1]["content"]))
        return EndpointError(EndpointFault.BAD_REQUEST, "it broke") if name == 2 else right(request)

    case = Case(tmp_path / "e", answer)
    await case.go(selection=Selection(limit=2))
    spent = sum(each.spent_tokens for each in case.lines().values())
    (case.out / "results.jsonl").write_text("")  # as if it was killed before the runs were graded
    found = await case.go(selection=Selection(ids=("sum-3",)), limits=Limits(tokens=spent))
    assert (found.exit_code, case.calls.count(3)) == (4, 0)
    assert f"{spent} of {spent} tokens are used" in found.message


async def test_another_evaluation_does_not_go_into_the_same_folder(tmp_path: Path) -> None:
    case = Case(tmp_path / "e")
    await case.go(seed=1, selection=Selection(limit=1))
    with pytest.raises(UsageError, match="begun with --seed 1, and now it would be 2"):
        await case.go(seed=2)
    case.config = RunConfig(mode="single", max_steps=7)
    with pytest.raises(UsageError, match="max_steps = 100 in single, and now it would be 7"):
        await case.go(seed=1)
    case.config = RunConfig(mode="single", max_in_flight=7)
    case.suite.digest = lambda name: f"{name}-changed"
    assert (await case.go(seed=1, selection=Selection(limit=2))).exit_code == 0, "the first is not set up again"
    case.suite.digest = str
    (case.out / "results.jsonl").write_text("")
    changed = await case.go(seed=1, selection=Selection(ids=("sum-1",)))
    assert changed.exit_code == 0, "its run is there: it is only graded"
    case.suite.options = {"--test-timeout": 7}
    assert (await case.go(seed=1)).exit_code == 0, "an older folder, which does not tell it"
    case.suite.options = {"--test-timeout": 8}
    with pytest.raises(UsageError, match="begun with --test-timeout = 7, and now it would be 8"):
        await case.go(seed=1)
    case.suite.version = "2"
    with pytest.raises(UsageError, match="begun with version 1"):
        await case.go(seed=1)


async def test_one_process_at_a_time(tmp_path: Path) -> None:
    case, other = Case(tmp_path / "e"), Case(tmp_path / "e")
    inside, refused = anyio.Event(), anyio.Event()

    class Waits(Sums):
        @asynccontextmanager
        async def ready(self, instance: Any, place: Path) -> Any:
            inside.set()
            await refused.wait()
            async with super().ready(instance, place) as ready:
                yield ready

    case.suite = Waits(size=1)
    async with anyio.create_task_group() as group:
        group.start_soon(case.go)
        await inside.wait()
        with pytest.raises(UsageError, match="at work in another process"):
            await other.go()
        refused.set()
    assert len(case.lines()) == 1


async def test_answers_that_were_made_elsewhere(tmp_path: Path) -> None:
    suite, out = Sums(size=3), tmp_path / "e"
    given = [Given("sum-1", answer="2"), Given("sum-2", answer="5"), Given("sum-1", epoch=2, answer="7")]
    asked = Asked(patience=QUICK)
    for _ in range(2):
        found = await grade_given(suite, given, out, asked, Halt(), lambda *_: None, "somebody")
        assert (found.exit_code, found.progress.count().graded) == (0, 3)
    lines = {(each.instance_id, each.epoch): each.resolved for each in read_results(out)}
    assert lines == {("sum-1", 1): True, ("sum-2", 1): False, ("sum-1", 2): False}
    assert len(suite.graded) == 3
    assert json.loads((out / "report.json").read_text())["total_instances"] == 3
    assert (out / "ended.txt").read_text().splitlines() == ["somebody sum-1", "somebody sum-1", "somebody sum-2"]
    with pytest.raises(UsageError, match="other answers"):
        await grade_given(suite, given[:1], out, asked, Halt(), lambda *_: None, "somebody")


def test_killed_at_a_random_moment_no_verdict_is_lost_or_counted_twice(tmp_path: Path) -> None:
    """benchmarks/studies/eval_crash.py does this with 500 instances and three kills."""
    study = str(ROOT / "benchmarks/studies/eval_crash.py")
    command = [sys.executable, study, "--instances=40", "--workers=8", "--kills=1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "exit codes                           [-9, 0]" in done.stdout
