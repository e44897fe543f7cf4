"""A swarm as a node of somebody's LangGraph graph.

    async with Swarm(...) as swarm:
        graph = StateGraph(State)
        graph.add_node("research", swarm_node(swarm, task_key="question", answer_key="report"))

Its typed events come out of `graph.astream(..., stream_mode="custom")`. Where the graph is cancelled the run ends in
order, at the latest when the swarm is closed. A graph that is resumed after a crash begins anew a node that had not
ended, and so its run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, Protocol

from langgraph.config import get_stream_writer

from swarm.approval import Approve
from swarm.errors import UsageError
from swarm.events import RunEnded
from swarm.runtime import Swarm


class Node(Protocol):
    """A node as LangGraph takes it."""

    def __call__(self, state: Any) -> Awaitable[dict[str, Any]]: ...


def swarm_node(
    swarm: Swarm,
    *,
    task_key: str = "task",
    answer_key: str = "answer",
    result_key: str | None = None,
    repo: str | Path | None = None,
    test: str | None = None,
    approve: Approve | None = None,
) -> Node:
    """A node that runs the task under `task_key` of the state, and puts the answer under `answer_key`.

    `result_key`, where given, gets the whole envelope as a dictionary: look there for the status, since a run that
    failed is a result, too. The rest is as in `Swarm.run`. The swarm must be open while the graph runs; nodes of one
    swarm may run at once. The graph's own interrupts cannot stand inside the node, for it would begin anew after each:
    answer questions with `approve`.

    Raises, when the node runs:
        UsageError: there is no task under `task_key`, or the swarm is not open.
        SwarmError: as `Swarm.run`.
    """

    async def node(state: Any) -> dict[str, Any]:
        task = state.get(task_key) if isinstance(state, Mapping) else getattr(state, task_key, None)
        if not isinstance(task, str):
            raise UsageError(
                f"the graph's state holds no task under {task_key!r}", remedy="set it, or name another key"
            )
        write, result = get_stream_writer(), dict[str, Any]()
        # Streamed, the run belongs to the swarm: LangGraph does not wait for a node that it cancelled.
        async with aclosing(swarm.stream(task, repo=repo, test=test, approve=approve)) as events:
            async for event in events:
                write(event)
                if isinstance(event, RunEnded):
                    result = event.result
        told = {answer_key: result["answer"]}
        if result_key is not None:
            told[result_key] = result
        return told

    return node
