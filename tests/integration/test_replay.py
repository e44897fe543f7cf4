"""A swarm that is recorded and runs again without its endpoint: the same answers, in the same order."""

from __future__ import annotations

import json
import re
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swarm.journal.reader import read_events
from tests.integration.conftest import Cli, Done, Files, Script, plan, submit, subtask, use

MakeRepo = Callable[[Files], Path]
NAMES = ("one", "two", "three", "four")
CLOCKS = re.compile(r"(t|mono|t_sent|t_first_token|t_done|t_start|t_end|wait_s|seconds|wall_s|critical_path_s)$")
TOKENS = ("trainable", "token_source", "token_exact", "untrainable", "log_sha256", "tokens_sha256")
"""A recording holds no tokens: what is replayed cannot be trained on."""
DRAWN = {"run_id", "crc", "run_dir", "patch_path", "sandbox_id", "target_id"}
ESTIMATES = {"call_sent", "preview", "preview_held", "checkpoint"}
"""What depends on how fast things went, or on the runs before."""


@pytest.fixture
def repo(make_repo: MakeRepo) -> Path:
    return make_repo({"a.txt": "a\n"})


@pytest.fixture
def swarm_of_four(script: Script) -> Script:
    """Four agents of four turns each, that tell the time (as long each time, for what is estimated); answers of
    different lengths, and faults."""
    script.planner(plan(*map(subtask, NAMES)))
    for number, name in enumerate(NAMES):
        write = use("bash", command=f"echo {name} > {name}.txt; date; printf 'took 0.%05d s' $RANDOM")
        turns = [write, use("bash", command=f"cat {name}.txt; mktemp -u"), use("read", path=f"{name}.txt")]
        script.agent(
            name,
            *[{**turn, "first_token_s": 0.05 * ((number + n) % 4)} for n, turn in enumerate(turns)],
            submit(f"did {name}"),
        )
    script.faults = [
        {"kind": "rate_limit", "position": [4], "retry_after": 0.3},
        {"kind": "overloaded", "position": [6]},
        {"kind": "cut", "position": [9]},
    ]
    return script


def steady(value: Any, name: str = "") -> Any:
    """Without clocks and what is drawn at random."""
    if CLOCKS.search(name) or name in DRAWN or name in TOKENS:
        return None
    if isinstance(value, dict):
        kept = {
            key: steady(each, key) for key, each in value.items() if not key.endswith("_sha256") and key != "config"
        }
        return {key: each for key, each in kept.items() if key != "seq"}
    if isinstance(value, list):
        return [steady(each) for each in value]
    if isinstance(value, str):
        value = re.sub(r"\d\d:\d\d:\d\d|\b0\.\d+ s\b|in \d+ s\b|tmp\.\w{10}", "<drawn>", value)
    return value


def journal(done: Done) -> list[dict[str, Any]]:
    return [
        steady(event.model_dump(mode="json"))
        for event in read_events(Path(done.result["run_dir"]) / "events.jsonl")
        if event.type not in ESTIMATES
    ]


def order(done: Done) -> list[tuple[str, int, str]]:
    return [(call["call_id"], call["attempt"], call["error"]) for call in done.of("call")]


def by_trajectory(events: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    told: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        told.setdefault(event.get("trajectory_id", event.get("subtask_id", "")), []).append(event)
    return told


def test_a_recorded_run_runs_again_without_its_endpoint(
    cli: Cli, swarm_of_four: Script, repo: Path, tmp_path: Path
) -> None:
    tape = tmp_path / "run.tape"
    first = cli.run("change all", repo, "--model", swarm_of_four.model, "--record", str(tape), "--test", "cat one.txt")
    assert first.code == 0, first.err
    Path(swarm_of_four.path).unlink()
    again = cli.run("change all", repo, "--replay", str(tape), "--test", "cat one.txt")
    assert again.code == 0, again.err
    assert order(again) == order(first)
    assert {error for _, _, error in order(first)} >= {"", "overloaded", "cut", "rate_limited"}
    assert again.result["answer"] == first.result["answer"]
    assert Path(again.result["patch_path"]).read_bytes() == Path(first.result["patch_path"]).read_bytes()
    for key in ("status", "coverage", "usage", "cost_usd", "outcomes", "critical_steps", "gate"):
        assert again.result[key] == first.result[key], key
    one, two = journal(first), journal(again)
    assert by_trajectory(two) == by_trajectory(one)
    assert not [notice for notice in again.of("notice") if "replay" in notice["message"]]
    size = Counter(json.loads(line)["kind"] for line in tape.read_text().splitlines())
    assert size["sent"] == size["done"] == len(first.of("call"))
    assert (size["head"], size["tools"], size["end"]) == (1, 1, 1)


def test_a_changed_prompt_is_told_with_its_first_difference(
    cli: Cli, swarm_of_four: Script, repo: Path, tmp_path: Path
) -> None:
    tape = tmp_path / "run.tape"
    assert cli.run("change all", repo, "--model", swarm_of_four.model, "--record", str(tape)).code == 0
    changed = cli.run("change most", repo, "--replay", str(tape))
    assert changed.code == 2
    assert "the prompt of orchestrator, turn 1 is not the one that was recorded" in changed.err
    assert "\n-change all\n+change most\n" in changed.err
    assert changed.result["status"] == "errored"
    (repo / "one.txt").write_text("in the way")
    (repo / "four.txt").mkdir()
    later = cli.run("change all", repo, "--replay", str(tape))
    assert later.code == 2
    assert "turn 1 is not the one that was recorded" in later.err  # the planner sees the files
    mismatch = cli.run("change all", repo, "--replay", str(tape), "--concurrency", "2")
    assert mismatch.code == 2
    assert "was recorded with --concurrency 8, not 2" in mismatch.err


def test_what_the_options_refuse(cli: Cli, swarm_of_four: Script, repo: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("mine\n")
    done = cli.run("x", repo, "--model", swarm_of_four.model, "--record", str(there))
    assert (done.code, there.read_text()) == (2, "mine\n")
    assert "is there already" in done.err
    assert cli.run("x", repo, "--record", str(tmp_path / "new"), "--replay", str(there)).code == 2
    done = cli.run("x", repo, "--replay", str(there))
    assert done.code == 2
    assert f"{there}, line 1" in done.err
    assert "\n" not in done.err.strip()


def test_a_recording_that_was_killed_can_be_used(cli: Cli, script: Script, repo: Path, tmp_path: Path) -> None:
    script.planner(plan(subtask("one")))
    script.agent("one", use("bash", command="echo A > a.txt"), use("bash", command="echo READY; sleep 60"), submit())
    tape = tmp_path / "run.tape"
    args = ("run", "x", "--repo", str(repo), "--json", "--sandbox", cli.box)
    process = cli.start(*args, "--model", script.model, "--record", str(tape))
    for line in process.stdout:
        if '"tool_start"' in line and "READY" in line:
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with tape.open("a") as file:
        file.write('{"kind":"sent","key":[1,')  # a line that a crash cut
    lines = tape.read_text().splitlines()
    tape.write_text("\n".join(lines).replace("sleep 60", "true"))
    done = cli(*args, "--replay", str(tape))
    assert done.code == 2
    assert [call["accepted"] for call in done.of("call")][:3] == [True, True, True]
    assert "one, turn 3 is not in it (the recording was broken off)" in done.err


def test_secrets_are_not_in_the_file(cli: Cli, script: Script, repo: Path, tmp_path: Path) -> None:
    canary, shaped = "canary-7f3a9b21c4", "ghp_" + "a1B2" * 9
    cli.env |= {"MY_API_KEY": canary, "OPENAI_API_KEY": "sk-" + "key0" * 8}
    script.planner(plan(subtask("one")))
    script.agent("one", use("bash", command=f"echo {canary} {shaped}"), submit(f"found {canary}"))
    tape = tmp_path / "run.tape"
    first = cli.run(f"look for {canary}", repo, "--model", script.model, "--record", str(tape))
    assert first.code == 0
    text = tape.read_text()
    for secret in (canary, shaped, cli.env["OPENAI_API_KEY"]):
        assert secret not in text
    assert "[redacted:MY_API_KEY]" in text
    assert "authorization" not in text.lower()
    assert tape.stat().st_mode & 0o777 == 0o600
    assert cli.run(f"look for {canary}", repo, "--replay", str(tape)).code == 0
    del cli.env["MY_API_KEY"], cli.env["OPENAI_API_KEY"]
    done = cli.run("look for another", repo, "--replay", str(tape))
    assert done.code == 0, done.err
    assert cli.run("look elsewhere for another", repo, "--replay", str(tape)).code == 2


def test_temporary_names_that_are_used_again(cli: Cli, script: Script, repo: Path, tmp_path: Path) -> None:
    script.planner(plan(subtask("one")))
    script.agent("one", use("bash", command="d=$(mktemp -d /tmp/work.XXXXXX); echo in $d; cp a.txt $d"), submit())
    tape = tmp_path / "run.tape"
    first = cli.run("x", repo, "--model", script.model, "--record", str(tape))
    drawn = re.search(r"/tmp/work\.\w{6}", first.of("tool")[0]["result"])
    assert drawn
    lines = [json.loads(line) for line in tape.read_text().splitlines()]
    last = next(line for line in lines if line["kind"] == "done" and line["key"][1:3] == ["one", 2])
    text = json.dumps(last).replace("did it", f"left it in {drawn.group()}")
    tape.write_text("".join(json.dumps(line) + "\n" if line is not last else text + "\n" for line in lines))
    again = cli.run("x", repo, "--replay", str(tape))
    now = re.search(r"/tmp/work\.\w{6}", again.of("tool")[0]["result"])
    assert again.code == first.code
    assert now
    assert now.group() != drawn.group()
    assert f"left it in {now.group()}" in again.of("tool")[1]["arguments"]


def test_what_is_not_asked_for_is_told(cli: Cli, script: Script, repo: Path, tmp_path: Path) -> None:
    script.planner(plan(subtask("one")), plan())
    script.agent("one", use("bash", command="echo A > a.txt"), submit())
    tape = tmp_path / "run.tape"
    assert cli.run("x", repo, "--model", script.model, "--record", str(tape)).code == 0
    done = cli.run("x", repo, "--replay", str(tape), "--max-critical-steps", "2")
    assert done.code != 0
    told = [notice["message"] for notice in done.of("notice") if "replay" in notice["message"]]
    assert told == ["replay: 1 recorded exchanges were not asked for: one, turn 2"]


def test_mode_single_is_replayed_too(cli: Cli, script: Script, repo: Path, tmp_path: Path) -> None:
    mode = "single"
    script.rules.append({"role": "subagent", "turns": [use("bash", command="echo A > a.txt"), submit()]})
    tape = tmp_path / "run.tape"
    first = cli.run("x", repo, "--model", script.model, "--mode", mode, "--record", str(tape))
    again = cli.run("x", repo, "--mode", mode, "--replay", str(tape))
    assert (first.code, again.code) == (0, 0)
    assert by_trajectory(journal(again)) == by_trajectory(journal(first))
