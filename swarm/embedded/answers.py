"""Answers of the embedded endpoint in wire form: whole bodies, stream chunks, and usage.

Usage and pace count the tokens of `swarm.embedded.tokenizer`. Nothing is ever cached. Whoever asks for tokens gets
their ids, in the form of vLLM or of SGLang; a policy is no distribution: what it says it says with certainty, at the
log-probability 0.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from swarm.embedded.policy import PolicyReply, PolicyToolCall
from swarm.embedded.tokenizer import BYTES_PER_TOKEN, count_tokens, sampled


@dataclass(frozen=True, slots=True)
class Shown:
    """What of its tokens an answer is to tell. `prompt` are the ids of the request's prompt."""

    prompt: Sequence[int] = ()
    logprobs: bool = False
    vllm: bool = False
    sglang: bool = False
    version: str = ""


def clip(reply: PolicyReply, limit: int | None, stops: Sequence[str]) -> tuple[PolicyReply, str]:
    """The reply within `limit` tokens and up to the first stop sequence, and its finish reason.

    As with a real model, what is cut by the limit may be broken JSON; tool calls that do not fit at all are lost.
    """
    content = reply.content
    for stop in stops:
        content = content.partition(stop)[0]
    if content != reply.content:
        reply = replace(reply, content=content, tool_calls=())
    finish = "tool_calls" if reply.tool_calls else "stop"
    if limit is None or reply_tokens(reply) <= limit:
        return reply, finish
    content = _head(reply.content, limit * BYTES_PER_TOKEN)
    room = limit - count_tokens(content)
    calls: list[PolicyToolCall] = []
    for call in reply.tool_calls:
        left = room * BYTES_PER_TOKEN - len(call.name.encode())
        if left < 0:
            break
        cut = PolicyToolCall(call.name, _head(call.arguments, left))
        room -= count_tokens(cut.name + cut.arguments)
        calls.append(cut)
    return replace(reply, content=content, tool_calls=tuple(calls)), "length"


def _head(text: str, size: int) -> str:
    """The start of `text` that fits into `size` bytes."""
    data = text.encode("utf-8", "surrogatepass")
    return text if len(data) <= size else data[:size].decode("utf-8", "ignore")


def reply_tokens(reply: PolicyReply) -> int:
    return count_tokens(reply.content) + sum(count_tokens(call.name + call.arguments) for call in reply.tool_calls)


def _logprob(token: int) -> dict[str, Any]:
    return {"token": f"token_id:{token}", "logprob": 0.0, "bytes": None, "top_logprobs": []}


def _call_id() -> str:
    return f"call_{uuid4().hex[:24]}"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer on its way out. Its id and those of its tool calls are unique, whatever the request's seed."""

    model: str
    reply: PolicyReply
    finish_reason: str
    prompt_tokens: int
    shown: Shown = Shown()
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def completion_tokens(self) -> int:
        return reply_tokens(self.reply)

    @property
    def usage(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": 0},
        }

    def body(self) -> bytes:
        """The body of an answer that is not streamed."""
        message: dict[str, Any] = {"role": "assistant", "content": self.reply.content, "refusal": None}
        if self.reply.tool_calls:
            message["content"] = self.reply.content or None
            message["tool_calls"] = [
                {"id": _call_id(), "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in self.reply.tool_calls
            ]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self.finish_reason}
        root: dict[str, Any] = {"usage": self.usage}
        shown, ids = self.shown, sampled(self.reply) if self.shown.logprobs or self.shown.vllm else []
        if shown.logprobs:
            choice["logprobs"] = {"content": [_logprob(each) for each in ids], "refusal": None}
        if shown.vllm:
            choice["token_ids"] = ids
            root["prompt_token_ids"] = list(shown.prompt)
        if shown.sglang:
            choice["prompt_token_ids"] = list(shown.prompt)
            rows = [[0.0, each, None] for each in ids]
            choice["meta_info"] = {"output_token_logprobs": rows, "weight_version": shown.version}
        return encode(self._frame("chat.completion", [choice]) | root)

    def events(self, tokens_per_event: int, *, include_usage: bool) -> Iterator[tuple[int, bytes]]:
        """The server-sent events, each with the number of completion tokens that it and those before it hold."""
        extra = {"usage": None} if include_usage else {}
        total = self.completion_tokens

        def event(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
            return sse(encode(self._frame("chat.completion.chunk", [choice]) | extra))

        sent = 0
        yield sent, event({"role": "assistant", "content": "" if self.reply.content else None})
        for piece in _pieces(self.reply.content, tokens_per_event):
            sent += count_tokens(piece)
            yield min(sent, total), event({"content": piece})
        for index, call in enumerate(self.reply.tool_calls):
            sent += count_tokens(call.name)
            opening = {"name": call.name, "arguments": ""}
            head = {"index": index, "id": _call_id(), "type": "function", "function": opening}
            yield min(sent, total), event({"tool_calls": [head]})
            for piece in _pieces(call.arguments, tokens_per_event):
                sent += count_tokens(piece)
                yield min(sent, total), event({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
        yield total, event({}, self.finish_reason)
        if include_usage:
            yield total, sse(encode(self._frame("chat.completion.chunk", []) | {"usage": self.usage}))
        yield total, sse(b"[DONE]")

    def _frame(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model, "choices": choices}


def _pieces(text: str, tokens: int) -> Iterator[str]:
    step = tokens * BYTES_PER_TOKEN
    return (text[start : start + step] for start in range(0, len(text), step))


def encode(value: object) -> bytes:
    """JSON in ASCII: a lone surrogate that came in also goes out."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def sse(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"
