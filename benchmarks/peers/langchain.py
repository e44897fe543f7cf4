"""LangGraph's `Send` to an agent of `create_agent`, and the same with an agent of deepagents."""

from __future__ import annotations

import operator
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypedDict

from benchmarks.peers.common import MOST_TURNS, SYSTEM, TASK, Run, checked, found


@asynccontextmanager
async def langgraph(url: str, agents: int) -> AsyncIterator[Run]:
    """An agent of `create_agent` for each `Send`."""
    from langchain.agents import create_agent
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model="load", base_url=url, api_key="none")
    yield _sent(create_agent(model, [_lookup()], system_prompt=SYSTEM))


@asynccontextmanager
async def deepagents(url: str, agents: int) -> AsyncIterator[Run]:
    """An agent of `create_deep_agent`, with all that it brings, for each `Send`."""
    from deepagents import create_deep_agent
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model="load", base_url=url, api_key="none")
    yield _sent(create_deep_agent(model=model, tools=[_lookup()], system_prompt=SYSTEM))


def _lookup() -> Any:
    from langchain_core.tools import tool

    @tool
    async def lookup(key: str) -> str:
        """Look up a part of an item."""
        return found(key)

    return lookup


def _sent(agent: Any) -> Run:
    from langgraph.graph import END, START, StateGraph
    from langgraph.types import Send

    class State(TypedDict):
        count: int
        done: Annotated[list[str], operator.add]

    async def work(state: dict[str, Any]) -> dict[str, Any]:
        try:
            messages = [{"role": "user", "content": TASK.format(state["n"])}]
            ended = await agent.ainvoke({"messages": messages}, {"recursion_limit": 4 * MOST_TURNS})
            checked(ended["messages"][-1].content)
        except Exception as error:  # noqa: BLE001  one that fails must not end the others: it is counted
            return {"done": [repr(error)]}
        return {"done": [""]}

    builder = StateGraph(State)
    builder.add_node("work", work)
    builder.add_conditional_edges(START, lambda state: [Send("work", {"n": n}) for n in range(state["count"])])
    builder.add_edge("work", END)
    graph = builder.compile()

    async def run(agents: int) -> dict[str, Any]:
        state = await graph.ainvoke({"count": agents, "done": []})
        failed = [error for error in state["done"] if error]
        return {"failed": agents - len(state["done"]) + len(failed), "error": failed[0] if failed else ""}

    return run
