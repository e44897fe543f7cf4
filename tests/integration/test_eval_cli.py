"""`swarm eval` from the shell: lines, the envelope, signals, going on, and what is refused. The model is a script."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Cli
from tests.warm import Process, Warm

ROOT = Path(__file__).parents[2]
Run = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path, warm: Warm) -> Run:
    """Starts `swarm eval widesearch` on questions about a made world; nobody answers them."""

    def run(*args: str, first_token_s: float = 0.0) -> Process:
        script: dict[str, Any] = {"rules": [{"role": "any", "turns": [{"content": "I found no table"}]}]}
        if first_token_s:
            script["first_token_s"] = {"median": first_token_s, "sigma": 0.0}
        path = tmp_path / "script.json"
        path.write_text(json.dumps(script))
        options = ["--model", f"embedded:script:{path}", "--mode", "single", "--sandbox", "process"]
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home"), "SWARM_HOME": str(tmp_path / "kept")}
        return warm.start(
            ["eval", "widesearch", "--out", "out", *options, *args], tmp_path, {**env, "PYTHONPATH": str(ROOT)}
        )

    return run


def finished(process: Process) -> tuple[int, list[dict[str, Any]], str]:
    stdout, stderr = process.communicate(timeout=300)
    return process.wait(), [json.loads(line) for line in stdout.splitlines()], stderr


def test_stopped_at_once_gone_on_with_and_not_done_twice(start: Run, tmp_path: Path) -> None:
    options = ("--synthetic", "3", "--json", "--seed", "3", "--workers", "2")
    process = start(*options, first_token_s=100.0)
    until = time.monotonic() + 300
    while not list(tmp_path.glob("out/instances/*/*/*/*/events.jsonl")) and time.monotonic() < until:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGTERM)
    code, told, _ = finished(process)
    assert (code, told[-1]["status"], told[-1]["exit_code"]) == (130, "cancelled", 130)
    assert (tmp_path / "out/results.jsonl").read_text() == ""

    code, told, _ = finished(start(*options))
    assert code == 0
    assert [each["type"] for each in told] == ["trial"] * 3 + ["evaluation"]
    last = told[-1]
    assert (last["status"], last["graded"], last["resolved"], last["left"]) == ("completed", 3, 0, 0)
    assert last["arms"]["single"]["usage"]["calls"] == 3
    assert last["failures"] == {"no table": 3}
    before = (tmp_path / "out/results.jsonl").read_bytes()

    code, told, _ = finished(start(*options))
    assert (code, [each["type"] for each in told]) == (0, ["evaluation"])
    assert (tmp_path / "out/results.jsonl").read_bytes() == before
    manifest = json.loads((tmp_path / "out/eval.json").read_text())
    assert len(manifest["sittings"]) == 3
    assert manifest["command"][:3] == ["swarm", "eval", "widesearch"]


def test_killed_in_the_middle_it_loses_no_verdict_and_pays_none_twice(start: Run, tmp_path: Path) -> None:
    options = ("--synthetic", "6", "--json", "--seed", "3", "--workers", "1")
    process = start(*options, first_token_s=0.3)
    results = tmp_path / "out/results.jsonl"
    until = time.monotonic() + 300
    while not (results.exists() and results.read_bytes().count(b"\n") >= 2) and time.monotonic() < until:
        time.sleep(0.005)  # another process is waited for
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.communicate()
    kept = results.read_bytes()
    whole = kept[: kept.rindex(b"\n") + 1]
    before = whole.count(b"\n")
    assert 2 <= before < 6

    code, told, _ = finished(start(*options))
    assert code == 0
    assert [each["type"] for each in told] == ["trial"] * (6 - before) + ["evaluation"]
    assert results.read_bytes().startswith(whole)
    verdicts = [json.loads(line) for line in results.read_text().splitlines()]
    assert len({(each["instance_id"], each["arm"], each["epoch"]) for each in verdicts}) == len(verdicts) == 6
    last = told[-1]
    assert (last["status"], last["graded"], last["left"]) == ("completed", 6, 0)
    assert last["arms"]["single"]["usage"]["calls"] == 6
    leases = tmp_path / "kept/leases"
    assert [path.name for path in leases.glob("*") if path.name != ".lock"] == []


def test_plain_lines_and_what_is_refused(start: Run, tmp_path: Path) -> None:
    process = start("--synthetic", "2", "--limit", "1")
    stdout, stderr = process.communicate(timeout=300)
    assert process.wait() == 0
    assert "0 of 1 resolved: 0.0 % (0 to 79 %)" in stdout
    assert "not resolved (no table)" in stderr
    assert "1 of 1 trials" in stderr
    assert stdout.splitlines()[-1] == str(tmp_path / "out/report.json")
    for args, told in (
        (("--synthetic", "2", "--slice", "x"), "--slice 'x' is no part"),
        (("--synthetic", "2", "--modes", "many"), "there is no mode many"),
        (("--synthetic", "2", "--out", ""), "--out is missing"),
        (("--synthetic", "2", "--out", "new", "--budget-usd", "nan"), "a limit that is no number"),
    ):
        process = start(*args)
        _, stderr = process.communicate(timeout=300)
        assert (process.wait(), stderr.count("\n")) == (2, 1), stderr
        assert told in stderr


def test_swebench_without_an_engine(cli: Cli, tmp_path: Path) -> None:
    """Its instances come in images, which no other sandbox has. What is asked for wrongly is told before."""
    cli.env["DOCKER_HOST"] = f"unix://{tmp_path}/none.sock"
    row = {"instance_id": "a__b-1", "repo": "a/b", "base_commit": "0" * 40, "problem_statement": "x"}
    (tmp_path / "rows.json").write_text(json.dumps([{**row, "FAIL_TO_PASS": ["t"], "PASS_TO_PASS": []}]))
    given = {"instance_id": "a__b-1", "model_name_or_path": "m", "model_patch": ""}
    (tmp_path / "preds.json").write_text(json.dumps([given]))
    runs = ("--model", "embedded")
    for action, made in (((), runs), (("grade", str(tmp_path / "preds.json")), ())):
        command = ("eval", "swebench", *action, "--dataset", str(tmp_path / "rows.json"), "--out", "out", *made)
        for wrong in (("--ids", "nobody"), ("--slice", "x"), ("--filter", "("), ("--filter", "nobody")):
            done = cli(*command, *wrong)
            assert (done.code, done.err.count("\n")) == (2, 1), done.err
            assert wrong[0] in done.err
        done = cli(*command)
        assert done.code == 3, done.err
        assert "systemctl start docker" in done.err
        assert "bubblewrap" not in done.err
    assert not (cli.cwd / "out").exists()
