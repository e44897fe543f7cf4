"""A model behind an OpenAI-compatible endpoint, on the `openai` package with its own retries off.

Bodies go through `client.post`, which takes JSON as it is: the typed method walks every message through every member
of the message union on each call. The answer is checked here, by models that hold only what is read.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import openai
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import to_json

from swarm.errors import EndpointError, EndpointFault
from swarm.models.faults import fault_of
from swarm.types import JsonObject, Message, ModelReply, ModelRequest, ToolCall, Usage

NO_KEY = "no-key"
"""Sent where no key is set: local servers ask for none, and the package insists on one."""


class _Function(BaseModel):
    name: str
    arguments: str | dict[str, Any] | None = None  # some servers parse what the model wrote

    @property
    def raw(self) -> str:
        if isinstance(self.arguments, str):
            return self.arguments
        return to_json(self.arguments or {}).decode()


class _ToolCall(BaseModel):
    id: str | None = None
    function: _Function


class _Message(BaseModel):
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[_ToolCall] | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return "".join(str(part.get("text") or "") for part in self.content)
        return self.content or ""


class _Choice(BaseModel):
    message: dict[str, Any]
    finish_reason: str | None = None


class _PromptDetails(BaseModel):
    cached_tokens: int | None = None


class _CompletionDetails(BaseModel):
    reasoning_tokens: int | None = None


class _Usage(BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


class _Answer(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    model: str | None = None
    usage: _Usage | None = None


class OpenAIModel:
    """One model at one endpoint; use `open_model`."""

    def __init__(self, client: openai.AsyncOpenAI, name: str) -> None:
        self._client = client
        self.name = name
        url = urlsplit(str(client.base_url))
        self.endpoint = f"{url.hostname}:{url.port}" if url.port else str(url.hostname)

    def __repr__(self) -> str:
        return f"<OpenAIModel {self.name} at {self.endpoint}>"

    async def complete(self, request: ModelRequest) -> ModelReply:
        t_sent = time.monotonic()
        try:
            raw = await self._client.post(
                "/chat/completions",
                cast_to=bytes,
                body=self._body(request),
                options={"timeout": request.timeout},
            )
        except openai.OpenAIError as error:
            raise fault_of(error, self.name, self.endpoint) from error
        return self._reply(raw, t_sent, time.monotonic())

    def _body(self, request: ModelRequest) -> JsonObject:
        body: JsonObject = {"model": self.name, "messages": list(request.messages)}
        optional = {
            "tools": list(request.tools) or None,
            "response_format": request.response_format,
            "temperature": request.temperature,
            "seed": request.seed,
            "max_tokens": request.max_tokens,
        }
        return body | {key: value for key, value in optional.items() if value is not None}

    def _reply(self, raw: bytes, t_sent: float, t_done: float) -> ModelReply:
        try:
            answer = _Answer.model_validate_json(raw)
            message = _Message.model_validate(answer.choices[0].message)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the body"
            raise EndpointError(
                EndpointFault.MALFORMED,
                f"{self.endpoint} answered in another form than /chat/completions: {where}: {first['msg']}",
                remedy="check that --base-url names an OpenAI-compatible endpoint (it usually ends in /v1)",
            ) from None
        usage = answer.usage or _Usage()
        calls = tuple(
            ToolCall(call.id or f"call_{uuid4().hex}", call.function.name, call.function.raw)
            for call in message.tool_calls or ()
        )
        return ModelReply(
            message=_as_sent_back(answer.choices[0].message, calls),
            content=message.text,
            tool_calls=calls,
            finish_reason=answer.choices[0].finish_reason or "",
            usage=Usage(
                prompt_tokens=usage.prompt_tokens or 0,
                completion_tokens=usage.completion_tokens or 0,
                cached_tokens=(usage.prompt_tokens_details and usage.prompt_tokens_details.cached_tokens) or 0,
                reasoning_tokens=(usage.completion_tokens_details and usage.completion_tokens_details.reasoning_tokens)
                or 0,
                calls=1,
            ),
            model=answer.model or self.name,
            t_sent=t_sent,
            t_first_token=t_done,
            t_done=t_done,
        )


def _as_sent_back(message: Message, calls: tuple[ToolCall, ...]) -> Message:
    """The assistant's message for the next prompt: as it came, but for ids that the server left out."""
    sent = {key: value for key, value in message.items() if value is not None or key == "content"}
    sent.setdefault("role", "assistant")
    if calls:
        sent["tool_calls"] = [
            {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}} for c in calls
        ]
    return sent


@asynccontextmanager
async def open_client(base_url: str | None, api_key: str | None) -> AsyncIterator[openai.AsyncOpenAI]:
    """A client for one endpoint, always closed: a dropped one can hang a call of a later one."""
    async with openai.AsyncOpenAI(base_url=base_url, api_key=api_key or NO_KEY, max_retries=0) as client:
        yield client
