"""Asks a model what it can do: a few small calls through its own client, each for one capability.

A probe that fails by the network, the rate or the key decides nothing: its error is raised. One that is refused while
the same request without what it asks for is taken decides "no". So does one that makes the server fail each time while
it answers plain ones, but for this process alone.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from swarm.calls import ModelReply, ModelRequest, StreamLimits
from swarm.config import Capabilities
from swarm.errors import EndpointError, EndpointFault
from swarm.models.fitting.structured import schema_of
from swarm.models.fitting.text_calls import find_leaked
from swarm.models.providers import REASONING_FIELDS
from swarm.protocols import Model
from swarm.types import JsonObject, Usage

Aspect = Literal["tools", "structured", "stream_usage", "tokens", "seed"]
"""What one probe is about. `tools` also tells of parallel calls, `tokens` of logprobs."""

ASPECTS: tuple[Aspect, ...] = ("tools", "structured", "stream_usage", "tokens", "seed")

TOKEN_FORMS: tuple[Literal["vllm", "sglang"], ...] = ("vllm", "sglang")
"""Whose ways of asking for tokens are tried, in this order."""

TIMEOUT = 60.0
"""Seconds for one probe: a small server may be reading another prompt."""

MAX_TOKENS = 1024
"""Of a probe's answer: room for a model that thinks before it acts."""

_LITTLE = 16

_TRIES = 3
"""How often a server must fail where it answers a plain request, before that counts as a no."""

_REFUSALS = frozenset({EndpointFault.BAD_REQUEST, EndpointFault.REFUSED})
_UNCLEAR = frozenset({EndpointFault.OVERLOADED, EndpointFault.MALFORMED})

_TOOL: JsonObject = {
    "type": "function",
    "function": {
        "name": "note_color",
        "description": "Write down one color.",
        "parameters": {
            "type": "object",
            "properties": {"color": {"type": "string"}},
            "required": ["color"],
            "additionalProperties": False,
        },
    },
}

# A key that no model chooses by itself: it comes only where the schema is kept to.
_KEY = "q7_level"
_FORMAT: JsonObject = {
    "type": "json_schema",
    "json_schema": {
        "name": "level",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {_KEY: {"type": "string", "enum": ["low", "high"]}},
            "required": [_KEY],
            "additionalProperties": False,
        },
    },
}


@dataclass
class Probing:
    """What was found, what it cost, and each exchange for the record. `assumed` was concluded from failures of the
    server, which may be mended tomorrow."""

    found: Capabilities = field(default_factory=Capabilities)
    assumed: Capabilities = field(default_factory=Capabilities)
    failed: bool = False  # whether the aspect that is asked about made the server fail
    usage: Usage = field(default_factory=Usage)
    exchanges: list[JsonObject] = field(default_factory=list)


async def probe(model: Model, aspect: Aspect, done: Probing) -> None:
    """Find out about one aspect and add it to `done`, its cost also where it fails.

    Raises:
        EndpointError: nothing was found out, for a reason that is not the aspect's.
    """
    done.failed = False
    try:
        found = Capabilities(**await _PROBES[aspect](model, done))
    except _RefusedAnyway:
        return  # the request at hand, which is another one, will tell
    if done.failed:
        done.assumed = found.over(done.assumed)
    else:
        done.found = found.over(done.found)


class _RefusedAnyway(Exception):
    """A request is refused, also without what it asks for."""


async def _tools(model: Model, done: Probing) -> dict[str, Any]:
    text = "Use the tool note_color two times, in this one answer: once for red and once for blue."
    reply = await _ask(model, done, "tools", ModelRequest(_user(text), tools=(_TOOL,), max_tokens=MAX_TOKENS))
    if reply is None:
        return {"tools": False, "parallel_tools": False}
    function = _TOOL["function"]
    leaked = find_leaked(reply.content, {function["name"]: function["parameters"]}).calls
    calls = len(reply.tool_calls or leaked)
    if not calls and reply.finish_reason == "length":
        return {}  # it was still thinking
    return {"tools": calls > 0, "parallel_tools": calls > 1, "reasoning": _reasoning(reply)}


async def _structured(model: Model, done: Probing) -> dict[str, Any]:
    request = ModelRequest(
        _user("How high is a house? Answer in JSON."), response_format=_FORMAT, max_tokens=MAX_TOKENS
    )
    reply = await _ask(model, done, "json_schema", request)
    if reply is not None and _begins_as(reply.content, _KEY):
        return {"structured": "json_schema"}
    thinking = reply is not None and not reply.content.strip() and reply.finish_reason == "length"
    text = "In one plain English sentence: how high is a house? (If you must answer in JSON, any object will do.)"
    request = ModelRequest(_user(text), response_format={"type": "json_object"}, max_tokens=MAX_TOKENS)
    reply = await _ask(model, done, "json_object", request)
    if reply is not None and reply.content.lstrip().startswith("{"):
        return {"structured": "json_object"}
    return {} if thinking else {"structured": "none"}


async def _stream_usage(model: Model, done: Probing) -> dict[str, Any]:
    limits = StreamLimits(first_token=TIMEOUT, stall=TIMEOUT)
    reply = await _ask(model, done, "stream", ModelRequest(_user("Say yes."), stream=limits, max_tokens=_LITTLE))
    return {"stream_usage": reply is not None and reply.usage.prompt_tokens > 0}


async def _tokens(model: Model, done: Probing) -> dict[str, Any]:
    logprobs = False
    for form in TOKEN_FORMS:  # a server that does not know one may take it and give nothing
        request = ModelRequest(_user("Say yes."), tokens=True, token_form=form, max_tokens=_LITTLE)
        reply = await _ask(model, done, f"tokens as {form}", request)
        if reply is None or reply.tokens is None:
            continue
        logprobs = logprobs or bool(reply.tokens.logprobs)
        if reply.tokens.completion_ids and reply.tokens.prompt_ids:
            return {"logprobs": logprobs, "token_ids": form}
    return {"logprobs": logprobs, "token_ids": "none"}


async def _seed(model: Model, done: Probing) -> dict[str, Any]:
    """Whether a seed is taken. Whether it does anything no call can tell."""
    reply = await _ask(model, done, "seed", ModelRequest(_user("Say yes."), seed=7, max_tokens=_LITTLE))
    return {"seed": reply is not None}


_PROBES: dict[Aspect, Callable[[Model, Probing], Awaitable[dict[str, Any]]]] = {
    "tools": _tools,
    "structured": _structured,
    "stream_usage": _stream_usage,
    "tokens": _tokens,
    "seed": _seed,
}


async def _ask(model: Model, done: Probing, what: str, request: ModelRequest) -> ModelReply | None:
    """The answer to one probe, None where what it asks for is refused.

    Raises:
        _RefusedAnyway: the reason is another.
    """
    request = replace(request, timeout=TIMEOUT)
    for _ in range(_TRIES):
        try:
            return await _exchange(model, done, f"probe {what}", request)
        except EndpointError as error:
            if error.kind in _REFUSALS:
                await _is_taken(model, done, what, request)
                return None
            if error.kind not in _UNCLEAR:
                raise
        # Some servers fail where others refuse: then they answer when they are not asked for it. Each time: one of
        # several servers behind one address may be down, and a failure now and then tells nothing.
        plain = ModelRequest(request.messages, max_tokens=_LITTLE, timeout=TIMEOUT)
        await _exchange(model, done, f"probe {what}: plain", plain)
    done.failed = True
    return None


async def _is_taken(model: Model, done: Probing, what: str, request: ModelRequest) -> None:
    """See that a request is refused for what it asks for: without, and with the same limits, it is taken."""
    plain = ModelRequest(request.messages, max_tokens=request.max_tokens, timeout=TIMEOUT)
    try:
        await _exchange(model, done, f"probe {what}: plain", plain)
    except EndpointError as error:
        if error.kind in _REFUSALS:
            raise _RefusedAnyway from error
        raise


async def _exchange(model: Model, done: Probing, purpose: str, request: ModelRequest) -> ModelReply:
    told: JsonObject = {"purpose": purpose, "messages": list(request.messages)}
    done.exchanges.append(told)
    try:
        reply = await model.complete(request)
    except EndpointError as error:
        told["error"] = f"{error.kind}: {error.message}"
        raise
    told |= {"message": reply.message, "finish_reason": reply.finish_reason, "usage": reply.usage.model_dump()}
    done.usage = done.usage + reply.usage
    return reply


def _begins_as(text: str, key: str) -> bool:
    """Whether a text is the JSON of an object with this one key, or the beginning of one that was cut off."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text.strip().replace(" ", "").replace("\n", "").startswith(f'{{"{key}":')
    wanted = (schema_of(_FORMAT) or {})["properties"][key]["enum"]
    return isinstance(value, dict) and list(value) == [key] and value[key] in wanted


def _reasoning(reply: ModelReply) -> str:
    return next((name for name in REASONING_FIELDS if reply.message.get(name)), "")


def _user(text: str) -> list[JsonObject]:
    return [{"role": "user", "content": text}]
