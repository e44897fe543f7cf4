"""An answer as it passes by: whole or streamed, put together for the record without holding it up."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from swarm.models.wire.answers import POLICY_VERSION, Answer
from swarm.models.wire.reading import CUT_SHORT
from swarm.models.wire.stream import DONE, Assembly, EventParser, chunk_of

_MOST = 64 << 20
"""Bytes of an answer that are kept for the record."""


class Collected:
    """Feed it the parts of a body with `add`. A stream is told by its type."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.body = bytearray()
        self.t_first = 0.0
        """When the first part came, `time.monotonic`; 0 before that."""
        self._version = headers.get(POLICY_VERSION, "")
        self._stream = headers.get("content-type", "").startswith("text/event-stream")
        self._parser = EventParser()
        self._assembly = Assembly()
        self._prompt_ids: Any = None
        self._ids: list[Any] = []
        self._logprobs: list[Any] = []
        self._error: Any = None
        self._done = False

    def add(self, part: bytes) -> None:
        self.t_first = self.t_first or time.monotonic()
        if self._stream:
            self._events(self._parser.feed(part))
        elif len(self.body) < _MOST:
            self.body += part

    def answer(self) -> Answer | None:
        """What it has come to; None where a stream ended before it was whole, or told of an error.

        Raises:
            ValidationError: it is no answer.
        """
        if not self._stream:
            return _plain(Answer.model_validate_json(bytes(self.body)))
        self._events(self._parser.end())
        finish = self._assembly.finish_reason
        if self._error is not None or (finish is None and not (self._done and self._assembly.events)):
            return None
        choice: dict[str, Any] = {"message": self._assembly.message(), "finish_reason": finish}
        if self._ids:
            choice |= {"token_ids": self._ids, "logprobs": {"content": self._logprobs}}
        read = {"choices": [choice], "model": self._assembly.model, "usage": self._assembly.usage}
        return _plain(Answer.model_validate(read | {"prompt_token_ids": self._prompt_ids}))

    @property
    def tokens_came(self) -> int:
        """How many tokens of a stream have come, estimated."""
        return self._assembly.completion_tokens()

    def version(self, answer: Answer) -> str:
        """That of the policy, "" where it was not told."""
        return self._version or answer.version

    def _events(self, events: list[bytes]) -> None:
        for data in events:
            if data == DONE:
                self._done = True
                continue
            try:
                chunk = chunk_of(data)
                self._error = self._error or chunk.get("error")
                self._assembly.add(chunk)
                self._tokens(chunk)
            except (ValueError, TypeError, AttributeError, LookupError):  # what it is, whoever asked sees for itself
                continue

    def _tokens(self, chunk: Mapping[str, Any]) -> None:
        """Ids that a client has asked for come piece by piece; whether none is lost, the counts of the usage tell."""
        self._prompt_ids = self._prompt_ids or chunk.get("prompt_token_ids")
        choices = chunk.get("choices") or ()
        if choices and isinstance(choices[0], dict) and not choices[0].get("index"):
            ids, told = choices[0].get("token_ids"), choices[0].get("logprobs")
            self._ids += ids if isinstance(ids, list) else []
            rows = told.get("content") if isinstance(told, dict) else None
            self._logprobs += rows if isinstance(rows, list) else []


def _plain(answer: Answer) -> Answer:
    if (answer.choices[0].finish_reason or "").lower() in CUT_SHORT:
        answer.choices[0].finish_reason = "length"
    return answer
