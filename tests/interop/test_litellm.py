"""LiteLLM's proxy between us and the embedded endpoint, alone and as two replicas.

Takes about a minute; the first time 700 MB are installed. Run by `make test-interop`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from swarm.calls import ModelReply, ModelRequest, StreamLimits
from swarm.errors import EndpointError, EndpointFault
from swarm.models.fitting.probe import ASPECTS, Probing, probe
from swarm.models.wire.client import OpenAIModel, open_client
from tests.integration.conftest import Cli, Files, cli, git, make_repo
from tests.interop.servers import Require, embedded, environment, free_port, running

__all__ = ["cli", "make_repo"]
pytestmark = pytest.mark.anyio

PACKAGES = ("litellm[proxy]==1.106.2",)
MASTER = "sk-master-of-the-proxy"
BEHIND = "sk-behind-the-proxy"
GATE = "python3 -m pytest -q -p no:cacheprovider"

# What a script answers must also be what a model answers that is asked what it can do.
SCRIPT: dict[str, Any] = {
    "rules": [
        {"match": "How high is a house", "turns": [{"json": {"q7_level": "low"}}]},
        {
            "match": "^Use the tool note_color",
            "turns": [
                {"tool_calls": [{"name": "note_color", "arguments": {"color": each}} for each in ("red", "blue")]}
            ],
        },
        {"match": "^long", "turns": [{"content": "word " * 400}]},
        {"match": "^Say yes", "turns": [{"content": "yes"}]},
        {
            "role": "planner",
            "turns": [
                {
                    "json": {
                        "rationale": "two files",
                        "subtasks": [
                            {"id": name, "title": f"write {name}", "instructions": f"Write {name}.txt."}
                            for name in ("one", "two")
                        ],
                        "dropped": [],
                    }
                }
            ],
        },
        {
            "role": "subagent",
            "match": r"Sub-task (?P<id>\w+):",
            "turns": [
                {
                    "content": "Two at once.",
                    "tool_calls": [
                        {"name": "write", "arguments": {"path": "{{id}}.txt", "content": "{{id}}\n"}},
                        {"name": "bash", "arguments": {"command": "ls"}},
                    ],
                },
                {"tool_calls": [{"name": "submit", "arguments": {"status": "done", "summary": "wrote {{id}}"}}]},
            ],
        },
        {"turns": [{"content": "Both are written."}]},
    ]
}

CALC = "def add(a, b):\n    return a - b\n\n\ndef double(a):\n    return a * 2\n"
TESTS = (
    "from calc import add, double\n\n\ndef test_add():\n    assert add(2, 3) == 5\n    assert add(1, 0) == 1\n\n\n"
    "def test_double():\n    assert double(2) == 4\n"
)


@dataclass(frozen=True)
class Proxy:
    """The proxy, and the endpoints behind it."""

    url: str
    replicas: tuple[str, str]

    async def requests(self) -> list[int]:
        """How many chat requests each replica had."""
        async with httpx.AsyncClient(trust_env=False) as client:
            answers = [await client.get(url.removesuffix("/v1") + "/health") for url in self.replicas]
        return [answer.json()["requests"] for answer in answers]


@pytest.fixture(scope="module")
def proxy(require: Require, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Its models: `scripted` and `embedded` (the policy `repair`) at one endpoint, `two` at two replicas of the script,
    `half` at one and where nobody listens, `limited` that always says 429."""
    programs = environment("litellm", PACKAGES, require)
    folder = tmp_path_factory.mktemp("litellm")
    (folder / "script.json").write_text(json.dumps(SCRIPT))
    with ExitStack() as stack:
        first, second, repair = (
            stack.enter_context(embedded(policy, folder=folder / name, require=require, key=BEHIND))
            for name, policy in (
                ("first", f"script:{folder}/script.json"),
                ("second", f"script:{folder}/script.json"),
                ("repair", "repair"),
            )
        )
        dead = f"http://127.0.0.1:{free_port()}/v1"
        served = [("scripted", first), ("two", first), ("two", second), ("half", first), ("half", dead)]
        served.append(("embedded", repair))
        models: list[dict[str, Any]] = [
            {"model_name": name, "litellm_params": {"model": "openai/embedded", "api_base": url, "api_key": BEHIND}}
            for name, url in served
        ]
        mocked = {"model": "openai/embedded", "api_key": BEHIND, "mock_response": "litellm.RateLimitError"}
        models.append({"model_name": "limited", "litellm_params": mocked})
        config = {
            "model_list": models,
            "general_settings": {"master_key": MASTER},
            # Who fails once is left alone from then on; till then we are told of it.
            "router_settings": {"num_retries": 0, "allowed_fails": 0, "cooldown_time": 600},
        }
        (folder / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
        port = free_port()
        command: list[str | Path] = [
            programs / "litellm",
            "--config",
            folder / "config.yaml",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ]
        env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}
        stack.enter_context(running(command, "Uvicorn running on", folder=folder, require=require, env=env))
        yield Proxy(f"http://127.0.0.1:{port}/v1", (first, second))


@asynccontextmanager
async def model_of(proxy: Proxy, name: str, key: str = MASTER) -> AsyncIterator[OpenAIModel]:
    async with open_client(proxy.url, key) as client:
        yield OpenAIModel(client, name)


async def ask(
    proxy: Proxy, name: str = "scripted", text: str = "Say yes.", *, key: str = MASTER, **more: Any
) -> ModelReply:
    async with model_of(proxy, name, key) as model:
        return await model.complete(ModelRequest([{"role": "user", "content": text}], timeout=60, **more))


async def fault(proxy: Proxy, name: str = "scripted", **more: Any) -> EndpointError:
    with pytest.raises(EndpointError) as raised:
        await ask(proxy, name, **more)
    return raised.value


@pytest.fixture
def proxied(cli: Cli, proxy: Proxy) -> Cli:
    """The command line with the proxy as its endpoint."""
    cli.env.update({"OPENAI_BASE_URL": proxy.url, "OPENAI_API_KEY": MASTER})
    return cli


@pytest.mark.parametrize("model", ["scripted", "two", "half"])
async def test_a_scripted_run(proxied: Cli, proxy: Proxy, make_repo: Callable[[Files], Path], model: str) -> None:
    before = await proxy.requests()
    repo = make_repo({"a.py": "value = 1\n"})
    options = ("--model", model, "--timeout", "120", "--test", "cat one.txt two.txt", "--apply")
    done = proxied.run("Write two files.", repo, *options)
    assert done.code == 0, done.err + done.out[-2000:]
    assert done.result["status"] == "completed"
    assert (repo / "one.txt").read_text() == "one\n"
    assert (repo / "two.txt").read_text() == "two\n"
    assert done.result["usage"]["prompt_tokens"] > 0
    # Asked once what it can do, and it can: no tool was told by text.
    kept = [json.loads(path.read_text())["found"] for path in (proxied.home / "capabilities").glob("*.json")]
    assert [(each["structured"], each["tools"]) for each in kept] == [("json_schema", True)]
    grown = [after - had for after, had in zip(await proxy.requests(), before, strict=True)]
    assert grown[0] > 0
    assert (grown[1] > 0) == (model == "two")


def test_a_repair(proxied: Cli, make_repo: Callable[[Files], Path]) -> None:
    repo = make_repo({"calc.py": CALC, "tests/test_calc.py": TESTS, "conftest.py": ""})
    proxied.env["PATH"] = f"{Path(sys.executable).parent}:{proxied.env['PATH']}"
    done = proxied.run("Mend it.", repo, "--model", "embedded", "--timeout", "170", "--test", GATE, "--apply")
    assert done.code == 0, done.err + done.out[-2000:]
    assert done.result["gate"]["passed"]
    assert "return a + b" in (repo / "calc.py").read_text()
    assert git(repo, "status", "--porcelain").split() == ["M", "calc.py"]


async def test_what_it_can_do(proxy: Proxy) -> None:
    async with model_of(proxy, "scripted") as model:
        found = Probing()
        for aspect in ASPECTS:
            await probe(model, aspect, found)
    able = found.found
    assert (able.tools, able.parallel_tools, able.structured) == (True, True, "json_schema")
    assert (able.stream_usage, able.logprobs, able.token_ids) == (True, True, "none")  # ids do not pass the proxy


async def test_streams_through_it(proxy: Proxy) -> None:
    limits = StreamLimits(first_token=60, stall=60)
    reply = await ask(proxy, text="long", stream=limits)
    assert reply.content == "word " * 400
    assert reply.finish_reason == "stop"
    assert reply.usage.completion_tokens == 500
    cut = await ask(proxy, text="long", stream=limits, max_tokens=5)
    assert cut.finish_reason == "length"


async def test_faults(proxy: Proxy) -> None:
    limited = await fault(proxy, "limited")
    assert (limited.kind, limited.status, limited.retry_after) == (EndpointFault.RATE_LIMITED, 429, None)
    stranger = await fault(proxy, key="sk-not-the-one")
    assert stranger.kind is EndpointFault.WRONG_KEY
    assert "sk-not-the-one" not in str(stranger)
    assert (await fault(proxy, "nobody")).kind is EndpointFault.UNKNOWN_MODEL
    refused = await fault(proxy, temperature=9.0)
    assert refused.kind is EndpointFault.BAD_REQUEST
    assert "temperature" in refused.message


def test_a_wrong_key_ends_a_run(proxied: Cli) -> None:
    proxied.env["OPENAI_API_KEY"] = "sk-not-the-one"
    done = proxied.run("Say yes.", None, "--model", "scripted", "--timeout", "60")
    assert done.code == 3
    assert "does not accept the key" in done.err + done.out
    assert "sk-not-the-one" not in done.err + done.out


def test_doctor(proxied: Cli) -> None:
    proxied.env["SWARM_MODEL"] = "scripted"
    done = proxied("doctor", "--json", "--probe")
    findings = {finding["name"]: finding for finding in json.loads(done.out)["findings"]}
    assert findings["endpoint"]["ok"]
    assert findings["model"]["ok"]
    assert findings["can do"]["details"]["capabilities"]["structured"] == "json_schema"
    proxied.env["OPENAI_API_KEY"] = "sk-not-the-one"
    done = proxied("doctor", "--json")
    assert "Traceback" not in done.err
    findings = {finding["name"]: finding for finding in json.loads(done.out)["findings"]}
    assert findings["endpoint"]["ok"] is False
    assert "refuses the key" in findings["endpoint"]["text"]  # said with status 400: "No connected db."
