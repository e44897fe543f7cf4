"""`swarm_node` in real graphs: events, a checkpointer, nodes at once, cancellation."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypedDict

import anyio
import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph

from swarm import Parts, Question, RunConfig, Swarm, SwarmError
from swarm.calls import ModelRequest
from swarm.events import CallSent, RunEnded, RunStarted
from swarm.langgraph import swarm_node
from swarm.testing import FakeBackend, ScriptedModel, Turn

pytestmark = pytest.mark.anyio


class State(TypedDict, total=False):
    task: str
    other: str
    answer: str
    second: str
    result: dict[str, Any]


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))


def echoes(request: ModelRequest) -> Turn:
    """Answers with the task."""
    return "answer to " + str(request.messages[-1]["content"]).split("\n")[2]  # below a heading


def embedded(model: ScriptedModel) -> Swarm:
    return Swarm(config=RunConfig(mode="single"), parts=Parts(model=model, backend=FakeBackend()))


async def test_two_nodes_at_once_under_a_checkpointer_tell_their_events() -> None:
    async with embedded(ScriptedModel(echoes)) as swarm:
        graph = StateGraph(State)
        graph.add_node("one", swarm_node(swarm, result_key="result"))
        graph.add_node("two", swarm_node(swarm, task_key="other", answer_key="second"))
        for name in ("one", "two"):
            graph.add_edge(START, name)
            graph.add_edge(name, END)
        compiled = graph.compile(checkpointer=InMemorySaver())
        config: Any = {"configurable": {"thread_id": "t"}}
        begin: Any = {"task": "first", "other": "second"}
        events: list[Any] = [event async for event in compiled.astream(begin, config, stream_mode="custom")]
        state = (await compiled.aget_state(config)).values
    assert (state["answer"], state["second"]) == ("answer to first", "answer to second")
    assert (state["result"]["status"], state["result"]["coverage"]["useful"]) == ("completed", 1)
    runs = {event.run_id for event in events}
    assert len(runs) == 2
    for run in runs:
        own = [event for event in events if event.run_id == run]
        assert (type(own[0]), type(own[-1])) == (RunStarted, RunEnded)
        assert [event.seq for event in own] == list(range(len(own)))


async def test_questions_are_answered_inside_the_node() -> None:
    asked: list[str] = []

    async def approve(question: Question) -> bool:
        asked.append(question.kind)
        return True

    async with embedded(ScriptedModel(echoes)) as swarm:
        graph = StateGraph(State)
        graph.add_node("one", swarm_node(swarm, approve=approve))
        graph.add_edge(START, "one")
        config: Any = {"configurable": {"thread_id": "t"}}
        begin: Any = {"task": "first"}
        compiled = graph.compile(checkpointer=InMemorySaver())
        steps = [step async for step in compiled.astream(begin, config, stream_mode="updates", subgraphs=True)]
    assert asked == ["plan"]
    assert steps == [((), {"one": {"answer": "answer to first"}})]  # the run's own graph is no part of this one


async def test_cancelling_the_graph_ends_the_run_in_order(tmp_path: Path) -> None:
    async def hangs(request: ModelRequest) -> Turn:
        await anyio.sleep_forever()
        return "never"

    with anyio.fail_after(300):
        async with embedded(ScriptedModel(hangs)) as swarm:
            graph = StateGraph(State)
            graph.add_node("one", swarm_node(swarm))
            graph.add_edge(START, "one")
            state: Any = {"task": "x"}
            with anyio.CancelScope() as scope:
                async for event in graph.compile().astream(state, stream_mode="custom"):
                    if isinstance(event, CallSent):
                        scope.cancel()
            assert scope.cancelled_caught
    (folder,) = (tmp_path / "home/runs").iterdir()
    assert '"status": "cancelled"' in (folder / "result.json").read_text()


async def test_a_state_without_a_task_is_told() -> None:
    async with embedded(ScriptedModel([])) as swarm:
        graph = StateGraph(State)
        graph.add_node("one", swarm_node(swarm, task_key="nothing"))
        graph.add_edge(START, "one")
        with pytest.raises(SwarmError, match="no task under 'nothing'"):
            await graph.compile().ainvoke({"task": "x"})
