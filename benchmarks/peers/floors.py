"""Floors: what a loop of ten lines costs without any framework. No retries, no limits, no records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.peers.common import SYSTEM, TASK, TOOL, Run, checked, found, gathered


@asynccontextmanager
async def aiohttp(url: str, agents: int) -> AsyncIterator[Run]:
    """aiohttp and orjson on plain dicts: the realistic floor."""
    import aiohttp as library
    import orjson

    headers = {"content-type": "application/json"}
    async with library.ClientSession(connector=library.TCPConnector(limit=0)) as session:

        async def one(number: int) -> None:
            messages: list[Any] = [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": TASK.format(number)},
            ]
            while True:
                body = orjson.dumps({"model": "load", "messages": messages, "tools": [TOOL]})
                async with session.post(f"{url}/chat/completions", data=body, headers=headers) as answer:
                    message = orjson.loads(await answer.read())["choices"][0]["message"]
                messages.append(message)
                if not message.get("tool_calls"):
                    return checked(message["content"])
                for call in message["tool_calls"]:
                    key = orjson.loads(call["function"]["arguments"])["key"]
                    messages.append({"role": "tool", "tool_call_id": call["id"], "content": found(key)})

        yield lambda agents: gathered(one, agents)


class _Wire(asyncio.Protocol):
    """One connection, one request at a time."""

    answer: asyncio.Future[bytes]
    parts = b""
    wanted = 0

    def data_received(self, data: bytes) -> None:
        self.parts += data
        if not self.wanted:
            end = self.parts.find(b"\r\n\r\n")
            if end < 0:
                return
            at = self.parts.index(b"content-length:") + 15
            self.wanted = end + 4 + int(self.parts[at : self.parts.index(b"\r", at)])
        if len(self.parts) >= self.wanted:
            body = self.parts[self.parts.index(b"\r\n\r\n") + 4 :]
            self.parts, self.wanted = b"", 0
            self.answer.set_result(body)


@asynccontextmanager
async def raw(url: str, agents: int) -> AsyncIterator[Run]:
    """An asyncio protocol of its own for each agent, orjson, messages as bytes that grow: a bound, not a design."""
    import orjson

    host, port = url.removeprefix("http://").removesuffix("/v1").split(":")
    head = b'{"model":"load","tools":' + orjson.dumps([TOOL]) + b',"messages":['

    async def one(number: int) -> None:
        loop = asyncio.get_running_loop()
        transport, wire = await loop.create_connection(_Wire, host, int(port))
        first = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": TASK.format(number)}]
        body = head + orjson.dumps(first)[1:-1]
        try:
            while True:
                wire.answer = loop.create_future()
                start = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
                transport.write(start % (len(body) + 2) + body + b"]}")
                message = orjson.loads(await wire.answer)["choices"][0]["message"]
                body += b"," + orjson.dumps(message)
                if not message.get("tool_calls"):
                    return checked(message["content"])
                for call in message["tool_calls"]:
                    key = orjson.loads(call["function"]["arguments"])["key"]
                    told = {"role": "tool", "tool_call_id": call["id"], "content": found(key)}
                    body += b"," + orjson.dumps(told)
        finally:
            transport.close()

    yield lambda agents: gathered(one, agents)
