"""Frameworks whose agents block: a thread for each agent, as they advise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from benchmarks.peers.common import MOST_TURNS, SYSTEM, TASK, Run, checked, found, gathered


@asynccontextmanager
async def smolagents(url: str, agents: int) -> AsyncIterator[Run]:
    """smolagents' `ToolCallingAgent`, whose tool `final_answer` ends it."""
    from smolagents import LogLevel, OpenAIModel, ToolCallingAgent, tool

    @tool
    def lookup(key: str) -> str:
        """Look up a part of an item.

        Args:
            key: which part
        """
        return found(key)

    model = OpenAIModel(model_id="load", api_base=url, api_key="none")

    def work(number: int) -> None:
        agent = ToolCallingAgent(
            tools=[lookup], model=model, instructions=SYSTEM, max_steps=MOST_TURNS, verbosity_level=LogLevel.OFF
        )
        checked(agent.run(TASK.format(number)))

    with ThreadPoolExecutor(agents) as threads:

        async def one(number: int) -> None:
            await asyncio.get_running_loop().run_in_executor(threads, work, number)

        yield lambda agents: gathered(one, agents)


@asynccontextmanager
async def crewai(url: str, agents: int) -> AsyncIterator[Run]:
    """CrewAI: a crew of one agent and one task for each, by `kickoff_async`."""
    from crewai import LLM, Agent, Crew, Task
    from crewai.tools import tool

    @tool("lookup")
    def lookup(key: str) -> str:
        """Look up a part of an item."""
        return found(key)

    llm = LLM(model="openai/load", base_url=url, api_key="none")

    async def one(number: int) -> None:
        agent = Agent(
            role="agent", goal="report the value", backstory=SYSTEM, tools=[lookup], llm=llm, max_iter=MOST_TURNS
        )
        task = Task(description=TASK.format(number), expected_output="the value", agent=agent)
        checked((await Crew(agents=[agent], tasks=[task]).kickoff_async()).raw)

    yield lambda agents: gathered(one, agents)
