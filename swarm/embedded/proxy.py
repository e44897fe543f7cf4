"""A gateway: passes requests on to an OpenAI-compatible endpoint, and records the chats, whoever makes them.

What the client sends goes out as it came, its key with it, and what the endpoint answers comes back as it came, piece
by piece. The one thing that is added: where the endpoint gives token ids, they are asked for (with a stream where its
usage is wanted too, by which it is seen whether any were lost). Keys are passed on and written nowhere.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx2
from pydantic import ValidationError
from pydantic_core import from_json, to_json
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from swarm.addresses import address
from swarm.config import Capabilities, home
from swarm.embedded.app import cancel_when_gone
from swarm.embedded.guard import bearer
from swarm.embedded.proxy_answers import Collected
from swarm.embedded.proxy_exchange import Chat, Exchange
from swarm.embedded.proxy_log import GatewayLog, open_log
from swarm.embedded.proxy_sessions import session_name
from swarm.embedded.server import running_app
from swarm.errors import EndpointError, UsageError
from swarm.journal.redaction import Redactor
from swarm.models.fitting.capabilities import Knowledge
from swarm.models.fitting.fitted import FittedModel
from swarm.models.wire.client import CONNECT_S, TOKEN_FORMS, OpenAIModel, behind_proxy, open_client
from swarm.models.wire.faults import fault_of, fault_said
from swarm.models.wire.transport import DirectTransport

MAX_BODY = 64 << 20
"""Bytes of a request."""

_CHAT = "chat/completions"
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_OF_A_HOP = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer"),
        *("transfer-encoding", "upgrade", "host", "content-length", "accept-encoding", "date"),
    }
)
"""Headers that are not passed on. Answers are wanted uncoded, so that what comes can be read as it comes."""


class Upstream:
    """The endpoint behind a gateway; use `open_upstream`."""

    def __init__(self, base_url: str, http: httpx2.AsyncClient) -> None:
        self.base_url = base_url.rstrip("/")
        parts = urlsplit(self.base_url)
        self.host = f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
        self.http = http
        self.no_stream_ids: set[str] = set()
        """Models that refuse to give the tokens of streams."""
        self._known: dict[str, Knowledge] = {}

    def __repr__(self) -> str:
        return f"<Upstream {self.host}>"

    async def send(self, request: Request, path: str, body: bytes) -> httpx2.Response:
        """Raises: httpx2.HTTPError, httpx2.InvalidURL."""
        headers = [
            (name, value) for name, value in request.headers.raw if name.lower().decode("latin-1") not in _OF_A_HOP
        ]
        headers.append((b"accept-encoding", b"identity"))
        query = f"?{request.url.query}" if request.url.query else ""
        asked = self.http.build_request(
            request.method, f"{self.base_url}/{path}{query}", headers=headers, content=body or None
        )
        return await self.http.send(asked, stream=True)

    async def token_form(self, model: str, key: str | None) -> str:
        """Whose way of asking for tokens works, "" where none does. Asked of it once for a model, by small calls with
        the key of the first client, and remembered.

        Raises:
            EndpointError: it cannot be asked now.
        """
        if model not in self._known:
            self._known[model] = Knowledge(self.base_url, model, home(os.environ) / "capabilities")
        knowledge = self._known[model]
        await knowledge.load()
        if (known := knowledge.current.token_ids) is not None:
            return "" if known == "none" or knowledge.current.logprobs is False else known
        async with open_client(self.base_url, key) as client:
            plain = OpenAIModel(client, model)
            gives = await FittedModel(plain, knowledge, declared=plain.declared).gives_tokens()
        return (knowledge.current.token_ids or "") if gives else ""

    def gives_none(self, model: str, *, streamed: bool) -> None:
        """It has refused to give tokens; with a stream, or at all."""
        if streamed:
            self.no_stream_ids.add(model)
        else:
            self._known[model].assume(Capabilities(token_ids="none"))


@asynccontextmanager
async def running_gateway(
    base_url: str, host: str = "127.0.0.1", port: int = 0, api_key: str | None = None
) -> AsyncIterator[tuple[str, GatewayLog]]:
    """A gateway to an endpoint for the length of the block; gives its base URL and its log, which is a run that ends
    with the block. With `api_key` it serves those alone who send it, and it goes on to the endpoint as all keys do.

    Raises:
        UsageError: an address cannot be used.
        JournalError: the record cannot be written.
    """
    try:
        upstream_url = address(base_url)
    except ValueError as error:
        raise UsageError(f"--proxy: {error}", remedy="give a base URL such as http://localhost:8000/v1") from None
    timeout = httpx2.Timeout(None, connect=CONNECT_S)
    transport = None if behind_proxy(upstream_url) else DirectTransport()
    async with httpx2.AsyncClient(transport=transport, timeout=timeout, follow_redirects=False) as http:
        upstream = Upstream(upstream_url, http)
        async with open_log(upstream.host) as log:
            gateway = _Gateway(upstream, log)
            routes = [Route("/v1/{path:path}", _Passing(gateway), methods=_METHODS)]
            async with running_app(Starlette(routes=routes), host, port, api_key) as own:
                yield own, log


class _Gateway:
    """What the requests to one gateway share."""

    def __init__(self, upstream: Upstream, log: GatewayLog) -> None:
        self.upstream = upstream
        self.log = log
        self._salt = secrets.token_bytes(16)

    def client(self, request: Request) -> str:
        """Tells apart who calls; good for this process alone."""
        who = request.headers.get("authorization") or request.headers.get("api-key") or ""
        return hashlib.sha256(self._salt + who.encode()).hexdigest()

    async def begin(self, chat: Chat, key: str | None, *, counted: bool) -> tuple[Exchange, str]:
        """Record that a chat is sent on; and in which form its tokens are to be asked for, "" for not. Those of a
        stream only where the client wants its usage, by which it is seen whether any were lost (`counted`)."""
        form, trainable = "", True
        before = self.log.find(chat)
        if before is None or before.trainable:
            # One that cannot be asked now may give them all the same: such a session has calls without tokens.
            with suppress(EndpointError):
                form = await self.upstream.token_form(chat.model, key)
                trainable = bool(form)
        exchange = self.log.begin(chat, trainable=trainable)
        stream = form == "vllm" and counted and chat.model not in self.upstream.no_stream_ids
        plain = (chat.sampling.get("stream") and not stream) or (chat.sampling.get("n") or 1) != 1
        return exchange, "" if plain or not exchange.trainable else form


class _Passing:
    """Every request. Plain ASGI: whatever it does ends as soon as the client has left."""

    def __init__(self, gateway: _Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            body = bytearray()
            async for part in request.stream():
                body += part
                if len(body) > MAX_BODY:
                    too_large = _error(413, "the request is too large", "request_too_large")
                    too_large.headers["connection"] = "close"
                    await too_large(scope, receive, send)
                    return
        except ClientDisconnect:
            return
        passage = _Passage(self._gateway, request, send)
        async with anyio.create_task_group() as group:
            group.start_soon(cancel_when_gone, receive, group.cancel_scope)
            answer = await passage.go(bytes(body))
            if answer is not None:
                await answer(scope, receive, send)
            group.cancel_scope.cancel()


class _Passage:
    """One request on its way there, and its answer on its way back."""

    def __init__(self, gateway: _Gateway, request: Request, send: Send) -> None:
        self._gateway = gateway
        self._request = request
        self._send = send
        self._path = str(request.path_params["path"])
        self._model = ""
        self._streams = False
        self._key = bearer(request.headers.get("authorization", "")) or None

    async def go(self, body: bytes) -> JSONResponse | None:
        """Pass it on; gives what the client is told where nothing came back."""
        if self._key:
            self._gateway.log.hide(self._key)
        asked = _object(body) if self._path == _CHAT and self._request.method == "POST" else None
        if asked is None:
            return await self._pass(body, None)
        chat = Chat.of(asked, session_name(self._request.headers, asked), self._gateway.client(self._request))
        if chat is None:
            return await self._pass(body, None)
        self._model = chat.model
        options = asked.get("stream_options")
        self._streams = bool(asked.get("stream"))
        counted = isinstance(options, dict) and bool(options.get("include_usage"))
        exchange, form = await self._gateway.begin(chat, self._key, counted=counted)
        try:
            more = {key: value for key, value in TOKEN_FORMS.get(form, {}).items() if not asked.get(key)}
            return await self._pass(body, exchange, to_json({**asked, **more}) if more else b"")
        finally:
            if not exchange.ended:  # the client has left, or this gateway ends
                exchange.fail("cancelled")

    async def _pass(self, body: bytes, exchange: Exchange | None, fuller: bytes = b"") -> JSONResponse | None:
        upstream = self._gateway.upstream
        started = False
        try:
            response = await upstream.send(self._request, self._path, fuller or body)
            if fuller and response.status_code in (400, 422):  # it may not like what was added
                await response.aclose()
                response = await upstream.send(self._request, self._path, body)
                if response.status_code < 300:
                    upstream.gives_none(self._model, streamed=self._streams)
            try:
                await self._start(response)
                started = True
                await self._back(response, exchange)
            finally:
                with anyio.move_on_after(2, shield=True):
                    await response.aclose()
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            fault = fault_of(error, self._model, upstream.host)
            if exchange is not None and not exchange.ended:
                exchange.fail(fault.kind, self._clean(fault.message))
            if started:  # the client is to see that the answer is not whole
                self._request.scope["state"]["transport"].close()
                await anyio.sleep_forever()  # until the server reports that the connection is gone
            return _error(502, f"the endpoint behind this gateway: {fault.message}", fault.kind)
        return None

    async def _start(self, response: httpx2.Response) -> None:
        coded = "content-encoding" in response.headers  # it is decoded on its way
        skipped = _OF_A_HOP - {"content-length"} | ({"content-length", "content-encoding"} if coded else set())
        headers = [
            (name.lower(), value)
            for name, value in response.headers.raw
            if name.lower().decode("latin-1") not in skipped
        ]
        await self._send({"type": "http.response.start", "status": response.status_code, "headers": headers})

    async def _back(self, response: httpx2.Response, exchange: Exchange | None) -> None:
        """Pass on what comes, and record what it was before its end is told: whoever has it finds it in the log."""
        collected = Collected(response.headers) if exchange is not None else None
        async for part in response.aiter_bytes():
            if collected is not None:
                collected.add(part)
            if part:
                await self._send({"type": "http.response.body", "body": part, "more_body": True})
        if exchange is not None and collected is not None:
            self._record(response, exchange, collected)
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def _record(self, response: httpx2.Response, exchange: Exchange, collected: Collected) -> None:
        host, status = self._gateway.upstream.host, response.status_code
        if status >= 300:
            fault = fault_said(bytes(collected.body), status, self._model, host, dict(response.headers))
            exchange.fail(fault.kind, self._clean(fault.message))
            return
        try:
            answer = collected.answer()
            if answer is None:
                exchange.fail("cut", f"{host} ended before the answer was whole")
                return
            if answer.error or answer.choices[0].error:
                exchange.fail("malformed", f"{host} told of an error in the place of an answer")
                return
            exchange.accept(answer, collected.version(answer), collected.t_first, collected.tokens_came)
        except ValidationError:
            exchange.fail("malformed", f"{host} answered in another form than /chat/completions")

    def _clean(self, text: str) -> str:
        """A message for the record, without the client's key."""
        return Redactor({"api_key": self._key}).redact(text)[0] if self._key else text


def _object(body: bytes) -> Mapping[str, Any] | None:
    with suppress(ValueError):
        found = from_json(body)
        return found if isinstance(found, dict) else None
    return None


def _error(status: int, message: str, code: str) -> JSONResponse:
    error = {"message": message, "type": "server_error", "param": None, "code": str(code)}
    return JSONResponse({"error": error}, status)
