"""Answers without end: what an endpoint sends cannot fill the memory."""

from __future__ import annotations

import gzip

import pytest
from anyio.abc import ByteStream

from swarm.calls import StreamLimits
from swarm.config import Capabilities
from swarm.errors import EndpointFault
from swarm.models.wire import bounded
from tests.integration.raw_server import fault, model_at, raw_server

pytestmark = pytest.mark.anyio
STREAM = StreamLimits()


@pytest.mark.parametrize(
    ("status", "coding", "stream", "kind"),
    [
        ("500 Oops", "", False, EndpointFault.OVERLOADED),
        ("401 No", "gzip", False, EndpointFault.WRONG_KEY),
        ("200 OK", "gzip", False, EndpointFault.MALFORMED),
        ("200 OK", "", False, EndpointFault.MALFORMED),
        ("200 OK", "", True, EndpointFault.MALFORMED),
    ],
)
async def test_no_answer_fills_the_memory(
    status: str, coding: str, stream: bool, kind: EndpointFault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "MAX_ANSWER", 1 << 20)
    piece, sent = b"x" * (1 << 18), 0
    bomb = gzip.compress(b" " * (8 << 20)) if coding else b""

    async def floods(request: bytes, connection: ByteStream, number: int) -> None:
        nonlocal sent
        kind = "text/event-stream" if stream else "application/json"
        coded = f"content-encoding: {coding}\r\n" if coding else ""
        await connection.send(f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n{coded}\r\n".encode())
        await connection.send(bomb or (b"data: " if stream else b" "))
        while not bomb:  # until the client has had enough
            await connection.send(piece)
            sent += len(piece)

    async with raw_server(floods) as (url, _), model_at(url) as model:
        error = await fault(model, stream=STREAM if stream else None)
        assert error.kind is kind
        assert repr(model._client._client._transport) == "<DirectTransport 0 active, 0 idle>"
    assert sent < 64 << 20


async def test_a_list_of_models_without_end_tells_nothing() -> None:
    sent = 0

    async def floods(request: bytes, connection: ByteStream, number: int) -> None:
        nonlocal sent
        await connection.send(b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{"data": [')
        while True:
            await connection.send(b" " * (1 << 18))
            sent += 1 << 18

    async with raw_server(floods) as (url, _), model_at(url) as model:
        assert await model.declared() == Capabilities()
        assert repr(model._client._client._transport) == "<DirectTransport 0 active, 0 idle>"
    assert sent < 4 * bounded.MAX_LIST
