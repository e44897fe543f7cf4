"""Other projects' agents as workers of a swarm: mini-swe-agent as it is published, and a swarm for another swarm."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from swarm import Outcome, Parts, RunConfig, RunResult, RunStatus, Swarm
from swarm.calls import ModelRequest
from swarm.events import AgentEnded, Event, ToolFinished, WorkerSaid
from swarm.foreign import ForeignAgent
from swarm.journal.validation import validate
from swarm.testing import ScriptedModel, Turn, tool_call
from tests.interop.servers import Require, environment

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]
PACKAGES = ("mini-swe-agent==2.4.6", "mcp")  # LiteLLM imports the second
PLAIN = Path(__file__).parents[1] / "integration/worker_agent.py"


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))
    folder = tmp_path / "repo"
    folder.mkdir()
    (folder / "m.py").write_text("def add(a, b):\n    return a - b\n")
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return folder


async def run(model: ScriptedModel, repo: Path, seen: list[Event], **given: Any) -> RunResult:
    async with Swarm(config=RunConfig(mode="single", **given), parts=Parts(model=model)) as swarm:
        result = await swarm.run(
            "Mend add in m.py", repo=repo, test='python3 -c "import m; m.add(2, 2) == 4 or 1 / 0"', on_event=seen.append
        )
    assert not list(validate(Path(result.run_dir)))
    return result


async def test_mini_swe_agent_mends_a_file(repo: Path, bubblewrap_box: None, require: Require) -> None:
    """With its default configuration: it asks for bash by tool calls."""
    bin = environment("mini-swe-agent", PACKAGES, require)
    line = f"{bin}/mini -t {{task}} -y --exit-immediately -m openai/{{model}} -o /tmp/mini.json"
    env = {"MSWEA_CONFIGURED": "true", "MSWEA_COST_TRACKING": "ignore_errors", "MSWEA_SILENT_STARTUP": "1"}
    env |= {"MSWEA_MODEL_RETRY_STOP_AFTER_ATTEMPT": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    model = ScriptedModel(
        [
            [tool_call("bash", command="sed -i s/-/+/ m.py && python3 -c 'import m; print(m.add(20, 3))'")],
            [tool_call("bash", command="echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT; echo add adds now")],
        ]
    )
    seen: list[Event] = []
    workers = {"mini": ForeignAgent(command=line, env=env)}
    result = await run(model, repo, seen, sandbox="bubblewrap", worker="mini", workers=workers)
    assert (result.status, result.usage.calls) == (RunStatus.COMPLETED, 2)
    assert result.gate is not None
    assert "+    return a + b" in Path(str(result.patch_path)).read_text()
    used = next(event for event in seen if isinstance(event, ToolFinished))
    assert used.name == "bash"
    assert "23" in used.result
    assert any(isinstance(event, WorkerSaid) and event.artifacts for event in seen)


async def test_a_swarm_works_for_a_swarm(repo: Path) -> None:
    """`swarm acp` as an agent like any other: its planner, its sub-agent and its patch, inside a sub-task of ours."""
    line = (
        f"PYTHONPATH={ROOT} SWARM_HOME=$HOME/inner {sys.executable} -m swarm acp --model {{model}} "
        "--base-url {base_url} --sandbox process"
    )

    def answer(request: ModelRequest) -> Turn:
        if request.response_format is not None:
            part = {"id": "inner", "title": "Mend it", "instructions": "Mend add"}
            return {"rationale": "one part", "subtasks": [part]}
        names = {tool["function"]["name"] for tool in request.tools}
        if "submit" not in names:
            return "done"
        if request.messages[-1]["role"] == "tool":
            return tool_call("submit", status="done", summary="the inner swarm mended it")
        return tool_call("write", path="m.py", content="def add(a, b):\n    return a + b\n")

    seen: list[Event] = []
    model = ScriptedModel(answer, name="embedded")  # of which the inner one need not find out what it can do
    result = await run(model, repo, seen, sandbox="process", worker=f"acp:{line}")
    assert result.status is RunStatus.COMPLETED
    assert "+    return a + b" in Path(str(result.patch_path)).read_text()
    said = [event for event in seen if isinstance(event, WorkerSaid)]
    assert {"plan", "tool", "permission", "message"} <= {event.kind for event in said}
    (ended,) = [event for event in seen if isinstance(event, AgentEnded)]
    assert (ended.outcome, ended.steps) == (Outcome.COMPLETED, result.usage.calls)


async def test_in_a_container(repo: Path, docker_box: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The endpoint is found at the container's own loopback, and nothing else is."""
    seen: list[Event] = []
    model = ScriptedModel(["sed -i s/-/+/ m.py; (ls /sys/class/net; whoami) 2>&1", "end mended"])
    result = await run(model, repo, seen, sandbox="docker", worker=f"command:python3 -I -S {PLAIN}")
    assert result.status is RunStatus.COMPLETED
    assert "lo" in str(model.requests[1].messages[-1]["content"])
    assert "eth0" not in str(model.requests[1].messages[-1]["content"])
