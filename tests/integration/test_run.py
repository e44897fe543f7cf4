"""Whole runs through the command line: a scripted model, real sandboxes, real git, real HTTP."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from swarm.journal.reader import read_events
from tests.integration.conftest import Cli, Files, Script, git, plan, submit, subtask, use

MakeRepo = Callable[[Files], Path]
FILES = {"a.txt": "a\n", "b.txt": "b\n", "shared.txt": "one\ntwo\nthree\n"}


def test_two_subagents_make_one_tested_patch_and_the_checkout_is_untouched(
    cli: Cli, script: Script, make_repo: MakeRepo
) -> None:
    repo = make_repo(FILES)
    (repo / "b.txt").write_text("uncommitted\n")
    script.planner(plan(subtask("one"), subtask("two")))
    script.agent("one", use("write", path="a.txt", content="A\n"), submit("wrote a"))
    script.agent("two", use("bash", command="cat b.txt && echo B >> b.txt"), submit("wrote b"))
    done = cli.run("change both", repo, "--model", script.model, "--test", "grep -q A a.txt && grep -q B b.txt")
    assert done.code == 0, done.err
    result = done.result
    assert result["status"] == "completed"
    assert result["coverage"] == {"asked": 2, "useful": 2, "missing": 0}
    assert result["outcomes"] == {"completed": 2}
    assert result["gate"]["passed"] is True
    assert result["usage"]["calls"] == 5
    assert (result["critical_steps"], result["total_steps"], result["n_subagents"]) == (3, 5, 2)
    assert result["cost_usd"] == 0
    assert (repo / "a.txt").read_text() == "a\n"
    assert (repo / "b.txt").read_text() == "uncommitted\n"
    patch = Path(result["patch_path"])
    assert patch == Path(result["run_dir"]) / "patch.diff"
    subprocess.run(["git", "apply", str(patch)], cwd=repo, check=True)
    assert (repo / "b.txt").read_text() == "uncommitted\nB\n"

    folder = Path(result["run_dir"])
    assert {path.name for path in folder.iterdir()} >= {"events.jsonl", "graph.sqlite", "result.json", "artifacts"}
    assert not list((folder.parents[1] / "leases").glob("[!.]*"))
    assert json.loads((folder / "result.json").read_text()) == {k: v for k, v in result.items() if k != "type"}
    journal = [event.model_dump(mode="json") for event in read_events(folder / "events.jsonl")]
    assert journal == done.lines[:-1]
    assert [event["seq"] for event in journal] == list(range(len(journal)))
    assert [json.loads(line)["run_id"] for line in cli("runs", "--json").out.splitlines()] == [result["run_id"]]
    shown = cli("show", result["run_id"]).out
    assert "do one" in shown
    assert "wrote b" in shown


@pytest.mark.parametrize("sandbox", ["docker", "bubblewrap", "process"])
def test_each_sandbox_does_a_whole_run(
    cli: Cli, script: Script, make_repo: MakeRepo, sandbox: str, request: pytest.FixtureRequest
) -> None:
    if sandbox == "docker":
        cli.env["DOCKER_HOST"] = request.getfixturevalue("docker_box")
    if sandbox == "bubblewrap":
        request.getfixturevalue("bubblewrap_box")
    script.planner(plan(subtask("one"), subtask("two")))
    script.agent("one", use("write", path="a.txt", content="A\n"), submit())
    script.agent("two", use("bash", command="cat b.txt && echo B >> b.txt; id -u"), submit())
    repo = make_repo(FILES)
    args = (
        "--model",
        script.model,
        "--sandbox",
        sandbox,
        "--test",
        'python3 -c \'assert open("a.txt").read() == "A\\n"\'',
    )
    done = cli.run("change both", repo, *args)
    assert done.code == 0, done.err
    assert {agent["sandbox"] for agent in done.of("agent_start") if agent["role"] == "subagent"} == {sandbox}
    outside = [notice for notice in done.of("notice") if "no isolation" in notice["message"]]
    assert len(outside) == (sandbox == "process")
    assert git(repo, "status", "--porcelain") == ""


def test_apply_and_branch_deliver(cli: Cli, script: Script, make_repo: MakeRepo) -> None:
    repo = make_repo(FILES)
    (repo / "b.txt").write_text("uncommitted\n")
    script.planner(plan(subtask("one")))
    script.agent("one", use("write", path="a.txt", content="A\n"), submit())
    assert cli.run("x", repo, "--model", script.model, "--branch", "swarm/one").code == 0
    told = git(repo, "log", "--format=%s", "main..swarm/one").splitlines()
    assert {"do one", "uncommitted changes at the start"} <= set(told)
    assert git(repo, "show", "swarm/one:a.txt") == "A\n"
    assert git(repo, "status", "--porcelain") == " M b.txt\n"
    again = cli.run("x", repo, "--model", script.model, "--branch", "swarm/one")
    assert again.code == 2
    assert "swarm/one exists already" in again.err
    assert cli.run("x", repo, "--model", script.model, "--apply").code == 0
    assert (repo / "a.txt").read_text() == "A\n"


def test_a_conflict_evicts_one_patch_and_the_run_is_partial(cli: Cli, script: Script, make_repo: MakeRepo) -> None:
    repo = make_repo(FILES)
    script.planner(plan(subtask("one"), subtask("two")), plan())
    for name in ("one", "two"):
        script.agent(name, use("edit", path="shared.txt", old_string="two", new_string=name.upper()), submit())
    done = cli.run("x", repo, "--model", script.model, "--repairs", "0")
    assert (done.code, done.result["status"]) == (1, "partial")
    assert done.result["coverage"] == {"asked": 2, "useful": 1, "missing": 1}
    merges = done.of("merge")
    assert [merge["merged"] for merge in merges] == [True, False]
    assert "shared.txt" in merges[1]["reason"]


def test_a_dependent_sees_its_dependencys_change_and_a_red_gate_brings_another_stage(
    cli: Cli, script: Script, make_repo: MakeRepo
) -> None:
    repo = make_repo(FILES)
    script.planner(
        plan(subtask("one"), subtask("two", depends_on=["one"]), subtask("lost")),
        plan(subtask("three", replaces=["lost"])),
    )
    script.agent("one", use("write", path="new.txt", content="from one\n"), submit())
    script.agent("two", use("bash", command="cat new.txt > copy.txt"), submit())
    script.agent("lost", use("bash", command="true"), submit("found nothing", "failed"))
    script.agent("three", use("bash", command="cat copy.txt > third.txt"), submit())
    done = cli.run("x", repo, "--model", script.model, "--test", "grep one third.txt")
    assert done.code == 0, done.err
    assert done.result["coverage"] == {"asked": 3, "useful": 3, "missing": 0}
    assert [gate["passed"] for gate in done.of("gate")] == [False, False, True]
    second = [call for call in done.of("call") if call["trajectory_id"] == "orchestrator"][1]
    assert "lost (do lost): failed: found nothing" in second["new_messages"][-1]["content"]


def test_single_mode_is_one_agent(cli: Cli, script: Script, make_repo: MakeRepo) -> None:
    script.rules.append({"role": "subagent", "turns": [use("write", path="a.txt", content="A\n"), submit()]})
    done = cli.run("x", make_repo(FILES), "--mode", "single", "--model", script.model, "--test", "grep A a.txt")
    assert (done.code, done.result["n_subagents"], done.result["critical_steps"]) == (0, 1, 2)


def test_a_task_without_a_repository_is_answered_by_the_aggregator(cli: Cli, script: Script) -> None:
    script.planner(plan(subtask("one"), subtask("two")))
    script.agent("one", {"content": "the first half"})
    script.agent("two", use("bash", command="echo hello"), submit("the second half"))
    script.rules.append({"role": "aggregator", "turns": [{"content": "both halves\n\nSources: one, two"}]})
    done = cli.run("what is it?", None, "--model", script.model)
    assert (done.code, done.result["answer"], done.result["patch_path"]) == (0, "both halves", None)
    merge = next(call for call in done.of("call") if call["trajectory_id"] == "aggregator-1")
    assert "the first half" in merge["new_messages"][-1]["content"]
    assert "the second half" in merge["new_messages"][-1]["content"]


def one_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.startswith("swarm: ")]
    assert len(lines) == 1, text
    assert "Traceback" not in text
    return lines[0]


@pytest.mark.parametrize(
    ("turns", "words"),
    [
        ([{"content": "Sure! I would begin with the tests."}], "not a JSON object"),
        ([plan(subtask("a", depends_on=["b"]), subtask("b", depends_on=["a"]))], "cycle"),
        ([plan(subtask("a", depends_on=["ghost"]))], "'ghost', which does not exist"),
        ([plan(subtask("a"), subtask("a"))], "given to 2 sub-tasks"),
        ([plan(*[subtask(f"t{n}") for n in range(5)])], "at most 4"),
        ([plan(subtask("a", files=["src/"]), subtask("b", files=["src/x.py"]))], "both write src/x.py"),
        ([plan(subtask("a", depends=["b"]), subtask("b"))], "`depends` is no field of a sub-task"),
    ],
)
def test_a_plan_that_cannot_be_run_goes_back_once_and_then_the_run_fails(
    cli: Cli, script: Script, make_repo: MakeRepo, turns: list[dict[str, object]], words: str
) -> None:
    script.planner(*turns)
    done = cli.run("x", make_repo(FILES), "--model", script.model, "--max-agents", "4")
    assert (done.code, done.result["status"], done.result["usage"]["calls"]) == (1, "failed", 2)
    assert words in one_line(done.err)


def test_a_plan_that_is_mended_is_run(cli: Cli, script: Script, make_repo: MakeRepo) -> None:
    script.planner({"content": "no json"}, plan(subtask("one")))
    script.agent("one", use("write", path="a.txt", content="A\n"), submit())
    assert cli.run("x", make_repo(FILES), "--model", script.model).code == 0


def test_an_empty_plan_is_a_failed_run_that_says_so(cli: Cli, script: Script) -> None:
    script.planner(plan())
    done = cli.run("x", None, "--model", script.model)
    assert (done.code, done.result["status"]) == (1, "failed")
    assert done.of("run_end")[0]["error"] == "the plan is empty: r"


def test_false_success_is_no_success(cli: Cli, script: Script, make_repo: MakeRepo) -> None:
    script.planner(plan(subtask("one")), plan())
    script.agent("one", submit("all done!"))
    done = cli.run("x", make_repo(FILES), "--model", script.model)
    assert (done.code, done.result["status"], done.result["outcomes"]) == (1, "failed", {"failed": 1})


def test_faults_of_the_endpoint_are_met_by_retries(cli: Cli, script: Script, make_repo: MakeRepo) -> None:
    script.planner(plan(subtask("one")))
    script.agent("one", use("write", path="a.txt", content="A\n"), submit())
    script.faults += [
        {"kind": "rate_limit", "position": [1], "retry_after": 0.1},
        {"kind": "error", "position": [3]},
        {"kind": "cut", "position": [5]},
    ]
    done = cli.run("x", make_repo(FILES), "--model", script.model)
    assert done.code == 0, done.err
    calls = done.of("call")
    assert sorted(call["error"] for call in calls if not call["accepted"]) == ["cut", "overloaded", "rate_limited"]


def test_a_budget_ends_the_run_with_exit_4(cli: Cli, script: Script, make_repo: MakeRepo) -> None:
    script.planner(plan(subtask("one")))
    script.agent("one", use("bash", command="true"), submit())
    done = cli.run("x", make_repo(FILES), "--model", script.model, "--budget-tokens", "500")
    assert (done.code, done.result["status"]) == (4, "budget_exhausted")
    assert done.result["usage"]["prompt_tokens"] + done.result["usage"]["completion_tokens"] <= 500


def test_prompts_that_cannot_be_used_are_the_callers_mistake(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "prompts"
    folder.mkdir()
    (folder / "planner.md").write_text("Plan as you like.")
    done = cli.run("x", None, "--model", "embedded", "--prompts", str(folder))
    assert (done.code, done.result["run_id"], list(cli.runs)) == (2, "", [])
    assert "planner.md: {{plan_fields}} is missing" in one_line(done.err)


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ("no-such-command --now", "no-such-command"),
        ("python3 -IS -m pytest -q", "No module named pytest; give a command with --test"),  # without site-packages
    ],
)
def test_a_gate_that_does_not_exist_is_the_callers_mistake(cli: Cli, make_repo: MakeRepo, test: str, said: str) -> None:
    done = cli.run("x", make_repo(FILES), "--model", "embedded", "--test", test)
    assert (done.code, done.result["usage"]["calls"]) == (2, 0)
    assert said in one_line(done.err)


@pytest.fixture
def other_server() -> Iterator[str]:
    """A server that speaks HTTP but not this protocol."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, *args: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_endpoint_that_refuses_or_speaks_another_protocol_is_the_machines_fault(
    cli: Cli, make_repo: MakeRepo, other_server: str
) -> None:
    repo = make_repo(FILES)
    done = cli.run("x", repo, "--model", "m", "--base-url", other_server)
    assert (done.code, done.result["status"]) == (3, "errored")
    assert "another form" in one_line(done.err)
    with socket.socket() as unused:  # bound and not listening: nobody else can be there
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        done = cli.run("x", repo, "--model", "m", "--base-url", f"http://127.0.0.1:{port}/v1")
    assert (done.code, done.result["status"]) == (3, "errored")
    assert f"no endpoint answers at 127.0.0.1:{port}" in one_line(done.err)


def test_ctrl_c_leaves_a_whole_journal_the_envelope_and_no_process(
    cli: Cli, script: Script, make_repo: MakeRepo
) -> None:
    repo = make_repo(FILES)
    script.planner(plan(subtask("quick"), subtask("slow")))
    script.agent("quick", use("write", path="a.txt", content="A\n"), submit())
    seconds = 10**6 + os.getpid()  # nobody else's: other tests run on this machine
    script.agent("slow", use("bash", command=f"sleep {seconds}"), submit())
    process = cli.start("run", "x", "--repo", str(repo), "--json", "--model", script.model, "--sandbox", cli.box)
    seen: list[str] = []
    waiting = {"quick has ended", "slow runs its command"}
    for line in process.stdout:
        seen.append(line)
        event = json.loads(line)
        if event["type"] == "agent_end" and event["trajectory_id"] == "quick":
            waiting.discard("quick has ended")
        if event["type"] == "tool_start" and event["trajectory_id"] == "slow":
            waiting.discard("slow runs its command")
        if not waiting:
            break
    process.send_signal(signal.SIGINT)
    done = cli.wait(process)
    done.out = "".join(seen) + done.out
    assert (done.code, done.result["status"]) == (130, "cancelled")
    assert done.result["outcomes"] == {"completed": 1, "cancelled": 1}
    assert done.result["patch_path"] is not None
    events = list(read_events(cli.runs[0] / "events.jsonl"))
    assert events[-1].type == "run_end"
    assert f"sleep\x00{seconds}" not in "".join(_command_lines())
    assert not list((cli.runs[0].parents[1] / "leases").glob("[!.]*"))


def _command_lines() -> list[str]:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_text())
        except OSError:
            continue
    return lines
