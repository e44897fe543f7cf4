"""The `openai` package and a loop of ten lines: as documented, and with all that its public interface lets one tune."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.peers.common import SYSTEM, TASK, TOOL, Run, checked, found, gathered


@asynccontextmanager
async def documented(url: str, agents: int) -> AsyncIterator[Run]:
    """`chat.completions.create`."""
    import openai

    tools: Any = [TOOL]
    async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:

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
                    return checked(message.content)
                for call in message.tool_calls:
                    key = json.loads(call.function.arguments)["key"]
                    messages.append({"role": "tool", "tool_call_id": call.id, "content": found(key)})

        yield lambda agents: gathered(one, agents)


@asynccontextmanager
async def tuned(url: str, agents: int) -> AsyncIterator[Run]:
    """`client.post` of bytes that are JSON already, no limit of connections, bytes back; on uvloop."""
    import httpx2
    import openai
    from pydantic_core import from_json, to_json

    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    http = httpx2.AsyncClient(limits=limits, timeout=httpx2.Timeout(600.0))
    async with openai.AsyncOpenAI(base_url=url, api_key="none", http_client=http) as client:
        head = b'{"model":"load","tools":' + to_json([TOOL]) + b',"messages":['

        async def one(number: int) -> None:
            first = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": TASK.format(number)}]
            body = head + to_json(first)[1:-1]
            while True:
                raw = await client.post("/chat/completions", cast_to=bytes, content=body + b"]}")
                message = from_json(raw)["choices"][0]["message"]
                body += b"," + to_json(message)
                if not message.get("tool_calls"):
                    return checked(message["content"])
                for call in message["tool_calls"]:
                    key = from_json(call["function"]["arguments"])["key"]
                    body += b"," + to_json({"role": "tool", "tool_call_id": call["id"], "content": found(key)})

        yield lambda agents: gathered(one, agents)
