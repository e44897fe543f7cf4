"""A server of bytes for tests, whose answers may be as wrong as those of real ones; and a client of ours."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import pytest
from anyio.abc import ByteStream
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSListener

from swarm.calls import ModelReply, ModelRequest
from swarm.embedded.script import Script, ScriptPolicy
from swarm.errors import EndpointError
from swarm.models.wire.client import OpenAIModel, open_client

CALLS = [{"name": "bash", "arguments": {"command": "ls"}}, {"name": "submit", "raw": '{"x": '}]
SCRIPT = {
    "rules": [
        {"match": "^tools", "turns": [{"content": "ok", "tool_calls": CALLS}]},
        {"match": "^long", "turns": [{"content": "word " * 400}]},
        {"match": "^ping", "turns": [{"content": "pong"}]},
    ]
}
POLICIES = {"embedded": ScriptPolicy(Script.model_validate(SCRIPT), "test")}
"""For an embedded endpoint."""


@asynccontextmanager
async def model_at(url: str, key: str | None = None) -> AsyncIterator[OpenAIModel]:
    async with open_client(url, key) as client:
        yield OpenAIModel(client, "embedded")


async def ask(model: OpenAIModel, text: str = "ping", **options: Any) -> ModelReply:
    return await model.complete(ModelRequest([{"role": "user", "content": text}], **options))


async def fault(model: OpenAIModel, **options: Any) -> EndpointError:
    with pytest.raises(EndpointError) as raised:
        await ask(model, **options)
    return raised.value


Handler = Callable[[bytes, ByteStream, int], Awaitable[None]]
"""What a raw server does with a request: head and body, the connection, the number of the request from 1."""


class RawServer:
    """Takes requests apart just far enough to leave the answer to a handler, which may do what it wants."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.requests: list[bytes] = []

    async def serve(self, stream: ByteStream) -> None:
        async with stream:
            reader = BufferedByteReceiveStream(stream)
            try:
                while True:
                    head = await reader.receive_until(b"\r\n\r\n", 1 << 16)
                    size = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
                    body = await reader.receive_exactly(size) if size else b""
                    self.requests.append(head + b"\r\n\r\n" + body)
                    await self._handler(self.requests[-1], stream, len(self.requests))
            except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass


@asynccontextmanager
async def raw_server(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[str, RawServer]]:
    server = RawServer(handler)
    listener: Any = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    if tls is not None:
        listener = TLSListener(listener, tls, standard_compatible=False)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, server.serve)
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}/v1", server
        group.cancel_scope.cancel()


def whole(body: bytes | None = None, *, status: str = "200 OK", headers: str = "") -> bytes:
    if body is None:
        choice = {"message": {"role": "assistant", "content": "pong"}, "finish_reason": "stop"}
        body = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}).encode()
    return f"HTTP/1.1 {status}\r\n{headers}content-length: {len(body)}\r\n\r\n".encode() + body


def events(*chunks: dict[str, Any] | str) -> bytes:
    lines = [chunk if isinstance(chunk, str) else f"data: {json.dumps(chunk)}" for chunk in chunks]
    return "".join(f"{line}\n\n" for line in lines).encode()


def delta(content: str | None = None, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": finish}]}


SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"


def answers(data: bytes, *, close: bool = False) -> Handler:
    async def handler(request: bytes, stream: ByteStream, number: int) -> None:
        await stream.send(data)
        if close:
            await stream.aclose()

    return handler


def hangs_after(data: bytes) -> Handler:
    async def handler(request: bytes, stream: ByteStream, number: int) -> None:
        if data:
            await stream.send(data)
        await anyio.sleep_forever()

    return handler
