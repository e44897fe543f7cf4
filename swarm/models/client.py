"""A model behind an OpenAI-compatible endpoint, on the `openai` package with its own retries off.

Requests go through `client.post` as bytes: the typed method walks every message through every member of the message
union on each call. Answers are checked by models that hold only what is read, and streamed ones are put together
without a model for each event.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast
from urllib.parse import urlsplit

import anyio
import httpx2
import openai
from pydantic import ValidationError
from pydantic_core import from_json, to_json

from swarm.calls import ModelReply, ModelRequest
from swarm.config import Quirks
from swarm.errors import EndpointError, EndpointFault
from swarm.models.answers import Answer, read_message, usage_of, where_wrong
from swarm.models.faults import CHECK_URL, fault_of, fault_said, status_said
from swarm.models.lean import LeanClient
from swarm.models.providers import adapted
from swarm.models.rate_headers import of_rates, rate_limits
from swarm.models.stream import DONE, Assembly, EventParser, chunk_of
from swarm.models.transport import DirectTransport, on_sent
from swarm.models.watch import Watch
from swarm.types import JsonObject

NO_KEY = "no-key"
"""Sent where no key is set: local servers ask for none, and the package insists on one."""

CONNECT_S = 30.0
"""Seconds for one connection. Generous: a thousand agents that start at once keep the event loop busy."""

MAX_ANSWER = 64 << 20
"""Bytes of an answer; a longer one is no answer to a chat."""

_LAST_S = 0.25
"""Seconds that the end of a stream may take after its last event. Longer, and the connection is given up."""

_CLOSE_S = 2.0
_LIMITS = httpx2.Timeout(None, connect=CONNECT_S)


class OpenAIModel:
    """One model at one endpoint; use `open_model`."""

    def __init__(self, client: openai.AsyncOpenAI, name: str, quirks: Quirks | None = None) -> None:
        self._client = client
        self._quirks = quirks or Quirks()
        self.name = name
        url = urlsplit(str(client.base_url))
        self.endpoint = f"{url.hostname}:{url.port}" if url.port else str(url.hostname)
        self._head = b'{"model":' + to_json(name) + b',"messages":['
        self._counts_streams = True

    def __repr__(self) -> str:
        return f"<OpenAIModel {self.name} at {self.endpoint}>"

    async def complete(self, request: ModelRequest) -> ModelReply:
        """See `swarm.protocols.Model.complete`."""
        try:
            return await self._complete(request)
        except EndpointError as error:
            # An old server that does not know how to count a stream says so before it does anything.
            if error.kind is EndpointFault.BAD_REQUEST and self._counts_streams and "stream_options" in error.message:
                self._counts_streams = False
                return await self._complete(request)
            raise

    async def _complete(self, request: ModelRequest) -> ModelReply:
        watch = Watch(request.timeout, None if request.tokens else request.stream, CONNECT_S, request.began)
        assembly = Assembly()
        token = on_sent.set(watch.sent)
        try:
            with watch.scope:
                return await self._call(request, watch, assembly)
            raise watch.fault(self.endpoint)
        except (openai.OpenAIError, httpx2.HTTPError, httpx2.InvalidURL, ssl.SSLError, anyio.EndOfStream) as error:
            fault = fault_of(error, self.name, self.endpoint)
            fault.completion_tokens = assembly.completion_tokens()
            raise fault from error
        except EndpointError as fault:
            fault.completion_tokens = fault.completion_tokens or assembly.completion_tokens()
            raise
        finally:
            on_sent.reset(token)

    async def _call(self, request: ModelRequest, watch: Watch, assembly: Assembly) -> ModelReply:
        stream = await self._client.post(
            "/chat/completions",
            cast_to=httpx2.Response,
            content=self._body(request),
            options={"timeout": _LIMITS},
            stream=True,
            stream_cls=openai.AsyncStream[object],
        )
        response = cast(httpx2.Response, stream)  # what the package gives for this `cast_to`
        headers = of_rates(response.headers.raw)
        try:
            if "text/event-stream" in response.headers.get("content-type", ""):
                await self._read_stream(response, watch, assembly, headers)
                answer = _put_together(assembly)
            else:
                answer = self._read_whole(await _read(response, self.endpoint), headers)
        finally:
            with anyio.move_on_after(_CLOSE_S, shield=True):
                await response.aclose()
        return self._reply(answer, watch, headers)

    def _body(self, request: ModelRequest) -> bytes:
        messages, tools = request.encoded, request.encoded_tools
        if len(messages) != len(request.messages):
            messages = [to_json(message) for message in request.messages]
        if request.tools and not tools:
            tools = to_json(list(request.tools))
        optional: JsonObject = {
            "response_format": request.response_format,
            "temperature": request.temperature,
            "seed": request.seed,
            "max_tokens": request.max_tokens,
        }
        if request.tokens:
            optional |= {"logprobs": True, "return_token_ids": True}
        elif request.stream is not None:
            optional |= {"stream": True}
            if self._counts_streams:
                optional |= {"stream_options": {"include_usage": True}}
        options = {key: value for key, value in optional.items() if value is not None}
        rest = to_json(adapted(options, self.name, self._quirks))
        parts = [self._head, b",".join(messages), b"]"]
        if tools:
            parts += [b',"tools":', tools]
        parts += [b"," if len(rest) > 2 else b"", rest[1:]]
        return b"".join(parts)

    async def _read_stream(
        self, response: httpx2.Response, watch: Watch, assembly: Assembly, headers: dict[str, str]
    ) -> None:
        """Read a stream to its end: [DONE], or where the connection ends after a reason to finish."""
        parser = EventParser()
        parts = response.aiter_bytes()
        done = False
        try:
            async for part in parts:
                done = self._add(parser.feed(part), assembly, headers)
                if done:
                    break
                watch.came(assembly.events, parser.heartbeats)
            else:
                done = self._add(parser.end(), assembly, headers)
        except httpx2.TransportError:
            if assembly.finish_reason is None:
                raise
        if done:
            with anyio.move_on_after(_LAST_S):  # to the end, so that the connection can be used again
                async for _ in parts:
                    pass
        if assembly.finish_reason is None and not assembly.events and done:
            raise self._malformed("a stream without an answer")
        if assembly.finish_reason is None and not done:
            raise EndpointError(EndpointFault.CUT, f"{self.endpoint} ended the stream before the answer was whole")
        watch.came(assembly.events, parser.heartbeats)

    def _add(self, events: list[bytes], assembly: Assembly, headers: dict[str, str]) -> bool:
        """Add events to the answer; gives whether they say that it is whole."""
        for data in events:
            if data == DONE:
                return True
            try:
                chunk = chunk_of(data)
                if "error" in chunk or chunk.get("object") == "error":
                    raise fault_said(chunk, status_said(chunk, 502), self.name, self.endpoint, headers)
                assembly.add(chunk)
            except (ValueError, TypeError, AttributeError, KeyError, LookupError):
                raise self._malformed("an event of the stream cannot be read") from None
        return False

    def _read_whole(self, body: bytes, headers: dict[str, str]) -> Answer:
        try:
            return Answer.model_validate_json(body)
        except ValidationError as error:
            try:
                said = from_json(body)
            except ValueError:
                said = None
            if isinstance(said, dict) and said.get("error"):  # some send an error with status 200
                raise fault_said(said, status_said(said, 502), self.name, self.endpoint, headers) from None
            raise self._malformed(where_wrong(error)) from None

    def _reply(self, answer: Answer, watch: Watch, headers: dict[str, str]) -> ModelReply:
        choice = answer.choices[0]
        try:
            message, content, calls = read_message(choice.message)
        except ValidationError as error:
            raise self._malformed(where_wrong(error)) from None
        usage = usage_of(answer.usage)
        if choice.finish_reason == "content_filter" and not content and not calls:
            raise EndpointError(
                EndpointFault.REFUSED,
                f"{self.endpoint} refused the content: its filter left nothing of the answer",
                completion_tokens=usage.completion_tokens,
            )
        t_done = time.monotonic()
        return ModelReply(
            message=message,
            content=content,
            tool_calls=calls,
            finish_reason=choice.finish_reason or "",
            usage=usage,
            model=answer.model or self.name,
            t_sent=watch.t_sent,
            t_first_token=watch.t_first_token or t_done,
            t_done=t_done,
            limits=rate_limits(headers),
            tokens=answer.tokens,
        )

    def _malformed(self, what: str) -> EndpointError:
        return EndpointError(
            EndpointFault.MALFORMED,
            f"{self.endpoint} answered in another form than /chat/completions: {what}",
            remedy=CHECK_URL,
        )


def _put_together(assembly: Assembly) -> Answer:
    choice = {"message": assembly.message(), "finish_reason": assembly.finish_reason}
    return Answer.model_validate({"choices": [choice], "model": assembly.model, "usage": assembly.usage})


async def _read(response: httpx2.Response, endpoint: str) -> bytes:
    parts, size = [], 0
    async for part in response.aiter_bytes():
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER:
            raise EndpointError(EndpointFault.MALFORMED, f"{endpoint} does not come to an end: {size} bytes so far")
    return b"".join(parts)


@asynccontextmanager
async def open_client(base_url: str | None, api_key: str | None) -> AsyncIterator[openai.AsyncOpenAI]:
    """A client for one endpoint, always closed: a dropped one can hang a call of a later one.

    Where the environment names a proxy for the endpoint, the HTTP library's own transport is used.
    """
    url = base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
    through = httpx2.AsyncClient(timeout=_LIMITS, limits=httpx2.Limits()) if behind_proxy(url) else None
    async with (
        through or LeanClient(DirectTransport(), _LIMITS) as http,
        openai.AsyncOpenAI(
            base_url=url,
            api_key=api_key or NO_KEY,
            max_retries=0,
            default_headers={"Accept-Encoding": "identity"},  # a compressed stream comes late
            http_client=http,
        ) as client,
    ):
        yield client


def behind_proxy(url: str) -> bool:
    """Whether the environment names a proxy for `url`. This machine itself is never behind one."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxies = urllib.request.getproxies()
    if not (proxies.get(parts.scheme) or proxies.get("all")) or host == "localhost":
        return False
    try:
        if ipaddress.ip_address(host).is_loopback:
            return False
    except ValueError:
        pass
    return not urllib.request.proxy_bypass(host)
