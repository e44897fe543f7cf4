"""What a turn of a sub-agent costs in calls of functions, which do not depend on the machine's load: few, and at its
sixtieth turn as many as at its fifth. Counted in a whole run, over HTTP, between the requests that an endpoint gets."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from swarm import Swarm, tool
from swarm.config import Capabilities, RunConfig
from swarm.loading import look_ahead
from swarm.parts import Parts
from swarm.testing import FakeBackend

pytestmark = pytest.mark.anyio

TURNS = 60
MOST = 1080
"""Calls, of Python and of C, for one turn: a model call, a use of a tool, and all that goes along with both."""

GROWTH = 1.1
"""What a late turn may cost, of an early one."""


@tool
async def lookup(key: str) -> str:
    """Look up a part of an item."""
    return f"{key}: " + "some words of a result " * 10


class Endpoint(asyncio.Protocol):
    """Answers at once. `seen` is told of each request of the sub-agent."""

    def __init__(self, seen: list[int], count: list[int]) -> None:
        self._seen = seen
        self._count = count
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
        if not found or len(body) < size:
            return
        self._data = b""
        if b'"json_schema"' in body:
            subtask = {"id": "item", "title": "Look it up", "instructions": "Look up the item and say its value."}
            self._answer({"content": json.dumps({"rationale": "one", "subtasks": [subtask]})}, "stop")
        elif b'"tools":' not in body or len(self._seen) >= TURNS:
            self._answer({"content": "The value is 42."}, "stop")
        else:
            self._seen.append(self._count[0])
            call = {"name": "lookup", "arguments": json.dumps({"key": f"part {len(self._seen)}"})}
            calls = [{"index": 0, "id": f"call_{len(self._seen)}", "type": "function", "function": call}]
            self._answer({"tool_calls": calls}, "tool_calls")

    def _answer(self, delta: dict[str, Any], reason: str) -> None:
        usage = {"prompt_tokens": 1200, "completion_tokens": 40, "total_tokens": 1240}
        choices = [{"index": 0, "delta": {"role": "assistant", **delta}, "finish_reason": reason}]
        chunk = json.dumps({"id": "1", "model": "m", "choices": choices, "usage": usage}).encode()
        body = b"data: " + chunk + b"\n\ndata: [DONE]\n\n"
        head = f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


@asynccontextmanager
async def endpoint(seen: list[int], count: list[int]) -> AsyncIterator[str]:
    server = await asyncio.get_running_loop().create_server(lambda: Endpoint(seen, count), "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


async def calls_by_turn(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The calls of functions from each request of the sub-agent to its next."""
    monkeypatch.setenv("SWARM_HOME", str(home))
    seen, count = list[int](), [0]
    await look_ahead()  # else that is done, and counted, while the first calls are under way

    def counted(frame: object, event: str, argument: object) -> None:
        if event in ("call", "c_call"):
            count[0] += 1

    async with endpoint(seen, count) as url:
        able = Capabilities(tools=True, parallel_tools=True, structured="json_schema", stream_usage=True)
        config = RunConfig(model="m", base_url=url, max_steps=TURNS + 5, capabilities=able)
        async with Swarm(config=config, parts=Parts(tools=(lookup,), backend=FakeBackend())) as swarm:
            before = sys.getprofile()
            sys.setprofile(counted)
            try:
                result = await swarm.run("Look it up.")
            finally:
                sys.setprofile(before)
    assert result.outcomes == {"completed": 1}, result.answer
    assert len(seen) == TURNS
    return [after - before for before, after in pairwise(seen)]


async def test_a_turn_costs_few_calls_and_a_late_one_as_many_as_an_early_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = await calls_by_turn(tmp_path, monkeypatch)
    early, late = mean(calls[4:14]), mean(calls[-10:])
    assert early < MOST, f"{early:.0f} calls of functions at an early turn"
    assert late < GROWTH * early, f"{late:.0f} calls at a late turn, {early:.0f} at an early one"
