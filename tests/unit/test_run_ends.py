"""What the command line tells of a run that never began, that lost its race, or whose end many share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from swarm.aggregators.patches import _lines
from swarm.cli.history import find_run
from swarm.cli.last_line import always_an_envelope
from swarm.cli.main import main
from swarm.errors import UsageError
from swarm.merging.queue import Settled
from swarm.run_folders import new_run_id
from swarm.sandboxes.git.command import own_git
from swarm.types import AgentResult, Outcome


def test_the_last_line_is_an_envelope_before_there_is_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    for options in (["--repo", str(tmp_path / "nowhere")], ["--no-repo", "--max-agents", "0"]):
        assert main(["run", "x", "--json", *options]) == 2
        told = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (told["type"], told["run_id"], told["status"], told["exit_code"]) == ("result", "", "errored", 2)
    assert main(["run", "x", "--repo", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(KeyboardInterrupt(), "cancelled", 130), (ValueError("a bug"), "errored", 3), (UsageError("x"), "errored", 2)],
)
def test_whatever_ends_it_early(
    error: BaseException, status: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(type(error)), always_an_envelope(json=True):
        raise error
    told = json.loads(capsys.readouterr().out)
    assert (told["status"], told["exit_code"]) == (status, code)


def test_thousands_of_runs_that_begin_at_once_have_names_of_their_own() -> None:
    assert len({new_run_id() for _ in range(10_000)}) == 10_000


def test_of_runs_that_began_at_once_the_one_that_was_written_last_is_the_newest(tmp_path: Path) -> None:
    for n, (name, began) in enumerate([("a-1", 1000.9), ("a-3", 1000.1), ("a-2", 1000.5), ("b", 900.0)]):
        (tmp_path / name).mkdir()
        record = tmp_path / name / "events.jsonl"
        record.write_text(json.dumps({"type": "run_start", "t": began}) + "\n")
        os.utime(record, (2000 - n, 2000 - n))
    assert find_run(tmp_path, "last").name == "a-1"
    os.utime(tmp_path / "a-2/events.jsonl", (3000, 3000))
    assert find_run(tmp_path, "last").name == "a-2"


def test_many_with_the_same_end_are_told_in_one_line() -> None:
    def result(n: int, outcome: Outcome, text: str) -> AgentResult:
        return AgentResult(subtask_id=f"s{n}", trajectory_id=f"s{n}", outcome=outcome, text=text, stop="")

    results = [
        result(1, Outcome.COMPLETED, "well"),
        *(result(n, Outcome.CANCELLED, "not started") for n in range(2, 300)),
    ]
    settled = Settled(commit="", merged=(), evicted=())
    told = list(_lines(results, {f"s{n}": f"Part {n}" for n in range(300)}, settled, {}))
    assert told == ["- s1, Part 1: completed. well", "- s2 to s299, 298 sub-tasks: cancelled. not started"]


def test_git_has_a_process_group_of_its_own(tmp_path: Path) -> None:
    told = own_git(tmp_path).run("-c", "alias.own=!cat /proc/self/stat", "own").text
    assert int(told.rpartition(")")[2].split()[2]) != os.getpgrp()


def test_an_interrupted_import_ends_it_with_130_and_not_by_the_signal() -> None:
    interrupted = (
        "import sys, swarm.cli.dispatch as d, swarm.cli.main as m\n"
        "d.dispatch = lambda argv: exec('raise KeyboardInterrupt')\n"
        "sys.exit(m.main([]))"
    )
    done = subprocess.run([sys.executable, "-c", interrupted], capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (130, "swarm: interrupted\n")
