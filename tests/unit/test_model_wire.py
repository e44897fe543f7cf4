"""What comes from an endpoint, in all its forms: HTTP, events, errors, rates."""

from __future__ import annotations

import inspect
import json
import ssl
from email.utils import formatdate
from time import time
from typing import Any

import httpx2
import openai
import openai._exceptions
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from swarm.errors import EndpointFault
from swarm.models.admission.rate_headers import of_rates, rate_limits, retry_after
from swarm.models.wire.faults import HANDLERS, fault_of, fault_said, shown
from swarm.models.wire.http1 import MAX_HEAD, AnswerParser, BadAnswerError
from swarm.models.wire.stream import Assembly, EventParser, chunk_of

NOT_OF_A_CHAT = {
    "InvalidWebhookSignatureError",
    "_AmbiguousModuleClientUsageError",
    "SubjectTokenProviderError",
    "WebSocketConnectionClosedError",
    "WebSocketQueueFullError",
}
REQUEST = httpx2.Request("POST", "http://endpoint/v1/chat/completions")


def errors_of(*modules: Any) -> set[type[Exception]]:
    found = (each for module in modules for _, each in inspect.getmembers(module, inspect.isclass))
    return {each for each in found if issubclass(each, Exception) and each.__name__ not in NOT_OF_A_CHAT}


def test_every_error_of_the_libraries_is_mapped() -> None:
    theirs = errors_of(openai, openai._exceptions)
    theirs |= {each for each in errors_of(httpx2) if issubclass(each, httpx2.HTTPError | httpx2.InvalidURL)}
    unknown = {each.__name__ for each in theirs - set(HANDLERS)}
    assert not unknown, "say in swarm/models/wire/faults.py what becomes of these"


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (httpx2.ConnectTimeout("x"), EndpointFault.CONNECT_TIMED_OUT),
        (httpx2.ConnectError("refused"), EndpointFault.UNREACHABLE),
        (httpx2.ReadTimeout("x"), EndpointFault.TIMED_OUT),
        (httpx2.ReadError("reset"), EndpointFault.CUT),
        (httpx2.RemoteProtocolError("x"), EndpointFault.CUT),
        (httpx2.UnsupportedProtocol("ftp"), EndpointFault.UNREACHABLE),
        (httpx2.ProxyError("403"), EndpointFault.UNREACHABLE),
        (ssl.SSLCertVerificationError("self-signed"), EndpointFault.UNTRUSTED),
    ],
)
def test_causes_tell_connections_apart(cause: Exception, kind: EndpointFault) -> None:
    timeout = isinstance(cause, httpx2.TimeoutException)
    error: Exception = openai.APITimeoutError(REQUEST) if timeout else openai.APIConnectionError(request=REQUEST)
    error.__cause__ = cause
    assert fault_of(error, "m", "endpoint").kind is kind


K = EndpointFault
RATE = "rate_limit_exceeded"


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (429, {"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}}, K.RATE_LIMITED),
        (429, "Too Many Requests", K.RATE_LIMITED),
        (429, {"error": {"message": "over your quota", "code": "insufficient_quota"}}, K.QUOTA_EXHAUSTED),
        (429, {"error": {"message": "balance is too low", "type": "exceeded_current_quota_error"}}, K.QUOTA_EXHAUSTED),
        (429, {"error": {"message": "overloaded", "type": "engine_overloaded_error"}}, K.OVERLOADED),
        (402, {"error": {"message": "Insufficient Balance", "code": "invalid_request_error"}}, K.QUOTA_EXHAUSTED),
        (401, {"error": {"message": "Incorrect API key provided: sk-secret", "code": "invalid_api_key"}}, K.WRONG_KEY),
        (400, {"error": {"message": "Authentication Error, Invalid proxy server token", "code": "400"}}, K.WRONG_KEY),
        (400, [{"error": {"code": 400, "message": "API key not valid. Give one.", "status": "X"}}], K.WRONG_KEY),
        (404, {"error": {"message": "The model 'x' does not exist.", "code": "model_not_found"}}, K.UNKNOWN_MODEL),
        (400, {"error": {"message": "Model Not Exist", "code": "invalid_request_error"}}, K.UNKNOWN_MODEL),
        (400, {"error": {"message": "Invalid model name passed in model=x", "code": "400"}}, K.UNKNOWN_MODEL),
        (404, {"detail": "Not Found"}, K.MALFORMED),
        (404, "<html>remodel your kitchen</html>", K.MALFORMED),
        (403, " <!DOCTYPE html><p>incorrect api key, moderation</p>", K.UNREACHABLE),
        (403, "forbidden", K.WRONG_KEY),
        (502, "<html>no model of maximum context length</html>", K.OVERLOADED),
        (429, {"error": {"message": "Request too large: Limit 300, Requested 400", "code": RATE}}, K.CONTEXT_TOO_LONG),
        (413, {"error": {"message": "Too large: Limit 6,000, Requested 6,500", "code": RATE}}, K.CONTEXT_TOO_LONG),
        (429, {"error": {"message": "Limit 30000, Used 29000, Requested 2000.", "code": RATE}}, K.RATE_LIMITED),
        (400, {"error": {"message": "m", "type": "exceed_context_size_error", "code": 400}}, K.CONTEXT_TOO_LONG),
        (400, {"error": "This model's maximum context length is 4096 tokens"}, K.CONTEXT_TOO_LONG),
        (400, {"object": "error", "message": "prompt is too long", "code": 400}, K.CONTEXT_TOO_LONG),
        (413, "Payload Too Large", K.CONTEXT_TOO_LONG),
        (400, {"error": {"message": "filtered", "code": "content_filter"}}, K.REFUSED),
        (403, {"error": {"message": "Input was flagged", "code": 403}}, K.REFUSED),
        (422, {"detail": [{"loc": ["body", "n"], "msg": "Extra inputs are not permitted"}]}, K.BAD_REQUEST),
        (400, {"error": {"message": "Unknown parameter", "code": None}}, K.BAD_REQUEST),
        (500, "Internal Server Error", K.OVERLOADED),
        (500, {"error": {"message": "output that does not match the expected peg-native format"}}, K.MALFORMED),
        (503, {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}, K.OVERLOADED),
        (529, None, K.OVERLOADED),
        (408, {}, K.TIMED_OUT),
        (301, "", K.UNREACHABLE),
    ],
)  # fmt: skip
def test_errors_as_servers_send_them(status: int, body: object, kind: EndpointFault) -> None:
    raw = body.encode() if isinstance(body, str) else to_json(body)
    fault = fault_said(raw, status, "m", "endpoint", {"retry-after": "2"})
    assert (fault.kind, fault.status, fault.retry_after) == (kind, status, 2.0)
    assert "sk-secret" not in str(fault)
    if kind is EndpointFault.MALFORMED:
        assert ("no /chat/completions" in fault.message) == (status == 404)
    if kind is EndpointFault.BAD_REQUEST:
        assert "Extra inputs" in fault.message or "Unknown parameter" in fault.message


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.sampled_from(["error", "message", "detail", "code", "type", "x"]), x)), st.sampled_from([400, 404, 429, 500]))  # fmt: skip  # noqa: E501
def test_any_body_gives_an_error_of_one_line(body: Any, status: int) -> None:
    assert "\n" not in fault_said(json.dumps(body).encode(), status, "m", "endpoint", {}).message


def test_rates_in_their_forms() -> None:
    ours = rate_limits(
        of_rates(
            [
                (b"X-RateLimit-Limit-Requests", b"60"),
                (b"x-ratelimit-remaining-requests", b"59"),
                (b"x-ratelimit-reset-requests", b"1s"),
                (b"x-ratelimit-remaining-tokens", b"149984"),
                (b"x-ratelimit-reset-tokens", b"6m0s"),
                (b"content-type", b"text/plain"),
            ]
        )
    )
    assert ours is not None
    assert (ours.requests_limit, ours.requests_left, ours.requests_reset_s) == (60, 59, 1)
    assert (ours.tokens_limit, ours.tokens_left, ours.tokens_reset_s) == (None, 149984, 360)
    theirs = rate_limits(
        {"anthropic-ratelimit-tokens-remaining": "5", "x-ratelimit-reset": f"{time() * 1000 + 9000:.0f}"}
    )
    assert theirs is not None and theirs.tokens_left == 5 and 0 < (theirs.requests_reset_s or 0) < 10
    assert rate_limits({}) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "1000000000"}, 1e9),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "-1"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds
    assert 50 < (retry_after({"retry-after": formatdate(time() + 60, usegmt=True)}) or 0) <= 60


def chunked(body: bytes, size: int) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x;x=y\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\nTrailer: 1\r\n\r\n"


@given(st.binary(max_size=300), st.sampled_from(["length", "chunked", "close", "1.0"]), st.lists(st.integers(0, 700)))
def test_an_answer_is_read_however_it_is_cut(body: bytes, framing: str, cuts: list[int]) -> None:
    version = b"HTTP/1.0" if framing == "1.0" else b"HTTP/1.1"
    head = b"HTTP/1.1 100 Continue\r\n\r\n" + version + b" 200 OK\r\nX: a\r\n"
    if framing == "chunked":
        data = head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(body, 7)
    elif framing == "close":
        data = head + b"\r\n" + body
    else:
        data = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    parser, found, last = AnswerParser(), b"", 0
    for cut in [*sorted(cuts), len(data)]:
        parser.feed(data[last : max(cut, last)])
        last = max(cut, last)
        found += parser.take()
    if framing == "close":
        assert not parser.done
        parser.end()
    assert parser.done and parser.status == 200 and found == body and parser.headers[0] == (b"X", b"a")
    assert parser.keep_alive == (framing in ("length", "chunked"))


@given(st.binary(max_size=400))
def test_no_bytes_break_the_parser(data: bytes) -> None:
    for prefix in (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"):
        parser = AnswerParser()
        try:
            parser.feed(prefix + data)
            parser.end()
        except BadAnswerError:
            pass


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH",
        b"HTTP/1.1 200 OK\r\n" + b"x" * MAX_HEAD,
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0x1\r\na\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad header : 1\r\n\r\n",
    ],
)
def test_what_is_no_answer_is_refused(data: bytes) -> None:
    with pytest.raises(BadAnswerError):
        AnswerParser().feed(data)


def test_more_than_was_asked_for_ends_the_connection() -> None:
    parser = AnswerParser()
    parser.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nabc")
    assert parser.done and parser.take() == b"a" and not parser.keep_alive


EVENTS = [b'{"a": 1}', b"two\nlines", "ü".encode(), b"[DONE]"]


@given(st.lists(st.integers(0, 120)), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_events_are_read_however_they_are_cut(cuts: list[int], line_end: bytes) -> None:
    lines = [b": hello", b"event: x"]
    for event in EVENTS:
        lines += [b"data: " + line for line in event.split(b"\n")] + [b""]
    data = line_end.join(lines)  # without an empty line at the end
    parser, found, last = EventParser(), [], 0
    for cut in [*sorted(cuts), len(data)]:
        found += parser.feed(data[last : max(cut, last)])
        last = max(cut, last)
    assert found + parser.end() == EVENTS
    assert parser.heartbeats == 1


def test_what_ends_lines_is_told_by_the_first() -> None:
    parser = EventParser()
    assert parser.feed(b"data: a\r") == []
    assert parser.feed(b"\n\r\ndata: b\rc\n\n") == [b"a", b"b\rc"]


def test_no_half_of_a_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a message is cut nobody could know the half for one."""
    known, own = "correct horse battery staple", "9f" * 20
    monkeypatch.setenv("VAULT_PASSWORD", known)
    for secret in (known, own, "sk-" + "a1B2" * 10, "-----BEGIN PRIVATE KEY-----\n" + "MIIE" * 100):
        for before in range(300, 420, 7):
            body = {"error": {"message": "x" * before + " " + secret + " " + "y" * 300}}
            text = shown(fault_said(to_json(body), 400, "m", "endpoint", {}).message, own)
            assert secret[:3] not in text or "[redacted:" in text, text
            assert not any(secret[at : at + 6] in text for at in range(0, len(secret) - 6, 6)), text
            assert len(text) < 450


def assembled(*deltas: dict[str, Any]) -> dict[str, Any]:
    assembly = Assembly()
    for delta in deltas:
        assembly.add({"choices": [{"index": 0, "delta": delta}]})
    return assembly.message()


def piece(index: int | None = None, **members: Any) -> dict[str, Any]:
    function = {key: members.pop(key) for key in ("name", "arguments") if key in members}
    return {"tool_calls": [({} if index is None else {"index": index}) | members | {"function": function}]}


def test_deltas_add_up_to_the_message() -> None:
    message = assembled(
        {"role": "assistant", "content": ""},
        {"reasoning_content": "let me ", "reasoning_details": [{"n": 1}]},
        {"reasoning_content": "see", "reasoning_details": [{"n": 2}], "state": {"opaque": "x"}},
        {"content": "o"},
        {"content": "k"},
        piece(0, id="a", type="function", name="ba", arguments=""),
        piece(0, name="sh", arguments='{"x": "'),
        piece(2, id="b", name="submit", arguments="{ }", extra_content={"signature": "s"}),
        piece(0, arguments=' 1.0"}\n'),
    )
    assert message == {
        "role": "assistant",
        "content": "ok",
        "reasoning_content": "let me see",
        "reasoning_details": [{"n": 1}, {"n": 2}],
        "state": {"opaque": "x"},
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "bash", "arguments": '{"x": " 1.0"}\n'}},
            {
                "id": "b",
                "type": "function",
                "function": {"name": "submit", "arguments": "{ }"},
                "extra_content": {"signature": "s"},
            },
        ],
    }


@pytest.mark.parametrize(
    "deltas",
    [
        [piece(0, id="a", name="f", arguments="{}"), piece(0, id="b", name="g", arguments="{}")],
        [piece(id="a", name="f", arguments="{"), piece(arguments="}"), piece(id="b", name="g", arguments="{}")],
        [piece(1, id="a", name="f", arguments="{}"), piece(7, id="b", name="g", arguments={})],
        [piece(0, id="a", name="f", arguments="{"), piece(0, id="a", name="f", arguments="}"), piece(1, id="b", name="g", arguments="{}")],  # noqa: E501
    ],
    ids=["index always 0", "no index", "gaps, parsed arguments", "all of it again"],
)  # fmt: skip
def test_calls_are_told_apart(deltas: list[dict[str, Any]]) -> None:
    calls = [(c["id"], c["function"]["name"], c["function"]["arguments"]) for c in assembled(*deltas)["tool_calls"]]
    assert calls == [("a", "f", "{}"), ("b", "g", "{}")]


def test_calls_without_ids_are_told_apart_by_their_names() -> None:
    for index in (0, None):
        twice = piece(index, name="f", arguments='{"x"'), piece(index, name="f", arguments=":1}")
        calls = assembled(*twice)["tool_calls"]  # a server that tells the name with every piece
        assert [call["function"] for call in calls] == [{"name": "f", "arguments": '{"x":1}'}]
        two = (
            piece(index, name="f", arguments="{}"),
            piece(index, name="f", arguments='{"y"'),
            piece(index, arguments=":1}"),
        )
        calls = assembled(*two)["tool_calls"]
        assert [call["function"]["arguments"] for call in calls] == ["{}", '{"y":1}']


def test_a_line_that_was_cut_is_no_event() -> None:
    for data, found in ((b"data: {}", [b"{}"]), (b"data: [DONE]", [b"[DONE]"]), (b"data: {", []), (b"data: [DON", [])):
        parser = EventParser()
        assert parser.feed(data) + parser.end() == found


def test_a_character_that_was_cut_in_two_is_healed() -> None:
    halves = [chunk_of(b'{"content": "a\\ud83d"}'), chunk_of(b'{"content": "\\ude00b"}')]
    assert assembled(*halves)["content"] == "a\U0001f600b"
    assert assembled(halves[0])["content"] == "a\ufffd"
