"""Endpoints that lack something: what they can do is found out once, and the work is done without it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from swarm.calls import ModelReply, ModelRequest
from swarm.config import Capabilities, Quirks
from swarm.embedded.catalog import load_policies
from swarm.embedded.server import running_endpoint
from swarm.errors import EndpointError
from swarm.models.fitting.capabilities import Knowledge
from swarm.models.fitting.fitted import FittedModel
from swarm.models.fitting.probe import ASPECTS, Probing, probe
from swarm.models.wire.client import OpenAIModel, open_client
from swarm.types import JsonObject
from tests.integration.conftest import Cli, Script, plan, submit, subtask, use

pytestmark = pytest.mark.anyio

TOOLS: list[JsonObject] = [
    {
        "type": "function",
        "function": {
            "name": "note_color",
            "description": "Write down a color.",
            "parameters": {"type": "object", "properties": {"color": {"type": "string"}}},
        },
    }
]
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": SCHEMA}}
RED = '<tool_call>{"name": "note_color", "arguments": {"color": "red"}}</tool_call>'


def lack(*names: str, how: str = "refuses") -> list[dict[str, str]]:
    return [{"what": name, "how": how} for name in names]


@asynccontextmanager
async def endpoint(
    folder: Path, *turns: dict[str, Any], lacks: list[dict[str, str]] | None = None, **more: Any
) -> AsyncIterator[tuple[OpenAIModel, str]]:
    """A scripted endpoint and the plain client's model for it."""
    script = folder / "script.json"
    script.write_text(json.dumps({"rules": [{"turns": list(turns)}], "lacks": lacks or [], **more}))
    policies, faults = load_policies(f"script:{script}")
    async with running_endpoint(policies, faults=faults) as url, open_client(url, "sk-not-to-be-told") as client:
        yield OpenAIModel(client, "script"), url


def ask(text: str = "Go.", **more: Any) -> ModelRequest:
    return ModelRequest([{"role": "system", "content": "You work."}, {"role": "user", "content": text}], **more)


def fitted(model: OpenAIModel, url: str, folder: Path | None = None, **given: Any) -> FittedModel:
    return FittedModel(model, Knowledge(url, model.name, folder, given=Capabilities(**given)))


def probes(reply: ModelReply) -> list[str]:
    return [each["purpose"] for each in reply.fitted.get("exchanges", [])]


TWO_CALLS = {"tool_calls": [{"name": "note_color", "arguments": {"color": color}} for color in ("red", "blue")]}
KEPT = {"json": {"q7_level": "low"}}
PROSE = {"content": "Certainly! About ten meters."}


@pytest.mark.parametrize(
    ("turn", "lacks", "expected"),
    [
        (TWO_CALLS, [], {"tools": True, "parallel_tools": True}),
        (use("note_color", color="red"), [], {"tools": True, "parallel_tools": False}),
        ({"content": f"{RED}\n{RED}"}, [], {"tools": True, "parallel_tools": True}),
        (PROSE, lack("tools"), {"tools": False}),
        (PROSE, lack("tools", how="ignores"), {"tools": False}),
        (PROSE, lack("tools", how="fails"), {"tools": False}),
        (KEPT, [], {"structured": "json_schema"}),
        ({"content": '{"height": 10}'}, [], {"structured": "json_object"}),
        ({"content": '{"height": 10}'}, lack("json_schema"), {"structured": "json_object"}),
        (PROSE, lack("json_schema", how="fails"), {"structured": "none"}),
        (PROSE, [], {"structured": "none", "stream_usage": True, "seed": True, "token_ids": "vllm", "logprobs": True}),
        (PROSE, lack("tokens"), {"token_ids": "none", "logprobs": False}),
        (PROSE, lack("tokens", how="ignores"), {"token_ids": "none", "logprobs": False}),
        (PROSE, lack("stream_usage", how="ignores"), {"stream_usage": False}),
        (PROSE, lack("seed"), {"seed": False}),
    ],
)
async def test_an_endpoint_is_asked_what_it_can_do(
    tmp_path: Path, turn: dict[str, Any], lacks: list[dict[str, str]], expected: dict[str, Any]
) -> None:
    done = Probing()
    async with endpoint(tmp_path, turn, lacks=lacks) as (model, _):
        for aspect in ASPECTS:
            await probe(model, aspect, done)
    found = done.assumed.over(done.found).model_dump()
    assert {name: found[name] for name in expected} == expected
    assert done.usage.calls >= 3


async def test_what_was_found_is_kept_without_the_key_and_asked_once(tmp_path: Path) -> None:
    kept = tmp_path / "capabilities"
    async with endpoint(tmp_path, TWO_CALLS) as (model, url):
        first = fitted(model, url.replace("//", "//user:password@"), kept)
        replies: list[ModelReply] = []

        async def one() -> None:
            replies.append(await first.complete(ask(tools=TOOLS)))

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(one)
        assert sum(len(probes(reply)) for reply in replies) == 1, "siblings wait for the one that asks"
        assert sum(reply.usage.calls for reply in replies) == 6, "what asking costs is counted"
        [file] = kept.iterdir()
        text = file.read_text()
        assert "sk-not" not in text
        assert "password" not in text
        assert json.loads(text)["found"]["tools"] is True

        later = await fitted(model, url, kept).complete(ask(tools=TOOLS))
        assert not later.fitted
        for broken in (
            "{",
            '{"version": 2}',
            text.replace(url, "http://other/v1"),
            text.replace('"probed_at":1', '"probed_at":'),
        ):
            file.write_text(broken)
            again = await fitted(model, url, kept).complete(ask(tools=TOOLS))
            assert probes(again) == ["probe tools"], broken
        told = await fitted(model, url, kept, tools=False).complete(ask(tools=TOOLS))
        assert told.fitted["tools"] == "text", "the user's word comes first"


@pytest.mark.parametrize("kind", ["error", "malformed", "rate_limit", "wrong_key", "cut"])
async def test_a_probe_that_fails_by_the_network_decides_nothing(tmp_path: Path, kind: str) -> None:
    kept = tmp_path / "capabilities"
    faults = [{"kind": kind, "position": [1, 2]}]
    async with endpoint(tmp_path, TWO_CALLS, faults=faults) as (model, url):
        asked = fitted(model, url, kept)
        with pytest.raises(EndpointError):
            await asked.complete(ask(tools=TOOLS))
        assert not kept.exists()
        assert asked.knowledge.current.tools is None
        for _ in range(2):  # both requests that are struck
            with suppress(EndpointError):
                await asked.complete(ask(tools=TOOLS))
        assert asked.knowledge.current == asked.knowledge.current.model_copy(update={"tools": True})


async def test_tools_by_text_and_their_record(tmp_path: Path) -> None:
    async with endpoint(tmp_path, {"content": f"I write.\n{RED}"}, PROSE, lacks=lack("tools")) as (model, url):
        worker = fitted(model, url, tools=False)
        first = await worker.complete(ask(tools=TOOLS))
        [call] = first.tool_calls
        assert (call.name, json.loads(call.arguments)) == ("note_color", {"color": "red"})
        assert first.content == "I write."
        assert first.message["content"] == f"I write.\n{RED}", "the record keeps what came"
        assert first.fitted["tools"] == "text"
        assert "note_color" in first.fitted["system_added"]
        messages = [*ask().messages, first.message, {"role": "tool", "tool_call_id": call.id, "content": "ok"}]
        second = await worker.complete(ModelRequest(messages, tools=TOOLS))
        assert second.content == PROSE["content"]
        assert "system_added" not in second.fitted, "told once a conversation"
        assert second.fitted["system_added_sha256"] == first.fitted["system_added_sha256"]


async def test_calls_that_leak_as_text_go_back_as_calls(tmp_path: Path) -> None:
    """The embedded endpoint refuses a tool's result without its call."""
    async with endpoint(tmp_path, {"content": RED}, PROSE) as (model, url):
        worker = fitted(model, url, tools=True)
        first = await worker.complete(ask(tools=TOOLS))
        [call] = first.tool_calls
        messages = [*ask().messages, first.message, {"role": "tool", "tool_call_id": call.id, "content": "ok"}]
        second = await worker.complete(ModelRequest(messages, tools=TOOLS))
        assert second.content == PROSE["content"]
        assert second.fitted["tools"].startswith("native")


async def test_calls_that_are_no_json_go_back_empty_and_stay_in_the_record(tmp_path: Path) -> None:
    """Some servers fail in every later turn when they read such a call again."""
    sent: list[ModelRequest] = []
    broken = {"tool_calls": [{"name": "note_color", "raw": '{"'}, {"name": "note_color", "arguments": {}}]}

    class Spy(OpenAIModel):
        async def complete(self, request: ModelRequest) -> ModelReply:
            sent.append(request)
            return await super().complete(request)

    script = tmp_path / "script.json"
    script.write_text(json.dumps({"rules": [{"turns": [broken, PROSE]}]}))
    policies, faults = load_policies(f"script:{script}")
    async with running_endpoint(policies, faults=faults) as url, open_client(url, None) as client:
        worker = fitted(Spy(client, "script"), url, tools=True)
        first = await worker.complete(ask(tools=TOOLS))
        assert [call.arguments for call in first.tool_calls] == ['{"', "{}"], "who uses the tool says what is wrong"
        kept = first.message["tool_calls"]
        assert [call["function"]["arguments"] for call in kept] == ['{"', "{}"]
        results = [{"role": "tool", "tool_call_id": call.id, "content": "no"} for call in first.tool_calls]
        second = await worker.complete(ModelRequest([*ask().messages, first.message, *results], tools=TOOLS))
    assert second.content == PROSE["content"]
    assert second.fitted == {"broken_arguments": "sent back as {}"}
    went = sent[-1].messages[2]
    assert [call["function"]["arguments"] for call in went["tool_calls"]] == ["{}", "{}"]
    assert set(went) == {"role", "content", "tool_calls"}


@pytest.mark.parametrize("name", ["embedded", "embedded:script", "script"])
async def test_the_embedded_endpoint_says_what_it_can_do(tmp_path: Path, name: str) -> None:
    """Nothing is tried out on it: its policies would take a probe for work. What it says is not kept."""
    script = tmp_path / "script.json"
    for lacks in ([], lack("tools")):
        script.write_text(json.dumps({"rules": [{"turns": [PROSE]}], "lacks": lacks}))
        policies, faults = load_policies(f"script:{script}")
        async with running_endpoint(policies, faults=faults) as url, open_client(url, None) as client:
            model = OpenAIModel(client, name)
            knowledge = Knowledge(url, name, tmp_path / "capabilities")
            reply = await FittedModel(model, knowledge, declared=model.declared).complete(ask(tools=TOOLS))
        assert bool(probes(reply)) == bool(lacks)
        assert knowledge.current.tools is not bool(lacks)
        assert (tmp_path / "capabilities").exists() == bool(lacks)


async def test_a_no_that_came_of_failures_is_not_kept(tmp_path: Path) -> None:
    kept = tmp_path / "capabilities"
    async with endpoint(tmp_path, {"content": RED}, lacks=lack("tools", how="fails")) as (model, url):
        worker = fitted(model, url, kept)
        reply = await worker.complete(ask(tools=TOOLS))
        assert [call.name for call in reply.tool_calls] == ["note_color"]
        assert worker.knowledge.current.tools is False
        assert not kept.exists()


@pytest.mark.parametrize("structured", ["json_schema", "json_object", "none"])
async def test_structured_output_is_read_and_checked(tmp_path: Path, structured: str) -> None:
    good, bad = {"content": 'Here:\n```json\n{"n": 1}\n```'}, {"content": "I think it is one."}
    async with endpoint(tmp_path, good) as (model, url):
        reply = await fitted(model, url, structured=structured).complete(ask(response_format=FORMAT))
        assert json.loads(reply.content) == {"n": 1}
        assert reply.usage.calls == 1
        assert ("system_added" in reply.fitted) == (structured != "json_schema")
    async with endpoint(tmp_path, bad) as (model, url):
        reply = await fitted(model, url, structured=structured).complete(ask(response_format=FORMAT))
        assert (reply.content, reply.usage.calls) == (bad["content"], 1), "it is for whoever asked to give it back"


async def test_a_model_that_stops_keeping_to_schemas_is_told_them(tmp_path: Path) -> None:
    async with endpoint(tmp_path, PROSE) as (model, url):
        planner = fitted(model, url, structured="json_schema")
        replies = [await planner.complete(ask(response_format=FORMAT)) for _ in range(3)]
        assert ["system_added" in reply.fitted for reply in replies] == [False, True, True]


async def test_what_is_refused_in_spite_of_the_probe_is_done_without(tmp_path: Path) -> None:
    kept = tmp_path / "capabilities"
    lacks = lack("tools", "json_schema", "json_object", "seed")
    async with endpoint(tmp_path, {"content": RED}, lacks=lacks) as (model, url):
        knowing = Knowledge(url, "script", kept, provider=Capabilities(tools=True, structured="json_schema"))
        worker = FittedModel(model, knowing)
        reply = await worker.complete(ask(tools=TOOLS, seed=3))
        assert [call.name for call in reply.tool_calls] == ["note_color"]
        assert reply.fitted["dropped"] == ["seed"]
        assert [each["purpose"] for each in reply.fitted["exchanges"]] == ["refused", "refused"]
        await worker.complete(ask(response_format=FORMAT))
        assert knowing.current.structured == "none"
        assert not kept.exists(), "a refusal may have been about one request"


async def test_reasoning_is_not_sent_where_it_is_refused(tmp_path: Path) -> None:
    sent: list[ModelRequest] = []

    class Spy:
        name = endpoint = "spy"

        async def complete(self, request: ModelRequest) -> ModelReply:
            sent.append(request)
            raise EndpointError("unreachable", "no")  # type: ignore[arg-type]  # any kind will do

    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "reasoning": "z"}]
    for back in (True, False):
        model = FittedModel(Spy(), Knowledge("http://h/v1", "spy"), Quirks(reasoning_back=back))
        with pytest.raises(EndpointError):
            await model.complete(ModelRequest(messages))
    assert [("reasoning" in request.messages[1]) for request in sent] == [True, False]


def in_words(turn: dict[str, Any]) -> dict[str, Any]:
    """A scripted turn with its calls as a small model writes them."""
    calls = [f"<tool_call>\n{json.dumps(call)}\n</tool_call>" for call in turn["tool_calls"]]
    return {"content": "Let me see.\n" + "\n".join(calls)}


def test_a_whole_run_without_tools_or_json_schema(
    cli: Cli, script: Script, make_repo: Callable[..., Path], tmp_path: Path
) -> None:
    repo = make_repo({"a.txt": "a\n"})
    answer = json.dumps(plan(subtask("one"))["json"])
    script.rules = [
        {
            "where": "system",
            "match": "plan the work of a swarm",
            "turns": [{"content": "Gladly! I would split it in one."}, {"content": f"```json\n{answer}\n```"}],
        },
        {
            "match": "Sub-task one:",
            "turns": [
                in_words(use("write", path="a.txt", content="A\n")),
                in_words(use("bash", command="cat a.txt")),
                {"content": "<tool_call>{'name': 'submit'; oops}</tool_call>"},
                in_words(submit("wrote it")),
            ],
        },
        {"turns": [PROSE]},
    ]
    name = script.model.partition("script:")[2]
    whole = json.loads(Path(name).read_text()) | {"lacks": lack("tools", "json_schema", "json_object")}
    Path(name).write_text(json.dumps(whole))
    done = cli.run("change it", repo, "--model", f"embedded:script:{name}", "--test", "grep -q A a.txt")
    assert done.code == 0, done.err
    assert done.result["status"] == "completed"
    assert done.result["coverage"] == {"asked": 1, "useful": 1, "missing": 0}
    tools = [(event["name"], event["status"]) for event in done.of("tool")]
    assert [name for name, _ in tools] == ["write", "bash", "submit", "submit"]
    assert tools[2][1] != "completed", "the call that could not be read was told to the model"
    calls = done.of("call")
    assert all(call["accepted"] for call in calls)
    planned = calls[0]["fitted"]
    assert planned["structured"] == "none"
    asked = [each["purpose"] for each in planned["exchanges"]]
    probes = [f"probe {what}{how}" for what in ("json_schema", "json_object") for how in ("", ": plain")]
    assert asked == ["probe tokens as vllm", *probes]
    assert "not a JSON object" in calls[1]["new_messages"][-1]["content"], "the one repair turn"
    assert calls[2]["fitted"]["tools"] == "text"
    assert calls[2]["response"]["text_tool_calls"]["form"] == "hermes"
    assert not (cli.home / "capabilities").exists(), "the embedded endpoint has another port each time"
