"""What an endpoint sends: HTTP, streams, chunks, whole answers, errors, the headers of its rates."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from math import isfinite
from typing import Any

import anyio
import httpx2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from swarm.embedded.proxy_answers import Collected
from swarm.errors import EndpointError, RateLimits
from swarm.models.admission.rate_headers import of_rates, rate_limits, retry_after
from swarm.models.fitting.windows import asked_said, limit_said
from swarm.models.wire.answers import Answer, read_message, usage_of
from swarm.models.wire.faults import fault_said
from swarm.models.wire.http1 import MAX_HEAD, AnswerParser, BadAnswerError
from swarm.models.wire.lean import Opened
from swarm.models.wire.reading import AnswerReader
from swarm.models.wire.stream import Assembly, EventParser, chunk_of
from swarm.models.wire.watch import Watch
from tests.effort import examples
from tests.fuzz.hostile import DIGITS, bent, bent_json, grows_in_step, mutated, nested, texts

CALLS = [
    {"index": 0, "id": "c1", "type": "function", "function": {"name": "bash", "arguments": '{"command": "ls'}},
    {"index": 0, "function": {"arguments": ' -l"}'}},
    {"index": 1, "id": "c2", "function": {"name": "read", "arguments": {"path": "a"}}},
]
USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 3,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 1},
}
CHUNKS: list[Any] = [
    {"id": "1", "model": "m", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "a \U0001f600"}}]},
    {"choices": [{"index": 0, "delta": {"tool_calls": CALLS[:2], "reasoning_content": "hm"}}]},
    {"choices": [{"index": 0, "delta": {"tool_calls": CALLS[2:], "extra": [{"a": 1}], "other": {"x": 1}}}]},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}], "usage": USAGE},
    {"choices": [{"index": 0, "message": {"role": "assistant", "content": "whole"}, "finish_reason": "stop"}]},
    {"error": {"message": "overloaded", "code": 529, "type": "x"}},
    {"object": "error", "message": "no", "code": "429"},
]
ANSWERS: list[Any] = [
    {
        "model": "m",
        "choices": [
            {
                "message": {"role": "assistant", "content": "c", "refusal": None, "tool_calls": CALLS[2:]},
                "finish_reason": "length",
                "logprobs": {"content": [{"token": "a", "id": 3, "logprob": -0.5}]},
                "token_ids": [3],
                "meta_info": {"output_token_logprobs": [[-0.5, 3, None]], "weight_version": 2},
            }
        ],
        "usage": USAGE,
        "prompt_token_ids": [1, 2],
    },
    {"choices": [{"message": {"content": [{"type": "text", "text": "c"}], "function_call": {"name": "f"}}}]},
    {"error": {"message": "model not found", "code": "model_not_found"}},
    [{"error": {"code": 400, "message": "API key not valid", "status": "X"}}],
    {"detail": [{"loc": ["body"], "msg": "wrong"}]},
]
STREAM = b"".join(b": ping\n\ndata: %s\n\n" % json.dumps(each).encode() for each in CHUNKS[:4]) + b"data: [DONE]\n\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Parts(httpx2.AsyncByteStream):
    def __init__(self, parts: Sequence[bytes]) -> None:
        self._parts = parts

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            yield part


def read(data: bytes, cut: int = 50, kind: str = "text/event-stream") -> Answer:
    """As the client reads it. Raises: EndpointError."""
    parts = [data[at : at + cut] for at in range(0, len(data), cut)]

    async def work() -> Answer:
        opened = Opened([(b"Content-Type", kind.encode())], Parts(parts))
        return await AnswerReader("m", "endpoint").read(opened, Watch(60, None, 0), Assembly(), {})

    return anyio.run(work)


def used(answer: Answer) -> None:
    """All that is done with an answer."""
    with contextlib.suppress(ValueError):
        _, text, calls = read_message(answer.choices[0].message)
        assert isinstance(text, str)
        assert all(isinstance(call.arguments, str) and call.id for call in calls)
    tokens = answer.tokens
    assert tokens is None or all(isfinite(each) for each in tokens.logprobs)
    assert usage_of(answer.usage).total_tokens >= 0
    assert isinstance(answer.version, str)


@settings(max_examples=examples(25))
@given(mutated([STREAM, *(json.dumps(each).encode() for each in ANSWERS)]), st.sampled_from([1, 7, 4096]))
@example(b"data: " + nested().encode() + b"\n\n", 4096)
@example(b'data: {"choices": {"a": 1}}\n\n', 4096)
@example(b'data: {"choices": [' + DIGITS.encode() + b"]}\n\n", 4096)
@example(b"data: {}\n" * 4000, 4096)
def test_a_body_is_an_answer_or_an_error_of_ours(data: bytes, cut: int) -> None:
    with contextlib.suppress(EndpointError):
        used(read(data, cut))


@settings(max_examples=examples(30))
@given(st.lists(bent(CHUNKS), max_size=4))
@example([{"choices": [{"delta": {"tool_calls": [{"index": [], "id": {}, "function": {"name": "f"}}]}}]}])
@example([{"choices": [{"delta": {"tool_calls": [{"function": {"name": "f", "arguments": float("nan")}}]}}]}])
@example([{"choices": [{"delta": {"content": "\ud800"}}, 1]}, {"choices": [{"finish_reason": 1}]}])
@example([{"choices": [{"finish_reason": ["stop"]}], "usage": "x"}])
@example([{"choices": [{"delta": {"role": "x", "content": "a"}, "finish_reason": "stop"}], "model": ["m"]}])
def test_events_of_any_form_are_put_together_or_refused(chunks: list[Any]) -> None:
    events = b"".join(b"data: %s\n\n" % json.dumps(each).encode() for each in chunks) + b"data: [DONE]\n\n"
    with contextlib.suppress(EndpointError):
        used(read(events, 4096))
    passing = Collected({"content-type": "text/event-stream"})
    passing.add(events)
    with contextlib.suppress(ValidationError):
        if (answer := passing.answer()) is not None:
            used(answer)


@settings(max_examples=examples(30))
@given(bent_json(ANSWERS), st.sampled_from([200, 400, 429, 500]))
@example('{"choices": [{"message": {"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1e999}}}]}}]}', 200)
@example('{"error": {"message": {"message": ["a\\nb"]}, "code": "٤٠٤"}}', 400)
@example('{"error": {"code": "²"}}', 200)
@example(f'{{"error": {{"code": "{DIGITS}"}}}}', 200)
@example(f'{{"error": {{"message": "maximum context length is {DIGITS} tokens"}}}}', 400)
@example('{"error": {"message": "' + "model " * 20_000 + '"}}', 400)
def test_whole_answers_and_errors_of_any_form(body: str, status: int) -> None:
    data = body.encode("utf-8", "surrogatepass")
    fault = fault_said(data, status, "m", "endpoint", {})
    assert "\n" not in fault.message
    limit_said(fault.message)
    asked_said(fault.message)
    with contextlib.suppress(EndpointError):
        used(read(data, 4096, "application/json"))


@settings(max_examples=examples(30))
@given(mutated([STREAM, json.dumps(ANSWERS[0]).encode()]), st.integers(1, 200), st.booleans())
def test_the_proxy_collects_what_it_can(data: bytes, cut: int, stream: bool) -> None:
    collected = Collected({"content-type": "text/event-stream"} if stream else {})
    for at in range(0, len(data), cut):
        collected.add(data[at : at + cut])
    with contextlib.suppress(ValidationError):
        answer = collected.answer()
        if answer is not None:
            used(answer)


@settings(max_examples=examples(30))
@given(mutated([STREAM]), st.integers(1, 60))
def test_events_do_not_depend_on_how_they_are_cut(data: bytes, cut: int) -> None:
    whole, pieces = EventParser(), EventParser()
    found: list[bytes] = []
    for at in range(0, len(data), cut):
        found += pieces.feed(data[at : at + cut])
    if b"\r" not in data:
        assert found + pieces.end() == whole.feed(data) + whole.end()
    for event in found:
        with contextlib.suppress(ValueError):
            chunk_of(event)


@settings(max_examples=examples(30))
@given(mutated([HEAD + b"5;x=y\r\nhello\r\n0\r\nT: 1\r\n\r\n", HEAD.replace(b"Transfer-Encoding: chunked", b"Content-Length: 5") + b"hello"]), st.integers(1, 80))  # fmt: skip  # noqa: E501
@example(HEAD + b"f" * 40, 9)
@example(HEAD + b"0\r\n" + b"T: 1\r\n" * 30, 3)
@example(b"HTTP/1.1 \xb2\xb2\xb2 OK\r\n\r\n", 50)
@example(b"HTTP/1.1 200 OK\r\nContent-Length: " + DIGITS.encode() + b"\r\n\r\n", 50)
def test_an_http_answer_is_read_or_refused(data: bytes, cut: int) -> None:
    parser, size = AnswerParser(), 0
    try:
        for at in range(0, len(data), cut):
            parser.feed(data[at : at + cut])
            assert parser.unread <= len(data)
            size += len(parser.take())
        parser.end()
    except BadAnswerError:
        return
    assert parser.status >= 200
    assert size <= len(data)


def test_a_head_that_does_not_end_is_not_held() -> None:
    parser = AnswerParser()
    with pytest.raises(BadAnswerError):
        for _ in range(2 * MAX_HEAD // 64):
            parser.feed(b"X: " + b"a" * 59 + b"\r\n" if parser._buffer else b"HTTP/1.1 200 OK\r\n")


RATES = [
    *("60", "1s", "6m0s", "250ms", "1.5", "100, 100;w=60", "Wed, 21 Oct 2015 07:28:00 GMT", "2026-11-22T10:00:00Z"),
    *("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "1e308d", "1700000000", "1700000000000"),
]
NAMES = [
    *("x-ratelimit-limit-requests", "x-ratelimit-reset", "anthropic-ratelimit-tokens-reset", "retry-after"),
    *("retry-after-ms", "ratelimit-remaining", "x-ratelimit-reset-tokens"),
]


@settings(max_examples=examples(50))
@given(st.dictionaries(st.sampled_from(NAMES), texts(RATES, ["9" * 400, "-", "nan", "inf", "²", "s", "GMT", "+"])))
@example({"retry-after": "Wed, 21 Oct 99999999999999999999 07:28:00 GMT"})
@example({"retry-after": "Wed, 21 Oct 2015 07:28:00 +99999999999999"})
@example({"retry-after": "Mon, 1 Jan 1 00:00:00 +2359"})
@example({"retry-after": "0001-01-01T00:00:00+23:59"})
@example({"retry-after": "0" * 60_000 + "x"})
@example({"retry-after": f"{'9' * 400}s"})
@example({"x-ratelimit-reset-requests": "9" * 400 + "d"})
def test_headers_of_rates_tell_finite_seconds_or_nothing(headers: dict[str, str]) -> None:
    raw = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    told = of_rates(raw)
    seconds, limits = retry_after(told), rate_limits(told)
    figures = [seconds, *(getattr(limits, name) for name in RateLimits.__slots__)] if limits else [seconds]
    assert all(each is None or (isfinite(each) and each >= 0) for each in figures)


def test_work_grows_with_what_was_sent_and_no_faster() -> None:
    def events(n: int) -> Any:
        return lambda: EventParser().feed(STREAM * n)

    def calls(n: int) -> Any:
        pieces = [{"index": 0, "function": {"name": "f", "arguments": '{"a"'}}] * n
        assembly = Assembly()

        def add() -> None:
            for piece in pieces:
                assembly.add({"choices": [{"delta": {"tool_calls": [piece]}}]})

        return add

    def heads(n: int) -> Any:
        return lambda: AnswerParser().feed(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * n + b"\r\n")

    assert all(map(grows_in_step, (events, calls, heads)))
