"""Parts of one's own, written as a third party would, and questions that are answered from Python."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from swarm import (
    Desk,
    Dialogue,
    Dispatch,
    Event,
    Finish,
    Harvest,
    Merged,
    ModelRequest,
    Parts,
    Plan,
    Question,
    RunConfig,
    RunResult,
    RunState,
    RunStatus,
    Sandbox,
    SandboxRequest,
    SubTask,
    Swarm,
    tool,
)
from swarm.config import SandboxName
from swarm.events import AgentEnded, AgentStarted, RunEnded, StageStarted
from swarm.testing import FakeBackend, FakeSandbox, ScriptedModel, Turn, tool_call
from tests.integration.conftest import Files, Script, plan, submit, subtask, use

pytestmark = pytest.mark.anyio
Answers = Callable[[Question], bool | Plan]


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))


@pytest.fixture
def repo(make_repo: Callable[[Files], Path]) -> Path:
    return make_repo({"a.txt": "a\n"})


class Halves:
    """A planner of one's own: a fixed plan, then the model's word."""

    def __init__(self, desk: Desk, dialogue: Dialogue) -> None:
        self._desk = desk
        self._dialogue = dialogue

    async def decide(self, state: RunState) -> Dispatch | Finish:
        if not state.stages:
            halves = (SubTask(id=name, title=name, instructions=f"{state.task}: {name}") for name in ("left", "right"))
            return Dispatch(Plan(subtasks=tuple(halves)))
        self._dialogue.say({"role": "user", "content": f"enough of {self._desk.task}?"})
        return Finish((await self._dialogue.ask()).content)


class Counter:
    """An aggregator of one's own, which asks the model and writes a file."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def merge(self, harvest: Harvest) -> Merged:
        async with self._desk.dialogue("counter", "You count.") as dialogue:
            dialogue.say({"role": "user", "content": " ".join(result.text for result in harvest.useful)})
            reply = await dialogue.ask()
        await anyio.Path(self._desk.artifacts / "count.txt").write_text(reply.content)
        return Merged(reply.content, whole=True)


class Cellar(FakeBackend):
    """Sandboxes of one's own."""

    @asynccontextmanager
    async def open(self, request: SandboxRequest) -> AsyncIterator[FakeSandbox]:
        async with super().open(request) as sandbox:
            await sandbox.write_file("wine.txt", b"red")
            yield sandbox


@tool
async def fetch(name: str, sandbox: Sandbox) -> str:
    """Bring something up from the cellar."""
    return (await sandbox.read_file(f"{name}.txt")).decode()


def model(request: ModelRequest) -> Turn:
    """Plays all roles."""
    last = str(request.messages[-1]["content"])
    if any(schema["function"]["name"] == "fetch" for schema in request.tools):
        return f"found {last}" if request.messages[-1]["role"] == "tool" else tool_call("fetch", name="wine")
    return "" if "enough" in last else f"counted {last.count('red')}"


async def test_a_run_of_nothing_but_parts_of_ones_own() -> None:
    backend, seen = Cellar(), list[Event]()
    parts = Parts(ScriptedModel(model), Halves, Counter, (fetch,), backend)
    async with Swarm(config=RunConfig(), parts=parts) as swarm:
        result = await swarm.run("look", on_event=seen.append)
    assert (result.status, result.answer) == (RunStatus.COMPLETED, "counted 2")
    assert all(sandbox.files for sandbox in backend.opened.values())
    assert (Path(result.run_dir) / "artifacts/count.txt").read_text() == "counted 2"
    started = [(event.trajectory_id, event.parent_trajectory_id) for event in seen if isinstance(event, AgentStarted)]
    assert started[0] == ("orchestrator", "")
    assert ("counter", "orchestrator") in started
    assert result.usage.calls == 6  # two of each sub-agent, one of the planner, one of the aggregator


async def test_of_two_patches_ones_own_aggregator_makes_the_words(script: Script, repo: Path, box: SandboxName) -> None:
    class Words:
        async def merge(self, harvest: Harvest) -> Merged:
            return Merged(f"{len(harvest.useful)} of {len(harvest.results)}")

    script.planner(plan(subtask("one"), subtask("two")))
    script.agent("one", use("write", path="a.txt", content="A\n"), submit())
    script.agent("two", use("write", path="b.txt", content="B\n"), submit())
    config = RunConfig(model=script.model, sandbox=box)
    async with Swarm(config=config, parts=Parts(aggregator=lambda desk: Words())) as swarm:
        result = await swarm.run("x", repo=repo, test="grep A a.txt && grep B b.txt")
    assert (result.exit_code, result.answer) == (0, "2 of 2")


async def ask(
    script: Script, box: SandboxName, repo: Path | None, answers: Answers, **config: object
) -> tuple[RunResult, list[Question], list[Event]]:
    """A run whose questions are answered so."""
    asked, seen = list[Question](), list[Event]()

    async def approve(question: Question) -> bool | Plan:
        await anyio.lowlevel.checkpoint()
        asked.append(question)
        return answers(question)

    settings = RunConfig.model_validate({"model": script.model, "sandbox": box, **config})
    with anyio.fail_after(300):
        async with Swarm(config=settings) as swarm:
            result = await swarm.run("x", repo=repo, approve=approve, on_event=seen.append)
    return result, asked, seen


@pytest.fixture
def two_stages(script: Script) -> Script:
    script.planner(plan(subtask("one")), plan(subtask("two", replaces=["one"])))
    script.agent("one", use("write", path="a.txt", content="A\n"), submit(status="partial"))
    script.agent("two", use("write", path="a.txt", content="AA\n"), submit())
    return script


async def test_plans_and_the_patch_are_asked_about(two_stages: Script, repo: Path, box: SandboxName) -> None:
    result, asked, seen = await ask(two_stages, box, repo, lambda question: True)
    assert result.status is RunStatus.COMPLETED
    assert [(question.kind, question.stage) for question in asked] == [("plan", 1), ("plan", 2), ("patch", 2)]
    first, second, patch = asked
    assert first.plan is not None
    assert first.estimate is not None
    assert (first.estimate.subagents, first.estimate.calls_at_most) == (1, 100)
    assert second.estimate is not None
    assert second.estimate.spent_tokens > first.estimate.spent_tokens > 0
    assert b"+AA" in patch.patch
    assert result.patch_path is not None
    assert Path(result.patch_path).read_bytes() == patch.patch
    # The planner is not asked again, nor a stage told twice, because the graph went on after a question.
    assert len([event for event in seen if isinstance(event, StageStarted)]) == 2
    assert result.usage.calls == 6


async def test_a_plan_that_is_declined_is_not_run(two_stages: Script, repo: Path, box: SandboxName) -> None:
    result, asked, seen = await ask(two_stages, box, repo, lambda question: False)
    assert (result.status, result.exit_code, len(asked)) == (RunStatus.CANCELLED, 130, 1)
    assert (result.n_subagents, result.patch_path) == (0, None)
    assert isinstance(seen[-1], RunEnded)
    assert seen[-1].error == "the plan was declined"
    assert not [event for event in seen if isinstance(event, StageStarted)]


async def test_a_patch_that_is_declined_is_kept_aside(two_stages: Script, repo: Path, box: SandboxName) -> None:
    result, _, _ = await ask(two_stages, box, repo, lambda question: question.kind != "patch")
    assert (result.status, result.patch_path) == (RunStatus.CANCELLED, None)
    assert b"+AA" in (Path(result.run_dir) / "artifacts/declined.diff").read_bytes()
    assert not (Path(result.run_dir) / "patch.diff").exists()


async def test_a_plan_can_be_changed_in_answer(script: Script, repo: Path, box: SandboxName) -> None:
    script.planner(plan(subtask("one"), subtask("two")))
    script.agent("one", use("write", path="a.txt", content="A\n"), submit())

    def first_only(question: Question) -> bool | Plan:
        return Plan(subtasks=question.plan.subtasks[:1]) if question.plan else True

    result, _, seen = await ask(script, box, repo, first_only)
    assert (result.status, result.n_subagents) == (RunStatus.COMPLETED, 1)
    (stage,) = [event for event in seen if isinstance(event, StageStarted)]
    assert [each.id for each in stage.plan.subtasks] == ["one"]

    def broken(question: Question) -> bool | Plan:
        return Plan(subtasks=(SubTask(id="a", title="a", instructions="a", depends_on=("b",)),))

    result, _, seen = await ask(script, box, repo, broken)
    assert (result.status, result.exit_code, result.n_subagents) == (RunStatus.ERRORED, 2, 0)
    assert isinstance(seen[-1], RunEnded)
    assert "the plan given in answer cannot be run" in seen[-1].error


async def test_spending_over_a_limit_is_asked_about(two_stages: Script, repo: Path, box: SandboxName) -> None:
    config = {"ask_usd": 0.000001, "prices": {"embedded": {"prompt": 1000.0, "completion": 1000.0}}}
    result, asked, _ = await ask(two_stages, box, repo, lambda question: question.stage < 2, **config)
    assert [(question.kind, question.stage) for question in asked] == [("spending", 1), ("plan", 1), ("spending", 2)]
    assert "go on with stage 2?" in asked[-1].text
    assert (result.status, result.n_subagents) == (RunStatus.CANCELLED, 1)
    assert (Path(result.run_dir) / "patch.diff").exists()  # what was done until then


async def test_a_stop_does_not_wait_for_an_answer(two_stages: Script, repo: Path, box: SandboxName) -> None:
    stop = anyio.Event()

    async def approve(question: Question) -> bool:
        stop.set()
        await anyio.sleep_forever()
        return True

    with anyio.fail_after(300):
        async with Swarm(config=RunConfig(model=two_stages.model, sandbox=box)) as swarm:
            result = await swarm.run("x", repo=repo, approve=approve, stop=stop)
    assert (result.status, result.n_subagents) == (RunStatus.CANCELLED, 0)


@pytest.mark.parametrize(
    ("turns", "stop"),
    [
        (["I know it anyway"], "no_result"),
        ([tool_call("submit", status="done", summary="s", result={})], "empty_result"),
        ([tool_call("submit", status="done", summary="s", result={"x": None, "items": [{"y": ""}]})], "empty_result"),
    ],
)
async def test_what_is_not_the_result_asked_for_is_not_completed(turns: list[Turn], stop: str) -> None:
    class Asks:
        async def decide(self, state: RunState) -> Dispatch | Finish:
            schema = {"type": "object"}
            one = SubTask(id="one", title="one", instructions="x", result_schema=schema)
            return Finish("") if state.stages else Dispatch(Plan(subtasks=(one,)))

    seen = list[Event]()
    parts = Parts(ScriptedModel(turns), lambda desk, dialogue: Asks(), backend=FakeBackend())
    async with Swarm(config=RunConfig(), parts=parts) as swarm:
        result = await swarm.run("x", on_event=seen.append)
    assert [e.stop for e in seen if isinstance(e, AgentEnded) and e.trajectory_id == "one"] == [stop]
    assert (result.status, result.outcomes) == (RunStatus.FAILED, {"failed": 1})
    assert "0 of 1 sub-task gave a useful result. Missing: one (failed)." in result.answer


@pytest.mark.parametrize("first", [tool_call("nothing"), tool_call("submit", status="done", summary=" ")])
async def test_calls_that_reached_no_tool_are_no_work(first: Turn, repo: Path) -> None:
    turns: list[Turn] = [first, tool_call("submit", status="done", summary="all good")]
    parts = Parts(ScriptedModel(turns), backend=FakeBackend())
    async with Swarm(config=RunConfig(mode="single"), parts=parts) as swarm:
        result = await swarm.run("x", repo=repo)
    assert (result.status, result.outcomes) == (RunStatus.FAILED, {"failed": 1})
    assert "ended without using any tool: all good" in result.answer


async def test_an_aggregator_that_answers_nothing_completes_nothing() -> None:
    class Silent:
        async def merge(self, harvest: Harvest) -> Merged:
            return Merged(" ")

    parts = Parts(ScriptedModel(["x"]), aggregator=lambda desk: Silent(), backend=FakeBackend())
    async with Swarm(config=RunConfig(mode="single"), parts=parts) as swarm:
        result = await swarm.run("x")
    assert (result.status, result.exit_code) == (RunStatus.FAILED, 1)
