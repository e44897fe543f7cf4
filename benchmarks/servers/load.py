"""An endpoint that answers after a fixed time, as cheaply as Python can: never the bottleneck, in a process of its own.

    python -m benchmarks.servers.load [--latency 0.05] [--turns 3]

By what a request holds: a plan where structured output is wanted (with a sub-task for each of the "N items" that the
request speaks of), a use of the tool `lookup` as long as the turn, counted in assistant messages, is not the last, else
a word; for agents that end by a tool `final_answer`, its use. Streamed where that is wanted.
`GET /health` tells calls, those of agents among them (plans and the like are not), the most in flight, the CPU seconds
of this process, and when, by the clock of `time.monotonic`, the first call since the last such question came (0: none).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import socket
import time
from typing import Any

_ITEMS = re.compile(rb"(\d+) items")
_ASSISTANT = re.compile(rb'"role": ?"assistant"')
_USAGE = {"prompt_tokens": 1200, "completion_tokens": 40, "total_tokens": 1240}
VALUE = "The value is 42."
_HEAD = "HTTP/1.1 200 OK\r\ncontent-type: {}\r\ncontent-length: {}\r\n\r\n"


def _http(kind: str, body: bytes) -> bytes:
    return _HEAD.format(kind, len(body)).encode() + body


def _answers(message: dict[str, Any], reason: str) -> tuple[bytes, bytes]:
    """An answer as a whole and as a stream."""
    frame: dict[str, Any] = {"id": "chatcmpl-1", "created": 1, "model": "load"}
    choice = {"index": 0, "message": {"role": "assistant", **message}, "logprobs": None, "finish_reason": reason}
    whole = {**frame, "object": "chat.completion", "choices": [choice], "usage": _USAGE}
    delta = {"role": "assistant", **message}
    if "tool_calls" in delta:
        delta["tool_calls"] = [{"index": n, **call} for n, call in enumerate(delta["tool_calls"])]
    chunk = {**frame, "object": "chat.completion.chunk"}
    events = [
        {**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
        {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]},
        {**chunk, "choices": [], "usage": _USAGE},
    ]
    stream = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"
    return _http("application/json", json.dumps(whole).encode()), _http("text/event-stream", stream)


def _use(tool: str, arguments: dict[str, str], number: int) -> tuple[bytes, bytes]:
    call = {"name": tool, "arguments": json.dumps(arguments)}
    return _answers(
        {"content": None, "tool_calls": [{"id": f"call_{number}", "type": "function", "function": call}]}, "tool_calls"
    )


def _plan(agents: int) -> str:
    parts = [
        {"id": f"item-{n}", "title": f"Look up item {n}", "instructions": f"Look up item {n} and report its value."}
        for n in range(agents)
    ]
    return json.dumps({"rationale": "one agent for each item", "subtasks": parts})


class _Answers:
    """What is answered, made once."""

    def __init__(self, turns: int, latency: float) -> None:
        self.latency = latency
        self.calls = self.by_agents = self.in_flight = self.peak = 0
        self.first = 0.0
        self._turns = turns
        self._last = _answers({"content": VALUE}, "stop")
        self._uses = [_use("lookup", {"key": f"part {n}"}, n) for n in range(turns)]
        self._final = _use("final_answer", {"answer": VALUE}, turns)

    def of(self, body: bytes) -> bytes:
        streamed = b'"stream":true' in body or b'"stream": true' in body
        if b'"json_schema"' in body:
            found = _ITEMS.search(body)
            return _answers({"content": _plan(int(found[1]) if found else 1)}, "stop")[streamed]
        if b'"tools":' not in body:
            return self._last[streamed]
        self.by_agents += 1
        turn = len(_ASSISTANT.findall(body))
        if turn < self._turns:
            return self._uses[turn][streamed]
        return self._final[streamed] if b'"final_answer"' in body else self._last[streamed]

    def health(self) -> bytes:
        told = {"calls": self.calls, "agents": self.by_agents, "peak": self.peak, "cpu_s": time.process_time()}
        told["first"], self.first = self.first, 0.0
        return _http("application/json", json.dumps(told).encode())


_MODELS = _http("application/json", b'{"object":"list","data":[{"id":"load","object":"model"}]}')


class _Server(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, answers: _Answers) -> None:
        self._answers = answers
        self._parts: list[bytes] = []
        self._left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._parts.append(data)
        if self._left:
            self._left -= len(data)
            if self._left > 0:
                return
        whole = b"".join(self._parts)
        end = whole.find(b"\r\n\r\n")
        if end < 0:
            self._parts = [whole]
            return
        head = whole[:end].lower()
        if head.startswith(b"get"):
            self._parts = []
            self.transport.write(self._answers.health() if b"/health" in head else _MODELS)
            return
        size = end + 4 + int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        self._left = max(0, size - len(whole))
        if self._left:
            self._parts = [whole]
            return
        self._parts = []
        answers = self._answers
        answers.calls += 1
        answers.first = answers.first or time.monotonic()
        if not answers.latency:
            self.transport.write(answers.of(whole[end:]))
            return
        answers.in_flight += 1
        answers.peak = max(answers.peak, answers.in_flight)
        asyncio.get_running_loop().call_later(answers.latency, self._answer, answers.of(whole[end:]))

    def _answer(self, answer: bytes) -> None:
        self._answers.in_flight -= 1
        self.transport.write(answer)


async def main(options: argparse.Namespace) -> None:
    answers = _Answers(options.turns, options.latency)
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    server = await asyncio.get_running_loop().create_server(lambda: _Server(answers), sock=listener, backlog=4096)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--latency", type=float, default=0.05, help="seconds until an answer")
    parser.add_argument("--turns", type=int, default=3, help="uses of the tool before the answer")
    asyncio.run(main(parser.parse_args()))
