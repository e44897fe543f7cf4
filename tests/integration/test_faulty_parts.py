"""Parts of one's own that raise or answer nonsense: the run ends in order, says whose fault it was, and harms nobody
else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypedDict

import anyio
import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt

from swarm import (
    Desk,
    Dialogue,
    Dispatch,
    Event,
    Finish,
    Harvest,
    Merged,
    Parts,
    Plan,
    Question,
    RunConfig,
    RunState,
    RunStatus,
    SandboxRequest,
    SubTask,
    Swarm,
    tool,
)
from swarm.calls import ModelRequest
from swarm.errors import UsageError
from swarm.events import AgentStarted, RunEnded
from swarm.langgraph import swarm_node
from swarm.orchestrators.delegation import SCHEMAS
from swarm.testing import FakeBackend, FakeSandbox, ScriptedModel, Turn, tool_call
from swarm.tools.registry import FunctionTool

pytestmark = pytest.mark.anyio
SECRET = "sk-of-the-run-0123456789"


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    return tmp_path / "home"


def sub(name: str, *needs: str) -> SubTask:
    return SubTask(id=name, title=name, instructions=name, depends_on=needs)


class Each:
    """One stage: the given sub-tasks, else one for each line of the task."""

    subtasks: tuple[SubTask, ...] = ()

    def __init__(self, desk: Desk, dialogue: Dialogue) -> None:
        self._task = desk.task

    async def decide(self, state: RunState) -> Dispatch | Finish:
        lines = tuple(sub(f"line-{n}") for n, _ in enumerate(self._task.splitlines()))
        return Finish("") if state.stages else Dispatch(Plan(subtasks=self.subtasks or lines))


class Lost(Each):
    async def decide(self, state: RunState) -> Dispatch | Finish:
        raise KeyError("lost")


class Adrift(Each):
    async def decide(self, state: RunState) -> Dispatch | Finish:
        if len(state.stages) == int(self._task):
            raise asyncio.CancelledError("by a task of its own")
        return Dispatch(Plan(subtasks=(sub("one"),)))


class Joined:
    def __init__(self, desk: Desk) -> None:
        self._task = desk.task

    async def merge(self, harvest: Harvest) -> Merged:
        if "bad" in self._task:
            raise ValueError("cannot join")
        return Merged("; ".join(result.text for result in harvest.useful))


class Bad(Joined):
    async def merge(self, harvest: Harvest) -> Merged:
        raise ValueError(f"cannot join with {SECRET}")


class Broken(FakeBackend):
    @asynccontextmanager
    async def open(self, request: SandboxRequest) -> AsyncIterator[FakeSandbox]:
        if request.workdir:
            raise RuntimeError("no planks")
        async with super().open(request) as sandbox:
            yield sandbox


def raising(request: object) -> Turn:
    raise RuntimeError("out of words")


def working(request: object) -> Turn:
    return tool_call("bash", command="ls")


async def boom(question: Question) -> bool:
    raise ValueError("cannot ask")


def parts(**given: Any) -> Parts:
    usual = {"model": ScriptedModel(lambda request: "found"), "orchestrator": Each, "aggregator": Joined}
    return Parts(**{**usual, "backend": FakeBackend(), **given})


async def ended(task: str, own: Parts, **more: Any) -> RunEnded:
    """How a run ended, which it did with a result and a whole record."""
    seen: list[Event] = []
    config = RunConfig(max_agents=more.pop("max_agents", 8))
    async with Swarm(config=config, parts=own) as swarm:
        result = await swarm.run(task, on_event=seen.append, **more)
    last = seen[-1]
    assert isinstance(last, RunEnded)
    assert (last.status, last.exit_code) == (result.status, result.exit_code)
    assert (Path(result.run_dir) / "result.json").exists()
    assert len([event for event in seen if isinstance(event, AgentStarted)]) <= config.max_agents + 1
    return last


@pytest.mark.parametrize(
    ("own", "more", "told"),
    [
        ({"orchestrator": Lost}, {}, "Lost.decide raised KeyError: 'lost'"),
        ({"aggregator": Bad}, {}, "Bad.merge raised ValueError: cannot join with [redacted:"),
        ({}, {"approve": boom}, "boom raised ValueError: cannot ask"),
        ({"model": ScriptedModel(raising)}, {}, "raising raised RuntimeError: out of words"),
        ({"backend": Broken(), "model": ScriptedModel(working)}, {}, "Broken.open raised RuntimeError: no planks"),
    ],
    ids=["orchestrator", "aggregator", "approve", "model", "backend"],
)
async def test_what_a_part_raises_ends_the_run_in_order(own: dict[str, Any], more: dict[str, Any], told: str) -> None:
    last = await ended("one\nother", parts(**own), **more)
    first, *trace = last.error.splitlines()
    assert (last.status, last.exit_code) == (RunStatus.ERRORED, 3)
    assert told in first
    assert any(__file__ in line for line in trace)
    assert any(line.startswith(told.split(" raised ")[1].split(":")[0]) for line in trace)
    assert SECRET not in last.error


async def adrift(question: Question) -> bool:
    raise asyncio.CancelledError("by a task of its own")


def lost_at_one(request: ModelRequest) -> Turn:
    if "line-1" in str(request.messages):
        raise asyncio.CancelledError("by a task of its own")
    return "found"


@pytest.mark.parametrize(
    ("task", "own", "more", "whose"),
    [
        ("0", {"orchestrator": Adrift}, {}, "Adrift.decide"),
        ("1", {"orchestrator": Adrift}, {}, "Adrift.decide"),
        ("a\nb", {}, {"approve": adrift}, "adrift"),
        ("a\nb", {"model": ScriptedModel(lost_at_one)}, {}, "lost_at_one"),
    ],
    ids=["first", "later", "approve", "model"],
)
async def test_a_part_that_is_cancelled_from_inside_ends_the_run_in_order(
    task: str, own: dict[str, Any], more: dict[str, Any], whose: str
) -> None:
    last = await ended(task, parts(**own), **more)
    assert (last.status, last.exit_code) == (RunStatus.ERRORED, 3)
    assert f"{whose} raised RuntimeError: it was cancelled from inside" in last.error.splitlines()[0]


async def test_a_listener_that_raises_ends_the_run_and_hears_no_more() -> None:
    heard: list[Event] = []

    def listen(event: Event) -> None:
        heard.append(event)
        raise ValueError("cannot listen")

    async with Swarm(config=RunConfig(), parts=parts()) as swarm:
        result = await swarm.run("a\nb", on_event=listen)
    assert (result.status, result.exit_code, len(heard)) == (RunStatus.ERRORED, 3, 1)
    assert "cannot listen" in (Path(result.run_dir) / "events.jsonl").read_text()


async def test_a_faulty_stream_ends_alone() -> None:
    ends: dict[str, RunEnded] = {}
    async with Swarm(config=RunConfig(), parts=parts()) as swarm:

        async def follow(task: str) -> None:
            async for event in swarm.stream(task):
                if isinstance(event, RunEnded):
                    ends[task] = event

        async with anyio.create_task_group() as group:
            for task in ("good", "bad"):
                group.start_soon(follow, task)
        after = await swarm.run("after")
    assert (ends["good"].status, ends["bad"].status, after.status) == ("completed", "errored", "completed")
    assert "cannot join" in ends["bad"].error


class State(TypedDict, total=False):
    task: str
    answer: str
    result: dict[str, Any]


async def test_an_interrupt_inside_approve_is_refused_and_the_swarm_goes_on() -> None:
    async def approve(question: Question) -> bool:
        return bool(interrupt("may it?"))

    async with Swarm(config=RunConfig(), parts=parts()) as swarm:
        graph = StateGraph(State)
        graph.add_node("swarm", swarm_node(swarm, approve=approve, result_key="result"))
        graph.add_edge(START, "swarm")
        compiled = graph.compile(checkpointer=InMemorySaver())
        state = await compiled.ainvoke({"task": "good"}, {"configurable": {"thread_id": "1"}})
        after = await swarm.run("after")
    assert (state["result"]["status"], state["result"]["exit_code"]) == ("errored", 2)
    assert after.status is RunStatus.COMPLETED


@pytest.mark.parametrize(
    ("subtasks", "told"),
    [
        ((sub("a"), sub("a")), "the id 'a' is given to 2 sub-tasks"),
        ((sub("a", "b"), sub("b", "a")), "the dependencies form a cycle"),
        ((sub("a", "x"),), "depends on 'x', which does not exist"),
        (tuple(sub(f"a{n}") for n in range(9)), "9 sub-tasks are too many: at most 8"),
    ],
    ids=["twice", "cycle", "unknown", "many"],
)
async def test_a_plan_of_anyones_is_run_only_when_it_can_be(subtasks: tuple[SubTask, ...], told: str) -> None:
    last = await ended("x", parts(orchestrator=type("Own", (Each,), {"subtasks": subtasks})))
    assert (last.status, last.exit_code, last.spawned) == (RunStatus.FAILED, 1, 0)
    assert told in last.error


class Empty(Each):
    async def decide(self, state: RunState) -> Dispatch | Finish:
        return Dispatch(Plan(subtasks=()))


class Again(Each):
    async def decide(self, state: RunState) -> Dispatch | Finish:
        return Dispatch(Plan(subtasks=(sub("a"),)))


@pytest.mark.parametrize(
    ("orchestrator", "told"), [(Empty, "it has no sub-task"), (Again, "'a' was already used in an earlier stage")]
)
async def test_a_plan_without_work_or_of_old_ids_ends_the_run(orchestrator: type[Each], told: str) -> None:
    last = await ended("x", parts(orchestrator=orchestrator))
    assert (last.status, last.exit_code) == (RunStatus.FAILED, 1)
    assert told in last.error


async def no_word(question: Question) -> Any:
    return None


async def yes_please(question: Question) -> Any:
    return "yes please"


@pytest.mark.parametrize("approve", [no_word, yes_please])
async def test_an_answer_that_is_none_is_never_a_yes(approve: Callable[[Question], Awaitable[Any]]) -> None:
    last = await ended("x", parts(), approve=approve)
    assert (last.status, last.exit_code, last.spawned) == (RunStatus.ERRORED, 2, 0)
    assert "`approve` answered the question about the plan with" in last.error


async def test_an_approve_that_is_no_coroutine_function_is_told() -> None:
    last = await ended("x", parts(), approve=lambda question: True)
    assert (last.status, last.exit_code, last.spawned) == (RunStatus.ERRORED, 2, 0)
    assert "`approve` gave True at once" in last.error


def named(name: str) -> FunctionTool[[], str]:
    @tool(name=name)
    def own() -> str:
        """A tool of one's own."""
        return ""

    return own


TAKEN = [str(schema["function"]["name"]) for schema in SCHEMAS] + ["board", "open_artifact", "submit", "bash"]


@pytest.mark.parametrize("name", TAKEN)
async def test_a_tool_with_a_name_that_is_taken_is_refused_before_the_run(name: str, own_home: Path) -> None:
    async with Swarm(config=RunConfig(), parts=parts(tools=(named(name),))) as swarm:
        with pytest.raises(UsageError, match=name):
            await swarm.run("x")
    assert not (own_home / "runs").exists()


async def test_two_tools_of_one_name_are_refused_before_the_run(own_home: Path) -> None:
    async with Swarm(config=RunConfig(), parts=parts(tools=(named("mine"), named("mine")))) as swarm:
        with pytest.raises(UsageError, match="two tools have the name 'mine'"):
            await swarm.run("x")
    assert not (own_home / "runs").exists()
