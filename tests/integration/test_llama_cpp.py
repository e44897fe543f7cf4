"""Against llama.cpp's own server, whose model is random: what is asked for by grammar comes, all else is nonsense."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import validate

from swarm.agents.context import Context
from swarm.agents.conversation import Conversation
from swarm.agents.line import Line
from swarm.budgets.budget import Budget
from swarm.budgets.levels import Limits
from swarm.calls import ModelReply, ModelRequest, StreamLimits
from swarm.errors import EndpointError, EndpointFault
from swarm.events import CallFinished, ContextEdited
from swarm.models.admission.governor import Governor
from swarm.models.service import GovernedModel
from swarm.models.wire.client import OpenAIModel, open_client
from swarm.prompts.plan_form import plan_format
from swarm.testing import RecordingSink
from swarm.types import Message, Plan, Role
from tests.integration.conftest import Cli, Files, git
from tests.llama_cpp import LlamaCpp

pytestmark = pytest.mark.anyio

LIMITS = StreamLimits(first_token=60, stall=60)
FORMAT = plan_format()


@asynccontextmanager
async def model_of(server: LlamaCpp) -> AsyncIterator[OpenAIModel]:
    async with open_client(server.url, server.key) as client:
        yield OpenAIModel(client, server.model)


async def ask(server: LlamaCpp, text: str = "Say yes.", **more: Any) -> ModelReply:
    async with model_of(server) as model:
        return await model.complete(ModelRequest([{"role": "user", "content": text}], timeout=60, **more))


@pytest.fixture
def llama_cli(cli: Cli, llama_cpp: LlamaCpp) -> Cli:
    """The command line with the server as its endpoint."""
    cli.env.update(llama_cpp.env)
    return cli


def test_a_whole_run_ends_honestly(llama_cli: Cli, llama_cpp: LlamaCpp, make_repo: Callable[[Files], Path]) -> None:
    repo = make_repo({"a.py": "value = 1\n"})
    options = ("--max-agents", "3", "--max-steps", "4", "--timeout", "120", "--test", "grep -q 2 a.py", "--apply")
    done = llama_cli.run("Set value to 2.", repo, *options)
    assert "Traceback" not in done.err
    assert done.result["status"] == "failed", done.err
    assert done.code == 1
    # Random weights plan, as the plan is asked for by its schema, though maybe none that can be run; but nobody of the
    # swarm ever used a tool.
    plans = [Plan.model_validate(event["plan"]) for event in done.of("stage_start")]
    assert plans or "no plan that can be run" in done.err, done.err
    assert done.result["n_subagents"] == sum(len(each.subtasks) for each in plans)
    assert all(each.subtasks for each in plans)
    assert not done.of("tool_start")
    assert done.result["usage"]["completion_tokens"] > 0
    assert (repo / "a.py").read_text() == "value = 1\n"
    assert git(repo, "status", "--porcelain") == ""
    assert llama_cpp.key not in done.out + done.err
    record = (Path(done.result["run_dir"]) / "events.jsonl").read_text()
    assert llama_cpp.key not in record


def test_a_budget_ends_a_run(llama_cli: Cli, make_repo: Callable[[Files], Path]) -> None:
    done = llama_cli.run("Set value to 2.", make_repo({"a.py": "value = 1\n"}), "--budget-tokens", "4000")
    assert "Traceback" not in done.err
    assert (done.code, done.result["status"]) == (4, "budget_exhausted"), done.err


def test_a_wrong_key_ends_a_run(llama_cli: Cli) -> None:
    llama_cli.env["OPENAI_API_KEY"] = "sk-not-the-one"
    done = llama_cli.run("Say yes.", None, "--timeout", "60")
    assert done.code == 3
    assert "does not accept the key" in done.err + done.out
    assert "sk-not-the-one" not in done.out + done.err


def test_a_task_that_is_too_long_ends_a_run(llama_cli: Cli, llama_cpp: LlamaCpp, tmp_path: Path) -> None:
    task = tmp_path / "task.txt"
    task.write_text("word " * llama_cpp.window)
    done = llama_cli.run(f"@{task}", None, "--timeout", "60")
    assert "Traceback" not in done.err
    assert done.code == 3, done.err
    assert "does not fit the window" in done.err + done.out


def test_doctor_finds_it_and_tells_what_it_can_do(llama_cli: Cli, llama_cpp: LlamaCpp) -> None:
    done = llama_cli("doctor", "--json", "--probe")
    findings = {finding["name"]: finding for finding in json.loads(done.out)["findings"]}
    assert findings["endpoint"]["ok"]
    assert findings["model"]["ok"]
    assert findings["model"]["details"]["whole_s"] > 0
    able = findings["can do"]["details"]["capabilities"]
    assert able["structured"] == "json_schema"
    assert able["tools"] is False
    assert able["stream_usage"] is True
    assert able["logprobs"] is True
    assert able["seed"] is True


async def test_a_stream_with_its_usage(llama_cpp: LlamaCpp) -> None:
    reply = await ask(llama_cpp, stream=LIMITS, max_tokens=64, response_format=FORMAT)
    assert reply.usage.prompt_tokens > 0
    assert 0 < reply.usage.completion_tokens <= 64
    assert reply.t_sent <= reply.t_first_token <= reply.t_done
    assert reply.finish_reason in ("stop", "length")


async def test_plans_by_schema(llama_cpp: LlamaCpp) -> None:
    for seed in range(5):
        reply = await ask(llama_cpp, "Plan it.", seed=seed, stream=LIMITS, response_format=FORMAT)
        assert reply.finish_reason == "stop"
        validate(json.loads(reply.content), FORMAT["json_schema"]["schema"])


async def test_tokens_with_ids_and_logprobs(llama_cpp: LlamaCpp) -> None:
    reply = await ask(llama_cpp, tokens=True, max_tokens=8)
    assert reply.tokens is not None
    assert len(reply.tokens.completion_ids) == len(reply.tokens.logprobs) > 0
    assert all(logprob <= 0 for logprob in reply.tokens.logprobs)


async def test_an_agent_that_meets_the_window_goes_on(llama_cpp: LlamaCpp) -> None:
    """Nobody told it how large the window is: the server does, when it refuses."""
    sink = RecordingSink()
    messages: list[Message] = [{"role": "system", "content": "You count."}, {"role": "user", "content": "Count."}]
    for number in range(8):
        said = {"role": "assistant", "content": f"report {number}"}
        messages += [said, {"role": "user", "content": "word " * (llama_cpp.window // 6)}]
    async with model_of(llama_cpp) as model:
        line = Line(GovernedModel(model, Governor(4)), Budget(Limits()), sink, stream=LIMITS)
        context = Context(Conversation(line, "t", Role.SUBAGENT, messages))
        reply = await context.ask(response_format=FORMAT)
    assert reply.finish_reason == "stop"
    assert context.window == llama_cpp.window
    refused, accepted = sink.of(CallFinished)
    assert (refused.error, accepted.accepted, accepted.lineage_id) == ("context_too_long", True, 1)
    [edit] = sink.of(ContextEdited)
    assert (edit.action, edit.refused) == ("shortened", True)
    assert accepted.usage.prompt_tokens < llama_cpp.window


async def test_faults(llama_cpp: LlamaCpp) -> None:
    with pytest.raises(EndpointError) as raised:
        await ask(llama_cpp, "word " * llama_cpp.window)
    assert raised.value.kind is EndpointFault.CONTEXT_TOO_LONG
    assert raised.value.status == 400
    with pytest.raises(EndpointError) as raised:
        await ask(llama_cpp, "word " * llama_cpp.window, stream=LIMITS)
    assert raised.value.kind is EndpointFault.CONTEXT_TOO_LONG
    with pytest.raises(EndpointError) as raised:
        await ask(replace(llama_cpp, key="sk-not-the-one"))
    assert raised.value.kind is EndpointFault.WRONG_KEY
    assert "sk-not-the-one" not in str(raised.value)
    broken = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "no such type"}}}
    with pytest.raises(EndpointError) as raised:
        await ask(llama_cpp, response_format=broken)
    assert raised.value.kind is EndpointFault.BAD_REQUEST
