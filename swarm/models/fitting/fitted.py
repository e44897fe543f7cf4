"""A model as the program wants it, whatever its endpoint can do: `Model` around `Model`.

What a request wants and an endpoint lacks is done here: tools by text, structured output by prompt and check. What is
not known of an endpoint is asked of it when a request first needs it. Above, nothing knows; the record does, by
`ModelReply.fitted`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from swarm.calls import ModelReply, ModelRequest
from swarm.config import Capabilities, Quirks
from swarm.errors import EndpointError, EndpointFault
from swarm.models.fitting.capabilities import Knowledge
from swarm.models.fitting.images import has_images, with_data, without_images
from swarm.models.fitting.probe import Aspect, Probing, probe
from swarm.models.fitting.structured import format_text, read_json, schema_of
from swarm.models.fitting.text_calls import find_calls, find_leaked
from swarm.models.fitting.text_tools import (
    BROKEN,
    PARSED,
    PROTOCOL,
    as_native,
    as_text,
    marked,
    marks_of,
    protocol_text,
    with_broken_marked,
    with_system,
)
from swarm.models.providers import without_reasoning
from swarm.protocols import Model
from swarm.types import JsonObject, Message, Usage
from swarm.values import value

_DOWNGRADES = 3
"""Requests that one call may change to what the endpoint takes."""

_ABOUT: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("structured", re.compile(r"response_format|json_schema|json_object|structured output|guided|grammar", re.I)),
    ("tools", re.compile(r"\btools?\b|tool_choice|tool_calls?|function.?call", re.I)),
    ("seed", re.compile(r"\bseed\b", re.I)),
    ("images", re.compile(r"image|vision|multi-?modal|content part", re.I)),
    ("tokens", re.compile(r"logprobs|token_ids|meta_info", re.I)),
)
"""What a refusal speaks of."""


_NO_MESSAGES: tuple[Message, ...] = ()


@value(frozen=True, slots=True)
class _Shape:
    """How a request is sent. `structured` is the `response_format` that is sent, `told` whether the schema stands in
    the prompt."""

    text_tools: bool
    structured: str
    told: bool
    dropped: tuple[str, ...]


_AS_IT_IS = _Shape(text_tools=False, structured="none", told=False, dropped=())
_NOTHING = Usage()


class FittedModel:
    """`swarm.protocols.Model` over one whose endpoint may lack what a request wants. `declared` gives what the endpoint
    says of itself, which is asked for before anything is tried out."""

    def __init__(
        self,
        model: Model,
        knowledge: Knowledge,
        quirks: Quirks | None = None,
        declared: Callable[[], Awaitable[Capabilities]] | None = None,
    ) -> None:
        self.name = model.name
        self.endpoint = model.endpoint
        self.knowledge = knowledge
        self._model = model
        self._quirks = quirks or Quirks()
        self._declared = declared
        self._misfit = False  # of the last answer that was wanted by schema: then the prompt tells the schema too
        self._untold: list[JsonObject] = []  # exchanges that no answer told of yet
        self._owed = _NOTHING  # what calls cost that gave no answer of their own

    def __repr__(self) -> str:
        return f"<FittedModel {self._model!r}, {self.knowledge!r}>"

    async def complete(self, request: ModelRequest) -> ModelReply:
        """See `swarm.protocols.Model.complete`. The usage is that of all that was exchanged for the answer."""
        exchanges: list[JsonObject] = []  # beside the answer, for the record
        if self._untold:
            exchanges, self._untold = self._untold, exchanges
        if not self.knowledge.loaded or self._unknown(request, self.knowledge.current):
            await self._find_out(request, exchanges)
        marks = marks_of(request)
        downgrades = 0
        while True:
            shape = self._shape(request)
            sent, added = self._shaped(request, shape, marked=bool(marks))
            try:
                reply = await self._model.complete(sent)
            except EndpointError as error:
                downgrades += 1
                if downgrades > _DOWNGRADES or not self._learn(error, request, shape):
                    raise
                exchanges.append({"purpose": "refused", "error": f"{error.kind}: {error.message}"})
            else:
                return self._fitted(reply, request, shape, _told(request, shape, added, exchanges, marks))

    async def gives_tokens(self) -> bool:
        """Whether this endpoint gives the ids and logprobs of what it samples. Asked of it where nobody knows; what
        that costs is counted with the next answer.

        Raises:
            EndpointError: it cannot be asked now, which says nothing of what it gives.
        """
        if self.knowledge.current.token_ids is None:
            exchanges: list[JsonObject] = []
            try:
                await self._find_out(ModelRequest(_NO_MESSAGES, tokens=True), exchanges)
            finally:
                self._untold += exchanges
        return self.knowledge.current.token_ids != "none" and self.knowledge.current.logprobs is not False

    # ── before ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _find_out(self, request: ModelRequest, exchanges: list[JsonObject]) -> None:
        """Ask the endpoint for what this request needs and nobody knows yet."""
        knowledge = self.knowledge
        if knowledge.loaded and not self._unknown(request, knowledge.current):
            return
        async with knowledge.lock:
            first = not knowledge.loaded
            await knowledge.load()
            wanted = first and knowledge.current.context_tokens is None
            if self._declared is not None and (wanted or self._unknown(request, knowledge.current)):
                knowledge.assume(await self._declared())
            done = Probing()
            try:
                for aspect in self._unknown(request, knowledge.current):
                    await probe(self._model, aspect, done)
            finally:
                self._owed = self._owed + done.usage
                exchanges += done.exchanges
                knowledge.assume(done.assumed)
                if done.found != Capabilities():
                    await knowledge.keep(done.found)
            # Still not decided: taken for able, without keeping it; a refusal or a misfit will tell.
            assumed = {"tools": True, "structured": "json_schema", "token_ids": "vllm"}
            needed = {"tools": "tools", "structured": "structured", "tokens": "token_ids"}
            fields = [needed[aspect] for aspect in self._unknown(request, knowledge.current)]
            knowledge.assume(Capabilities.model_validate({name: assumed[name] for name in fields}))

    def _unknown(self, request: ModelRequest, known: Capabilities) -> list[Aspect]:
        wanted: list[Aspect] = []
        if request.tools and known.tools is None:
            wanted.append("tools")
        if schema_of(request.response_format) is not None and known.structured is None:
            wanted.append("structured")
        if request.tokens and known.token_ids is None:
            wanted.append("tokens")
        return wanted

    def _shape(self, request: ModelRequest) -> _Shape:
        known = self.knowledge.current
        plain = request.response_format is None and not request.tokens and not request.pictures
        if (
            plain and (request.seed is None or known.seed is not False) and known.tools is not False
        ):  # what most calls are
            return _AS_IT_IS
        text_tools = bool(request.tools) and known.tools is False
        schema = schema_of(request.response_format)
        structured = (known.structured or "json_schema") if schema is not None else "none"
        if request.tools and not text_tools and not self._quirks.format_with_tools:
            structured = "none"
        told = schema is not None and (structured != "json_schema" or self._misfit)
        dropped = []
        if request.seed is not None and known.seed is False:
            dropped.append("seed")
        if request.tokens and known.token_ids == "none" and not known.logprobs:
            dropped.append("tokens")
        if request.pictures and known.vision is False and has_images(request.messages):
            dropped.append("images")
        return _Shape(text_tools, structured, told, tuple(dropped))

    def _shaped(self, request: ModelRequest, shape: _Shape, *, marked: bool) -> tuple[ModelRequest, str]:
        """The request as it is sent, and what was added to its system prompt."""
        if shape is _AS_IT_IS and not marked and self._quirks.reasoning_back:
            return request, ""
        schema = schema_of(request.response_format)
        added = [protocol_text(request.tools)] if shape.text_tools else []
        if shape.told and schema is not None:
            added.append(format_text(schema))
        messages: Sequence[Message] = request.messages
        if shape.text_tools:
            messages = as_text(messages)
        elif marked:
            messages = as_native(messages)
        if request.pictures and has_images(messages):
            dropped = "images" in shape.dropped
            messages = without_images(messages) if dropped else with_data(messages, request.pictures)
        if not self._quirks.reasoning_back:
            messages = without_reasoning(messages)
        if added:
            messages = with_system(messages, "\n\n".join(added))
        if messages is not request.messages:
            request = replace(request, messages=messages, encoded=())
        if shape.text_tools:
            request = replace(request, tools=(), encoded_tools=b"")
        if schema is not None and shape.structured != "json_schema":
            plain = {"type": "json_object"} if shape.structured == "json_object" else None
            request = replace(request, response_format=plain)
        if request.tokens and self.knowledge.current.token_ids == "sglang":
            request = replace(request, token_form="sglang")
        for name in shape.dropped:
            if name != "images":
                request = replace(request, seed=None) if name == "seed" else replace(request, tokens=False)
        return request, "\n\n".join(added)

    # ── the call ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _fitted(self, reply: ModelReply, request: ModelRequest, shape: _Shape, fitted: JsonObject) -> ModelReply:
        """The answer as the request wanted it. `fitted` tells how that was changed."""
        if request.tools:
            reply = self._with_calls(reply, request, shape)
        schema = schema_of(request.response_format)
        if schema is not None and not reply.tool_calls:
            content = read_json(reply.content, schema)
            self._misfit = content is None
            reply = reply if content is None else replace(reply, content=content)
        usage, self._owed = (reply.usage if self._owed is _NOTHING else self._owed + reply.usage), _NOTHING
        return replace(reply, usage=usage, fitted=fitted) if fitted or usage is not reply.usage else reply

    def _with_calls(self, reply: ModelReply, request: ModelRequest, shape: _Shape) -> ModelReply:
        """The reply with the calls that stand in its text, or with a mark where it holds calls that cannot be sent back
        as they are."""
        if reply.tool_calls or not reply.content:
            message = with_broken_marked(reply.message)
            return reply if message is reply.message else replace(reply, message=message)
        functions = [tool["function"] for tool in request.tools]
        tools = {each["name"]: each.get("parameters") or {} for each in functions}
        if shape.text_tools:
            found = find_calls(reply.content, tools, cut=reply.finish_reason == "length")
        else:
            found = find_leaked(reply.content, tools)
        if not found.calls:
            return reply
        message, calls = marked(reply.message, found, len(request.messages))
        return replace(reply, message=message, content=found.rest, tool_calls=calls)

    # ── after ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _learn(self, error: EndpointError, request: ModelRequest, shape: _Shape) -> bool:
        """Whether a refusal is about something that can be done in another way, which the next attempt does."""
        if error.kind is not EndpointFault.BAD_REQUEST:
            return False
        about = [what for what, words in _ABOUT if words.search(error.message)]
        if "structured" in about and shape.structured != "none":
            weaker = "json_object" if shape.structured == "json_schema" else "none"
            self.knowledge.assume(Capabilities.model_validate({"structured": weaker}))
        elif "tools" in about and request.tools and not shape.text_tools:
            self.knowledge.assume(Capabilities(tools=False))
        elif "seed" in about and request.seed is not None and "seed" not in shape.dropped:
            self.knowledge.assume(Capabilities(seed=False))
        elif "images" in about and request.pictures and "images" not in shape.dropped:
            self.knowledge.assume(Capabilities(vision=False))
        elif "tokens" in about and request.tokens and "tokens" not in shape.dropped:
            self.knowledge.assume(Capabilities(logprobs=False, token_ids="none"))
        else:
            return False
        return True


def _told(
    request: ModelRequest, shape: _Shape, added: str, exchanges: list[JsonObject], marks: frozenset[str]
) -> JsonObject:
    """How a request was changed on its way out, and what else was exchanged: with the messages, all that was sent.
    `marks`: whether any of these held calls that were read out of a text, or calls that cannot be sent back.
    What is added to the system prompt is told in full with the first call of a conversation, then by its hash."""
    told: JsonObject = {}
    if shape.text_tools:
        told |= {"tools": "text", "protocol": PROTOCOL}
    elif PARSED in marks:
        told["tools"] = "native, earlier calls read out of text"
    if not shape.text_tools and BROKEN in marks:
        told["broken_arguments"] = "sent back as {}"
    if request.response_format is not None and (shape.structured != "json_schema" or shape.told):
        told["structured"] = shape.structured
    if shape.dropped:
        told["dropped"] = list(shape.dropped)
    if added:
        told["system_added_sha256"] = hashlib.sha256(added.encode("utf-8", "surrogatepass")).hexdigest()
        if not any(message["role"] == "assistant" for message in request.messages):
            told["system_added"] = added
    if exchanges:
        told["exchanges"] = list(exchanges)
    return told
