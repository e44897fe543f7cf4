"""Sub-agents of sub-agents: whole runs in mode `parl` with `--max-depth`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Cli, Done, Files, Script, submit, use
from tests.integration.test_parl import assign, create, run, turn

MakeRepo = Callable[[Files], Path]


def starts(done: Done) -> dict[str, dict[str, Any]]:
    return {event["trajectory_id"]: event for event in done.of("agent_start") if event["role"] == "subagent"}


def tools(event: dict[str, Any]) -> set[str]:
    return {tool["function"]["name"] for tool in event["tools"]}


def test_a_group_works_on_what_its_lead_made_and_is_merged_into_it(
    cli: Cli, script: Script, make_repo: MakeRepo
) -> None:
    """With one place for all: a lead that waits must not hold it."""
    script.planner(turn(create("lead")), turn(assign("lead", "lead it")), {"content": "all is made"})
    script.agent(
        "lead-1",
        use("bash", command="echo plan > plan.txt; echo old >> a.txt; echo junk > ignored.txt"),
        turn(create("hand"), assign("hand", "first"), assign("hand", "second"), assign("nobody", "third")),
        use("bash", command="cat plan.txt one.txt two.txt > all.txt; cat ignored.txt; git status --short"),
        turn(assign("hand", "one more")),
        submit("all of it"),
    )
    script.agent("lead-1.1", use("bash", command="cat plan.txt > one.txt; echo 1 >> one.txt"), submit("made one"))
    script.agent("lead-1.2", use("bash", command="echo 2 > two.txt; test ! -e ignored.txt"), submit("made two"))
    script.agent("lead-1.3", use("bash", command="cat all.txt > three.txt"), submit("made three"))
    repo = make_repo({"a.txt": "a\n", ".gitignore": "ignored.txt\n"})
    done = run(cli, script, repo, "--max-depth", "2", "--concurrency", "1", "--test", "cat three.txt || true")
    assert (done.code, done.result["status"]) == (0, "completed"), done.err
    patch = Path(done.result["patch_path"]).read_text()
    for name, lines in {"one.txt": "+plan\n+1", "all.txt": "+plan\n+plan\n+1\n+2", "a.txt": " a\n+old"}.items():
        assert f"b/{name}" in patch
        assert lines in patch
    assert "b/three.txt" in patch
    assert "b/ignored.txt" not in patch
    begun = starts(done)
    assert {name: event["depth"] for name, event in begun.items()} == {
        "lead-1": 1,
        "lead-1.1": 2,
        "lead-1.2": 2,
        "lead-1.3": 2,
    }
    assert {"assign_task", "create_subagent", "submit", "bash"} <= tools(begun["lead-1"])
    assert "assign_task" not in tools(begun["lead-1.1"])
    used = [event for event in done.of("tool") if event["trajectory_id"] == "lead-1"]
    by_call = {event["tool_call_id"]: event for event in used}
    for name in ("lead-1.1", "lead-1.2", "lead-1.3"):
        assert begun[name]["parent_trajectory_id"] == "lead-1"
        call = by_call[begun[name]["spawned_by_tool_call_id"]]
        assert call["child_trajectory_ids"] == [name]
        assert call["result"].startswith("[completed] [merged]")
    assert any("there is no agent 'nobody'" in event["result"] for event in used)
    [status] = [event["result"] for event in used if "junk" in event["result"]]
    assert "plan.txt" in status
    # Two turns before the stage and one to answer; the lead's five, and of each group the longest two.
    assert done.result["critical_steps"] == 3 + 5 + 2 + 2
    assert (done.result["n_subagents"], done.result["peak_concurrency"]) == (4, 1)
    assert done.result["coverage"] == {"asked": 1, "useful": 1, "missing": 0}
    assert "lead-1.2" in cli("show", done.result["run_id"]).out


def test_what_conflicts_or_fails_is_told_to_the_lead(cli: Cli, script: Script, make_repo: MakeRepo) -> None:
    script.planner(turn(create("lead"), assign("lead", "lead it")), {"content": "done"})
    script.agent(
        "lead-1",
        turn(create("hand"), assign("hand", "x"), assign("hand", "y"), assign("hand", "z")),
        use("bash", command="cat a.txt"),
        submit("one of three"),
    )
    script.agent("lead-1.1", use("bash", command="echo first > a.txt"), submit("first"))
    script.agent("lead-1.2", use("bash", command="echo second > a.txt"), submit("second"))
    script.agent("lead-1.3", use("bash", command="echo lost > b.txt"), submit("no good", "failed"))
    done = run(cli, script, make_repo({"a.txt": "a\n"}), "--max-depth", "2")
    answers = [e["result"] for e in done.of("tool") if e["trajectory_id"] == "lead-1" and e["name"] == "assign_task"]
    assert answers[0].startswith("[completed] [merged]")
    assert answers[1].startswith("[completed] [not merged: conflict with what was there before in a.txt]")
    assert answers[2].startswith("[failed]")
    assert [(e["subtask_id"], e["merged"]) for e in done.of("merge")] == [
        ("lead-1.1", True),
        ("lead-1.2", False),
        ("lead-1", True),
    ]
    patch = Path(done.result["patch_path"]).read_text()
    assert "+first" in patch
    assert "second" not in patch
    assert "lost" not in patch
    assert done.result["outcomes"] == {"completed": 3, "failed": 1}


def test_the_whole_forest_has_no_more_agents_than_the_run_may(cli: Cli, script: Script) -> None:
    """Two leads and their hands, who would each start more than there are."""
    many = [assign("hand", f"task {number}") for number in range(50)]
    script.planner(turn(create("lead"), assign("lead", "a"), assign("lead", "b")), {"content": "done"})
    script.rules.append(
        {
            "role": "subagent",
            "turns": [turn(create("hand"), *many), turn(*many), submit("with what there was")],
        }
    )
    done = run(cli, script, None, "--max-depth", "3", "--max-agents", "7", "--concurrency", "2")
    assert done.code == 0, done.err
    assert done.result["n_subagents"] == 7
    assert done.result["peak_concurrency"] <= 2
    told = [event["result"] for event in done.of("tool") if event["name"] == "assign_task"]
    assert sum("all 7 agents of the run were used" in text for text in told) > 100
    depths = [event["depth"] for event in done.of("agent_start") if event["role"] == "subagent"]
    assert max(depths) <= 3
    assert depths.count(1) == 2


def test_depth_is_for_parl_and_one_unless_asked_for(cli: Cli, script: Script) -> None:
    refused = cli("run", "x", "--no-repo", "--model", script.model, "--max-depth", "2")
    assert refused.code == 2
    assert "needs mode parl" in refused.err
    assert cli("run", "x", "--no-repo", "--mode", "parl", "--model", script.model, "--max-depth", "9").code == 2
    script.planner(turn(create("lead"), assign("lead", "lead it")), {"content": "done"})
    script.agent("lead-1", turn(create("hand"), assign("hand", "x")), submit("alone"))
    done = run(cli, script, None)
    used = [event["result"] for event in done.of("tool") if event["trajectory_id"] == "lead-1"]
    assert sum("there is no tool" in text for text in used) == 2
    assert list(starts(done)) == ["lead-1"]


@pytest.mark.parametrize("limit", [["--budget-tokens", "60000"], ["--max-critical-steps", "6"]])
def test_limits_hold_for_all_levels_together(cli: Cli, script: Script, limit: list[str]) -> None:
    script.planner(turn(create("lead"), assign("lead", "lead it")), {"content": "done"})
    script.agent("lead-1", *[turn(create("hand"), assign("hand", "go on"))] * 30, submit("so far"))
    script.rules.append({"role": "subagent", "turns": [use("bash", command="true"), submit("did it")]})
    done = run(cli, script, None, "--max-depth", "2", *limit)
    assert done.code in (1, 4), json.dumps(done.result)
    if "--max-critical-steps" in limit:
        assert done.result["critical_steps"] <= 6
    else:
        assert done.result["usage"]["prompt_tokens"] + done.result["usage"]["completion_tokens"] <= 60000
    assert len(starts(done)) > 1  # it did come to have one of its own


@pytest.mark.parametrize("at", ["lead-1.2/1", "lead-1.2/2", "lead-1/3", "lead-1/2"])
def test_a_run_that_is_killed_goes_on_with_the_groups_that_it_had(
    cli: Cli, script: Script, make_repo: MakeRepo, at: str
) -> None:
    """Killed while a hand works, or after its lead has taken over what it did: nothing is done or paid twice."""
    script.planner(turn(create("lead"), assign("lead", "lead it")), {"content": "done"})
    script.agent(
        "lead-1",
        use("bash", command="echo plan >> plan.txt"),
        turn(create("hand"), assign("hand", "first"), assign("hand", "second")),
        use("bash", command="cat plan.txt one.txt two.txt > all.txt"),
        submit("all of it"),
    )
    script.agent("lead-1.1", use("bash", command="cat plan.txt > one.txt"), submit("made one"))
    script.agent("lead-1.2", use("bash", command="echo 2 >> two.txt"), submit("made two"))
    repo = make_repo({"a.txt": "a\n"})
    model = script.model
    rules = json.loads(Path(script.path).read_text())
    name, number = at.split("/")
    for rule in rules["rules"]:
        if rule.get("match") == f"Sub-task {name}:":
            rule["turns"][int(number) - 1]["first_token_s"] = 1000
    script.path.write_text(json.dumps(rules))
    options = ("--mode", "parl", "--model", model, "--max-depth", "2", "--concurrency", "2", "--sandbox", cli.box)
    process = cli.start("run", "make the files", "--repo", str(repo), "--json", *options)
    for line in process.stdout:
        event = json.loads(line)
        if event["type"] == "call_sent" and event["call_id"] == at:
            break
    process.kill()
    process.wait()
    process.stdout.close()
    process.stderr.close()
    assert script.model  # without the wait
    done = cli("resume", cli.runs[0].name, "--json")
    assert (done.code, done.result["status"]) == (0, "completed"), done.err
    patch = Path(done.result["patch_path"]).read_text()
    assert "@@ -0,0 +1,3 @@\n+plan\n+plan\n+2\n" in patch
    assert done.result["critical_steps"] == 2 + 4 + 2
    assert done.result["n_subagents"] == 3
    events = [json.loads(line) for line in (cli.runs[0] / "events.jsonl").read_text().splitlines()]
    paid = [event["call_id"] for event in events if event["type"] == "call" and event["accepted"]]
    assert sorted(paid) == sorted(set(paid))
    assert len(paid) == 2 + 4 + 2 + 2
    ended = [event["trajectory_id"] for event in events if event["type"] == "agent_end"]
    assert len(ended) == len(set(ended))


def test_what_the_leads_own_jobs_write_meanwhile_is_kept(cli: Cli, script: Script, make_repo: MakeRepo) -> None:
    """A job of the lead goes on while its group works. It writes where nobody does, and where one of the group does."""
    job = "while ! test -e go; do sleep 0.01; done; echo mine > c.txt; echo mine > own.txt; touch gone"
    wait = "while ! test -e gone; do sleep 0.01; done; cat own.txt c.txt b.txt"
    script.planner(turn(create("lead"), assign("lead", "lead it")), {"content": "done"})
    script.agent(
        "lead-1",
        use("bash", command=job, background=True),
        turn(create("hand"), assign("hand", "b"), assign("hand", "c")),
        turn(assign("hand", "and again")),
        use("bash", command="touch go"),
        use("bash", command=wait),
        submit("led"),
    )
    script.agent("lead-1.1", use("bash", command="echo hers > b.txt"), submit("b"))
    script.agent("lead-1.2", use("bash", command="mkdir c; echo hers > c/c.txt"), submit("c"))
    script.agent("lead-1.3", use("bash", command="rm -r c; ln -s /etc/passwd c; ls"), submit("again"))
    done = run(cli, script, make_repo({"a.txt": "a\n"}), "--max-depth", "2")
    assert (done.code, done.result["status"]) == (0, "completed"), done.err
    results = [e["result"] for e in done.of("tool") if e["trajectory_id"] == "lead-1"]
    assert any("mine\nmine\nhers" in text for text in results)
    patch = Path(done.result["patch_path"]).read_text()
    for name in ("b.txt", "c.txt", "own.txt", "c"):
        assert f" b/{name}\n" in patch
    assert "new file mode 120000" in patch  # a link, and nothing was written through it
    assert "root:" not in patch
