"""`swarm run` from the shell: the answer, the patch, JSON lines, Ctrl-C. The model is a script; all else is real."""

from __future__ import annotations

import argparse
import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swarm.cli.deliver import deliver
from swarm.events import ANY_EVENT, RunEnded
from swarm.journal.validation import validate
from swarm.result import RunResult
from swarm.types import RunStatus
from tests.warm import PIPED, Process, Warm

ROOT = Path(__file__).parents[2]
GATE = 'python3 -c "import a; assert a.value == 2"'
PLAN = {
    "rationale": "one fault",
    "subtasks": [{"id": "mend", "title": "Mend a.py", "instructions": "Set value to 2."}],
}
WORK = [
    {"tool_calls": [{"name": "write", "arguments": {"path": "a.py", "content": "value = 2\n"}}]},
    {"tool_calls": [{"name": "submit", "arguments": {"status": "done", "summary": "value is 2 now"}}]},
]

Run = Callable[..., Process]


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    folder.mkdir()
    (folder / "a.py").write_text("value = 1\n")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "-q", "-m", "start")
    return folder


def git(folder: Path, *args: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *args], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def start(tmp_path: Path, repo: Path, warm: Warm) -> Run:
    """Starts `swarm run` in the repository with a scripted model."""
    (tmp_path / "home").mkdir()

    def run(*args: str, faults: Any = (), work: Any = WORK, io: Any = PIPED) -> Process:
        script = tmp_path / "script.json"
        rules = [
            {"role": "planner", "match": "## Stage", "turns": [{"json": {"rationale": "done", "subtasks": []}}]},
            {"role": "planner", "turns": [{"json": PLAN}]},
            {"role": "subagent", "turns": work},
        ]
        script.write_text(json.dumps({"rules": rules, "faults": faults}))
        options = ["--model", f"embedded:script:{script}", "--sandbox", "process", "--test", GATE]
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home"), "SWARM_HOME": str(tmp_path / "kept")}
        env |= {"PYTHONPATH": str(ROOT), "TERM": "xterm"}
        return warm.start(["run", "Mend it", *options, *args], repo, env, io=io)

    return run


def finished(process: Process) -> tuple[int, str, str]:
    stdout, stderr = process.communicate(timeout=300)
    return process.wait(), stdout, stderr


def test_plain_lines_and_only_the_patch(start: Run, repo: Path) -> None:
    code, stdout, stderr = finished(start())
    assert code == 0, stderr
    assert "Traceback" not in stderr
    assert "mend completed" in stderr
    assert "sub-agents: 1 useful of 1 asked" in stderr
    patch = next(line.removeprefix("patch: ") for line in stderr.splitlines() if line.startswith("patch: "))
    assert (repo / "a.py").read_text() == "value = 1\n"
    git(repo, "apply", patch)
    assert (repo / "a.py").read_text() == "value = 2\n"
    assert "[" not in stdout.splitlines()[:1]


def test_json_lines_and_apply(start: Run, repo: Path) -> None:
    code, stdout, stderr = finished(start("--json", "--apply"))
    assert code == 0, stderr
    *lines, last = stdout.splitlines()
    events = [ANY_EVENT.validate_json(line) for line in lines]
    assert [event.seq for event in events] == list(range(len(events)))
    assert isinstance(events[-1], RunEnded)
    envelope = json.loads(last)
    assert envelope.pop("type") == "result"
    result = RunResult.model_validate(envelope)
    assert json.loads((Path(result.run_dir) / "result.json").read_text()) == envelope
    assert [line.encode() for line in lines] == (Path(result.run_dir) / "events.jsonl").read_bytes().splitlines()
    assert result.gate is not None
    assert result.gate.passed
    assert (repo / "a.py").read_text() == "value = 2\n"


def test_a_patch_that_fails_the_gate_is_not_applied(start: Run, repo: Path) -> None:
    wrong = [{"tool_calls": [{"name": "write", "arguments": {"path": "a.py", "content": "value = 3\n"}}]}, WORK[1]]
    code, _, stderr = finished(start("--apply", work=wrong))
    assert code == 1
    assert "not applied: the gate" in stderr
    assert (repo / "a.py").read_text() == "value = 1\n"


def test_what_was_not_tested_is_not_applied(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "patch.diff").write_text("")
    args = argparse.Namespace(apply=True, branch=None, patch=None, json=True)
    result = RunResult(run_id="r", status=RunStatus.PARTIAL, exit_code=1, answer="", run_dir=str(tmp_path),
                       patch_path=str(tmp_path / "patch.diff"))  # fmt: skip
    assert deliver(args, result, repo, gated=True)[1][0] == "not applied: the gate was not run on it"


def test_the_envelope_tells_of_a_patch_that_does_not_apply(start: Run, repo: Path) -> None:
    meanwhile = f"echo 'value = 7' > {repo / 'a.py'}; {GATE}"  # as the user might, while the run is under way
    code, stdout, stderr = finished(start("--json", "--apply", "--test", meanwhile))
    envelope = json.loads(stdout.splitlines()[-1])
    assert (code, envelope["exit_code"], envelope["status"]) == (1, 1, "partial")
    assert "swarm: the patch does not apply" in stderr
    assert stderr.count("swarm:") == 1


def test_a_branch(start: Run, repo: Path) -> None:
    code, _, stderr = finished(start("--branch", "mended"))
    assert code == 0, stderr
    assert git(repo, "show", "mended:a.py") == "value = 2\n"
    assert git(repo, "status", "--porcelain") == ""
    code, stdout, stderr = finished(start("--branch", "mended"))
    assert (code, stdout) == (2, "")
    assert stderr.splitlines() == ["swarm: the branch mended exists already; choose another name"]


def test_a_patch_file(start: Run, repo: Path, tmp_path: Path) -> None:
    code, _, stderr = finished(start("--patch", str(tmp_path / "out.diff")))
    assert code == 0, stderr
    git(repo, "apply", "--check", str(tmp_path / "out.diff"))
    assert finished(start("--patch", str(tmp_path / "nowhere/out.diff")))[0] == 2


def test_a_dry_run_shows_the_plan(start: Run, tmp_path: Path) -> None:
    code, stdout, stderr = finished(start("--dry-run"))
    assert code == 0, stderr
    assert "mend: Mend a.py" in stdout
    assert "missing" not in stderr
    code, stdout, stderr = finished(start("--dry-run", "--json"))
    stages = [event for event in map(json.loads, stdout.splitlines()) if event["type"] == "stage_start"]
    assert [task["id"] for task in stages[0]["plan"]["subtasks"]] == ["mend"]
    assert '"type":"agent_start","trajectory_id":"orchestrator"' in stdout
    assert stdout.count('"agent_start"') == 1
    assert list(validate(Path(json.loads(stdout.splitlines()[-1])["run_dir"]))) == []


def test_an_answer_that_cannot_be_written(start: Run, repo: Path) -> None:
    with open("/dev/full", "wb") as full:
        code, _, stderr = finished(start("--apply", io=(None, full.fileno(), None)))
    assert code == 0, stderr
    assert stderr.count("standard output cannot be written") == 1
    assert (repo / "a.py").read_text() == "value = 2\n"


def test_interrupted_it_ends_in_order(start: Run) -> None:
    process = start("--json", faults=[{"kind": "hang", "position": [2]}])
    for line in process.stdout:
        event = json.loads(line)
        if event["type"] == "call_sent" and event["trajectory_id"] != "orchestrator":
            break
    process.send_signal(signal.SIGINT)
    code, stdout, stderr = finished(process)
    assert code == 130, stderr
    assert "Traceback" not in stderr
    envelope = json.loads(stdout.splitlines()[-1])
    assert (envelope["type"], envelope["status"], envelope["exit_code"]) == ("result", "cancelled", 130)


def test_a_reader_that_goes_away_ends_the_run(start: Run) -> None:
    process = start("--json", faults=[{"kind": "hang", "position": [2]}])
    process.stdout.readline()
    process.stdout.close()
    process.send_signal(signal.SIGTERM)  # the run hangs without news; by itself it would see its reader gone later
    assert process.wait(timeout=300) == 130
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()


def on_a_terminal(start: Run, typed: bytes, *options: str) -> tuple[int, str]:
    """A run at a terminal at which these lines are typed, each when a question is asked: its exit code, and all that it
    showed."""
    ours, theirs = pty.openpty()
    process = start(*options, io=(theirs, theirs, theirs))
    os.close(theirs)
    seen, answers, answered = b"", typed.splitlines(keepends=True), 0
    try:
        while data := os.read(ours, 65536):
            seen += data
            if answers and re.search(rb"(\[y/N\][^\r\n]*|anew:) $", seen[answered:]):
                answered = len(seen)
                os.write(ours, answers.pop(0))
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    return finished(process)[0], seen.decode()


def test_on_a_terminal_it_draws_and_asks(start: Run, repo: Path) -> None:
    code, seen = on_a_terminal(start, b"y\ny\n")
    assert code == 0, seen
    assert "Run 1 sub-agent in stage 1? [y/N]" in seen
    assert "model calls in this stage" in seen
    assert "Apply the patch to" in seen
    assert "mend Mend a.py" in seen
    assert (repo / "a.py").read_text() == "value = 2\n"


def test_on_a_terminal_no_ends_it_and_yes_is_not_asked(start: Run, repo: Path) -> None:
    code, seen = on_a_terminal(start, b"\n")
    assert code == 130, seen
    assert "the plan was declined" in seen
    assert "Apply" not in seen
    code, seen = on_a_terminal(start, b"n\n", "--yes")
    assert code == 0, seen
    assert "Run 1 sub-agent" not in seen
    assert (repo / "a.py").read_text() == "value = 1\n"


def test_outside_a_repository(start: Run, tmp_path: Path) -> None:
    code, stdout, stderr = finished(start("--repo", str(tmp_path)))
    assert (code, stdout) == (2, "")
    assert len(stderr.splitlines()) == 1
    assert "--no-repo" in stderr
