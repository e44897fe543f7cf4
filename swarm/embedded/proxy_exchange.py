"""One chat that passes through a gateway: the request as far as it is recorded, and what it comes to."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from swarm.embedded.proxy_sessions import Strand
from swarm.events import CallFinished, Gap
from swarm.models.tokens import TokenRatio
from swarm.models.wire.answers import Answer, read_message, usage_of
from swarm.types import Message, Usage

_SAMPLING = (
    *("temperature", "top_p", "top_k", "min_p", "seed", "max_tokens", "max_completion_tokens", "n", "stop", "stream"),
    *("response_format", "tool_choice", "parallel_tool_calls", "presence_penalty", "frequency_penalty"),
    *("repetition_penalty", "logit_bias", "reasoning_effort"),
)


@dataclass(frozen=True, slots=True)
class Chat:
    """A request as far as it is recorded. `session` is "" where the client names none, `client` a hash of who calls."""

    session: str
    client: str
    model: str
    messages: Sequence[Message]
    tools: Sequence[dict[str, Any]]
    sampling: Mapping[str, Any]

    @classmethod
    def of(cls, body: Mapping[str, Any], session: str, client: str) -> Chat | None:
        """None where it is no conversation: then there is nothing to record, and upstream will say what is wrong."""
        messages, tools = body.get("messages"), body.get("tools") or []
        for each in (messages, tools):
            if not isinstance(each, list) or not all(isinstance(part, dict) for part in each):
                return None
        if not messages:
            return None
        sampling = {key: body[key] for key in _SAMPLING if body.get(key) is not None}
        return cls(session, client, str(body.get("model") or ""), messages, tools, sampling)


class Exchange:
    """One attempt at one call, from when it is sent; ends by `accept` or `fail`, once."""

    def __init__(
        self,
        emit: Callable[[CallFinished | Gap], None],
        strand: Strand,
        record: CallFinished,
        prompt: Sequence[Message],
    ) -> None:
        self._emit = emit
        self._strand = strand
        self._record = record
        self._prompt = prompt
        self.ended = False
        self.trainable = strand.trainable

    def accept(self, answer: Answer, version: str, t_first: float, streamed_tokens: int = 0) -> None:
        """It was answered. `version` is that of the policy; `streamed_tokens` estimates a stream without usage.

        Raises:
            ValidationError: its message is none.
        """
        record, strand, choice = self._record, self._strand, answer.choices[0]
        message, _, _ = read_message(choice.message)
        tokens = answer.tokens
        record.accepted, record.response, record.finish_reason = True, message, choice.finish_reason or ""
        record.t_done = time.monotonic()
        record.t_first_token = min(t_first or record.t_done, record.t_done)
        record.policy_version = version or answer.model or record.model
        record.usage = usage_of(answer.usage)
        if not record.usage.total_tokens:
            prompt = TokenRatio().tokens(len(to_json(list(self._prompt))))
            completion = streamed_tokens or TokenRatio().tokens(len(to_json(message)))
            record.usage = Usage(prompt_tokens=prompt, completion_tokens=completion, calls=1)
            record.estimated = True
        if strand.trainable:
            record.untrainable = "no_tokens"
            if tokens is not None and tokens.completion_ids and not record.estimated:
                record.token_source, record.token_exact = "server_ids", tokens.exact
                record.untrainable = "" if record.token_exact else "inexact"
                record.with_tokens(tokens)
        self._end("")
        strand.usage = strand.usage + record.usage
        strand.accept(record.prefix_messages, self._prompt, message, record.call_id)
        strand.lineage = record.lineage_id
        if len(answer.choices) > 1:
            lost = len(answer.choices) - 1
            self._emit(Gap(reason=f"{record.call_id}: of several answers the first is recorded", lost=lost))

    def fail(self, kind: str, message: str = "") -> None:
        """It was not, or not to its end."""
        record = self._record
        record.t_done, record.error, record.error_message = time.monotonic(), kind, message
        self._strand.failed = list(self._prompt)
        self._end(kind)

    def _end(self, error: str) -> None:
        self.ended = True
        strand = self._strand
        strand.busy, strand.seen, strand.last_error = False, time.monotonic(), error
        self._emit(self._record)
