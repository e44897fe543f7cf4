"""Tokens of answers: asked for in the form that the endpoint knows, checked, kept; and never those of a secret."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from swarm.calls import ModelReply, ModelRequest, Tokens
from swarm.config import Capabilities
from swarm.embedded.policy import PolicyReply, PolicyRequest
from swarm.embedded.server import running_endpoint
from swarm.embedded.tokenizer import decode
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
