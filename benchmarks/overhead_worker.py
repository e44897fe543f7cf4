"""One competitor of `overhead.py`, in a process of its own: so many agents at once, each with the tool `lookup`.

    python overhead_worker.py COMPETITOR URL AGENTS

Prints its figures as JSON. What a competitor needs is imported by it alone, as the virtual environments differ.
"""

from __future__ import annotations

import asyncio
import json
import operator
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypedDict

SYSTEM = "You are a careful agent. " * 40
TASK = "Look up item {} and report its value."
RESULT = "some words of a result " * 10
MOST_TURNS = 50

Run = Callable[[int], Awaitable[dict[str, Any]]]
"""Runs so many agents at once; tells what it likes about it. Raises where one failed."""


async def _gathered(one: Callable[[int], Awaitable[object]], agents: int) -> dict[str, Any]:
    ended = await asyncio.gather(*(one(n) for n in range(agents)), return_exceptions=True)
    failed = [each for each in ended if isinstance(each, BaseException)]
    return {"failed": len(failed), "error": repr(failed[0])[:200] if failed else ""}


@asynccontextmanager
async def swarm(url: str, agents: int, *, fake: bool = False) -> AsyncIterator[Run]:
    """The whole of a run: planner, scheduler, governor, agents, journal on disk, aggregator, envelope."""
    from swarm import Swarm, tool
    from swarm.config import Capabilities, RunConfig
    from swarm.parts import Parts
    from swarm.testing import FakeBackend

    @tool
    async def lookup(key: str) -> str:
        """Look up a part of an item.

        Args:
            key: which part
        """
        return f"{key}: {RESULT}"

    config = RunConfig(
        model="load",
        base_url=url,
        max_agents=agents,
        concurrency=agents,
        max_in_flight=1000,
        capabilities=Capabilities(tools=True, parallel_tools=True, structured="json_schema", stream_usage=True),
    )
    async with Swarm(config=config, parts=Parts(tools=(lookup,), backend=FakeBackend() if fake else None)) as swarm:

        async def run(agents: int) -> dict[str, Any]:
            result = await swarm.run(f"Look up {agents} items.")
            done = result.outcomes.get("completed", 0)
            told = (Path(result.run_dir) / "events.jsonl").stat().st_size
            return {
                "failed": agents - done,
                "error": "" if done == agents else f"{result.status}: {result.outcomes}",
                "peak_agents": result.peak_concurrency,
                "steps": result.total_steps,
                "journal_mb": told / 1e6,
            }

        yield run


@asynccontextmanager
async def swarm_fake(url: str, agents: int) -> AsyncIterator[Run]:
    async with swarm(url, agents, fake=True) as run:
        yield run


@asynccontextmanager
async def openai(url: str, agents: int) -> AsyncIterator[Run]:
    """The package as documented, and a loop of ten lines."""
    import openai

    parameters = {"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]}
    function: Any = {"name": "lookup", "description": "Look up a part of an item.", "parameters": parameters}
    tools: Any = [{"type": "function", "function": function}]
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=2) as client:

        async def one(number: int) -> None:
            messages: list[Any] = [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": TASK.format(number)},
            ]
            while True:
                answer = await client.chat.completions.create(model="load", messages=messages, tools=tools)
                message = answer.choices[0].message
                messages.append(message.model_dump(exclude_none=True))
                if not message.tool_calls:
                    return
                messages += [
                    {"role": "tool", "tool_call_id": call.id, "content": f"{call.id}: {RESULT}"}
                    for call in message.tool_calls
                ]

        yield lambda agents: _gathered(one, agents)


@asynccontextmanager
async def langgraph(url: str, agents: int) -> AsyncIterator[Run]:
    """`Send` to an agent of `create_agent`, for each item."""
    from langchain.agents import create_agent
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI
    from langgraph.graph import END, START, StateGraph
    from langgraph.types import Send

    @tool
    async def lookup(key: str) -> str:
        """Look up a part of an item."""
        return f"{key}: {RESULT}"

    agent = create_agent(ChatOpenAI(model="load", base_url=url, api_key="none"), [lookup], system_prompt=SYSTEM)

    class State(TypedDict):
        count: int
        done: Annotated[list[str], operator.add]

    async def work(state: dict[str, Any]) -> dict[str, Any]:
        messages = [{"role": "user", "content": TASK.format(state["n"])}]
        ended = await agent.ainvoke({"messages": messages}, {"recursion_limit": 2 * MOST_TURNS})
        return {"done": [ended["messages"][-1].content]}

    builder = StateGraph(State)
    builder.add_node("work", work)
    builder.add_conditional_edges(START, lambda state: [Send("work", {"n": n}) for n in range(state["count"])])
    builder.add_edge("work", END)
    graph = builder.compile()

    async def run(agents: int) -> dict[str, Any]:
        state = await graph.ainvoke({"count": agents, "done": []})
        return {"failed": agents - len(state["done"]), "error": ""}

    yield run


@asynccontextmanager
async def openai_agents(url: str, agents: int) -> AsyncIterator[Run]:
    from agents import Agent, OpenAIChatCompletionsModel, Runner, function_tool, set_tracing_disabled
    from openai import AsyncOpenAI

    set_tracing_disabled(True)

    @function_tool
    async def lookup(key: str) -> str:
        """Look up a part of an item."""
        return f"{key}: {RESULT}"

    async with AsyncOpenAI(base_url=url, api_key="none") as client:
        model = OpenAIChatCompletionsModel(model="load", openai_client=client)
        agent = Agent(name="agent", instructions=SYSTEM, model=model, tools=[lookup])
        yield lambda agents: _gathered(lambda n: Runner.run(agent, TASK.format(n), max_turns=MOST_TURNS), agents)


@asynccontextmanager
async def pydantic_ai(url: str, agents: int) -> AsyncIterator[Run]:
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    model = OpenAIChatModel("load", provider=OpenAIProvider(base_url=url, api_key="none"))
    agent = Agent(model, system_prompt=SYSTEM)

    @agent.tool_plain
    async def lookup(key: str) -> str:
        """Look up a part of an item."""
        return f"{key}: {RESULT}"

    yield lambda agents: _gathered(lambda n: agent.run(TASK.format(n)), agents)


@asynccontextmanager
async def agent_framework(url: str, agents: int) -> AsyncIterator[Run]:
    from agent_framework import Agent
    from agent_framework.openai import OpenAIChatCompletionClient

    async def lookup(key: str) -> str:
        """Look up a part of an item."""
        return f"{key}: {RESULT}"

    client = OpenAIChatCompletionClient(model="load", base_url=url, api_key="none")
    yield lambda agents: _gathered(
        lambda n: Agent(client=client, instructions=SYSTEM, tools=[lookup]).run(TASK.format(n)), agents
    )


@asynccontextmanager
async def autogen(url: str, agents: int) -> AsyncIterator[Run]:
    from autogen_agentchat.agents import AssistantAgent
    from autogen_ext.models.openai import OpenAIChatCompletionClient

    async def lookup(key: str) -> str:
        """Look up a part of an item."""
        return f"{key}: {RESULT}"

    info: Any = {
        "vision": False,
        "function_calling": True,
        "json_output": True,
        "family": "unknown",
        "structured_output": True,
    }
    client = OpenAIChatCompletionClient(model="load", base_url=url, api_key="none", model_info=info)

    async def one(number: int) -> None:
        agent = AssistantAgent("agent", client, tools=[lookup], system_message=SYSTEM, max_tool_iterations=MOST_TURNS)
        await agent.run(task=TASK.format(number))

    yield lambda agents: _gathered(one, agents)
    await client.close()


COMPETITORS: dict[str, Any] = {
    "swarm": swarm,
    "swarm-fake": swarm_fake,
    "openai": openai,
    "langgraph": langgraph,
    "openai-agents": openai_agents,
    "pydantic-ai": pydantic_ai,
    "agent-framework": agent_framework,
    "autogen": autogen,
}


def memory(key: str) -> int:
    """kB of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


async def main(name: str, url: str, agents: int) -> None:
    async with COMPETITORS[name](url, agents) as run:
        await run(3)  # imports, connections and the like
        before = memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        cpu, wall = time.process_time(), time.perf_counter()
        told = await run(agents)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    figures = {"cpu_s": cpu, "wall_s": wall, "kb_per_agent": (memory("VmHWM") - before) / agents}
    print(json.dumps({**told, **figures}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
