"""Agent frameworks on asyncio: their agent, their client of the `openai` package, `asyncio.gather`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.peers.common import MOST_TURNS, SYSTEM, TASK, Run, checked, found, gathered


@asynccontextmanager
async def openai_agents(url: str, agents: int) -> AsyncIterator[Run]:
    """OpenAI Agents SDK, tracing off."""
    from agents import Agent, OpenAIChatCompletionsModel, Runner, function_tool, set_tracing_disabled
    from openai import AsyncOpenAI

    set_tracing_disabled(True)

    @function_tool
    async def lookup(key: str) -> str:
        """Look up a part of an item."""
        return found(key)

    async with AsyncOpenAI(base_url=url, api_key="none") as client:
        model = OpenAIChatCompletionsModel(model="load", openai_client=client)
        agent = Agent(name="agent", instructions=SYSTEM, model=model, tools=[lookup])

        async def one(number: int) -> None:
            checked((await Runner.run(agent, TASK.format(number), max_turns=MOST_TURNS)).final_output)

        yield lambda agents: gathered(one, agents)


@asynccontextmanager
async def pydantic_ai(url: str, agents: int) -> AsyncIterator[Run]:
    """pydantic-ai."""
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    model = OpenAIChatModel("load", provider=OpenAIProvider(base_url=url, api_key="none"))
    agent = Agent(model, system_prompt=SYSTEM)

    @agent.tool_plain
    async def lookup(key: str) -> str:
        """Look up a part of an item."""
        return found(key)

    async def one(number: int) -> None:
        checked((await agent.run(TASK.format(number))).output)

    yield lambda agents: gathered(one, agents)


@asynccontextmanager
async def agent_framework(url: str, agents: int) -> AsyncIterator[Run]:
    """Microsoft Agent Framework."""
    from agent_framework import Agent
    from agent_framework.openai import OpenAIChatCompletionClient

    async def lookup(key: str) -> str:
        """Look up a part of an item."""
        return found(key)

    client = OpenAIChatCompletionClient(model="load", base_url=url, api_key="none")

    async def one(number: int) -> None:
        agent = Agent(client=client, instructions=SYSTEM, tools=[lookup])
        checked((await agent.run(TASK.format(number))).text)

    yield lambda agents: gathered(one, agents)


@asynccontextmanager
async def autogen(url: str, agents: int) -> AsyncIterator[Run]:
    """AutoGen AgentChat."""
    from autogen_agentchat.agents import AssistantAgent
    from autogen_ext.models.openai import OpenAIChatCompletionClient

    async def lookup(key: str) -> str:
        """Look up a part of an item."""
        return found(key)

    able = dict.fromkeys(("function_calling", "json_output", "structured_output"), True)
    info: Any = {"vision": False, "family": "unknown", **able}
    client = OpenAIChatCompletionClient(model="load", base_url=url, api_key="none", model_info=info)

    async def one(number: int) -> None:
        agent = AssistantAgent("agent", client, tools=[lookup], system_message=SYSTEM, max_tool_iterations=MOST_TURNS)
        checked((await agent.run(task=TASK.format(number))).messages[-1].to_text())

    yield lambda agents: gathered(one, agents)
    await client.close()
