"""The embedded endpoint over real HTTP, as the openai client sees it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import openai
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionChunk

from swarm.embedded.faults import Fault, FaultKind, Faults
from swarm.embedded.policy import Policy, PolicyReply, PolicyRequest
from swarm.embedded.script import Script, ScriptPolicy
from swarm.embedded.server import running_endpoint
from swarm.types import Plan

pytestmark = pytest.mark.anyio

TOOLS: Any = [{"type": "function", "function": {"name": "bash", "parameters": {"type": "object"}}}]
PLAN_FORMAT: Any = {"type": "json_schema", "json_schema": {"name": "plan", "schema": Plan.model_json_schema()}}
SUBTASK = {"id": "a", "title": "A", "instructions": "Do a."}
CALLS = [{"name": "bash", "arguments": {"command": "ls {{what}}"}}, {"name": "submit", "raw": '{"success": '}]
LONG = "word " * 400

SCRIPT: dict[str, Any] = {
    "rules": [
        {"role": "planner", "turns": [{"json": {"subtasks": [SUBTASK]}}]},
        {"role": "subagent", "match": r"list (?P<what>\w+)", "turns": [{"content": "ok", "tool_calls": CALLS}]},
        {"match": "^long", "turns": [{"content": LONG, "tokens_per_s": 1e6}]},
        {"match": "^ping", "turns": [{"content": "pong"}]},
    ]
}


class Buggy:
    @property
    def name(self) -> str:
        return "buggy"

    def reply(self, request: PolicyRequest) -> PolicyReply:
        raise ZeroDivisionError("a bug")


POLICIES: dict[str, Policy] = {"embedded": ScriptPolicy(Script.model_validate(SCRIPT), "test"), "buggy": Buggy()}


@asynccontextmanager
async def endpoint(*faults: Fault, api_key: str | None = None) -> AsyncIterator[AsyncOpenAI]:
    async with (
        running_endpoint(POLICIES, faults=Faults(faults), api_key=api_key) as base_url,
        client_of(base_url) as client,
    ):
        yield client


def client_of(base_url: str, api_key: str = "unused") -> AsyncOpenAI:
    return AsyncOpenAI(base_url=base_url, api_key=api_key, max_retries=0, timeout=60)


async def ask(client: AsyncOpenAI, content: str, **options: Any) -> Any:
    messages: Any = [{"role": "user", "content": content}]
    return await client.chat.completions.create(**{"model": "embedded", "messages": messages, **options})


async def read(stream: AsyncIterator[ChatCompletionChunk]) -> list[ChatCompletionChunk]:
    return [chunk async for chunk in stream]


async def health(client: AsyncOpenAI) -> dict[str, Any]:
    async with httpx.AsyncClient() as http:
        return dict((await http.get(str(client.base_url.join("/health")))).json())


async def in_flight(client: AsyncOpenAI, wanted: int) -> None:
    """Wait until the server has so many requests in flight."""
    with anyio.fail_after(300):
        while (await health(client))["in_flight"] != wanted:
            pass


async def test_several_tool_calls_in_one_turn() -> None:
    async with endpoint() as client:
        answer = await ask(client, "list files", tools=TOOLS)
    choice = answer.choices[0]
    calls = [(call.function.name, call.function.arguments) for call in choice.message.tool_calls]
    assert calls == [("bash", '{"command": "ls files"}'), ("submit", '{"success": ')]
    assert (choice.message.content, choice.finish_reason) == ("ok", "tool_calls")
    assert answer.usage.prompt_tokens > 0 and answer.usage.completion_tokens > 0
    assert answer.usage.prompt_tokens_details.cached_tokens == 0


async def test_a_stream_holds_content_tool_calls_and_usage() -> None:
    async with endpoint() as client:
        whole = await ask(client, "list files", tools=TOOLS)
        stream = await ask(client, "list files", tools=TOOLS, stream=True, stream_options={"include_usage": True})
        *chunks, last = await read(stream)
    assert last.choices == [] and last.usage == whole.usage
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert "".join(delta.content or "" for delta in deltas) == "ok"
    pieces = [piece for delta in deltas for piece in delta.tool_calls or ()]
    assert [piece.function.name for piece in pieces if piece.id and piece.function] == ["bash", "submit"]
    for index, call in enumerate(whole.choices[0].message.tool_calls):
        arguments = [piece.function.arguments or "" for piece in pieces if piece.index == index and piece.function]
        assert "".join(arguments) == call.function.arguments
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    assert len({chunk.id for chunk in chunks}) == 1 and chunks[0].id != whole.id


async def test_a_long_paced_stream_comes_in_many_pieces() -> None:
    async with endpoint() as client:
        chunks = await read(await ask(client, "long", stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == LONG
    assert len(chunks) > 5


async def test_a_plan_comes_as_json() -> None:
    async with endpoint() as client:
        answer = await ask(client, "anything", response_format=PLAN_FORMAT)
    assert Plan.model_validate_json(answer.choices[0].message.content).subtasks[0].id == "a"


async def test_max_tokens_cuts_the_answer() -> None:
    async with endpoint() as client:
        answer = await ask(client, "long", max_tokens=10)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 10


async def test_bad_requests_are_told_apart() -> None:
    async with endpoint() as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await ask(client, "ping", messages=[{"role": "robot", "content": "x"}])
        assert (refused.value.type, refused.value.param) == ("invalid_request_error", "messages[0].role")
        with pytest.raises(openai.BadRequestError, match="no rule fits"):
            await ask(client, "nobody knows")
        with pytest.raises(openai.NotFoundError) as missing:
            await ask(client, "ping", model="gpt-9")
        assert missing.value.code == "model_not_found"
        async with httpx.AsyncClient(base_url=client.base_url.join("/").__str__()) as http:
            broken = await http.post("/v1/chat/completions", content=b'{"model":')
            elsewhere = await http.get("/v1/completions")
            wrong_method = await http.get("/v1/chat/completions")
    assert [each.status_code for each in (broken, elsewhere, wrong_method)] == [400, 404, 405]
    assert all(set(each.json()["error"]) == {"message", "type", "param", "code"} for each in (broken, elsewhere))


async def test_a_policy_with_a_bug_is_a_500_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with endpoint() as client:
        with pytest.raises(openai.InternalServerError, match="see its log"):
            await ask(client, "ping", model="buggy")
        assert (await ask(client, "ping")).choices[0].message.content == "pong"
    assert "ZeroDivisionError" in caplog.text


async def test_the_key_is_wanted_where_one_is_set() -> None:
    async with running_endpoint(POLICIES, api_key="right") as base_url:
        async with client_of(base_url, "right") as client:
            assert [model.id for model in (await client.models.list()).data] == list(POLICIES)
            assert (await ask(client, "ping")).choices[0].message.content == "pong"
        async with client_of(base_url, "wrong") as client:
            with pytest.raises(openai.AuthenticationError) as refused:
                await ask(client, "ping")
            with pytest.raises(openai.AuthenticationError):
                await client.models.list()
    assert refused.value.code == "invalid_api_key"
    assert "right" not in str(refused.value)


@pytest.mark.parametrize(
    ("fault", "error", "status", "code", "retry_after"),
    [
        ({"kind": "rate_limit"}, openai.RateLimitError, 429, "rate_limit_exceeded", "1"),
        ({"kind": "rate_limit", "retry_after": 2.5}, openai.RateLimitError, 429, "rate_limit_exceeded", "2.5"),
        ({"kind": "rate_limit", "retry_after": "none"}, openai.RateLimitError, 429, "rate_limit_exceeded", None),
        ({"kind": "quota"}, openai.RateLimitError, 429, "insufficient_quota", None),
        ({"kind": "wrong_key"}, openai.AuthenticationError, 401, "invalid_api_key", None),
        ({"kind": "error"}, openai.InternalServerError, 500, None, None),
        ({"kind": "overloaded"}, openai.InternalServerError, 503, None, None),
        ({"kind": "overloaded", "retry_after": 3}, openai.InternalServerError, 503, None, "3"),
    ],
)
async def test_a_fault_strikes_its_request_and_no_other(
    fault: dict[str, Any], error: type[openai.APIStatusError], status: int, code: str | None, retry_after: str | None
) -> None:
    async with endpoint(Fault.model_validate({"position": 2, **fault})) as client:
        await ask(client, "ping")
        with pytest.raises(error) as caught:
            await ask(client, "ping", stream=True)
        await ask(client, "ping")
    assert (caught.value.status_code, caught.value.code) == (status, code)
    assert caught.value.response.headers.get("retry-after") == retry_after


@pytest.mark.parametrize("stream", [True, False])
async def test_a_cut_answer_breaks_off_in_the_middle(stream: bool) -> None:
    got = []
    async with endpoint(Fault(kind=FaultKind.CUT, position=(1,))) as client:
        with pytest.raises(openai.APIConnectionError):
            answer = await ask(client, "long", stream=stream)
            async for chunk in answer:
                got.append(chunk.choices[0].delta.content or "")
        assert (await ask(client, "ping")).choices[0].message.content == "pong"
    if stream:
        assert LONG.startswith("".join(got)) and 0 < len("".join(got)) < len(LONG)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_malformed_answer_is_a_200_with_broken_json(stream: bool) -> None:
    async with endpoint(Fault(kind=FaultKind.MALFORMED, position=(1,))) as client:
        with pytest.raises(json.JSONDecodeError):
            await read(await ask(client, "ping", stream=stream))


async def test_a_hung_request_ends_when_its_client_leaves() -> None:
    async with endpoint(Fault(kind=FaultKind.HANG, position=(1,))) as client:
        with pytest.raises(openai.APITimeoutError):
            await ask(client, "ping", timeout=0.2)
        await in_flight(client, 0)


async def test_a_slow_answer_is_the_right_one() -> None:
    async with endpoint(Fault(kind=FaultKind.SLOW, rate=1.0, seconds=0.05)) as client:
        assert (await ask(client, "ping")).choices[0].message.content == "pong"
