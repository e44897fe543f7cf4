"""`swarm mcp` as a client sees it: the real server in a process of its own, the official client."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]


def served(tmp_path: Path, script: str, *options: str) -> Any:
    policy = tmp_path / "policy.toml"
    policy.write_text(script)
    env = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "SWARM_HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(ROOT),
    }
    args = ["-m", "swarm", "mcp", "--model", f"embedded:script:{policy}", "--sandbox", "process", *options]
    return Client(stdio_client(StdioServerParameters(command=sys.executable, args=args, env=env, cwd=tmp_path)))


def told(result: Any) -> dict[str, Any]:
    assert not result.is_error, result.content
    found: dict[str, Any] = result.structured_content or json.loads(result.content[0].text)
    return found


ANSWERS = """
[[rules]]
role = "any"
[[rules.turns]]
content = "There are seven."
"""


async def test_a_client_starts_watches_and_collects_a_run(tmp_path: Path) -> None:
    async with served(tmp_path, ANSWERS, "--budget-tokens", "50000") as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert names == {"swarm_start", "swarm_watch", "swarm_collect", "swarm_stop", "swarm_runs"}
        begun = told(await client.call_tool("swarm_start", {"task": "How many?", "mode": "single"}))
        assert begun["status"] == "running"
        run = {"run_id": begun["run_id"]}
        assert told(await client.call_tool("swarm_watch", run | {"wait_s": 60}))["status"] == "completed"
        got = told(await client.call_tool("swarm_collect", run))
        assert got["result"]["answer"] == "There are seven."
        assert (tmp_path / "home/runs" / begun["run_id"] / "result.json").is_file()
        runs = await client.call_tool("swarm_runs", {})
        assert begun["run_id"] in str(runs.structured_content)
        for wrong, said in (
            ({"task": "x", "repo": "/etc"}, "is not below"),
            ({"task": " "}, "the task is empty"),
            ({"task": "x", "test": "true"}, "test needs a repository"),
        ):
            refused = await client.call_tool("swarm_start", wrong)
            assert refused.is_error
            assert said in refused.content[0].text
        unknown = await client.call_tool("swarm_collect", {"run_id": "20200101-000000-0000000000"})
        assert unknown.is_error


SLOW = """
first_token_s = 120
[[rules]]
role = "any"
[[rules.turns]]
content = "At last."
"""


async def test_runs_end_in_order_when_asked_and_when_the_client_goes(tmp_path: Path) -> None:
    async with served(tmp_path, SLOW) as client:
        first, second = [
            told(await client.call_tool("swarm_start", {"task": "Wait", "mode": "single"}))["run_id"] for _ in range(2)
        ]
        await client.call_tool("swarm_stop", {"run_id": first})
        ended = told(await client.call_tool("swarm_watch", {"run_id": first, "wait_s": 60}))
        assert ended["status"] == "cancelled"
    events = (tmp_path / "home/runs" / second / "events.jsonl").read_text().splitlines()
    assert json.loads(events[-1])["type"] == "run_end"
