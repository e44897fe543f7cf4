"""The model as somebody else's agent finds it: an OpenAI-compatible endpoint for one attempt, at the sandbox's own
loopback, whose calls are those of the attempt's conversation. The user's key stays outside."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from swarm.calls import ModelReply
from swarm.embedded.answers import sse
from swarm.embedded.app import MAX_BODY, cancel_when_gone
from swarm.embedded.guard import Guard
from swarm.embedded.server import serve_on
from swarm.embedded.wire import ApiError, ChatRequest, parse_request
from swarm.errors import BudgetExhausted, EndpointError, EndpointFault
from swarm.stopping import companions
from swarm.types import Message
from swarm.workers.dialogue import Dialogue, Wanted

_STATUS: dict[EndpointFault, int] = {
    EndpointFault.CONTEXT_TOO_LONG: 400,
    EndpointFault.BAD_REQUEST: 400,
    EndpointFault.REFUSED: 400,
    EndpointFault.WRONG_KEY: 403,
    EndpointFault.QUOTA_EXHAUSTED: 403,
    EndpointFault.UNKNOWN_MODEL: 404,
}
"""What a client is told of a call that failed; of others 502: they have been tried again already."""


_HELD = 8
"""Calls of one agent that are read in and held at a time; they are answered one after another anyway."""


@asynccontextmanager
async def serving(dialogue: Dialogue, listener: socket.socket, token: str) -> AsyncIterator[str]:
    """Serve a conversation at a socket for the length of the block, to whoever has the token; gives the base URL."""
    host, port = listener.getsockname()[:2]
    routes = [
        Route("/v1/chat/completions", _Chat(dialogue), methods=["POST"]),
        Route("/v1/models", partial(_models, dialogue)),
        Route("/v1/models/{name:path}", partial(_models, dialogue)),
    ]
    app = Starlette(routes=routes, exception_handlers={ApiError: _refuse})
    async with companions() as group:
        guard = Guard(app, host, token)
        yield await group.start(serve_on, guard, listener, f"http://{host}:{port}/v1")


async def _models(dialogue: Dialogue, request: Request) -> Response:
    entry = {"id": dialogue.model, "object": "model", "created": 0, "owned_by": "swarm"}
    named = "name" in request.path_params
    return JSONResponse(entry if named else {"object": "list", "data": [entry]})


def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return JSONResponse(error.body, error.status, error.headers)


class _Chat:
    """POST /v1/chat/completions. Plain ASGI: whatever it does ends as soon as the client has left."""

    def __init__(self, dialogue: Dialogue) -> None:
        self._dialogue = dialogue
        self._held = anyio.CapacityLimiter(_HELD)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._held:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        body = bytearray()
        try:
            async for part in request.stream():
                body += part
                if len(body) > MAX_BODY:
                    last = {"Connection": "close"}
                    raise ApiError(413, "The request is too large.", code="request_too_large", headers=last)
        except ClientDisconnect:
            return
        answer: Response | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(cancel_when_gone, receive, group.cancel_scope)
            try:
                answer = await self._answer(bytes(body))
            except ApiError as error:
                answer = _refuse(request, error)
            group.cancel_scope.cancel()
        if answer is not None:
            await answer(scope, receive, send)

    async def _answer(self, body: bytes) -> Response:
        chat, raw = parse_request(body, _without_nothing)
        if b"\\ud" in body.lower():  # half a pair, which is no text: of a name of a file, say
            raw = json.loads(json.dumps(raw, ensure_ascii=False).encode(errors="replace"))
        tools = () if chat.tool_choice == "none" else raw.get("tools") or ()
        wanted = Wanted(raw["messages"], tools, raw.get("response_format"), chat.temperature)
        try:
            reply, message = await self._dialogue.answer(wanted)
        except BudgetExhausted as error:
            text = f"swarm: no further call will be answered: {error.message}"
            raise ApiError(403, text, type="insufficient_quota", code="budget_exhausted") from None
        except EndpointError as error:
            code = "context_length_exceeded" if error.kind is EndpointFault.CONTEXT_TOO_LONG else str(error.kind)
            raise ApiError(_STATUS.get(error.kind, 502), error.message, type="server_error", code=code) from None
        if chat.stream:
            return Response(b"".join(_events(chat, reply, message)), media_type="text/event-stream")
        return Response(to_json(_whole(chat, reply, message)), media_type="application/json")


def _without_nothing(body: dict[str, Any]) -> dict[str, Any]:
    """The request without what says nothing: some clients send an empty list of tools."""
    return {key: value for key, value in body.items() if value not in (None, [])}


def _usage(reply: ModelReply) -> dict[str, Any]:
    usage = reply.usage
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def _frame(kind: str, chat: ChatRequest, reply: ModelReply, choices: list[dict[str, Any]]) -> dict[str, Any]:
    name = f"chatcmpl-{reply.t_done:.6f}".replace(".", "")
    return {"id": name, "object": kind, "created": int(time.time()), "model": chat.model, "choices": choices}


def _whole(chat: ChatRequest, reply: ModelReply, message: Message) -> dict[str, Any]:
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(reply)}
    return _frame("chat.completion", chat, reply, [choice]) | {"usage": _usage(reply)}


def _finish(reply: ModelReply) -> str:
    return "tool_calls" if reply.tool_calls and reply.finish_reason == "stop" else reply.finish_reason or "stop"


def _events(chat: ChatRequest, reply: ModelReply, message: Message) -> Iterator[bytes]:
    """The answer in the form of a stream: it is whole already."""

    def event(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return sse(json.dumps(_frame("chat.completion.chunk", chat, reply, [choice])).encode())

    yield event({key: value for key, value in message.items() if key != "tool_calls"})
    for index, call in enumerate(message.get("tool_calls") or ()):
        yield event({"tool_calls": [{"index": index, **call}]})
    yield event({}, _finish(reply))
    if chat.include_usage:
        yield sse(json.dumps(_frame("chat.completion.chunk", chat, reply, []) | {"usage": _usage(reply)}).encode())
    yield sse(b"[DONE]")
