"""Whole runs whose agents share a board: no two do the same work, and those who plan hear what was found."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import anyio
import pytest

from swarm import Parts, RunConfig, RunStatus, Swarm
from swarm.calls import ModelRequest
from swarm.events import BoardPosted, Event, ToolFinished
from swarm.testing import FakeBackend, ScriptedModel, Turn, tool_call
from tests.integration.conftest import Cli, Script, plan, submit, subtask, use

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))


class Siblings:
    """Two agents who both want a.py first. The second asks when the first has it; the first ends after that."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.claimed, self.told = anyio.Event(), anyio.Event()
        self.reports: list[str] = []

    async def __call__(self, request: ModelRequest) -> Turn:
        names = {schema["function"]["name"] for schema in request.tools}
        if "submit" not in names:
            return self.orchestrate(request)
        assert "board" in names
        said = [str(message["content"]) for message in request.messages if message["role"] == "tool"]
        if not said:
            if "Sub-task scout-2:" in str(request.messages[1]["content"]):
                await self.claimed.wait()
            return tool_call("board", action="claim", key="a.py")
        if said[0].startswith("Yours"):
            self.claimed.set()
            if len(said) == 1:
                return tool_call("board", action="find", key="a.py", text="it is all comments")
            await self.told.wait()
            return tool_call("submit", status="done", summary="read a.py")
        if len(said) == 1:
            return tool_call("board", action="claim", key="b.py")
        assert said[1].startswith("Yours: b.py.")
        if len(said) == 2:
            return tool_call("board", action="read")
        self.told.set()
        return tool_call("submit", status="done", summary="read b.py instead")

    def orchestrate(self, request: ModelRequest) -> Turn:
        self.reports = [str(message.get("content")) for message in request.messages if message["role"] == "user"]
        if self.mode == "plan":
            if request.response_format is None:
                return "a.py and b.py are read"
            tasks = [{"id": f"scout-{n}", "title": "t", "instructions": "look"} for n in (1, 2)]
            return {"rationale": "r", "subtasks": tasks, "dropped": []}
        if len(request.messages) > 2:
            return "a.py and b.py are read"
        create = tool_call("create_subagent", name="scout", system_prompt="You look.")
        return [create, *(tool_call("assign_task", agent="scout", prompt=f"look {n}") for n in (1, 2))]


@pytest.mark.parametrize("mode", ["plan", "parl"])
async def test_the_second_goes_elsewhere_and_the_orchestrator_hears_of_it(mode: str) -> None:
    siblings, seen = Siblings(mode), list[Event]()
    config = RunConfig.model_validate({"mode": mode, "concurrency": 2})
    async with Swarm(config=config, parts=Parts(model=ScriptedModel(siblings), backend=FakeBackend())) as swarm:
        done = await swarm.run("read all", repo=None, on_event=seen.append)
    assert done.status is RunStatus.COMPLETED
    posts = [(p.trajectory_id, p.action, p.key, p.holder) for p in seen if isinstance(p, BoardPosted)]
    first, second = posts[0][0], next(p[0] for p in posts if p[0] != posts[0][0])
    assert [post[1:] for post in posts if post[0] == first] == [("claim", "a.py", ""), ("find", "a.py", "")]
    assert [post[1:] for post in posts if post[0] == second][:2] == [("claim", "a.py", first), ("claim", "b.py", "")]
    news = [e.result for e in seen if isinstance(e, ToolFinished) and e.trajectory_id == second and e.name == "board"]
    assert f"Taken: {first} has a.py since its step 1" in news[0]
    assert f"- {first} (a.py): it is all comments" in "".join(news)
    if mode == "parl":
        assert f"The agents told each other:\n- {first} (a.py): it is all comments" in siblings.reports[-1]
    shown = await anyio.run_process([sys.executable, "-m", "swarm", "show", done.run_id])
    told = shown.stdout.decode()
    for line in (f"{first} claims a.py", f"{second} leaves a.py to {first}", f"{second} claims b.py"):
        assert f"board: {line}" in told
    assert f"board: {first} found (a.py): it is all comments" in told


async def test_an_agent_that_is_alone_or_a_run_without_it_has_no_board(cli: Cli, script: Script) -> None:
    script.planner(plan(subtask("one"), subtask("two", depends_on=["one"])), plan())
    script.agent("one", use("board", action="claim", key="x"), submit())
    script.agent("two", submit())
    done = cli.run("go", None, "--model", script.model)
    [tool] = [event for event in done.of("tool") if event["name"] == "board"]
    assert "there is no tool 'board'" in tool["result"]
    (cli.home.parent / "user/.config/swarm").mkdir(parents=True)
    (cli.home.parent / "user/.config/swarm/config.toml").write_text("board = false\n")
    script.rules.clear()
    script.planner(plan(subtask("one"), subtask("two")), plan())
    script.agent("one", use("board", action="read"), submit())
    script.agent("two", submit())
    done = cli.run("go", None, "--model", script.model)
    offered = [event for event in done.of("agent_start") if event["role"] == "subagent"]
    assert len(offered) == 2
    assert '"board"' not in json.dumps([event["tools"] for event in offered])


async def test_a_run_that_is_killed_goes_on_with_its_board(cli: Cli, script: Script) -> None:
    """Killed when one has claimed, found and read: it still holds its claim, and is told what it had not heard."""
    both = [subtask("one"), subtask("two")]
    script.planner(plan(*both), plan())
    read = use("board", action="read")
    slow = {**read, "first_token_s": 1000}
    script.agent("one", use("board", action="claim", key="a.py"), read, slow, read, submit("one"))
    first = {**use("board", action="find", text="b.py is empty"), "first_token_s": 0.5}
    again = {**use("board", action="claim", key="./A.py"), "first_token_s": 1}
    script.agent("two", first, again, slow, read, submit("two"))
    process = cli.start("run", "go", "--no-repo", "--json", "--model", script.model, "--sandbox", cli.box)
    waiting: set[str] = set()
    for line in process.stdout:
        event = json.loads(line)
        waiting |= {event["call_id"]} if event["type"] == "call_sent" else set()
        if {"one/3", "two/3"} <= waiting:
            break
    process.kill()
    process.wait()
    process.stdout.close()
    process.stderr.close()
    slow["first_token_s"] = 0
    assert script.model
    done = cli("resume", cli.runs[0].name, "--json")
    assert (done.code, done.result["status"]) == (0, "completed"), done.err
    events = [json.loads(line) for line in (cli.runs[0] / "events.jsonl").read_text().splitlines()]
    told = {
        name: [e["result"] for e in events if e["type"] == "tool" and e["trajectory_id"] == name]
        for name in ["one", "two"]
    }
    assert told["one"][0] == "Yours: a.py."
    assert told["two"][1].startswith("Taken: one has ./A.py since its step 1")
    assert "".join(told["one"]).count("b.py is empty") == 1
    assert "- a.py: one, since its step 1" in told["two"][2]  # after the crash
    board = [(e["trajectory_id"], e["action"]) for e in events if e["type"] == "board"]
    assert board.count(("one", "read")) == 3
    assert board.count(("one", "claim")) == 1
