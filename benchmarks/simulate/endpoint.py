"""The replicas of the simulation as real endpoints over HTTP, on the real clock: see `benchmarks.simulate.real`.

    python -m benchmarks.simulate.endpoint SCENE

`SCENE` is JSON of `benchmarks.simulate.real.Check`. One process, a port for each replica; its first line tells all
addresses. What an agent is answered, how long that takes and what it uses follows from the workload, by the number in
"item N" and the count of assistant messages; a plan is given where structured output is wanted.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sys
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from benchmarks.simulate.real import Check
from benchmarks.simulate.replica import Refusal, Replica, Work
from benchmarks.simulate.workload import Turn

_ITEM = re.compile(rb"item (\d+)")
_ITEMS = re.compile(rb"(\d+) items")
_ASSISTANT = re.compile(rb'"role": ?"assistant"')
_MODELS = b'{"object":"list","data":[{"id":"load","object":"model"}]}'
_STATUS = {Refusal.LIMITED: "429 Too Many Requests", Refusal.BUSY: "503 Service Unavailable"}


def _http(status: str, kind: str, size: int, more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {size}\r\n{more}\r\n".encode()


class _Exchange:
    """One call: what is written when its prompt was read, and when its answer is over."""

    def __init__(self, transport: asyncio.Transport, message: dict[str, Any], turn: Turn, *, streamed: bool) -> None:
        self.work: Work | None = None
        self._transport = transport
        self._message = message
        self._turn = turn
        self._streamed = streamed
        self._rest = b""

    def began(self) -> None:
        if not self._streamed:
            return
        call = self._message.get("tool_calls")
        delta = {**self._message, "tool_calls": [{"index": 0, **call[0]}]} if call else self._message
        frame: dict[str, Any] = {"id": "c", "created": 1, "model": "load", "object": "chat.completion.chunk"}
        reason = "tool_calls" if call else "stop"
        events = [
            {**frame, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
            {**frame, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]},
            {**frame, "choices": [], "usage": self._usage()},
        ]
        first, *rest = [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events]
        self._rest = b"".join(rest) + b"data: [DONE]\n\n"
        self._transport.write(_http("200 OK", "text/event-stream", len(first) + len(self._rest)) + first)

    def ended(self, refusal: Refusal | None) -> None:
        if refusal is not None:
            self._transport.close()
        elif self._streamed:
            self._transport.write(self._rest)
        else:
            reason = "tool_calls" if "tool_calls" in self._message else "stop"
            choice = {"index": 0, "message": self._message, "logprobs": None, "finish_reason": reason}
            whole = {"id": "c", "created": 1, "model": "load", "object": "chat.completion", "choices": [choice],
                     "usage": self._usage()}  # fmt: skip
            body = json.dumps(whole).encode()
            self._transport.write(_http("200 OK", "application/json", len(body)) + body)

    def _usage(self) -> dict[str, Any]:
        cached = self.work.cached if self.work else 0
        return {
            "prompt_tokens": self._turn.prompt,
            "completion_tokens": self._turn.answer,
            "total_tokens": self._turn.prompt + self._turn.answer,
            "prompt_tokens_details": {"cached_tokens": cached},
        }


class _Server(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, check: Check, replica: Replica, rng: Random, turns: Callable[[int], list[Turn]]) -> None:
        self._check = check
        self._replica = replica
        self._rng = rng
        self._turns = turns
        self._came = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self._replica.trouble("dead"):
            transport.close()

    def data_received(self, data: bytes) -> None:
        self._came += data
        head, found, body = self._came.partition(b"\r\n\r\n")
        if not found:
            return
        if head.startswith(b"GET"):
            self._came = b""
            self.transport.write(_http("200 OK", "application/json", len(_MODELS)) + _MODELS)
            return
        size = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(body) >= size:
            self._came = b""
            self._answer(body)

    def _answer(self, body: bytes) -> None:
        streamed = b'"stream":true' in body or b'"stream": true' in body
        if b'"json_schema"' in body:
            items = _ITEMS.search(body)
            what = "Say that it is warm." if b"Warm up" in body else "Look up item {} and report its value."
            parts = [
                {"id": f"item-{n}", "title": f"Part {n}", "instructions": what.format(n)}
                for n in range(int(items[1]) if items else 1)
            ]
            plan = {"role": "assistant", "content": json.dumps({"rationale": "one for each", "subtasks": parts})}
            exchange = _Exchange(self.transport, plan, Turn(1000, 0, 1000, 0.0), streamed=streamed)
            exchange.began()
            exchange.ended(None)
            return
        item = _ITEM.search(body)
        number, step = int(item[1]) if item else 0, len(_ASSISTANT.findall(body))
        turns = self._turns(number)
        if item is None or step >= len(turns):
            exchange = _Exchange(self.transport, {"role": "assistant", "content": "All values are 42."},
                                 Turn(1000, 0, 10, 0.0), streamed=streamed)  # fmt: skip
            exchange.began()
            exchange.ended(None)
            return
        if (refusal := self._replica.refuses(self._rng.random())) is not None:
            text = b'{"error": {"message": "simulated", "type": "requests"}}'
            more = f"retry-after: {refusal[1]:g}\r\n" if refusal[1] is not None else ""
            if refusal[0] is Refusal.DEAD:
                self.transport.close()
            else:
                self.transport.write(_http(_STATUS[refusal[0]], "application/json", len(text), more) + text)
            return
        use = {"name": "lookup", "arguments": json.dumps({"item": number, "part": step})}
        call = {"id": f"call_{step}", "type": "function", "function": use}
        last: dict[str, Any] = {"role": "assistant", "content": "The value is 42."}
        message = last if step == len(turns) - 1 else {"role": "assistant", "content": None, "tool_calls": [call]}
        turn, workload = turns[step], self._check.workload
        exchange = _Exchange(self.transport, message, turn, streamed=streamed)
        exchange.work = Work(turn.prompt, turn.answer, workload.prefix(number), workload.shared, str(number), turn.said,
                             exchange.began, exchange.ended)  # fmt: skip
        self._replica.take(exchange.work)


async def main(check: Check) -> None:
    loop, known = asyncio.get_running_loop(), dict[int, list[Turn]]()

    def turns(number: int) -> list[Turn]:
        if number not in known:
            known[number] = check.workload.turns_of(number)
        return known[number]

    urls = []
    for number in range(check.replicas):
        replica = Replica(check.hardware, check.troubles_of(number))
        listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        await loop.create_server(partial(_Server, check, replica, Random(number), turns), sock=listener, backlog=4096)
        urls.append(f"http://127.0.0.1:{listener.getsockname()[1]}/v1")
    print(json.dumps(urls), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Check.read(sys.argv[1])))
