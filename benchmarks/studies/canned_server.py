"""A server that answers every request with the same bytes, as cheaply as Python can: never the bottleneck."""

from __future__ import annotations

import asyncio
import json
import socket

_CALL = {"id": "call_1", "type": "function", "function": {"name": "bash", "arguments": '{"command": "ls -la src"}'}}
_MESSAGE = {"role": "assistant", "content": None, "tool_calls": [_CALL]}
_USAGE = {"prompt_tokens": 1200, "completion_tokens": 40, "total_tokens": 1240}
_FRAME = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "canned"}
_CHUNK = _FRAME | {"object": "chat.completion.chunk"}
EVENTS = 500


def _whole() -> bytes:
    choice = {"index": 0, "message": _MESSAGE, "logprobs": None, "finish_reason": "tool_calls"}
    body = json.dumps(_FRAME | {"choices": [choice], "usage": _USAGE}).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n" % len(body)
    return head + b"x-request-id: req_1\r\nx-ratelimit-remaining-requests: 999\r\n\r\n" + body


def _events() -> list[bytes]:
    deltas = [{"role": "assistant", "content": ""}] + [{"content": " word"}] * (EVENTS - 2) + [{}]
    choices = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None} for delta in deltas]
    choices[-1]["finish_reason"] = "stop"
    chunks = [_CHUNK | {"choices": [choice]} for choice in choices] + [_CHUNK | {"choices": [], "usage": _USAGE}]
    lines = [json.dumps(chunk).encode() for chunk in chunks] + [b"[DONE]"]
    return [b"%x\r\n%s\r\n" % (len(line) + 8, b"data: " + line + b"\n\n") for line in lines] + [b"0\r\n\r\n"]


WHOLE = _whole()
STREAM = _events()
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
BURST = STREAM_HEAD + b"".join(STREAM)


class _Canned(asyncio.Protocol):
    transport: asyncio.Transport
    buffer = b""
    wanted = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.wanted:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self.buffer[:end].lower()
            self.wanted = end + 4 + int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(self.buffer) < self.wanted:
            return
        body, self.buffer, self.wanted = self.buffer, b"", 0
        if b'"stream":true' not in body and b'"stream": true' not in body:
            self.transport.write(WHOLE)
        elif b'"paced"' in body:
            self.transport.write(STREAM_HEAD)
            self.one_by_one(0)
        else:
            self.transport.write(BURST)

    def one_by_one(self, at: int) -> None:
        self.transport.write(STREAM[at])
        if at + 1 < len(STREAM):
            asyncio.get_running_loop().call_later(0.001, self.one_by_one, at + 1)


async def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    server = await asyncio.get_running_loop().create_server(_Canned, sock=listener)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
