"""One competitor of `model_client.py`, in a process of its own: prints its figures as JSON.

What a competitor needs is imported by it alone, as the virtual environments differ.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

CALLS = 6
SYSTEM = {"role": "system", "content": "You are a careful agent. " * 40}
USER = {"role": "user", "content": "Mend the parser of dates. " * 10}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "-rw-r--r-- 1 root root 1234 module.py\n" * 12}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"The tool {name}. " * 5,
            "parameters": {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
        },
    }
    for name in ("bash", "read", "write", "search", "submit")
]

Turn = Callable[[], Awaitable[None]]
"""One turn of an agent: a call, and the result of the tool."""
Agent = Callable[[], Turn]


@asynccontextmanager
async def governed(url: str) -> AsyncIterator[Agent]:
    import tempfile
    from pathlib import Path

    from swarm.agents.conversation import Conversation, Line
    from swarm.budgets.budget import Budget
    from swarm.budgets.levels import Limits
    from swarm.journal.redaction import Redactor
    from swarm.journal.writer import open_journal
    from swarm.models.admission.governor import Governor
    from swarm.models.service import GovernedModel
    from swarm.models.wire.client import OpenAIModel, open_client
    from swarm.types import Role

    with tempfile.TemporaryDirectory() as folder:
        async with (
            open_client(url, None) as client,
            open_journal(Path(folder) / "events.jsonl", "run", Redactor({})) as journal,
        ):
            service = GovernedModel(OpenAIModel(client, "canned"), Governor(10_000))
            line = Line(service, Budget(Limits(None, None)), journal)

            def agent() -> Turn:
                conversation = Conversation(line, "agent", Role.SUBAGENT, [SYSTEM, USER])

                async def turn() -> None:
                    await conversation.ask(TOOLS)
                    conversation.say(dict(RESULT))

                return turn

            yield agent


@asynccontextmanager
async def ours(url: str, *, model: str = "canned", stream: bool = False) -> AsyncIterator[Agent]:
    from pydantic_core import to_json

    from swarm.calls import ModelRequest, StreamLimits
    from swarm.models.wire.client import OpenAIModel, open_client
    from swarm.types import Message

    async with open_client(url, None) as client:
        service = OpenAIModel(client, model)

        def agent() -> Turn:
            messages: list[Message] = [SYSTEM, USER]
            encoded = [to_json(message) for message in messages]
            tools = to_json(TOOLS)

            async def turn() -> None:
                reply = await service.complete(
                    ModelRequest(
                        messages=messages,
                        encoded=encoded,
                        tools=TOOLS,
                        encoded_tools=tools,
                        stream=StreamLimits() if stream else None,
                    )
                )
                for message in (reply.message, RESULT):
                    messages.append(message)
                    encoded.append(to_json(message))

            return turn

        yield agent


@asynccontextmanager
async def documented(url: str, *, model: str = "canned", stream: bool = False) -> AsyncIterator[Agent]:
    import openai

    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:

        def agent() -> Turn:
            messages: list[Any] = [SYSTEM, USER]

            async def turn() -> None:
                tools: Any = TOOLS
                if stream:
                    text = ""
                    async for chunk in await client.chat.completions.create(
                        model=model, messages=messages, tools=tools, stream=True
                    ):
                        if chunk.choices:
                            text += chunk.choices[0].delta.content or ""
                    return
                answer = await client.chat.completions.create(model=model, messages=messages, tools=tools)
                messages.append(answer.choices[0].message.model_dump(exclude_none=True))
                messages.append(RESULT)

            return turn

        yield agent


@asynccontextmanager
async def tuned(url: str) -> AsyncIterator[Agent]:
    """The package at its best without a transport of our own: bytes in, bytes out, no limit of connections."""
    import httpx2
    import openai
    from pydantic_core import from_json, to_json

    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    async with openai.AsyncOpenAI(
        base_url=url,
        api_key="none",
        max_retries=0,
        http_client=httpx2.AsyncClient(limits=limits, timeout=httpx2.Timeout(600.0)),
    ) as client:

        def agent() -> Turn:
            messages: list[Any] = [SYSTEM, USER]

            async def turn() -> None:
                body = to_json({"model": "canned", "messages": messages, "tools": TOOLS})
                raw = await client.post("/chat/completions", cast_to=bytes, content=body)
                messages.append(from_json(raw)["choices"][0]["message"])
                messages.append(RESULT)

            return turn

        yield agent


@asynccontextmanager
async def aiohttp(url: str) -> AsyncIterator[Agent]:
    import aiohttp as library
    import orjson

    async with library.ClientSession(connector=library.TCPConnector(limit=0)) as session:

        def agent() -> Turn:
            messages: list[Any] = [SYSTEM, USER]

            async def turn() -> None:
                body = orjson.dumps({"model": "canned", "messages": messages, "tools": TOOLS})
                headers = {"content-type": "application/json"}
                async with session.post(f"{url}/chat/completions", data=body, headers=headers) as answer:
                    messages.append(orjson.loads(await answer.read())["choices"][0]["message"])
                messages.append(RESULT)

            return turn

        yield agent


@asynccontextmanager
async def raw(url: str) -> AsyncIterator[Agent]:
    host, port = url.removeprefix("http://").removesuffix("/v1").split(":")
    body = json.dumps({"model": "canned", "messages": [SYSTEM, USER], "tools": TOOLS}).encode()
    request = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body

    class Wire(asyncio.Protocol):
        answer: asyncio.Future[bytes]

        def data_received(self, data: bytes) -> None:
            self.answer.set_result(data)

    def agent() -> Turn:
        wires: list[tuple[asyncio.Transport, Wire]] = []

        async def turn() -> None:
            loop = asyncio.get_running_loop()
            if not wires:
                wires.append(await loop.create_connection(Wire, host, int(port)))
            transport, wire = wires[0]
            wire.answer = loop.create_future()
            transport.write(request)
            json.loads((await wire.answer).partition(b"\r\n\r\n")[2])

        return turn

    yield agent


COMPETITORS: dict[str, Any] = {
    "governed": governed,
    "ours": ours,
    "documented": documented,
    "tuned": tuned,
    "aiohttp": aiohttp,
    "raw": raw,
}


async def swarm_of(agent: Agent, agents: int, turns: int) -> tuple[float, float]:
    """CPU and wall seconds of so many agents at once."""

    async def live() -> None:
        turn = agent()
        for _ in range(turns):
            await turn()

    cpu, wall = time.process_time(), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(agents):
            group.create_task(live())
    return time.process_time() - cpu, time.perf_counter() - wall


async def timed(name: str, url: str, agents: int) -> dict[str, float]:
    async with COMPETITORS[name](url) as agent:
        await swarm_of(agent, 2, CALLS)
        repeats = max(1, 300 // agents)
        runs = [await swarm_of(agent, agents, CALLS) for _ in range(repeats)]
    calls = agents * CALLS * repeats
    return {"cpu_ms": 1000 * sum(cpu for cpu, _ in runs) / calls, "rate": calls / sum(wall for _, wall in runs)}


async def counted(name: str, url: str, agents: int) -> dict[str, float]:
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    async with COMPETITORS[name](url) as agent:
        await swarm_of(agent, 10, 2)
        sys.setprofile(count)
        try:
            await swarm_of(agent, agents, CALLS)
        finally:
            sys.setprofile(None)
    return {"python_calls": calls / (agents * CALLS)}


async def by_turn(name: str, url: str, agents: int) -> dict[str, float]:
    early = late = 0.0
    async with COMPETITORS[name](url) as agent:
        await swarm_of(agent, 2, CALLS)
        for _ in range(agents):
            turn = agent()
            for number in range(1, 206):
                cpu = time.process_time()
                await turn()
                cpu = time.process_time() - cpu
                early += cpu if 1 <= number <= 10 else 0.0
                late += cpu if 196 <= number <= 205 else 0.0
    return {"early": 1000 * early / (10 * agents), "late": 1000 * late / (10 * agents)}


async def streamed(name: str, url: str, agents: int) -> dict[str, float]:
    found = {}
    for model, key in (("canned", "burst"), ("paced", "paced")):
        async with COMPETITORS[name](url, model=model, stream=True) as agent:
            await swarm_of(agent, 2, 1)
            cpu, _ = await swarm_of(agent, agents, 1)
        found[key] = 1000 * cpu / (agents * 500)
    return found


WAYS: dict[str, Any] = {"time": timed, "count": counted, "turns": by_turn, "stream": streamed}

if __name__ == "__main__":
    competitor, base_url, way, size = sys.argv[1:]
    print(json.dumps(asyncio.run(WAYS[way](competitor, base_url, int(size)))))
