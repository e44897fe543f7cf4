"""The outer loop on LangGraph: approve → dispatch → aggregate → gate → orchestrate → again, or deliver. It is entered
with the first results, or with the first decision where somebody is asked about it (`Loop.begin`): what comes before
needs none of it.

The graph's checkpoint says only where the run stands; what was done is in the journal. A question to the user is an
interrupt of the graph.
"""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command

from swarm.loop import Loop, Position, Station
from swarm.values import value


async def go_on(loop: Loop, position: Position, checkpoint: Path | None, run_id: str) -> None:
    """Go the rest of the way, to the loop's `findings`. A fault of ours is among them; what a part raises comes out of
    here. Without a place for its checkpoint the graph keeps none, and nobody can be asked."""
    opening = AsyncSqliteSaver.from_conn_string(str(checkpoint)) if checkpoint is not None else nullcontext()
    async with opening as saver:
        graph = compiled().copy({"checkpointer": saver})
        way: Any = position
        while way is not None:
            at = await graph.ainvoke(
                way,
                {"configurable": {"thread_id": run_id}, "recursion_limit": loop.most_stations},
                context=_Way(loop),
                durability="exit" if saver is not None else None,
            )
            way = Command(resume=await loop.answer()) if "__interrupt__" in at else None


@value(frozen=True, slots=True)
class _Way:
    """Whose way through the graph it is."""

    loop: Loop


class _Node(Protocol):
    """A node as LangGraph takes it."""

    def __call__(self, state: Position, runtime: Runtime[_Way]) -> Awaitable[Position]: ...


def _node(station: Station) -> _Node:
    async def node(state: Position, runtime: Runtime[_Way]) -> Position:
        return await runtime.context.loop.at(station, state)

    return node


@cache
def compiled() -> CompiledStateGraph[Position, _Way, Position, Position]:
    """The graph, for all runs of this process; whose way it is stands in the context."""
    graph = StateGraph(Position, context_schema=_Way)
    stations: dict[str, Station] = {
        "orchestrate": Loop.orchestrate,
        "approve": Loop.approve,
        "dispatch": Loop.dispatch,
        "aggregate": Loop.aggregate,
        "gate": Loop.gate,
        "deliver": Loop.deliver,
    }
    for name, station in stations.items():
        graph.add_node(name, _node(station))
    graph.add_edge("dispatch", "aggregate")
    graph.add_edge("aggregate", "gate")
    graph.add_edge("deliver", END)
    ways: dict[str, dict[Any, str]] = {
        START: {"dispatch": "approve", "aggregate": "aggregate"},
        "orchestrate": {"dispatch": "approve"},
        "approve": {"dispatch": "dispatch"},
        "gate": {"orchestrate": "orchestrate"},
    }
    for name, way in ways.items():
        graph.add_conditional_edges(name, lambda position: position["step"], {**way, "finish": "deliver"})
    return graph.compile()
