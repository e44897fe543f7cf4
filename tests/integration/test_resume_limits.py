"""`swarm resume` of a run that met a limit, and where the end cannot be what it was meant to be."""

from __future__ import annotations

import json
import os
import signal
from functools import partial
from typing import Any

import pytest

from tests.integration.conftest import Cli, Script, plan, submit, subtask, use
from tests.integration.test_resume import MakeRepo, assert_nothing_twice, kill_at, longer, planned, start


def in_a_row(script: Script, *more: dict[str, Any]) -> None:
    """Three sub-tasks one after the other, and a planner that is content with whatever came of them."""
    steps = subtask("one"), subtask("two", depends_on=["one"]), subtask("three", depends_on=["two"])
    script.planner(plan(*steps), plan())
    for name in ("one", "two", "three"):
        used = [use("bash", command=f"echo {name}{n}") for n in range(4)]
        script.agent(name, *(more if name == "two" else ()), *used, submit(f"the answer of {name}"))
    script.rules.append({"role": "aggregator", "turns": [{"content": "all\n\nSources: one, two, three"}]})


@pytest.mark.parametrize(
    ("part", "limit", "code"),
    [(0.5, "budget-tokens", 4), (None, "max-critical-steps", 4), (None, "max-steps", 1)],
)
def test_a_limit_is_raised_and_what_was_skipped_for_it_is_done(
    cli: Cli, script: Script, part: float | None, limit: str, code: int
) -> None:
    in_a_row(script)
    little, much = {"max-critical-steps": ("9", "200"), "max-steps": ("3", "30")}.get(limit, ("", ""))
    if part is not None:
        usage = cli.wait(start(cli, script, None, [])).result["usage"]
        used = usage["prompt_tokens"] + usage["completion_tokens"]
        little, much = str(int(used * part)), str(used * 8)
    short = cli.wait(start(cli, script, None, [f"--{limit}", little]))
    assert (short.code, short.result["coverage"]["missing"] > 0) == (code, True), short.err
    assert f"go on: swarm resume {cli.runs[-1].name} --{limit} " in short.err
    same = cli("resume", "last", "--json")
    assert (same.code, same.result["status"]) == (short.code, short.result["status"]), same.err
    done = cli("resume", "last", "--json", f"--{limit}", much)
    assert (done.code, done.result["coverage"]) == (0, {"asked": 3, "useful": 3, "missing": 0}), done.err
    assert "prompts are not made" not in done.out
    assert_nothing_twice(cli.runs[-1])


def test_what_the_time_limit_cut_short_is_done_with_more_time(cli: Cli, script: Script) -> None:
    in_a_row(script, {**use("bash", command="true"), "first_token_s": 1000})
    short = cli.wait(start(cli, script, None, ["--timeout", "6"]))
    assert (short.code, short.result["coverage"]["missing"] > 0) == (1, True), short.err
    assert f"go on: swarm resume {cli.runs[-1].name} --timeout SECONDS" in short.err
    script.rules.clear()
    in_a_row(script)
    assert script.model
    done = cli("resume", "last", "--json", "--timeout", "100")
    assert (done.code, done.result["coverage"]) == (0, {"asked": 3, "useful": 3, "missing": 0}), done.err
    assert_nothing_twice(cli.runs[-1])
    path = cli.runs[-1] / "events.jsonl"
    path.write_bytes(path.read_bytes() + b"{}\n")
    broken = cli("resume", "last", "--json")
    assert (broken.code, broken.result["status"], broken.result["run_id"]) == (3, "errored", cli.runs[-1].name)
    assert broken.err.count(str(path)) == 1


def test_what_an_agents_own_time_limit_ended_is_over(cli: Cli, script: Script) -> None:
    script.planner(plan(subtask("one")), plan())
    script.agent("one", {**use("bash", command="true"), "first_token_s": 20})
    settings = cli.home.parent / "user/.config/swarm"
    settings.mkdir(parents=True)
    (settings / "config.toml").write_text("agent_seconds = 1\n")
    short = cli.wait(start(cli, script, None, []))
    assert (short.code, "go on" in short.err) == (1, False), short.err
    assert "came to its end" in cli("resume", "last").err


def test_who_named_an_unknown_model_is_told_what_helps(cli: Cli, script: Script) -> None:
    """`resume` takes no other model: it helps where the endpoint has it by then."""
    script.planner(plan(subtask("one")))
    serving = cli.start("endpoint", "--policy", script.model.removeprefix("embedded:"))
    try:
        assert serving.stdout is not None
        url = serving.stdout.readline().split()[-1]
        unknown = cli.run("make it", None, "--model", "nobody", "--base-url", url)
    finally:
        os.killpg(serving.pid, signal.SIGKILL)
        serving.communicate()
    assert (unknown.code, "does not know the model 'nobody'" in unknown.err) == (3, True), unknown.err
    new, same = "with another model in a new run", "with this one, when the endpoint has it"
    assert f"go on: {new}; {same}: swarm resume {cli.runs[-1].name}" in unknown.err


def test_a_result_that_could_not_be_applied_is_told_so_everywhere(
    cli: Cli, script: Script, make_repo: MakeRepo
) -> None:
    options = planned(script)
    repo = make_repo({"a.txt": "a\n"})
    folder = kill_at(cli, start(cli, script, repo, options), partial(longer, 20))
    (repo / "one.txt").write_text("in the way\n")
    done = cli("resume", folder.name, "--json", "--apply")
    assert (done.code, done.result["status"]) == (1, "partial"), done.err
    kept = json.loads((folder / "result.json").read_text())
    assert kept == {key: value for key, value in done.result.items() if key != "type"}
    [row] = cli("runs", "--json").lines
    assert (row["status"], row["exit_code"]) == ("partial", 1)
    assert f"run {folder.name}: partial" in cli("show", folder.name).out
    (repo / "one.txt").unlink()
    done = cli("resume", folder.name, "--json", "--apply")
    assert (done.code, json.loads((folder / "result.json").read_text())["status"]) == (0, "completed"), done.err
