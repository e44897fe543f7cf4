"""Our client: what is asked, and what becomes of answers, right and wrong ones."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anyio.abc import ByteStream

from swarm.calls import ModelRequest, StreamLimits
from swarm.embedded.faults import Fault, FaultKind, Faults
from swarm.embedded.server import running_endpoint
from swarm.errors import EndpointError, EndpointFault
from swarm.models.fitting.text_tools import as_text
from swarm.models.wire import reading, transport
from swarm.types import Message
from tests.integration.raw_server import (
    POLICIES,
    SSE,
    answers,
    ask,
    delta,
    events,
    fault,
    hangs_after,
    model_at,
    raw_server,
    whole,
)

pytestmark = pytest.mark.anyio

PING: list[Message] = [{"role": "user", "content": "ping"}]
STREAM = StreamLimits()


async def test_a_stream_gives_the_same_answer_as_a_whole_one() -> None:
    tools = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("bash", "submit")]
    async with running_endpoint(POLICIES) as url, model_at(url) as model:
        for text in ("tools", "long", "ping"):
            replies = [await ask(model, text, tools=tools, stream=stream) for stream in (None, STREAM)]
            assert replies[0].content == replies[1].content
            assert replies[0].usage == replies[1].usage
            assert replies[0].finish_reason == replies[1].finish_reason
            calls = [[(call.name, call.arguments) for call in reply.tool_calls] for reply in replies]
            assert calls[0] == calls[1]
            for reply in replies:
                assert reply.t_sent <= reply.t_first_token <= reply.t_done
        assert [call[0] for call in calls[0]] == []
        assert repr(model._client._client._transport) == "<DirectTransport 0 active, 1 idle>"


async def test_the_request_holds_what_was_encoded_before() -> None:
    async with raw_server(answers(whole())) as (url, server), model_at(url, "key") as model:
        messages = [*PING, {"role": "assistant", "content": "\u00fc"}]
        encoded = [b'{"role":"user","content":"ping"}', b'{"role":"assistant","content":"encoded"}']
        await model.complete(ModelRequest(messages, encoded=encoded, tools=[{}], encoded_tools=b'[{"x":1}]', seed=3))
        await model.complete(ModelRequest(messages, temperature=0.5, stream=STREAM))
    first, second = (json.loads(request.partition(b"\r\n\r\n")[2]) for request in server.requests)
    assert first == {
        "model": "embedded",
        "messages": [{"role": "user", "content": "ping"}, {"role": "assistant", "content": "encoded"}],
        "tools": [{"x": 1}],
        "seed": 3,
    }
    assert second == {
        "model": "embedded",
        "messages": messages,
        "temperature": 0.5,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    head = server.requests[0].partition(b"\r\n\r\n")[0].lower()
    assert head.startswith(b"post /v1/chat/completions http/1.1") and b"authorization: bearer key" in head


async def test_cut_answers_are_failed_attempts_with_their_cost() -> None:
    faults = Faults((Fault(kind=FaultKind.CUT, rate=0.3),))
    cut = []
    async with running_endpoint(POLICIES, faults=faults) as url, model_at(url) as model:
        for stream in [STREAM, None] * 20:
            try:
                assert (await ask(model, "long", stream=stream)).content == "word " * 400
            except EndpointError as error:
                assert error.kind is EndpointFault.CUT
                cut.append(error.completion_tokens)
    assert len(cut) > 5
    assert any(tokens > 100 for tokens in cut)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>Welcome to nginx</html>", EndpointFault.MALFORMED),
        (b"", EndpointFault.MALFORMED),
        (b"[]", EndpointFault.MALFORMED),
        (b'{"choices": []}', EndpointFault.MALFORMED),
        (b'{"choices": null}', EndpointFault.MALFORMED),
        (b'{"choices": [{"text": "pong"}]}', EndpointFault.MALFORMED),
        (b'{"choices": [{"message": {"content": {"a": 1}}}]}', EndpointFault.MALFORMED),
        (b'{"choices": [{"message": {"tool_calls": [{"id": "a"}]}}]}', EndpointFault.MALFORMED),
        (b'{"choices": [{"message": {"function_call": {"name": "a", "arguments": "{}"}}}]}', EndpointFault.MALFORMED),
        (b'{"error": {"message": "busy", "code": 429}}', EndpointFault.RATE_LIMITED),
        (b'{"error": {"message": "busy", "code": 503}}', EndpointFault.OVERLOADED),
        (b'{"error": {"message": "x", "code": "insufficient_quota"}}', EndpointFault.QUOTA_EXHAUSTED),
        (b'{"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}]}', EndpointFault.REFUSED),
        (b'{"choices": [{"message": {"content": "half"}, "finish_reason": "content_filter"}]}', EndpointFault.REFUSED),
        (b'{"choices": [{"message": {"content": "half"}, "finish_reason": "error"}]}', EndpointFault.OVERLOADED),
        (
            b'{"choices": [{"message": {"content": "half"}, "finish_reason": "error", "error": {"code": 429}}]}',
            EndpointFault.RATE_LIMITED,
        ),
        (b'{"choices": [{"message": {"content": ""}}], "error": {"code": 503}}', EndpointFault.OVERLOADED),
        (b'{"choices": [{"message": {"content": "x"}, "finish_reason": 5}]}', EndpointFault.MALFORMED),
    ],
)
async def test_answers_of_another_schema(body: bytes, kind: EndpointFault) -> None:
    async with raw_server(answers(whole(body))) as (url, _), model_at(url) as model:
        assert (await fault(model)).kind is kind
        assert (await fault(model, stream=STREAM)).kind is kind  # a server may ignore that a stream was asked for


async def test_odd_answers_that_can_be_used() -> None:
    message = {
        "role": "assistant",
        "reasoning": "hm",
        "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}],
    }
    usage = {"prompt_tokens": 9, "completion_tokens": None, "prompt_cache_hit_tokens": 4, "more": "x"}
    body = json.dumps({"choices": [{"message": message}], "usage": usage}).encode()
    async with raw_server(answers(whole(body))) as (url, _), model_at(url) as model:
        reply = await ask(model)
    [call] = reply.tool_calls
    assert (call.name, call.arguments) == ("f", '{"a":1}') and call.id
    assert reply.message["reasoning"] == "hm"
    assert reply.message["tool_calls"][0] == {
        "id": call.id,
        "type": "function",
        "function": {"name": "f", "arguments": '{"a":1}'},
    }
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.cached_tokens) == (9, 0, 4)


async def test_tokens_come_with_whole_answers() -> None:
    rows = [{"token": "p", "logprob": -0.5}, {"token": "ong", "logprob": -1}]
    choice = {"message": {"content": "pong"}, "token_ids": [7, 8], "logprobs": {"content": rows}}
    body = json.dumps({"choices": [choice], "prompt_token_ids": [1, 2, 3]}).encode()
    async with raw_server(answers(whole(body))) as (url, server), model_at(url) as model:
        reply = await ask(model, tokens=True, stream=STREAM)
    assert reply.tokens is not None
    assert (reply.tokens.prompt_ids, reply.tokens.completion_ids) == ((1, 2, 3), (7, 8))
    assert reply.tokens.logprobs == (-0.5, -1.0)
    sent = json.loads(server.requests[0].partition(b"\r\n\r\n")[2])
    assert "stream" not in sent and sent["return_token_ids"] is True


@pytest.mark.parametrize(
    ("sent", "limits", "kind"),
    [
        (b"", {"stream": StreamLimits(first_token=0.05)}, EndpointFault.NO_FIRST_TOKEN),
        (SSE + b"\r\n: wait\n\n", {"stream": StreamLimits(first_token=0.05)}, EndpointFault.NO_FIRST_TOKEN),
        (SSE + b"\r\n" + events(delta("12345678")), {"stream": StreamLimits(stall=0.05)}, EndpointFault.STALLED),
        (SSE + b"\r\n" + events(delta("12345678")), {"stream": STREAM, "timeout": 0.05}, EndpointFault.TIMED_OUT),
        (b"", {"timeout": 0.05}, EndpointFault.TIMED_OUT),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", {"timeout": 0.05}, EndpointFault.TIMED_OUT),
    ],
    ids=["no first byte", "only heartbeats", "stalled", "stream too long", "no answer", "answer too long"],
)
async def test_time_limits_are_told_apart(sent: bytes, limits: dict[str, Any], kind: EndpointFault) -> None:
    async with raw_server(hangs_after(sent)) as (url, _), model_at(url) as model:
        error = await fault(model, **limits)
        assert error.kind is kind
        assert error.completion_tokens == (2 if b"12345678" in sent else 0)
        assert repr(model._client._client._transport).startswith("<DirectTransport 0 active")


@pytest.mark.parametrize("close", [True, False], ids=["cut", "chunks end"])
async def test_streams_that_end_without_done(close: bool) -> None:
    def framed(body: bytes) -> bytes:
        return SSE + (
            b"\r\n" + body if close else b"transfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        )

    usage = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}
    finished = framed(events(delta("pong"), delta(finish="stop"), usage))
    async with raw_server(answers(finished, close=close)) as (url, _), model_at(url) as model:
        reply = await ask(model, stream=STREAM)
        assert (reply.content, reply.finish_reason, reply.usage.completion_tokens) == ("pong", "stop", 2)
    unfinished = framed(events(delta("pong pong pong")))
    async with raw_server(answers(unfinished, close=close)) as (url, _), model_at(url) as model:
        error = await fault(model, stream=STREAM)
        assert (error.kind, error.completion_tokens) == (EndpointFault.CUT, 3)


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ('data: {"error": {"message": "busy", "code": 429}}', EndpointFault.RATE_LIMITED),
        ('data: {"object": "error", "message": "context length is 9", "code": 400}', EndpointFault.CONTEXT_TOO_LONG),
        ('data: {"error": "something"}', EndpointFault.OVERLOADED),
        ("data: {", EndpointFault.MALFORMED),
        ("data: []", EndpointFault.MALFORMED),
        ('data: {"choices": [{"delta": {"tool_calls": 1}}]}', EndpointFault.MALFORMED),
        ('data: {"choices": [{"delta": {"function_call": {"n": 1}}, "finish_reason": "x"}]}', EndpointFault.MALFORMED),
        ("data: [DONE]", EndpointFault.MALFORMED),
        ("data: " + "[" * 100_000, EndpointFault.MALFORMED),
        ('data: {"model": 5, "choices": [{"delta": {}, "finish_reason": "stop"}]}', EndpointFault.MALFORMED),
        ('data: {"choices": [{"delta": {"content": "x"}, "finish_reason": 5}]}', EndpointFault.MALFORMED),
        ('data: {"choices": [{"delta": {"content": "x"}, "finish_reason": "error"}]}', EndpointFault.OVERLOADED),
        ('data: {"choices": [{"finish_reason": "error", "error": {"code": 429}}]}', EndpointFault.RATE_LIMITED),
        ('data: {"choices": [{"delta": {"content": "x"}, "finish_reason": "content_filter"}]}', EndpointFault.REFUSED),
        ('event: error\ndata: {"message": "busy", "code": 429}', EndpointFault.RATE_LIMITED),
        ('data: {"choices": [{"delta": {"content": "half of the ans', EndpointFault.CUT),
    ],
)  # fmt: skip
async def test_streams_that_go_wrong(event: str, kind: EndpointFault) -> None:
    body = event.encode() if kind is EndpointFault.CUT else events(event)
    async with raw_server(answers(SSE + b"\r\n" + body, close=True)) as (url, _), model_at(url) as model:
        assert (await fault(model, stream=STREAM)).kind is kind


LAST = "data: [DONE]"
PONG = events(delta("po"), delta("ng", "stop"), LAST)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("Text/Event-Stream; charset=utf-8", PONG),
        ("application/json", PONG),
        ("text/plain", b"\n: hello\n\n" + PONG),
        ("", b"event: message\n" + PONG),
        ("text/event-stream", b"\xef\xbb\xbf" + PONG),
        ("text/event-stream", PONG.replace(b"\n", b"\r")),
        ("text/event-stream", events({"type": "x"}, {"choices": None}, "data:", delta("pong") | {"error": None}, LAST)),
        ("text/event-stream", events({"choices": [{"message": {"content": "pong"}, "finish_reason": "stop"}]})),
        ("text/event-stream", whole().partition(b"\r\n\r\n")[2]),
        ("text/event-stream", PONG[: PONG.index(b"\n\ndata: [DONE]")]),
    ],
    ids=["case", "json", "plain", "none", "byte order", "old ends", "empty events", "whole answer", "no events", "cut"],
)  # fmt: skip
async def test_a_stream_is_read_in_whatever_form_it_comes(content_type: str, body: bytes) -> None:
    named = f"content-type: {content_type}\r\n" if content_type else ""
    head = f"HTTP/1.1 200 OK\r\n{named}\r\n".encode()
    async with raw_server(answers(head + body, close=True)) as (url, _), model_at(url) as model:
        assert (await ask(model, stream=STREAM)).content == "pong"


async def test_a_stream_that_is_left_open_after_its_end_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "GRACE_S", 0.05)
    usage = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}
    sent = SSE + b"\r\n" + events(delta("pong", "stop"), usage)
    async with raw_server(hangs_after(sent)) as (url, _), model_at(url) as model:
        reply = await ask(model, stream=STREAM)
    assert (reply.content, reply.usage.completion_tokens) == ("pong", 2)


async def test_an_answer_is_the_assistants_whatever_its_role_says() -> None:
    body = b'{"choices": [{"message": {"role": "tool", "content": "pong"}}]}'
    async with raw_server(answers(whole(body))) as (url, _), model_at(url) as model:
        reply = await ask(model)
    assert as_text([reply.message]) == [{"role": "assistant", "content": "pong"}]


@pytest.mark.parametrize("late", [False, True], ids=["at once", "late"])
async def test_a_request_that_a_kept_connection_took_is_not_sent_twice(
    late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "RACE_S", (0.0, 0.0) if late else (60.0, 60.0))

    async def closes(request: bytes, stream: ByteStream, number: int) -> None:
        if number == 2:
            await stream.aclose()
        else:
            await stream.send(whole())

    async with raw_server(closes) as (url, server), model_at(url) as model:
        await ask(model)
        if late:
            assert (await fault(model)).kind is EndpointFault.CUT
        else:
            assert (await ask(model)).content == "pong"
    assert len(server.requests) == (2 if late else 3)


async def test_a_server_that_cannot_count_streams_is_not_asked_again() -> None:
    async def old(request: bytes, stream: ByteStream, number: int) -> None:
        refusal = b'{"detail": "stream_options: extra inputs are not permitted"}'
        await stream.send(whole(refusal, status="400 Bad") if b"stream_options" in request else whole())

    async with raw_server(old) as (url, server), model_at(url) as model:
        for _ in range(2):
            assert (await ask(model, stream=STREAM)).content == "pong"
    assert len(server.requests) == 3


async def test_rates_come_with_answers_and_errors() -> None:
    rates = "x-ratelimit-remaining-requests: 5\r\nx-ratelimit-reset-tokens: 1m\r\n"
    async with raw_server(answers(whole(headers=rates))) as (url, _), model_at(url) as model:
        limits = (await ask(model)).limits
        assert limits is not None and (limits.requests_left, limits.tokens_reset_s) == (5, 60)
    refusal = whole(b"slow down", status="429 Too Many", headers=rates + "retry-after: 7\r\n")
    async with raw_server(answers(refusal)) as (url, _), model_at(url) as model:
        error = await fault(model)
        assert (error.kind, error.retry_after, error.limits) == (EndpointFault.RATE_LIMITED, 7, limits)
