"""What the embedded endpoint takes and gives, apart from HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.embedded.answers import Answer, Shown, clip, reply_tokens
from swarm.embedded.policy import PolicyReply, PolicyToolCall
from swarm.embedded.tokenizer import count_tokens, decode, encode, prompt_ids, sampled
from swarm.embedded.wire import ApiError, parse_request

USER = {"role": "user", "content": "hi"}


def call(*ids: str) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": each, "type": "function", "function": {"name": "f", "arguments": "{}"}} for each in ids],
    }


def told(call_id: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": ""}


def body(*messages: Any, **more: Any) -> bytes:
    return json.dumps({"model": "m", "messages": messages, **more}).encode()


@pytest.mark.parametrize(
    ("request_body", "param"),
    [
        (b"{", None),
        (b"[" * 100_000, None),
        (b"[]", None),
        (b"\xff", None),
        (body(), "messages"),
        (body("hi"), "messages[0]"),
        (body({"role": "robot", "content": ""}), "messages[0].role"),
        (body({"role": "user"}), "messages[0]"),
        (body({"role": "user", "content": [{"text": "x"}]}), "messages[0].content[0].type"),
        (body({"role": "tool", "content": ""}), "messages[0]"),
        (body(USER, told("1")), "messages[1].tool_call_id"),
        (body(USER, call("1"), told("2")), "messages[2].tool_call_id"),
        (body(USER, call("1"), told("1"), told("1")), "messages[3].tool_call_id"),
        (body(USER, call("1", "2"), told("1")), "messages[1].tool_calls"),
        (body(USER, call("1"), USER), "messages[1].tool_calls"),
        (body(USER, n=2), "n"),
        (body(USER, max_tokens=0), "max_tokens"),
        (body(USER, temperature=3), "temperature"),
        (body(USER, tools=[]), "tools"),
        (body(USER, tools=[{"type": "function", "function": {"name": "a b"}}]), "tools[0].function.name"),
        (body(USER, tool_choice="auto"), "tool_choice"),
        (body(USER, response_format={"type": "json_schema"}), "response_format"),
        (body(USER, stream_options={"include_usage": True}), "stream_options"),
    ],
)
def test_bad_requests_are_refused_as_openai_does(request_body: bytes, param: str | None) -> None:
    with pytest.raises(ApiError) as caught:
        parse_request(request_body)
    assert caught.value.status == 400
    error = caught.value.body["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert error["message"]


def test_a_whole_conversation_with_unknown_extras_is_taken() -> None:
    raw_body = body(
        {"role": "system", "content": "x"},
        {**USER, "content": [{"type": "text", "text": "hi"}], "name": "me"},
        {**call("1", "2"), "reasoning_content": "hm"},
        told("2"),
        told("1"),
        {"role": "assistant", "content": "ok"},
        n=1,
        stop=["a", ""],
        top_k=3,
        seed=None,
    )
    request, raw = parse_request(raw_body)
    assert raw == json.loads(raw_body)
    assert request.stops == ["a"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(["role", "content", "tool_calls", "tool_call_id"])
messages = st.lists(st.fixed_dictionaries({"role": st.sampled_from(["user", "tool", "assistant"])}) | json_values)
odd_messages = st.lists(st.dictionaries(fields, json_values | st.sampled_from(["user", "assistant", "tool"])))


@given(
    st.binary()
    | json_values.map(lambda value: json.dumps(value).encode())
    | st.builds(
        lambda found, more: body(*found, **more),
        messages | odd_messages,
        st.dictionaries(
            st.sampled_from(["tools", "tool_choice", "response_format", "stream", "stop", "n"]), json_values
        ),
    )
)
def test_any_body_is_taken_or_refused_with_400(request_body: bytes) -> None:
    try:
        _, raw = parse_request(request_body)
    except ApiError as error:
        assert error.status == 400
        json.dumps(error.body)
    else:
        assert len(prompt_ids(raw)) > 0


any_text = st.text(st.characters(exclude_categories=[]))
replies = st.builds(
    PolicyReply,
    content=any_text,
    tool_calls=st.lists(st.builds(PolicyToolCall, name=st.text(min_size=1), arguments=any_text), max_size=3).map(tuple),
)


@given(replies, st.integers(1, 5), st.booleans())
def test_a_stream_adds_up_to_the_whole_answer(reply: PolicyReply, step: int, include_usage: bool) -> None:
    answer = Answer("m", reply, "stop", prompt_tokens=7)
    whole = json.loads(answer.body())
    message = whole["choices"][0]["message"]
    content = ""
    calls: list[dict[str, Any]] = []
    sent = 0
    *events, done = list(answer.events(step, include_usage=include_usage))
    assert done == (answer.completion_tokens, b"data: [DONE]\n\n")
    chunks = []
    for tokens, event in events:
        assert sent <= tokens <= answer.completion_tokens
        sent = tokens
        chunks.append(json.loads(event.removeprefix(b"data: ")))
    if include_usage:
        last = chunks.pop()
        assert last["choices"] == [] and last["usage"] == whole["usage"]
    for chunk in chunks:
        delta = chunk["choices"][0]["delta"]
        content += delta.get("content") or ""
        for each in delta.get("tool_calls", ()):
            if "id" in each:
                calls.append(each["function"])
            else:
                calls[each["index"]]["arguments"] += each["function"]["arguments"]
    assert content == (message["content"] or "")
    assert calls == [each["function"] for each in message.get("tool_calls", ())]
    assert chunks[-1]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]


@given(replies, st.integers(1, 20))
def test_an_answer_keeps_to_its_limit(reply: PolicyReply, limit: int) -> None:
    clipped, finish = clip(reply, limit, [])
    if finish == "length":
        assert reply_tokens(clipped) <= limit < reply_tokens(reply)
    else:
        assert clipped == reply and reply_tokens(reply) <= limit


def test_a_stop_sequence_ends_the_answer_before_itself() -> None:
    reply = PolicyReply("one END two", (PolicyToolCall("f", "{}"),))
    assert clip(reply, None, ["two", "END"]) == (PolicyReply("one "), "stop")
    assert clip(reply, None, ["x"]) == (reply, "tool_calls")


def test_tokens_are_bytes_by_four_rounded_up() -> None:
    assert [count_tokens(text) for text in ("", "a", "abcd", "abcde", "ü" * 4)] == [0, 1, 1, 2, 2]


@given(st.text(max_size=40), st.text(max_size=40))
def test_ids_are_text_again_and_a_conversation_of_them_only_grows(content: str, arguments: str) -> None:
    assert decode(encode(content)) == content
    reply = PolicyReply(content, (PolicyToolCall("f", arguments),))
    assert len(sampled(reply)) == reply_tokens(reply)
    assert decode(sampled(reply)) == content + "f" + arguments
    first = {"messages": [USER], "tools": [{"type": "function", "function": {"name": "f"}}]}
    asked = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    more = [{"role": "assistant", "content": content, "tool_calls": [asked]}, {"role": "tool", "content": "r"}]
    then = first | {"messages": [USER, *more]}
    held = prompt_ids(first) + sampled(reply)
    assert prompt_ids(then)[: len(held)] == held


def test_tokens_are_told_in_both_forms_and_only_when_they_are_wanted() -> None:
    reply = PolicyReply("hello", (PolicyToolCall("f", "{}"),))
    plain = json.loads(Answer("m", reply, "stop", 2).body())
    assert "prompt_token_ids" not in plain
    assert plain["choices"][0]["logprobs"] is None
    vllm = json.loads(Answer("m", reply, "stop", 2, Shown([3, 4], logprobs=True, vllm=True)).body())
    assert vllm["prompt_token_ids"] == [3, 4]
    assert vllm["choices"][0]["token_ids"] == sampled(reply)
    assert len(vllm["choices"][0]["logprobs"]["content"]) == vllm["usage"]["completion_tokens"]
    sglang = json.loads(Answer("m", reply, "stop", 2, Shown([3], logprobs=True, sglang=True, version="v7")).body())
    meta = sglang["choices"][0]["meta_info"]
    assert [row[1] for row in meta["output_token_logprobs"]] == sampled(reply)
    assert (meta["weight_version"], sglang["choices"][0]["prompt_token_ids"]) == ("v7", [3])
