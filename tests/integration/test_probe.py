"""Requests of ours that a server refuses for a reason of its own: nothing wrong is learned of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from anyio.abc import ByteStream

from tests.integration.raw_server import Handler, model_at, raw_server, whole
from tests.integration.test_capabilities import TOOLS, ask, fitted, probes

pytestmark = pytest.mark.anyio


def refuses(option: str, words: str) -> Handler:
    """A server that refuses an option, and else does what tools are for."""
    call = {"id": "a", "type": "function", "function": {"name": "note_color", "arguments": '{"color": "red"}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    body = json.dumps({"choices": [{"message": message, "finish_reason": "tool_calls"}]}).encode()
    refusal = json.dumps({"error": {"message": words}}).encode()

    async def handler(request: bytes, stream: ByteStream, number: int) -> None:
        wrong = f'"{option}"'.encode() in request
        await stream.send(whole(refusal, status="400 Bad Request") if wrong else whole(body))

    return handler


async def test_a_probe_that_is_refused_for_another_reason_decides_nothing(tmp_path: Path) -> None:
    async with raw_server(refuses("max_tokens", "limits are not allowed")) as (url, _), model_at(url) as model:
        worker = fitted(model, url, tmp_path / "kept")
        reply = await worker.complete(ask(tools=TOOLS))
    assert probes(reply) == ["probe tools", "probe tools: plain"]
    assert [call.name for call in reply.tool_calls] == ["note_color"]
    assert not (tmp_path / "kept").exists()


async def test_a_limit_by_another_name_is_sent_by_that(tmp_path: Path) -> None:
    words = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
    async with raw_server(refuses("max_tokens", words)) as (url, server), model_at(url) as model:
        worker = fitted(model, url)
        for _ in range(2):
            reply = await worker.complete(ask(tools=TOOLS, max_tokens=50))
            assert [call.name for call in reply.tool_calls] == ["note_color"]
    assert worker.knowledge.current.tools is True
    told = [json.loads(each.partition(b"\r\n\r\n")[2].lstrip()) for each in server.requests]
    assert ["max_tokens" in each for each in told] == [True, False, False, False], "it is tried once"
    assert told[-1]["max_completion_tokens"] == 50
