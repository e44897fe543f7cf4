"""MCP servers in whole runs: real server processes, over their standard streams and over HTTP."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from swarm.errors import MachineError, UsageError
from swarm.tools import mcp as mcp_tools
from swarm.tools.mcp_config import load_servers
from swarm.tools.mcp_stdio import Complaints
from tests.integration.conftest import Cli, Done, Script, plan, submit, subtask, use

SERVER = str(Path(__file__).with_name("mcp_server.py"))
Configure = Callable[..., Path]


@pytest.fixture(autouse=True)
def parts(require: Callable[[object, str], None]) -> None:
    require(importlib.util.find_spec("mcp"), "the package mcp is not installed")
    require(shutil.which("bwrap"), "bubblewrap is not installed")


@pytest.fixture
def configured(tmp_path: Path) -> Configure:
    """Writes a file of servers."""

    def write(**servers: Any) -> Path:
        path = tmp_path / "mcp.json"
        path.write_text(json.dumps({"mcpServers": servers}))
        return path

    return write


def stdio(*args: str, **more: Any) -> dict[str, Any]:
    return {"command": sys.executable, "args": [SERVER, *(args or ("stdio",))], **more}


def used(done: Done) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in done.of("tool")}


def run(cli: Cli, script: Script, servers: Path, *turns: dict[str, Any]) -> Done:
    script.planner(plan(subtask("one")))
    script.agent("one", *turns, submit("did it"))
    return cli.run("x", None, "--model", script.model, "--sandbox", "bubblewrap", "--mcp", str(servers))


def test_tools_of_a_stdio_server(cli: Cli, script: Script, configured: Configure) -> None:
    cli.env |= {"OPENAI_API_KEY": "sk-of-the-user", "TOKEN": "from outside"}
    servers = configured(calc=stdio(env={"GIVEN": "${TOKEN}", "OTHER": "${UNSET:-spare}"}))
    done = run(
        cli,
        script,
        servers,
        use("calc__add", a=2, b=3),
        use("calc__fail"),
        use("calc__environment", variable="OPENAI_API_KEY"),
    )
    assert done.code == 0, done.err
    offered = [tool["function"] for tool in done.of("agent_start")[1]["tools"]]
    names = [tool["name"] for tool in offered if tool["name"].startswith("calc__")]
    assert {"calc__add", "calc__environment"} < set(names)
    assert any(name.startswith("calc__odd_name_") and len(name) == 64 for name in names)
    add = next(tool for tool in offered if tool["name"] == "calc__add")
    assert (add["description"], add["parameters"]["required"]) == ("Add two numbers.", ["a", "b"])
    tools = used(done)
    assert (tools["calc__add"]["status"], tools["calc__add"]["result"]) == ("completed", "2 + 3 = 5")
    assert (tools["calc__fail"]["status"], tools["calc__fail"]["error"]) == ("failed", "raised")
    assert tools["calc__environment"]["result"] == "not set"
    assert "Traceback" not in done.err


def test_a_dead_server_is_told_and_the_run_goes_on(cli: Cli, script: Script, configured: Configure) -> None:
    done = run(cli, script, configured(calc=stdio()), use("calc__die"), use("calc__add", a=1, b=1))
    assert done.code == 0, done.err
    tools = used(done)
    for name in ("calc__die", "calc__add"):
        assert (tools[name]["status"], tools[name]["error"]) == ("failed", "unavailable")
    assert "the MCP server calc is gone" in tools["calc__add"]["result"]
    assert "Traceback" not in done.err


def test_only_the_tools_that_are_allowed(cli: Cli, script: Script, configured: Configure) -> None:
    done = run(cli, script, configured(calc=stdio(tools=["add"])), use("calc__fail"))
    assert used(done)["calc__fail"]["error"] == "unknown_tool"


@pytest.fixture
def http_server(free_port: int) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    process = subprocess.Popen(
        [sys.executable, SERVER, "http", str(free_port)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if b"Uvicorn running" in line:
                break
        yield f"http://127.0.0.1:{free_port}/mcp", process
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_tools_of_a_server_over_http(
    cli: Cli, script: Script, configured: Configure, http_server: tuple[str, subprocess.Popen[bytes]]
) -> None:
    url, process = http_server
    assert httpx.get(url).status_code >= 400  # it answers, but this is not its language
    servers = configured(net={"type": "http", "url": url, "headers": {"X-Team": "green"}})
    done = run(cli, script, servers, use("net__add", a=20, b=3), use("net__die"), use("net__add", a=1, b=1))
    assert done.code == 0, done.err
    results = [(each["name"], each["error"]) for each in done.of("tool")]
    assert results[0] == ("net__add", "")
    assert all(error in ("unavailable", "raised") for _, error in results[1:3])
    assert process.wait() == 3
    assert [each["message"] for each in done.of("notice")] == ["the MCP server net is gone; its tools answer no more"]
    assert "Traceback" not in done.err


def test_a_server_that_does_not_start_ends_the_run(cli: Cli, script: Script, configured: Configure) -> None:
    done = run(cli, script, configured(calc=stdio("broken", env={"TOKEN": "hunter2-secret"})))
    assert (done.code, done.result["status"]) == (3, "errored")
    assert "MCP server calc did not start" in done.err
    assert "hunter2-secret" not in done.err + done.out
    missing = run(cli, script, configured(calc={"command": "no-such-program-here"}))
    assert missing.code == 2
    assert "'no-such-program-here' cannot be run" in missing.err


@pytest.mark.anyio
async def test_a_silent_server_is_given_up(
    configured: Configure, skip_time: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = "echo token $TOKEN is wrong >&2; exec sleep 1000"
    heard = anyio.Event()

    class Heard(Complaints):
        def add(self, data: bytes) -> None:
            super().add(data)
            heard.set()

    monkeypatch.setattr(mcp_tools, "Complaints", Heard)
    servers = load_servers(
        configured(calc={"command": "sh", "args": ["-c", silent], "env": {"TOKEN": "hunter2-secret"}})
    )

    async def time_passes() -> None:
        await heard.wait()
        skip_time(mcp_tools.START_SECONDS)

    with anyio.fail_after(600):
        async with anyio.create_task_group() as group:
            group.start_soon(time_passes)
            with pytest.raises(MachineError, match=r"calc did not start: no answer in \d+ s \(token \*\*\* is wrong\)"):
                async with mcp_tools.open_servers(servers, print):
                    pass


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "Expecting"),
        ("[]", "no object `mcpServers`"),
        ('{"mcpServers": {"a b": {"command": "x"}}}', "'a b' is not allowed"),
        ('{"mcpServers": {"a": {}}}', "give `command` or `url`"),
        ('{"mcpServers": {"a": {"type": "sse", "url": "http://x"}}}', "mcpServers.a.type"),
        ('{"mcpServers": {"a": {"url": "http://x", "headers": {"k": ["sk-secret"]}}}}', "mcpServers.a.headers.k"),
        ('{"mcpServers": {"a": {"command": "${NOT_SET_HERE}"}}}', "${NOT_SET_HERE} is not set"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "mcp.json"
    path.write_text(text)
    with pytest.raises(UsageError) as error:
        load_servers(path, {})
    assert words in str(error.value)
    assert "sk-secret" not in str(error.value)


def test_a_repository_cannot_name_servers(cli: Cli, script: Script, make_repo: Callable[[Any], Path]) -> None:
    repo = make_repo({"swarm.toml": 'mcp = ".mcp.json"\n', "a": "a\n"})
    done = cli.run("x", repo, "--model", script.model, "--sandbox", "bubblewrap")
    assert done.code == 2
    assert "which a repository may not ask for" in done.err
