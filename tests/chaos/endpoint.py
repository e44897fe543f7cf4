"""The endpoint of a scenario: the embedded one with a script, which goes wrong as it is told, can go away and come
back, and keeps its own account of what it was asked and what it answered."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

import anyio
from anyio.abc import TaskGroup

from swarm.embedded.app import build_app
from swarm.embedded.policy import PolicyReply, PolicyRequest, PolicyToolCall
from swarm.embedded.script import Script, ScriptPolicy
from swarm.embedded.server import serve
from tests.chaos.strikes import BODIES, BROKEN, REFUSALS, SPOILT, Strike, spoil

KEY = "sk-chaos-canary-4f1c9a7e2b"
"""What the endpoint wants, and what must be found nowhere."""

MARK = "chaos~"
"""In each tool call or answer that was spoilt on purpose."""

_position: ContextVar[int] = ContextVar("position", default=0)


@dataclass(slots=True)
class Exchange:
    """One chat request, and what became of it. `whole`: the client was sent all of the answer."""

    position: int
    prompt: str
    what: str = ""
    status: int = 0
    whole: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass
class Account:
    """What one endpoint has seen. `wrong_keys` counts requests without the right key."""

    exchanges: list[Exchange] = field(default_factory=list)
    wrong_keys: int = 0

    @property
    def answered(self) -> list[Exchange]:
        """Those that were answered to the end, and can be used."""
        return [each for each in self.exchanges if each.whole and each.status == 200 and each.what not in BROKEN]

    @property
    def struck(self) -> Counter[str]:
        return Counter(each.what for each in self.exchanges if each.what)


class _Policy:
    """The script, which never learns of turns that were spoilt."""

    def __init__(self, script: dict[str, Any], strikes: Callable[[int], Strike | None]) -> None:
        self._inner = ScriptPolicy(Script.model_validate(script), "chaos")
        self._strikes = strikes
        self._spoilt: dict[str, PolicyReply] = {}  # by what it answers: what should have been said

    @property
    def name(self) -> str:
        return "script"

    def reply(self, request: PolicyRequest) -> PolicyReply:
        reply = self._inner.reply(replace(request, messages=tuple(self._unspoilt(request.messages))))
        strike = self._strikes(_position.get())
        if strike is None or strike.what not in SPOILT or not (reply.tool_calls or request.response_format):
            return reply
        self._spoilt[_told(request.messages)] = reply
        if not reply.tool_calls:
            return replace(reply, content=f"{MARK} {{not: json, [", tool_calls=())
        first = reply.tool_calls[0]
        if strike.what == "bad-tool":
            return replace(reply, tool_calls=(PolicyToolCall(f"no_such_tool_{MARK[:-1]}", f'{{"x": "{MARK}"}}'),))
        return replace(reply, tool_calls=(PolicyToolCall(first.name, f'{{"{MARK}": [1, 2'),))

    def _unspoilt(self, messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        kept: list[dict[str, Any]] = []
        skipping = False
        for at, message in enumerate(messages):
            if message.get("role") == "assistant":
                good = self._spoilt.get(_told(messages[:at]))
                skipping = good is not None and not _is(good, message)
            if not skipping:  # nor what was said to a spoilt turn
                kept.append(message)
        return kept


def _told(messages: Sequence[dict[str, Any]]) -> str:
    """What was said so far; not the system prompt, to which a schema may be added when an answer was no JSON."""
    said = [message for message in messages if message.get("role") not in ("system", "developer")]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _is(reply: PolicyReply, message: dict[str, Any]) -> bool:
    """Whether a message is this reply: when it was asked for again, nothing was spoilt."""
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    if [call.name for call in reply.tool_calls] != [call["name"] for call in calls]:
        return False
    if not calls:
        return bool(message.get("content") == reply.content)
    return MARK not in calls[0]["arguments"] and all(
        _same(call.arguments, other["arguments"]) for call, other in zip(reply.tool_calls, calls, strict=True)
    )


def _same(one: str, other: str) -> bool:
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return one == other


class Endpoint:
    """Use `open_endpoint`. `strikes` may be changed at any time."""

    def __init__(self, script: dict[str, Any], group: TaskGroup) -> None:
        self.strikes: list[Strike] = []
        self.account = Account()
        self.url = ""
        self.closes = False  # each connection after its answer
        self._group = group
        self._scope = anyio.CancelScope()
        self._gone = anyio.Event()
        self._more = anyio.Event()
        self._inner = build_app({"embedded": _Policy(script, self._strike)})

    def _strike(self, position: int) -> Strike | None:
        return next((each for each in self.strikes if each.hits(position)), None)

    async def asked(self, count: int) -> None:
        """Wait until so many requests have come."""
        while len(self.account.exchanges) < count:
            await self._more.wait()

    async def up(self) -> None:
        """Serve, where it was served before."""
        port = urlsplit(self.url).port or 0
        self._scope, self._gone = anyio.CancelScope(), anyio.Event()
        with anyio.fail_after(10):
            self.url = await self._group.start(self._serve, port, self._scope, self._gone)

    async def down(self) -> None:
        """Be gone: connections are refused."""
        self._scope.cancel()
        await self._gone.wait()

    async def _serve(
        self, port: int, scope: anyio.CancelScope, gone: anyio.Event, *, task_status: anyio.abc.TaskStatus[str]
    ) -> None:
        try:
            with scope:
                await serve(self, port=port, task_status=task_status)
        finally:
            gone.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if not scope["path"].endswith("/chat/completions"):
            await self._inner(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False) and message["type"] == "http.request"
            if message["type"] == "http.disconnect":
                return
        exchange = Exchange(len(self.account.exchanges) + 1, _hash(body))
        self.account.exchanges.append(exchange)
        self._more.set()
        self._more = anyio.Event()
        if dict(scope["headers"]).get(b"authorization") != f"Bearer {KEY}".encode():
            self.account.wrong_keys += 1
            await _whole(send, exchange, *REFUSALS["key"])
            return
        strike = self._strike(exchange.position)
        _position.set(exchange.position)
        if strike is not None:
            exchange.what = strike.what
        await self._answer(scope, _Replayed(body, receive), send, exchange, strike)

    async def _answer(
        self, scope: Any, receive: _Replayed, send: Any, exchange: Exchange, strike: Strike | None
    ) -> None:
        what = strike.what if strike is not None else ""
        if what in REFUSALS:
            await _whole(send, exchange, *REFUSALS[what])
        elif what in BODIES:
            await _whole(send, exchange, 200, {}, BODIES[what])
        elif what == "cut-before":
            await _hang_up(scope, receive)
        elif what == "no-first-token":
            await receive.gone()
        else:
            answer = _Answer(scope, receive, send, exchange, strike, closes=self.closes)
            await self._inner(scope, receive, answer.send)


class _Replayed:
    """The request once more, and then what comes from its client."""

    def __init__(self, body: bytes, receive: Any) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Any:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        return await self._receive()

    async def gone(self) -> None:
        """Until the client has left."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


class _Answer:
    """Sends the answer on as the strike wants it."""

    def __init__(
        self, scope: Any, receive: _Replayed, send: Any, exchange: Exchange, strike: Strike | None, *, closes: bool
    ) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._exchange = exchange
        self._strike = strike
        self._closes = closes
        self._body = b""
        self._start: dict[str, Any] = {}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        if not message.get("more_body"):
            await self._all()

    async def _all(self) -> None:
        """The whole answer is there: send it."""
        exchange, what = self._exchange, self._strike.what if self._strike else ""
        for name in ("prompt_tokens", "completion_tokens"):
            if counts := re.findall(rb'"%s":(\d+)' % name.encode(), self._body):
                setattr(exchange, name, int(counts[-1]))
        exchange.status = self._start["status"]
        streamed = b"text/event-stream" in dict(self._start["headers"]).get(b"content-type", b"")
        pieces = spoil(self._body, what, streamed=streamed)
        headers = [pair for pair in self._start["headers"] if pair[0] != b"content-length"]
        if self._closes:
            headers.append((b"connection", b"close"))
        if what == "late" and self._strike is not None:
            await anyio.sleep(self._strike.seconds)
        await self._send({**self._start, "headers": headers})
        for piece in pieces:
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        if what == "cut-within":
            await anyio.sleep(0.02)  # let it leave
            await _hang_up(self._scope, self._receive)
        elif what == "stalled":
            await self._receive.gone()
        else:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
            exchange.whole = True


async def _whole(send: Any, exchange: Exchange, status: int, headers: dict[str, str], body: bytes) -> None:
    exchange.status = status
    pairs = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    told = [(name.encode(), value.encode()) for name, value in pairs.items()]
    await send({"type": "http.response.start", "status": status, "headers": told})
    await send({"type": "http.response.body", "body": body, "more_body": False})
    exchange.whole = True


async def _hang_up(scope: Any, receive: _Replayed) -> None:
    scope["state"]["transport"].close()
    await receive.gone()


def _hash(body: bytes) -> str:
    return hashlib.sha256(json.dumps(json.loads(body).get("messages")).encode()).hexdigest()[:24]


@asynccontextmanager
async def open_endpoint(script: dict[str, Any]) -> AsyncIterator[Endpoint]:
    """An endpoint that serves a script for the length of the block."""
    async with anyio.create_task_group() as group:
        endpoint = Endpoint(script, group)
        await endpoint.up()
        try:
            yield endpoint
        finally:
            group.cancel_scope.cancel()
