"""Mode `parl`: whole runs whose orchestrator delegates by tools."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.integration.conftest import Cli, Files, Script, submit, use

MakeRepo = Callable[[Files], Path]


NO_JSON = {"tool_calls": [{"name": "assign_task", "raw": "{"}]}


def turn(*calls: dict[str, Any]) -> dict[str, Any]:
    """One turn with several calls."""
    return {"tool_calls": [call for each in calls for call in each["tool_calls"]]}


def create(name: str) -> dict[str, Any]:
    arguments = {"name": name, "system_prompt": f"You are the {name}."}
    return {"tool_calls": [{"name": "create_subagent", "arguments": arguments}]}


def assign(agent: str, prompt: str) -> dict[str, Any]:
    return use("assign_task", agent=agent, prompt=prompt)


def run(cli: Cli, script: Script, repo: Path | None, *options: str) -> Any:
    return cli.run("make the files", repo, "--mode", "parl", "--model", script.model, *options)


def test_it_delegates_in_stages_works_itself_and_answers(cli: Cli, script: Script, make_repo: MakeRepo) -> None:
    script.planner(
        turn(create("writer"), use("bash", command="echo own > own.txt")),
        turn(assign("writer", "write one"), assign("writer", "write two")),
        turn(assign("writer", "check all")),
        {"content": "one and two are written"},
    )
    script.agent("writer-1", use("bash", command="cat own.txt > one.txt"), submit("wrote one"))
    script.agent("writer-2", use("bash", command="echo two > two.txt"), submit("wrote two"))
    script.agent("writer-3", use("bash", command="cat one.txt two.txt own.txt > all.txt"), submit("all there"))
    done = run(cli, script, make_repo({"a.txt": "a\n"}), "--test", "cat a.txt")
    assert (done.code, done.result["status"]) == (0, "completed"), done.err
    assert done.result["answer"] == "one and two are written"
    assert (done.result["n_subagents"], done.result["coverage"]["missing"]) == (3, 0)
    patch = Path(done.result["patch_path"]).read_text()
    assert "+own\n+two\n+own" in patch  # the second stage saw the first one merged, and the orchestrator's own file
    # Two turns before the first stage, one before the second, one to answer; two steps of each agent.
    assert done.result["critical_steps"] == 4 + 2 + 2
    stages = [[subtask["id"] for subtask in event["plan"]["subtasks"]] for event in done.of("stage_start")]
    assert stages == [["writer-1", "writer-2"], ["writer-3"]]
    tools = {event["tool_call_id"]: event for event in done.of("tool") if event["trajectory_id"] == "orchestrator"}
    spawned = {event["name"]: event for event in done.of("agent_start") if event["role"] == "subagent"}
    for name, event in spawned.items():
        assert event["parent_trajectory_id"] == "orchestrator"
        assert tools[event["spawned_by_tool_call_id"]]["child_trajectory_ids"] == [name]
    [orchestrator] = [event for event in done.of("agent_start") if event["role"] == "orchestrator"]
    names = [tool["function"]["name"] for tool in orchestrator["tools"]]
    assert names[:2] == ["assign_task", "create_subagent"]
    assert "bash" in names
    assert "submit" not in names


def test_calls_that_cannot_be_followed_are_answered_so_that_they_can_be_mended(cli: Cli, script: Script) -> None:
    script.planner(
        turn(
            create("scout"),
            create("scout"),
            assign("nobody", "x"),
            {"tool_calls": [{"name": "assign_task", "raw": "{"}]},
        ),
        turn(assign("scout", "look"), assign("scout", "and look"), assign("scout", "once too often")),
        {"content": "seen"},
    )
    script.agent("scout-1", submit("here"))
    script.agent("scout-2", use("submit", status="failed", summary="nothing"))
    done = run(cli, script, None, "--max-agents", "2")
    answers = [event["result"] for event in done.of("tool") if event["trajectory_id"] == "orchestrator"]
    assert "there is an agent 'scout' already" in answers[1]
    assert "registered: 'scout'" in answers[2]
    assert '"agent": string' in answers[3]
    assert any("not started: all 2 agents of the run were used" in answer for answer in answers)
    assert any(answer.startswith("[completed]") and "here" in answer for answer in answers)
    assert any(answer.startswith("[failed]") and "nothing" in answer for answer in answers)
    assert done.result["n_subagents"] == 2
    assert done.result["answer"].startswith("seen")
    assert (done.code, done.result["status"]) == (1, "partial")  # one of two was asked for in vain


def test_what_it_changes_itself_at_the_end_must_pass_the_gate(cli: Cli, script: Script, make_repo: MakeRepo) -> None:
    script.planner(use("bash", command="echo broken > a.txt"), {"content": "done"})
    done = run(cli, script, make_repo({"a.txt": "fine\n"}), "--test", "grep -q fine a.txt")
    assert (done.code, done.result["gate"]["passed"]) == (1, False)
    assert json.loads((cli.runs[0] / "result.json").read_text())["n_subagents"] == 0
