"""Tokens of answers: asked for in the form that the endpoint knows, checked, kept; and never those of a secret."""

from __future__ import annotations

import json
from array import array
from dataclasses import replace
from math import isfinite
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from swarm.calls import ModelReply, ModelRequest, Tokens
from swarm.config import Capabilities, Quirks
from swarm.embedded.policy import PolicyReply, PolicyRequest
from swarm.embedded.server import running_app, running_endpoint
from swarm.embedded.tokenizer import decode
from swarm.journal.token_log import shortest
from swarm.journal.validation import validate
from swarm.models.fitting.capabilities import Knowledge
from swarm.models.fitting.fitted import FittedModel
from swarm.models.wire.answers import Answer
from swarm.models.wire.client import OpenAIModel, open_client
from swarm.testing import ScriptedModel
from swarm.types import Usage
from tests.rollouts import AGENT, TURNS, Log, make_run

CANARY = "canary-5e1c9a77-do-not-keep"


class Echo:
    """A policy of a certain version."""

    name = "echo"
    version = "step-41"

    def reply(self, request: PolicyRequest) -> PolicyReply:
        return PolicyReply(f"you said {request.messages[-1]['content']}")


@pytest.mark.anyio
async def test_both_forms_give_the_same_tokens_and_the_version() -> None:
    async with running_endpoint({"echo": Echo()}) as url, open_client(url, None) as client:
        model = OpenAIModel(client, "echo")
        request = ModelRequest([{"role": "user", "content": "hello"}], tokens=True, temperature=1.0, top_p=1.0)
        vllm = await model.complete(request)
        sglang = await model.complete(replace(request, token_form="sglang"))
        plain = await model.complete(replace(request, tokens=False))
    assert vllm.tokens is not None
    assert vllm.tokens.exact
    assert vllm.tokens == sglang.tokens
    assert decode(vllm.tokens.completion_ids) == "you said hello"
    assert decode(vllm.tokens.prompt_ids) == "hello"
    assert vllm.tokens.logprobs == (0.0,) * len(vllm.tokens.completion_ids)
    assert {reply.policy_version for reply in (vllm, sglang, plain)} == {"step-41"}
    assert plain.tokens is None


@pytest.mark.parametrize("known", ["vllm", "sglang", "none"])
@pytest.mark.anyio
async def test_the_form_that_works_is_found_and_kept(known: str, tmp_path: Path) -> None:
    """A server takes what it does not know, and gives nothing for it."""

    def answer(request: ModelRequest) -> ModelReply:
        tokens = Tokens((1, 2), (3,), (-0.5,), 2, 1) if request.tokens and request.token_form == known else None
        message = {"role": "assistant", "content": "yes"}
        usage = Usage(prompt_tokens=2, completion_tokens=1, calls=1)
        return ModelReply(message, "yes", (), "stop", usage, "m", 0.0, 0.0, 0.0, tokens=tokens)

    scripted = ScriptedModel(answer)
    model = FittedModel(scripted, Knowledge("http://h/v1", "m", tmp_path))
    assert await model.gives_tokens() == (known != "none")
    probes = len(scripted.requests)
    reply = await model.complete(ModelRequest([{"role": "user", "content": "hi"}], tokens=known != "none"))
    assert (reply.tokens is not None) == (known != "none")
    assert len(reply.fitted["exchanges"]) == probes, "what was asked before is told with the first answer"
    again = FittedModel(scripted, Knowledge("http://h/v1", "m", tmp_path))
    assert await again.gives_tokens() == (known != "none")
    assert len(scripted.requests) == probes + 1, "it is asked once, for this process and later ones"


@pytest.mark.anyio
async def test_one_that_is_known_to_give_none_is_not_asked() -> None:
    scripted = ScriptedModel([])
    model = FittedModel(scripted, Knowledge("http://h/v1", "m", given=Capabilities(token_ids="none")))
    assert not await model.gives_tokens()


@pytest.mark.parametrize(
    ("damage", "exact"),
    [
        ({}, True),
        ({"usage": {"prompt_tokens": 2, "completion_tokens": 3}}, False),
        ({"prompt_token_ids": [1]}, False),
        ({"token_ids": [5]}, False),
        ({"logprobs": {"content": [{"logprob": -0.1}]}}, False),
        ({"logprobs": {"content": [{"logprob": float("nan")}, {"logprob": -0.1}]}}, False),
        ({"logprobs": {"content": [{"logprob": -1e300}, {"logprob": -0.1}]}}, False),
        ({"logprobs": {"content": [{"logprob": -9999.0}, {"logprob": -0.1}]}}, False),  # vLLM: it knows none
        ({"token_ids": [5, 2**70]}, False),
        ({"token_ids": [5, -1]}, False),
        ({"token_ids": None}, False),
    ],
)
def test_tokens_are_exact_only_where_all_counts_agree(damage: dict[str, object], exact: bool) -> None:
    rows = {"content": [{"logprob": -0.1}, {"logprob": -0.2}]}
    whole = {"token_ids": [5, 6], "logprobs": rows}
    choice = {"message": {"content": "x"}, **whole, **{key: each for key, each in damage.items() if key in whole}}
    usage = damage.get("usage", {"prompt_tokens": 2, "completion_tokens": 2})
    prompt = damage.get("prompt_token_ids", [1, 2])
    tokens = Answer.model_validate({"choices": [choice], "usage": usage, "prompt_token_ids": prompt}).tokens
    assert tokens is not None
    assert tokens.exact == exact
    assert all(map(isfinite, shortest(tokens.logprobs))), "whatever comes can be written"
    assert array("q", tokens.completion_ids) is not None


def test_an_sglang_that_knows_the_form_of_vllm() -> None:
    """Since July 2026 it takes `return_token_ids`; the ids then stand with the choice, the version beside them."""
    rows = [{"token": "a", "logprob": -0.1, "bytes": None, "top_logprobs": []}] * 2
    choice = {"message": {"content": "x"}, "token_ids": [5, 6], "prompt_token_ids": [1], "logprobs": {"content": rows}}
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    answer = Answer.model_validate({"choices": [choice], "usage": usage, "metadata": {"weight_version": "7"}})
    assert answer.tokens == Tokens((1,), (5, 6), (-0.1, -0.1), 1, 2)
    assert answer.version == "7"


@pytest.mark.anyio
async def test_tokens_are_sampled_of_all_there_are() -> None:
    """A model's own configuration may cut its distribution off: then the logprobs were of another one."""
    asked: list[dict[str, object]] = []

    async def answer(request: Request) -> JSONResponse:
        asked.append(await request.json())
        choice = {"message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
        return JSONResponse({"choices": [choice], "usage": {}})

    app = Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])])
    async with running_app(app) as url, open_client(url, None) as client:
        request = ModelRequest([{"role": "user", "content": "hello"}], tokens=True)
        await OpenAIModel(client, "m").complete(request)
        await OpenAIModel(client, "m", Quirks(extra_body={"top_k": 5})).complete(request)
        await OpenAIModel(client, "m").complete(replace(request, tokens=False))
    whole = [{key: body.get(key) for key in ("top_k", "min_p", "repetition_penalty")} for body in asked]
    assert whole[0] == {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
    assert whole[1] == {"top_k": 5, "min_p": 0.0, "repetition_penalty": 1.0}, "what the user sets is kept"
    assert set(whole[2].values()) == {None}


def test_the_tokens_of_a_secret_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sub-agent tells the orchestrator a secret: from then on its prompts hold it, and so would their ids."""
    monkeypatch.setenv("CANARY_TOKEN", CANARY)
    told = {"status": "done", "summary": f"the key that I found is {CANARY}, and it works"}
    agent = [AGENT[0], {"tool_calls": [{"name": "submit", "arguments": told}]}]
    more = {"tool_calls": [{"name": "create_subagent", "arguments": {"name": "v", "system_prompt": "you read"}}]}
    run = make_run(tmp_path, [*TURNS[:2], more, TURNS[2]], agent)
    log = Log.read(run)
    calls = log.of("call", trajectory_id="orchestrator", accepted=True)
    assert [(call["untrainable"], call["token_source"]) for call in calls] == [
        ("", "server_ids"),
        ("", "server_ids"),
        ("redacted", "none"),
        ("redacted", "none"),
    ]
    assert [line["call_id"] for line in log.tokens] == ["orchestrator/1", "orchestrator/2"]
    for path in (path for path in run.rglob("*") if path.is_file()):
        assert CANARY.encode() not in path.read_bytes(), path
    kept = [decode(line["prompt_ids_tail"] + line["completion_ids"]) for line in log.tokens]
    assert not any("canary" in text for text in kept)
    assert list(validate(run)) == []


def test_an_endpoint_without_ids_is_told_as_such(tmp_path: Path) -> None:
    run = make_run(tmp_path, capabilities=Capabilities(token_ids="none"))
    log = Log.read(run)
    assert log.tokens == []
    assert not any(start["trainable"] for start in log.of("agent_start"))
    assert {(call["token_source"], call["untrainable"]) for call in log.of("call")} == {("none", "frozen")}
    assert {call["sampling"]["stream"] for call in log.of("call", accepted=True)} == {True}
    assert list(validate(run)) == []
    assert json.loads((run / "result.json").read_text())["status"] == "completed"
