"""The gateway: what passes through it unchanged, and what of it stands in the log."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import openai
import pytest
from openai import AsyncOpenAI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from swarm.embedded.policy import PolicyReply, PolicyRequest, PolicyToolCall
from swarm.embedded.proxy import running_gateway
from swarm.embedded.proxy_log import GatewayLog
from swarm.embedded.server import running_app, running_endpoint
from swarm.embedded.tokenizer import decode
from swarm.errors import UsageError
from swarm.events import AgentEnded, AgentStarted, CallFinished, Event, ToolFinished
from swarm.journal.reader import read_events
from swarm.journal.validation import validate
from swarm.rl.export.catalog import export
from swarm.rl.reading import RunLog
from swarm.rl.rollouts import rows

pytestmark = pytest.mark.anyio
KEY = "canary-of-a-client-0123456789"
TOOLS: Any = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]


class Agentic:
    """Looks once, then answers."""

    name = "embedded"
    version = "step-3"

    def reply(self, request: PolicyRequest) -> PolicyReply:
        last = request.messages[-1]
        if last["role"] == "user" and request.tools:
            return PolicyReply("I look", (PolicyToolCall("look", '{"at": "it"}'),))
        return PolicyReply(f"I heard {last['content']}")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    yield


@asynccontextmanager
async def gateway(upstream: str) -> AsyncIterator[tuple[AsyncOpenAI, GatewayLog]]:
    async with (
        running_gateway(upstream) as (url, log),
        AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0, timeout=60) as client,
    ):
        yield client, log


def read(log: GatewayLog) -> list[Event]:
    """The whole record of a gateway that has ended, which is valid and holds no key."""
    assert list(validate(log.folder)) == []
    for path in log.folder.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes()
    return list(read_events(log.folder / "events.jsonl"))


async def agent(client: AsyncOpenAI, task: str, **options: Any) -> str:
    """An agent that nobody knows: it sends back what it was answered, with the results of its tools."""
    messages: list[Any] = [{"role": "system", "content": "you look"}, {"role": "user", "content": task}]
    while True:
        if options.get("stream"):
            message = await streamed(client, messages, **options)
        else:
            answer = await client.chat.completions.create(model="embedded", messages=messages, tools=TOOLS, **options)
            message = answer.choices[0].message.model_dump(exclude_none=True)
        messages.append(message)
        if not message.get("tool_calls"):
            return str(message["content"])
        for call in message["tool_calls"]:
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": f"seen for {task}"})


async def streamed(client: AsyncOpenAI, messages: list[Any], **options: Any) -> dict[str, Any]:
    async with client.chat.completions.stream(
        model="embedded", messages=messages, tools=TOOLS, **{k: v for k, v in options.items() if k != "stream"}
    ) as stream:
        message = (await stream.get_final_completion()).choices[0].message
    kept = message.model_dump(exclude_none=True, include={"role", "content", "tool_calls"})
    for call in kept.get("tool_calls", ()):
        call["function"].pop("parsed_arguments", None)
        call.pop("index", None)
    return kept


async def test_sessions_are_told_by_name_and_by_how_conversations_go_on() -> None:
    async with running_endpoint({"embedded": Agentic()}) as upstream, gateway(upstream) as (client, log):
        answers: dict[str, str] = {}

        async def work(task: str, **options: Any) -> None:
            answers[task] = await agent(client, task, **options)

        async with anyio.create_task_group() as group:  # at once, and of one key
            for task in ("a", "b"):
                group.start_soon(work, task)
        await work("c", stream=True, stream_options={"include_usage": True}, user="carl")
        await work("d", extra_headers={"x-session-id": "d/1"})
        await work("e", extra_headers={"x-session-id": "d/1"})
    assert answers == {task: f"I heard seen for {task}" for task in "abcde"}
    events = read(log)
    ends = {event.trajectory_id: event for event in events if isinstance(event, AgentEnded)}
    assert set(ends) == {"session-1", "session-2", "carl", "d-1"}
    assert {(end.outcome, end.steps, end.tool_calls) for name, end in ends.items() if name != "d-1"} == {
        ("completed", 2, 1)
    }
    calls = [event for event in events if isinstance(event, CallFinished)]
    assert [(call.lineage_id, call.prefix_messages) for call in calls if call.trajectory_id == "d-1"] == [
        (0, 0),
        (0, 3),
        (1, 1),  # it began anew after the same system prompt
        (1, 3),
    ]
    assert {call.policy_version for call in calls} == {"step-3"}
    tools = [event for event in events if isinstance(event, ToolFinished)]
    assert {(tool.name, tool.arguments, tool.result) for tool in tools} == {
        ("look", '{"at": "it"}', f"seen for {task}") for task in "abcde"
    }
    assert all(tool.first_seen_by == f"{tool.trajectory_id}/{2 if tool.call_id.endswith('1') else 4}" for tool in tools)
    of_one = [row for trajectory, row in rows(RunLog(log.folder)) if trajectory.start.trajectory_id == "session-1"]
    assert [row.joins for row in of_one] == [["clean"]], "one row, whose second prompt goes on from the first answer"
    assert "I heard seen for" in decode([id_ for id_, one in zip(of_one[0].tokens, of_one[0].mask, strict=True) if one])
    assert {call.untrainable for call in calls if call.trajectory_id == "carl"} == {"no_tokens"}


async def test_what_the_endpoint_refuses_comes_back_as_it_said_it() -> None:
    async with running_endpoint({"embedded": Agentic()}, api_key=KEY) as upstream, gateway(upstream) as (client, log):
        with pytest.raises(openai.NotFoundError, match="The model 'nope' does not exist"):
            await client.chat.completions.create(model="nope", messages=[{"role": "user", "content": "x"}])
        with pytest.raises(openai.BadRequestError) as odd:
            await client.post("/chat/completions", body={"messages": "none"}, cast_to=httpx.Response)
        assert odd.value.response.json()["error"]["param"] == "model"
        with pytest.raises(openai.AuthenticationError):
            await client.with_options(api_key="another-key").models.list()
        assert "embedded" in [model.id async for model in client.models.list()]
    (call,) = (event for event in read(log) if isinstance(event, CallFinished))
    assert (call.accepted, call.error) == (False, "unknown_model")


async def test_nobody_behind_it() -> None:
    async with gateway("http://127.0.0.1:9/v1") as (client, log):
        with pytest.raises(openai.InternalServerError) as error:
            await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
        assert error.value.status_code == 502
    assert [event.outcome for event in read(log) if isinstance(event, AgentEnded)] == ["errored"]
    with pytest.raises(UsageError, match="--proxy"):
        async with running_gateway("localhost:8000"):
            pass


class Server:
    """An endpoint whose streams wait in the middle for `go`; it gives the ids of streams, too, and fails when told."""

    def __init__(self) -> None:
        self.go = anyio.Event()
        self.asked: list[dict[str, Any]] = []
        self.failures = 0
        self.counts = True

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/v1/chat/completions", self.chat, methods=["POST"])])

    async def chat(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append(body)
        if self.failures:
            self.failures -= 1
            return JSONResponse({"error": {"message": "busy", "type": "overloaded_error"}}, 503)
        ids = {"prompt_token_ids": [1, 2]} if body.get("return_token_ids") else {}
        usage = {"prompt_tokens": 2, "completion_tokens": 2} if self.counts else None
        if not body.get("stream"):
            message = {"role": "assistant", "content": "hello"}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            if ids:
                choice |= {"token_ids": [7, 8], "logprobs": {"content": [{"logprob": -0.5}, {"logprob": -0.25}]}}
            return JSONResponse({"model": "m-7", "choices": [choice], "usage": usage, **ids})

        async def events() -> AsyncIterator[bytes]:
            for at, (text, token) in enumerate((("hel", 7), ("lo", 8))):
                if at:
                    await self.go.wait()
                choice: dict[str, Any] = {"index": 0, "delta": {"content": text}}
                if ids:
                    choice |= {"token_ids": [token], "logprobs": {"content": [{"logprob": -0.5}]}}
                yield _event({"model": "m-7", "choices": [choice], **(ids if not at else {})})
            yield _event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
            if (body.get("stream_options") or {}).get("include_usage"):
                yield _event({"choices": [], "usage": usage})
            yield b"data: [DONE]\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


async def test_streams_pass_unbuffered_and_their_ids_count_where_usage_is_told() -> None:
    server, messages = Server(), [{"role": "user", "content": "hi"}]
    async with running_app(server.app()) as upstream, gateway(upstream) as (client, log):
        ask: Any = client.chat.completions.create
        stream = await ask(model="m", messages=messages, stream=True, stream_options={"include_usage": True})
        assert (await anext(stream)).choices[0].delta.content == "hel"
        server.go.set()  # the end is not even made before the beginning was read
        assert [chunk.choices[0].delta.content async for chunk in stream if chunk.choices] == ["lo", None]
        plain = await ask(model="m", messages=messages, stream=True)
        assert len([chunk async for chunk in plain]) == 3, "nothing is added that the client did not ask for"
        server.go = anyio.Event()
        left = await ask(model="m", messages=messages, stream=True)
        await anext(left)
        await left.close()
        with anyio.fail_after(300):
            while any(strand.busy for strand in log.sessions.all()):
                await anyio.lowlevel.checkpoint()
    calls = [event for event in read(log) if isinstance(event, CallFinished)]
    assert [(call.accepted, call.untrainable, call.error) for call in calls] == [
        (True, "", ""),
        (True, "no_tokens", ""),
        (False, "failed", "cancelled"),
    ]
    assert [(call.response or {}).get("content") for call in calls] == ["hello", "hello", None]
    assert [call.estimated for call in calls] == [False, True, False]
    assert "return_token_ids" not in server.asked[-1]
    (line,) = (log.folder / "tokens.jsonl").read_text().splitlines()
    assert (json.loads(line)["completion_ids"], json.loads(line)["completion_logprobs"]) == ([7, 8], [-0.5, -0.5])


async def test_a_call_that_is_made_again_is_another_attempt(tmp_path: Path) -> None:
    server, messages = Server(), [{"role": "user", "content": "hi"}]
    async with running_app(server.app()) as upstream, gateway(upstream) as (client, log):
        ask: Any = client.chat.completions.create
        assert (await ask(model="m", messages=messages)).choices[0].message.content == "hello"
        server.failures = 1
        with pytest.raises(openai.InternalServerError, match="busy"):
            await ask(model="m", messages=[{"role": "user", "content": "other"}])
        await ask(model="m", messages=[{"role": "user", "content": "other"}])
    events = read(log)
    calls = [event for event in events if isinstance(event, CallFinished)]
    assert [(call.call_id, call.attempt, call.accepted, call.untrainable) for call in calls] == [
        ("session-1/1", 1, True, ""),
        ("session-2/1", 1, False, "failed"),
        ("session-2/1", 2, True, ""),
    ]
    assert all(event.trainable for event in events if isinstance(event, AgentStarted))
    assert export("atif", [log.folder], tmp_path / "sessions").rows == 2, "no session is a part of another"
    names = [json.loads(each.read_text())["trajectory_id"] for each in sorted((tmp_path / "sessions").iterdir())]
    assert names == ["session-1", "session-2"]
    rows = tmp_path / "rows"
    assert export("trl", [log.folder], rows).rows == 2
    assert len({json.loads(line)["group_id"] for line in rows.read_text().splitlines()}) == 2


async def test_a_session_learns_though_the_endpoint_was_busy_at_first() -> None:
    server, task = Server(), {"role": "user", "content": "hi"}
    server.failures = 4
    async with running_app(server.app()) as upstream, gateway(upstream) as (client, log):
        ask: Any = client.chat.completions.create
        with pytest.raises(openai.InternalServerError, match="busy"):
            while server.failures:
                await ask(model="m", messages=[task], user="one")
        await ask(model="m", messages=[task], user="one")
        said = {"role": "assistant", "content": "hello"}
        await ask(model="m", messages=[task, said, {"role": "user", "content": "and"}], user="one")
    assert [event.trainable for event in read(log) if isinstance(event, AgentStarted)] == [True]
    assert list(rows(RunLog(log.folder))), "what was answered later counts"


async def test_sessions_count_though_their_gateway_was_killed(tmp_path: Path) -> None:
    """What a client brings along of tools is its own; without usage an answer is estimated."""
    server, prompt = Server(), [{"role": "user", "content": "hi"}]
    call = {"id": "zz", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    prompt.append({"role": "assistant", "content": "", "tool_calls": [call]})  # type: ignore[dict-item]
    prompt.append({"role": "tool", "tool_call_id": "zz", "content": "seen"})
    async with running_app(server.app()) as upstream, gateway(upstream) as (client, log):
        ask: Any = client.chat.completions.create
        await ask(model="m", messages=prompt)
        server.counts = False
        await ask(model="m", messages=[{"role": "user", "content": "other"}])
    counted, estimated = (event for event in read(log) if isinstance(event, CallFinished))
    assert (counted.estimated, estimated.estimated) == (False, True)
    assert estimated.usage.completion_tokens > 0
    journal = log.folder / "events.jsonl"
    kept = [each for each in journal.read_bytes().splitlines(True) if b'"type":"run_end"' not in each]
    journal.write_bytes(b"".join(kept))
    assert export("trl", [log.folder], tmp_path / "rows").rows == 1
    assert export("sft", [log.folder], tmp_path / "chats").rows == 2


def test_the_program_ends_its_record_when_it_is_interrupted(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "swarm", "endpoint", "--proxy", "http://127.0.0.1:9/v1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("listening on http://127.0.0.1:")
        url = line.removeprefix("listening on ").strip()
        body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
        assert httpx.post(f"{url}/chat/completions", json=body).status_code == 502
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert list(validate(run)) == []
    assert json.loads((run / "result.json").read_text())["status"] == "completed"
