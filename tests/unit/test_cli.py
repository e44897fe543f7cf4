"""The command line as a user meets it: exit codes, one line for what is wrong, runs that can be looked at."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest

from swarm.cli.options import CONFIGURED, MODES, SANDBOXES
from swarm.config import Mode, RunConfig, SandboxName
from swarm.events import AgentEnded, AgentStarted, Event, GateFinished, PatchMerged, RunEnded, RunStarted, StageStarted
from swarm.result import RunResult
from swarm.types import Outcome, Plan, RunStatus, SubTask

Swarm = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    home = tmp_path / "home"
    home.mkdir()
    return {"PATH": os.environ["PATH"], "HOME": str(home), "SWARM_HOME": str(tmp_path / "kept"), "NO_COLOR": "1"}


@pytest.fixture
def swarm(tmp_path: Path, env: dict[str, str]) -> Swarm:
    root = Path(__file__).parents[2]

    def run(*args: str, stdin: str | bytes = "", **more: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "swarm", *args],
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            cwd=tmp_path,
            env=env | {"PYTHONPATH": str(root)} | more,
            timeout=300,
            check=False,
        )
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


def refused(done: subprocess.CompletedProcess[str], code: int = 2) -> str:
    """The one line of a refusal."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("swarm"), lines
    return lines[0]


def test_help_is_instant() -> None:
    heavy = {"pydantic", "rich", "anyio", "httpx", "openai", "langgraph", "asyncio", "docker", "json", "pathlib"}
    code = "import sys; from swarm.cli.main import main; main(['--help']); print(*sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True,
                          env={"PYTHONPATH": str(Path(__file__).parents[2])})  # fmt: skip
    assert "swarm" in done.stdout
    assert {name.partition(".")[0] for name in done.stderr.split()} & heavy == set()


def test_version(swarm: Swarm) -> None:
    done = swarm("--version")
    assert (done.returncode, done.stdout) == (0, "swarm 0.1.0\n")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "COMMAND"),
        (("dance",), "dance"),
        (("run",), "TASK"),
        (("run", "x", "--mode", "chaos"), "chaos"),
        (("run", "x", "--sandbox", "moon"), "moon"),
        (("run", "x", "--max-agents", "many"), "many"),
        (("run", "x", "--apply", "--branch", "b"), "--branch"),
        (("run", ""), "the task is empty"),
        (("run", " \n"), "the task is empty"),
        (("run", "-"), "the task is empty"),
        (("run", "@nowhere.txt"), "nowhere.txt"),
        (("run", "x", "--no-repo", "--apply"), "--apply"),
        (("run", "x", "--no-repo", "--patch", "p"), "--patch"),
        (("run", "x", "--no-repo", "--max-agents", "0"), "--max-agents"),
        (("run", "x", "--test", " "), "--test is empty"),
        (("run", "x", "--no-repo", "--test", "true"), "--test needs a repository"),
        (("show", "nothing"), "no run nothing"),
        (("show", "last"), "no runs"),
        (("watch", ""), "no run"),
    ],
)
def test_wrong_usage(swarm: Swarm, args: tuple[str, ...], said: str) -> None:
    assert said in refused(swarm(*args))


def test_a_task_that_is_no_text(swarm: Swarm) -> None:
    assert "UTF-8" in refused(swarm("run", "-", stdin=b"\xff\xfe"))


def test_a_configuration_that_cannot_be_used(swarm: Swarm, tmp_path: Path) -> None:
    config = tmp_path / "home/.config/swarm/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text("max_agents = 'many'\n")
    assert str(config) in refused(swarm("run", "x", "--no-repo"))


def test_options_are_those_of_the_configuration() -> None:
    assert set(MODES) == set(get_args(Mode))
    assert set(SANDBOXES) == set(get_args(SandboxName))
    assert set(CONFIGURED) <= set(RunConfig.model_fields)


def test_a_traceback_only_on_request(swarm: Swarm) -> None:
    assert "Traceback" in swarm("show", "nothing", SWARM_DEBUG="1").stderr


# Runs that were: their folders are written here as a run leaves them.


def events(run_id: str, started: float) -> Iterator[Event]:
    task = SubTask(id="s1", title="Repair dates", instructions="Repair.")
    told: list[Event] = [
        RunStarted(
            task="Fix \x1b[31mthe tests", task_sha256="", mode="plan", swarm_version="0", config={}, config_sha256="",
            models={"planner": "kimi"},
        ),
        StageStarted(stage=1, plan=Plan(subtasks=(task,))),
        AgentStarted(trajectory_id="t", role="subagent", name="s1", trainable=False, stage=1, subtask=task),
        AgentEnded(
            trajectory_id="t", outcome=Outcome.COMPLETED, stop="submitted", terminated=True, truncated=False,
            final_output="off by one in parse", steps=4, tool_calls=5,
        ),
        PatchMerged(stage=1, subtask_id="s1", merged=True, files=["dates.py"]),
        GateFinished(
            stage=1, command="pytest -q", commit="c", passed=True, exit_code=0, timed_out=False, output="", seconds=2.0
        ),
        RunEnded(status=RunStatus.COMPLETED, exit_code=0, result=json.loads(envelope(run_id).model_dump_json())),
    ]  # fmt: skip
    for seq, event in enumerate(told):
        event.run_id, event.seq, event.t = run_id, seq, started + seq
        yield event


def envelope(run_id: str) -> RunResult:
    return RunResult(
        run_id=run_id, status=RunStatus.COMPLETED, exit_code=0, answer="All tests pass.", run_dir=f"/runs/{run_id}"
    )


def keep(kept: Path, run_id: str, started: float, *, upto: int | None = None, result: bool = True) -> Path:
    """A run's folder, its journal cut after `upto` events."""
    folder = kept / "runs" / run_id
    folder.mkdir(parents=True)
    lines = [event.model_dump_json() + "\n" for event in events(run_id, started)]
    (folder / "events.jsonl").write_text("".join(lines[:upto]))
    if result and upto is None:
        (folder / "result.json").write_text(envelope(run_id).model_dump_json())
    return folder


def test_runs_newest_first(swarm: Swarm, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    assert swarm("runs").returncode == 0
    keep(kept, "b-middle", 2_000)
    keep(kept, "a-newest", 3_000, result=False)  # died between the journal's end and result.json
    keep(kept, "c-oldest", 1_000, upto=3)
    (kept / "runs/junk").mkdir()
    (kept / "runs/junk/events.jsonl").write_text("{nonsense\n")
    done = swarm("runs", "--json")
    rows = {row["run_id"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert [name for name in rows if name != "junk"] == ["a-newest", "b-middle", "c-oldest"]
    assert {name: row["status"] for name, row in rows.items()} == {
        "junk": "unreadable",
        "a-newest": "completed",
        "b-middle": "completed",
        "c-oldest": "crashed",
    }
    assert rows["a-newest"]["coverage"]["asked"] == 0
    plain = swarm("runs").stdout
    assert plain.count("Fix the tests") == 3
    assert "\x1b" not in plain


@pytest.mark.parametrize(
    "odd",
    [
        {"coverage": 5},
        {"coverage": {"useful": []}, "gate": "yes"},
        json.loads(envelope("odd").model_dump_json()) | {"wall_s": float("-inf")},
    ],
)
def test_an_odd_result_is_listed(swarm: Swarm, tmp_path: Path, odd: dict[str, object]) -> None:
    keep(tmp_path / "kept", "good", 2_000)
    folder = keep(tmp_path / "kept", "odd", 1e300)
    (folder / "result.json").write_text(json.dumps({"status": "completed"} | odd))
    done = swarm("runs")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 2), done.stderr


def test_a_run_that_still_lives(swarm: Swarm, tmp_path: Path) -> None:
    folder = keep(tmp_path / "kept", "living", 1_000, upto=3)
    with (folder / "events.jsonl").open("a") as record:
        fcntl.flock(record, fcntl.LOCK_EX)
        assert json.loads(swarm("runs", "--json").stdout)["status"] == "running"
    assert json.loads(swarm("runs", "--json").stdout)["status"] == "crashed"


def test_show(swarm: Swarm, tmp_path: Path) -> None:
    folder = keep(tmp_path / "kept", "20261121-abc", 1_000)
    keep(tmp_path / "kept", "20261120-abc", 500)
    for name in ("20261121-abc", "20261121", "last", str(folder)):
        told = swarm("show", name).stdout
        assert "run 20261121-abc: completed, mode plan, kimi" in told
    for said in ("task: Fix the tests", "s1 (Repair dates): completed: 4 steps", "off by one in parse", "merge s1",
                 "gate: pytest -q: passed", "All tests pass.", str(folder / "events.jsonl")):  # fmt: skip
        assert said in told
    assert "may be 20261120-abc, 20261121-abc" in refused(swarm("show", "2026"))
    lines = swarm("show", "last", "--json").stdout.splitlines()
    assert lines == [event.model_dump_json() for event in events("20261121-abc", 1_000)]


def test_show_of_a_broken_journal(swarm: Swarm, tmp_path: Path) -> None:
    folder = keep(tmp_path / "kept", "broken", 1_000, upto=2)
    with (folder / "events.jsonl").open("a") as journal:
        journal.write('{"type": "no such"}\n{"torn')
    assert "line 3" in refused(swarm("show", "broken"), code=3)


def test_a_reader_that_has_seen_enough(tmp_path: Path, env: dict[str, str]) -> None:
    keep(tmp_path / "kept", "run", 1_000)
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", "swarm", "show", "run"], stdout=write, stderr=subprocess.PIPE,
                          env=env | {"PYTHONPATH": str(Path(__file__).parents[2])}, check=False)  # fmt: skip
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_limit_of_open_files_is_raised_but_not_beyond_reason() -> None:
    """In a process of its own: a limit cannot be given back."""
    code = (
        "import resource as r; from swarm.cli.open_files import allow_many_open_files as allow\n"
        "def soft(): return r.getrlimit(r.RLIMIT_NOFILE)[0]\n"
        "hard = r.getrlimit(r.RLIMIT_NOFILE)[1]\n"
        "r.setrlimit(r.RLIMIT_NOFILE, (64, hard)); allow(); a = soft()\n"
        "r.setrlimit(r.RLIMIT_NOFILE, (100, 200)); allow(); print(a, hard, soft())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    raised, hard, small = map(int, done.stdout.split())
    assert raised == (65536 if hard < 0 else min(hard, 65536))
    assert small == 200
