"""A model behind an OpenAI-compatible endpoint, on the `openai` package with its own retries off.

Requests go through `client.post` as bytes: the typed method walks every message through every member of the message
union on each call. Answers are checked by models that hold only what is read, and streamed ones are put together
without a model for each event.
"""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast
from urllib.parse import urlsplit

import anyio
import httpx2
import openai
from pydantic import ValidationError
from pydantic_core import to_json

from swarm.calls import WHOLE, Encoded, ModelReply, ModelRequest
from swarm.config import Capabilities, Quirks
from swarm.errors import EndpointError, EndpointFault, UsageError
from swarm.models.admission.rate_headers import of_rates, rate_limits
from swarm.models.providers import adapted, declared_in
from swarm.models.wire.answers import POLICY_VERSION, Answer, read_message, usage_of, where_wrong
from swarm.models.wire.bounded import CLOSE_S, MAX_LIST, bound, read_within
from swarm.models.wire.faults import fault_of, shown
from swarm.models.wire.lean import LeanClient, LeanOpenAI
from swarm.models.wire.reading import AnswerReader
from swarm.models.wire.stream import Assembly
from swarm.models.wire.transport import DirectTransport
from swarm.models.wire.watch import Watch
from swarm.types import JsonObject

NO_KEY = "no-key"
"""Sent where no key is set: local servers ask for none, and the package insists on one."""

CONNECT_S = 30.0
"""Seconds for one connection. Generous: a thousand agents that start at once keep the event loop busy."""

_LIST_S = 10.0
"""Seconds that the list of models may take."""

TOKEN_FORMS: dict[str, JsonObject] = {
    "vllm": {"logprobs": True, "return_token_ids": True},
    "sglang": {"logprobs": True, "return_prompt_token_ids": True, "return_meta_info": True},
}
"""How servers are asked for the tokens of an answer."""

_KEPT = 64
"""Ends of bodies that are kept."""

_VERSION = POLICY_VERSION.encode()
_LIMITS = httpx2.Timeout(None, connect=CONNECT_S)


class OpenAIModel:
    """One model at one endpoint; use `open_model`."""

    def __init__(self, client: LeanOpenAI, name: str, quirks: Quirks | None = None) -> None:
        self._client = client
        self._quirks = quirks or Quirks()
        self.name = name
        url = urlsplit(str(client.base_url))
        self.endpoint = f"{url.hostname}:{url.port}" if url.port else str(url.hostname)
        self._head = b'{"model":' + to_json(name) + b',"messages":['
        self._counts_streams = True
        self._options: dict[tuple[object, ...], bytes] = {}  # the ends of bodies: few different ones, made once
        self._reader = AnswerReader(name, self.endpoint)

    def __repr__(self) -> str:
        return f"<OpenAIModel {self.name} at {self.endpoint}>"

    async def complete(self, request: ModelRequest) -> ModelReply:
        """See `swarm.protocols.Model.complete`."""
        while True:
            watch = Watch(request.timeout, None if request.tokens else request.stream, CONNECT_S, request.began)
            assembly: Assembly | None = None
            try:
                with watch.scope:
                    opened = await self._client.send("/chat/completions", self._body(request), _LIMITS, watch.sent)
                    headers, assembly = of_rates(opened.headers), Assembly()
                    try:
                        answer = await self._reader.read(opened, watch, assembly, headers)
                        await opened.aclose()
                    except BaseException:
                        with anyio.move_on_after(CLOSE_S, shield=True):
                            await opened.aclose()
                        raise
                    return self._reply(answer, watch, headers, opened.header(_VERSION) or answer.version)
                raise watch.fault(self.endpoint)
            except (openai.OpenAIError, httpx2.HTTPError, httpx2.InvalidURL, ssl.SSLError, anyio.EndOfStream) as error:
                fault = self._told(fault_of(error, self.name, self.endpoint), assembly)
                if not self._adapt(request, fault):
                    raise fault from error
            except EndpointError as fault:
                if not self._adapt(request, self._told(fault, assembly)):
                    raise
            finally:
                watch.close()

    def _told(self, fault: EndpointError, assembly: Assembly | None) -> EndpointError:
        """A fault without our key, and with what had come of the answer."""
        fault.message = shown(fault.message, self._client.api_key)
        if assembly is not None and not fault.completion_tokens:
            fault.completion_tokens = assembly.completion_tokens()
        return fault

    def _adapt(self, request: ModelRequest, fault: EndpointError) -> bool:
        """Whether a refusal names an option that can be sent in another way, which is done from now on: a server that
        does not know an option says so before it does anything."""
        if fault.kind is not EndpointFault.BAD_REQUEST:
            return False
        refusal = fault.message
        self._options.clear()
        if self._counts_streams and "stream_options" in refusal:
            self._counts_streams = False
            return True
        standard = request.max_tokens is not None and self._quirks.max_tokens_field == "max_tokens"
        if standard and "max_completion_tokens" in refusal and re.search(r"\bmax_tokens\b", refusal):
            self._quirks = self._quirks.model_copy(update={"max_tokens_field": "max_completion_tokens"})
            return True
        return False

    async def declared(self) -> Capabilities:
        """What the endpoint says in its list of models that this one can do; nothing where it says nothing, which is
        the rule: only the embedded endpoint is known to."""
        with anyio.move_on_after(_LIST_S):
            try:
                stream = await self._client.get(
                    "/models",
                    cast_to=httpx2.Response,
                    options={"timeout": _LIMITS},
                    stream=True,
                    stream_cls=openai.AsyncStream[object],
                )
                return declared_in(await read_within(cast(httpx2.Response, stream), MAX_LIST), self.name)
            except (openai.OpenAIError, httpx2.HTTPError, httpx2.InvalidURL, ssl.SSLError, anyio.EndOfStream):
                return Capabilities()  # a real call will say what is wrong
        return Capabilities()

    def _body(self, request: ModelRequest) -> list[bytes]:
        """The request's JSON in parts: what its messages are is shared with all who keep them."""
        encoded, tools = request.encoded, request.encoded_tools
        if len(encoded) != len(request.messages):
            encoded = [to_json(message) for message in request.messages]
        if request.tools and not tools:
            tools = to_json(list(request.tools))
        rest = self._rest(request)
        messages = (encoded.first, *encoded.rest) if isinstance(encoded, Encoded) else (b",".join(encoded),)
        ends = (b'],"tools":', tools) if tools else (b"]",)
        return [self._head, *messages, *ends, b"," if len(rest) > 2 else b"", rest[1:]]

    def _rest(self, request: ModelRequest) -> bytes:
        """The options of a request, as an object of JSON."""
        key = (request.temperature, request.top_p, request.seed, request.max_tokens, request.stream is None)
        plain = request.response_format is None and not request.tokens
        if plain and (known := self._options.get(key)) is not None:
            return known
        optional: JsonObject = {
            "response_format": request.response_format,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "seed": request.seed,
            "max_tokens": request.max_tokens,
        }
        if request.tokens:
            whole = {key: value for key, value in WHOLE.items() if key not in self._quirks.extra_body}
            optional |= TOKEN_FORMS[request.token_form] | whole
        elif request.stream is not None:
            optional |= {"stream": True}
            if self._counts_streams:
                optional |= {"stream_options": {"include_usage": True}}
        options = {key: value for key, value in optional.items() if value is not None}
        rest = to_json(adapted(options, self.name, self._quirks))
        if plain:
            if len(self._options) >= _KEPT:  # bounds of answers may differ from call to call
                self._options.clear()
            self._options[key] = rest
        return rest

    def _reply(self, answer: Answer, watch: Watch, headers: dict[str, str], version: str) -> ModelReply:
        choice = answer.choices[0]
        try:
            message, content, calls = read_message(choice.message)
        except ValidationError as error:
            raise self._reader.malformed(where_wrong(error)) from None
        usage = usage_of(answer.usage)
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
            policy_version=version or answer.model or self.name,
        )


def _proxied() -> httpx2.AsyncClient:
    try:
        return httpx2.AsyncClient(timeout=_LIMITS, limits=httpx2.Limits(), event_hooks={"response": [bound]})
    except (ImportError, ValueError, httpx2.InvalidURL) as error:
        why = "SOCKS needs the package socksio" if isinstance(error, ImportError) else error
        raise UsageError(
            f"the proxy that the environment names cannot be used: {why}",
            remedy="for a SOCKS proxy `pip install socksio`; else mend ALL_PROXY, HTTPS_PROXY or HTTP_PROXY",
        ) from None


@asynccontextmanager
async def open_client(
    base_url: str | None, api_key: str | None, reached: Callable[[float], None] | None = None
) -> AsyncIterator[LeanOpenAI]:
    """A client for one endpoint, always closed: a dropped one can hang a call of a later one. `reached` is told the
    seconds that each connection took to be made where that tells how fast a refusal comes: see `DirectTransport`.

    Where the environment names a proxy for the endpoint, the HTTP library's own transport is used.
    """
    url = base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
    through = _proxied() if behind_proxy(url) else None
    async with (
        through or LeanClient(DirectTransport(reached=reached), _LIMITS) as http,
        LeanOpenAI(
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
