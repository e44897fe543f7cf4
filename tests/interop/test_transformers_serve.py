"""`transformers serve` with a tiny random model: of the compatible servers, the one that deviates most.

Takes about two minutes; the first time 1.2 GB are installed. Run by `make test-interop`.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from swarm.calls import ModelReply, ModelRequest, StreamLimits
from swarm.config import Capabilities
from swarm.errors import EndpointError, EndpointFault
from swarm.models.fitting.capabilities import Knowledge
from swarm.models.fitting.fitted import FittedModel
from swarm.models.wire.client import OpenAIModel, open_client
from tests.integration.conftest import Cli, Files, cli, git, make_repo
from tests.interop.servers import Require, environment, free_port, running

__all__ = ["cli", "make_repo"]
pytestmark = pytest.mark.anyio

PACKAGES = ("torch==2.13.0+cpu", "transformers[serving]==5.23.0")
LIMITS = StreamLimits(first_token=60, stall=60)
MAKE_S = 180.0
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Served:
    url: str
    model: str


@pytest.fixture(scope="module")
def served(require: Require, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    programs = environment("transformers", PACKAGES, require)
    folder = tmp_path_factory.mktemp("transformers")
    model = folder / "model"
    (folder / "hub").mkdir()
    env = {**OFFLINE, "HF_HUB_CACHE": str(folder / "hub")}
    maker = Path(__file__).with_name("tiny_transformer.py")
    command = [str(programs / "python"), str(maker), str(model)]
    made = subprocess.run(command, env=env, capture_output=True, text=True, timeout=MAKE_S)
    require(made.returncode == 0, f"the model cannot be made: {made.stderr[-600:]}")
    port = free_port()
    serve: list[str | Path] = [
        programs / "transformers",
        "serve",
        model,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--device",
        "cpu",
    ]
    with running([*serve, "--default-seed", "7"], "Uvicorn running on", folder=folder, require=require, env=env):
        yield Served(f"http://127.0.0.1:{port}/v1", str(model))


@asynccontextmanager
async def model_of(served: Served, name: str | None = None) -> AsyncIterator[OpenAIModel]:
    async with open_client(served.url, None) as client:
        yield OpenAIModel(client, name or served.model)


async def ask(served: Served, text: str = "Say yes.", *, name: str | None = None, **more: Any) -> ModelReply:
    async with model_of(served, name) as model:
        return await model.complete(ModelRequest([{"role": "user", "content": text}], **{"timeout": 60, **more}))


async def fault(served: Served, text: str = "Say yes.", **more: Any) -> EndpointError:
    with pytest.raises(EndpointError) as raised:
        await ask(served, text, **more)
    return raised.value


@pytest.fixture
def serving(cli: Cli, served: Served) -> Cli:
    """The command line with the server as its endpoint."""
    cli.env.update({"OPENAI_BASE_URL": served.url, "SWARM_MODEL": served.model})
    return cli


@pytest.mark.parametrize("mode", ["plan", "single"])
def test_a_whole_run_ends_honestly(serving: Cli, make_repo: Callable[[Files], Path], mode: str) -> None:
    repo = make_repo({"a.py": "value = 1\n"})
    options = ("--mode", mode, "--max-agents", "2", "--max-steps", "3", "--timeout", "150", "--apply")
    done = serving.run("Set value to 2.", repo, *options)
    assert "Traceback" not in done.err
    assert (done.code, done.result["status"]) == (1, "failed"), done.err
    assert done.result["usage"]["completion_tokens"] > 0
    assert not done.of("tool_start")
    assert git(repo, "status", "--porcelain") == ""
    if mode == "plan":
        assert "the planner gave no plan that can be run" in done.err + done.out


def test_doctor_tells_what_it_lacks(serving: Cli) -> None:
    done = serving("doctor", "--json", "--probe")
    findings = {finding["name"]: finding for finding in json.loads(done.out)["findings"]}
    assert findings["endpoint"]["ok"]
    assert findings["model"]["ok"]
    able = Capabilities.model_validate(findings["can do"]["details"]["capabilities"])
    assert not able.tools
    assert able.structured == "none"
    assert (able.logprobs, able.token_ids, able.stream_usage) == (False, "none", True)


async def test_a_stream_without_done(served: Served) -> None:
    reply = await ask(served, stream=LIMITS, max_tokens=16)
    assert reply.finish_reason in ("stop", "length")
    assert reply.usage.prompt_tokens > 0
    assert 0 < reply.usage.completion_tokens <= 16
    body = {"model": served.model, "messages": [{"role": "user", "content": "x"}], "stream": True, "max_tokens": 4}
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        raw = await client.post(f"{served.url}/chat/completions", json=body)
    assert "[DONE]" not in raw.text  # else this test is about nothing


async def test_faults(served: Served) -> None:
    unknown = await fault(served, tokens=True)
    assert (unknown.kind, unknown.status) == (EndpointFault.BAD_REQUEST, 422)
    assert "return_token_ids" in unknown.message
    pinned = await fault(served, name="nobody")
    assert pinned.kind is EndpointFault.UNKNOWN_MODEL
    assert "'nobody'" in pinned.message
    async with model_of(served) as model:
        with pytest.raises(EndpointError) as raised:
            await model.complete(ModelRequest([], timeout=60))
    assert raised.value.kind is EndpointFault.OVERLOADED  # a plain-text 500
    assert raised.value.message.endswith("Internal Server Error")


async def test_what_it_does_not_take_is_left_out(served: Served) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    async with model_of(served) as model:
        fitted = FittedModel(model, Knowledge(served.url, served.model))
        messages = [{"role": "user", "content": "Which number?"}]
        reply = await fitted.complete(ModelRequest(messages, tokens=True, timeout=60, max_tokens=32))
        assert reply.usage.completion_tokens > 0
        assert reply.tokens is None
        # A format that it ignores without a word: told in the prompt, and checked here.
        reply = await fitted.complete(ModelRequest(messages, response_format=wanted, timeout=60, max_tokens=32))
        assert reply.fitted is not None
        assert reply.fitted["structured"] == "none"
        with pytest.raises(ValueError):
            json.loads(reply.content)


async def test_a_call_that_takes_too_long_ends(served: Served) -> None:
    """The last one: the server goes on computing for nobody."""
    late = await fault(served, "word " * 5000, timeout=0.5)
    assert late.kind in (EndpointFault.TIMED_OUT, EndpointFault.NO_FIRST_TOKEN)
