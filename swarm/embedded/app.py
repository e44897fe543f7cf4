"""The embedded endpoint as an ASGI application: an OpenAI-compatible chat API in front of policies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from swarm.embedded.answers import Answer, Shown, clip, sse
from swarm.embedded.faults import Fault, FaultKind, Faults
from swarm.embedded.limits import Meter
from swarm.embedded.policy import Pace, Policy, PolicyReply, PolicyRequest, version_of
from swarm.embedded.tokenizer import prompt_ids
from swarm.embedded.wire import ApiError, ChatRequest, parse_request
from swarm.errors import UsageError
from swarm.models.providers import DECLARED, EMBEDDED_CAPABILITIES

POLICY_THREADS = 8
"""Policies that compute at once. More would only take the interpreter from the event loop; waiting costs no thread."""

TICK_S = 0.02
"""A paced stream sends what is due at most this often: a thousand fast streams must not drown the loop."""

UNPACED_TOKENS = 64
"""Tokens per event of a stream that comes at once, and the most of any."""


MAX_BODY = 64 << 20
"""Bytes of a request."""

_LAST = {"Connection": "close"}  # else what still comes of a request would be read, for ever


def build_app(policies: Mapping[str, Policy], faults: Faults | None = None) -> Starlette:
    """The application that serves `policies` by model name, for one server."""
    api = _Api(dict(policies), faults or Faults(()))
    return Starlette(
        routes=[
            Route("/health", api.health),
            Route("/v1/models", api.models),
            Route("/v1/chat/completions", _Chat(api), methods=["POST"]),
        ],
        exception_handlers={ApiError: _refuse, HTTPException: _refuse_http, Exception: _refuse_bug},
    )


class _Api:
    """What the requests to one server share: the policies, the count of requests and those in flight."""

    def __init__(self, policies: dict[str, Policy], faults: Faults) -> None:
        self.faults = faults
        self.meter = Meter(faults.limit)
        self.threads = anyio.CapacityLimiter(POLICY_THREADS)
        self._policies = policies
        self._requests = 0
        self._in_flight = 0

    async def health(self, request: Request) -> Response:
        state = {"status": "ok", "requests": self._requests, "in_flight": self._in_flight, **self.meter.verdicts}
        return JSONResponse(state | {"policy_threads": self.threads.borrowed_tokens})

    async def models(self, request: Request) -> Response:
        entry: dict[str, Any] = {"object": "model", "created": 0, "owned_by": "swarm"}
        if not self.faults.lacks:
            entry[DECLARED] = EMBEDDED_CAPABILITIES.model_dump()
        if self.faults.window is not None and self.faults.window.told:
            entry["max_model_len"] = self.faults.window.tokens
        data = [{"id": name} | entry for name in self._policies]
        return JSONResponse({"object": "list", "data": data})

    @contextmanager
    def counted(self) -> Iterator[int]:
        """Count a chat request as in flight; gives its position, from 1."""
        self._requests += 1
        self._in_flight += 1
        try:
            yield self._requests
        finally:
            self._in_flight -= 1

    def take(self) -> dict[str, str]:
        """Count a request against the limit. Gives headers for its answer; raises ApiError where it is refused."""
        return self.meter.take(self._in_flight)

    def policy(self, model: str) -> Policy:
        try:
            return self._policies[model]
        except KeyError:
            raise ApiError(404, f"The model '{model}' does not exist.", param="model", code="model_not_found") from None


class _Chat:
    """POST /v1/chat/completions. Plain ASGI: whatever it does ends as soon as the client has left."""

    def __init__(self, api: _Api) -> None:
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        arrived = anyio.current_time()
        request = Request(scope, receive)
        with self._api.counted() as position:
            body = bytearray()
            try:
                async for part in request.stream():
                    body += part
                    if len(body) > MAX_BODY:
                        too_large = ApiError(413, "The request is too large.", code="request_too_large", headers=_LAST)
                        await _refuse(request, too_large)(scope, receive, send)
                        return
            except ClientDisconnect:
                return
            async with anyio.create_task_group() as group:
                group.start_soon(cancel_when_gone, receive, group.cancel_scope)
                fault = self._api.faults.at(position)
                exchange = _Exchange(self._api, request, send, fault, arrived)
                try:
                    await exchange.answer(bytes(body))
                except ApiError as error:
                    await _refuse(request, error)(scope, receive, send)
                group.cancel_scope.cancel()


async def cancel_when_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    """Cancel what is done for a client when it has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


class _Exchange:
    """One chat request and its answer."""

    def __init__(self, api: _Api, request: Request, send: Send, fault: Fault | None, arrived: float) -> None:
        self._api = api
        self._request = request
        self._send = send
        self._fault = fault
        self._arrived = arrived
        self._headers: dict[str, str] = {}

    async def answer(self, body: bytes) -> None:
        """Answer the request, well or as its fault wants it.

        Raises:
            ApiError: the answer is an error.
        """
        if self._fault is not None:
            if (refusal := self._fault.refusal()) is not None:
                raise refusal
            if self._fault.kind is FaultKind.HANG:
                await anyio.sleep_forever()
            if self._fault.kind is FaultKind.SLOW:
                self._arrived += self._fault.seconds
        self._headers = self._api.take()
        chat, raw = parse_request(body, self._api.faults.taken)
        prompt = prompt_ids(raw)
        if self._api.faults.window is not None:
            self._api.faults.window.check(len(prompt), chat.limit)
        reply, finish_reason = clip(await self._ask(chat, raw), chat.limit, chat.stops)
        version = version_of(self._api.policy(chat.model))
        self._headers["x-policy-version"] = version
        sglang, logprobs = bool(chat.return_meta_info), bool(chat.logprobs)
        shown = Shown(prompt if chat.wants_ids else (), logprobs, bool(chat.return_token_ids), sglang, version)
        answer = Answer(chat.model, reply, finish_reason, len(prompt), shown)
        if chat.stream:
            await self._stream(answer, include_usage=chat.include_usage)
        else:
            await self._whole(answer)

    async def _ask(self, chat: ChatRequest, raw: dict[str, Any]) -> PolicyReply:
        """The policy's reply. Its content is passed on as it is, also where the request asked for JSON.

        With tool_choice "none" it sees no tools. A policy whose client has left goes on alone; its reply is dropped.
        """
        policy = self._api.policy(chat.model)
        request = PolicyRequest(
            messages=tuple(raw["messages"]),
            tools=() if chat.tool_choice == "none" else tuple(raw.get("tools") or ()),
            response_format=raw.get("response_format"),
            seed=chat.seed,
        )
        call = partial(policy.reply, request)
        try:
            return await anyio.to_thread.run_sync(call, limiter=self._api.threads, abandon_on_cancel=True)
        except UsageError as error:
            raise ApiError(400, str(error), code="policy_refused") from None

    async def _whole(self, answer: Answer) -> None:
        await anyio.sleep_until(self._due(answer.reply.pace, answer.completion_tokens))
        body = answer.body()
        if self._has(FaultKind.MALFORMED):
            body = body[: len(body) // 2]
        await self._start("application/json", length=len(body))
        if self._has(FaultKind.CUT):
            await self._put(body[: len(body) // 2])
            await _hang_up(self._request.scope)
        await self._put(body, last=True)

    async def _stream(self, answer: Answer, *, include_usage: bool) -> None:
        pace = answer.reply.pace
        events = answer.events(_tokens_per_event(pace), include_usage=include_usage)
        broken = self._has(FaultKind.CUT) or self._has(FaultKind.MALFORMED)
        if broken:
            every = list(events)
            events = islice(every, len(every) // 2)
        await self._start("text/event-stream; charset=utf-8")
        for tokens, event in events:
            await anyio.sleep_until(self._due(pace, tokens))
            await self._put(event)
        if self._has(FaultKind.CUT):
            await _hang_up(self._request.scope)
        await self._put(sse(b'{"id": "chatcmpl-') if broken else b"", last=True)

    def _due(self, pace: Pace, tokens: int) -> float:
        """When so many tokens may have been sent, on the clock of the event loop."""
        return self._arrived + pace.first_token_s + (tokens / pace.tokens_per_s if pace.tokens_per_s else 0.0)

    def _has(self, kind: FaultKind) -> bool:
        return self._fault is not None and self._fault.kind is kind

    async def _start(self, content_type: str, *, length: int | None = None) -> None:
        headers = [(b"content-type", content_type.encode()), (b"cache-control", b"no-cache")]
        headers += [(name.encode(), value.encode()) for name, value in self._headers.items()]
        if length is not None:
            headers.append((b"content-length", str(length).encode()))
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _put(self, data: bytes, *, last: bool = False) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": not last})


def _tokens_per_event(pace: Pace) -> int:
    if pace.tokens_per_s is None:
        return UNPACED_TOKENS
    return max(1, int(min(pace.tokens_per_s * TICK_S, UNPACED_TOKENS)))


async def _hang_up(scope: Scope) -> None:
    """Close the connection under an answer. The server puts it into the scope: ASGI has no word for this."""
    scope["state"]["transport"].close()
    await anyio.sleep_forever()  # until the server reports that the connection is gone


def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return JSONResponse(error.body, error.status, error.headers)


def _refuse_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"{error.detail}: {request.method} {request.url.path}"
    return _refuse(request, ApiError(error.status_code, message, headers=dict(error.headers or {})))


def _refuse_bug(request: Request, error: Exception) -> Response:
    """A policy or this server has a bug: the server logs the traceback, the client learns only that much."""
    return _refuse(request, ApiError(500, "The endpoint failed; see its log.", type="server_error"))
