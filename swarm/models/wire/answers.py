"""What an endpoint answers, checked: whole, or put together from a stream, it becomes one `ModelReply`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeGuard
from uuid import uuid4

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import to_json

from swarm.calls import Tokens
from swarm.types import JsonObject, Message, ToolCall, Usage

POLICY_VERSION = "x-policy-version"
"""The header by which an endpoint may tell the version of the weights that answered."""


class _Function(BaseModel, defer_build=True):
    name: str
    arguments: str | dict[str, Any] | None = None  # some servers parse what the model wrote

    @property
    def raw(self) -> str:
        if isinstance(self.arguments, str):
            return self.arguments
        return to_json(self.arguments or {}).decode()


class _ToolCall(BaseModel, defer_build=True):
    id: str | None = None
    function: _Function


class _Message(BaseModel, defer_build=True):
    content: str | list[dict[str, Any]] | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return "".join(str(part.get("text") or "") for part in self.content)
        return self.content or self.refusal or ""


class _Choice(BaseModel, defer_build=True):
    message: dict[str, Any]
    finish_reason: str | None = None
    error: Any = None
    logprobs: Any = None
    token_ids: Any = None
    prompt_token_ids: Any = None
    meta_info: Any = None


class Answer(BaseModel, defer_build=True):
    """A whole answer, as far as it is read; its message is checked by `read_message`."""

    choices: list[_Choice] = Field(min_length=1)
    model: str | None = None
    usage: Any = None
    error: Any = None
    prompt_token_ids: Any = None
    weight_version: Any = None
    metadata: Any = None

    @property
    def tokens(self) -> Tokens | None:
        """The tokens, where the answer holds any, in the form of vLLM or of SGLang. Ids and logprobs of different
        length are kept as they came."""
        choice = self.choices[0]
        if choice.logprobs is choice.token_ids is choice.meta_info is None and (
            choice.prompt_token_ids is self.prompt_token_ids is None
        ):  # as in every stream
            return None
        content = choice.logprobs.get("content") if isinstance(choice.logprobs, dict) else None
        rows = [row for row in content if isinstance(row, dict)] if isinstance(content, list) else []
        pairs = [(row.get("id"), row.get("logprob")) for row in rows]
        if isinstance(choice.meta_info, dict):
            told = choice.meta_info.get("output_token_logprobs")
            sampled = [row for row in told if isinstance(row, list) and len(row) > 1] if isinstance(told, list) else []
            pairs = [(row[1], row[0]) for row in sampled] or pairs
        found = Tokens(
            _numbers(self.prompt_token_ids) or _numbers(choice.prompt_token_ids),
            _numbers(choice.token_ids) or _numbers([each for each, _ in pairs]),
            tuple(float(logprob) for _, logprob in pairs if _is_number(logprob)),
        )
        if found == Tokens():
            return None
        usage = usage_of(self.usage)
        return replace(found, prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens)

    @property
    def version(self) -> str:
        """The version of the weights that answered; empty where the endpoint does not tell it."""
        for told in (self.choices[0].meta_info, self.metadata):  # SGLang: where it is asked for, and always
            if isinstance(told, dict) and told.get("weight_version") is not None:
                return str(told["weight_version"])
        return "" if self.weight_version is None else str(self.weight_version)


def read_message(message: Message) -> tuple[Message, str, tuple[ToolCall, ...]]:
    """The assistant's message as it is sent back, its text, and its tool calls.

    It is sent back as it came, with all that a provider put into it, but for what is null, for another role, for ids
    that the server left out, and for arguments that it parsed.

    Raises:
        ValidationError: it is in another form.
    """
    plain = _plain(message)
    if plain is not None:
        text, calls = plain
    else:
        read = _Message.model_validate(message)
        text = read.text
        calls = tuple(
            ToolCall(call.id or f"call_{uuid4().hex}", call.function.name, call.function.raw)
            for call in read.tool_calls or ()
        )
    sent = {key: value for key, value in message.items() if value is not None or key == "content"}
    sent["role"] = "assistant"  # it is nothing else, whatever a server says
    sent.setdefault("content", None)
    if calls:
        raw = zip(message["tool_calls"], calls, strict=True)
        sent["tool_calls"] = [_sent_call(each, call) for each, call in raw]
    else:
        sent.pop("tool_calls", None)  # an empty list is refused when it comes back
        sent["content"] = sent["content"] if sent["content"] is not None else ""  # so is null beside no call
    return sent, text, calls


def _plain(message: Message) -> tuple[str, tuple[ToolCall, ...]] | None:
    """Text and calls of a message of the very form in which most come; None of every other, which is to be checked."""
    content, refusal, raw = message.get("content"), message.get("refusal"), message.get("tool_calls")
    if not (content is None or type(content) is str) or not (refusal is None or type(refusal) is str):
        return None
    if raw is None:
        return content or refusal or "", ()
    if type(raw) is not list:
        return None
    calls = []
    for each in raw:
        function = each.get("function") if type(each) is dict else None
        if type(function) is not dict:
            return None
        its_id, name, arguments = each.get("id"), function.get("name"), function.get("arguments")
        if not its_id or not (type(its_id) is type(name) is type(arguments) is str):
            return None
        calls.append(ToolCall(its_id, name, arguments))
    return content or refusal or "", tuple(calls)


def usage_of(raw: object) -> Usage:
    """The tokens that an endpoint counted, in the forms of several; what it did not count is 0."""
    usage: JsonObject = raw if isinstance(raw, dict) else {}
    if usage.keys() <= _COUNTED:
        return Usage(
            prompt_tokens=_count(usage.get("prompt_tokens")),
            completion_tokens=_count(usage.get("completion_tokens")),
            calls=1,
        )
    prompt, completion = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    cached = prompt.get("cached_tokens") if isinstance(prompt, dict) else None
    reasoning = completion.get("reasoning_tokens") if isinstance(completion, dict) else None
    return Usage(
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        cached_tokens=_count(cached or usage.get("prompt_cache_hit_tokens") or usage.get("cached_tokens")),
        reasoning_tokens=_count(reasoning or usage.get("reasoning_tokens")),
        calls=1,
    )


def where_wrong(error: ValidationError) -> str:
    """The first thing that is wrong, and where; never what was there."""
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in first['loc']) or 'the body'}: {first['msg']}"


def _sent_call(raw: JsonObject, call: ToolCall) -> JsonObject:
    kept = {key: value for key, value in raw.items() if value is not None and key != "index"}
    return kept | {
        "id": call.id,
        "type": "function",
        "function": raw["function"] | {"name": call.name, "arguments": call.arguments},
    }


def _count(value: object) -> int:
    return int(value) if isinstance(value, int | float) and 0 <= value < 1e15 else 0


def _is_number(logprob: object) -> TypeGuard[float]:
    """Whether it can be kept: as a 32-bit float, and as JSON."""
    return isinstance(logprob, int | float) and not isinstance(logprob, bool) and abs(logprob) < _MOST


def _numbers(value: object) -> tuple[int, ...]:
    """Ids, all of them or none."""
    if not isinstance(value, list) or not value or set(map(type, value)) != {int}:
        return ()
    return tuple(value) if min(value) >= 0 and max(value) < 1 << 63 else ()


_COUNTED = frozenset({"prompt_tokens", "completion_tokens", "total_tokens"})
"""What many endpoints count, and nothing else."""

_MOST = 1e30
