"""`swarm resume`: a run that was killed, stopped or cut short goes on, and comes to what it would have come to."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from swarm import RunConfig, RunStatus, Swarm
from swarm.config import SandboxName
from swarm.events import CallFinished, Event
from tests.integration.conftest import Cli, Done, Files, Script, plan, submit, subtask, use
from tests.integration.test_parl import assign, create, turn
from tests.warm import Process

MakeRepo = Callable[[Files], Path]
LIMIT_S = 300.0
SLOW = 0.15
"""Seconds to the first token of an answer, so that there is a time in which to kill."""


def slow(*turns: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"first_token_s": SLOW, **each} for each in turns]


def work(script: Script, name: str) -> None:
    """A sub-agent's turns. Whatever it does twice shows in the patch."""
    script.agent(
        name,
        *slow(
            use("bash", command=f"echo one >> {name}.txt"),
            use("write", path=f"{name}/note.md", content=f"notes of {name}\n"),
            use("bash", command=f"echo two >> {name}.txt"),
            use("read", path=f"{name}.txt"),
            submit(f"made {name}"),
        ),
    )


def planned(script: Script) -> list[str]:
    script.planner(
        *slow(
            plan(subtask("one"), subtask("two"), subtask("three", depends_on=["one"])),
            plan(subtask("four")),
        )
    )
    for name in ("one", "two", "three", "four"):
        work(script, name)
    return ["--test", "test -f four.txt"]


def delegated(script: Script) -> list[str]:
    script.planner(
        *slow(
            turn(create("writer"), use("bash", command="echo own >> own.txt")),
            turn(assign("writer", "write one"), assign("writer", "write two")),
            use("bash", command="echo more >> own.txt"),
            turn(assign("writer", "check all")),
            {"content": "all is written"},
        )
    )
    for n in (1, 2, 3):
        work(script, f"writer-{n}")
    return ["--mode", "parl"]


def alone(script: Script) -> list[str]:
    steps = [use("bash", command=f"echo {n} >> a.txt") for n in range(6)]
    script.rules.append({"role": "any", "turns": slow(*steps, submit("counted"))})
    return ["--mode", "single"]


def without_files(script: Script) -> list[str]:
    script.planner(*slow(plan(subtask("one"), subtask("two"))))
    for name in ("one", "two"):
        script.agent(name, *slow(use("bash", command=f"echo {name}"), submit(f"the answer of {name}")))
    script.rules.append(
        {"role": "aggregator", "turns": slow({"content": "one and two\n\nSources: one, two"})},
    )
    return []


def journal(folder: Path) -> list[dict[str, Any]]:
    path = folder / "events.jsonl"
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def result_of(done: Done) -> dict[str, Any]:
    keys = ("answer", "status", "exit_code", "coverage", "outcomes", "gate", "n_subagents", "total_steps")
    kept = {key: done.result[key] for key in keys}
    patch = done.result["patch_path"]
    return {**kept, "patch": Path(patch).read_text() if patch else ""}


Reached = Callable[[list[dict[str, Any]]], bool]


def wait_for(cli: Cli, process: Process, reached: Reached, number: int = 1) -> None:
    """Until the journal of the run of this number says so."""
    limit, size = time.monotonic() + LIMIT_S, 0
    while True:
        path = cli.runs[-1] / "events.jsonl" if len(cli.runs) == number else None
        if path is not None and path.is_file() and (now := path.stat().st_size) != size:
            size = now
            if reached(journal(path.parent)):
                return
        assert process.poll() is None, "it ended before its journal said so"
        assert time.monotonic() < limit
        time.sleep(0.004)  # another process is waited for


def kill_at(cli: Cli, process: Process, reached: Reached, number: int = 1) -> Path:
    """Kill the process when the journal of the run of this number says so; gives the run's folder."""
    wait_for(cli, process, reached, number)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return cli.runs[-1]


def longer(length: int, events: list[dict[str, Any]]) -> bool:
    return len(events) > length


def assert_nothing_twice(folder: Path) -> None:
    """No answered call was made again, and nothing began twice."""
    answered: set[str] = set()
    begun: list[str] = []
    for event in journal(folder):
        if event["type"] == "call_sent":
            assert event["call_id"] not in answered, f"{event['call_id']} was paid twice"
        elif event["type"] == "call" and event["accepted"]:
            answered.add(event["call_id"])
        elif event["type"] == "agent_start":
            begun.append(event["trajectory_id"])
    assert sorted(begun) == sorted(set(begun))
    assert [event["seq"] for event in journal(folder)] == list(range(len(journal(folder))))


def start(cli: Cli, script: Script, repo: Path | None, options: list[str]) -> Process:
    where = ["--no-repo"] if repo is None else ["--repo", str(repo)]
    return cli.start("run", "make it", *where, "--json", "--sandbox", cli.box, "--model", script.model, *options)


@pytest.mark.parametrize("shape", [planned, delegated, alone, without_files])
def test_a_run_that_is_killed_again_and_again_comes_to_the_same(
    cli: Cli, script: Script, make_repo: MakeRepo, shape: Callable[[Script], list[str]]
) -> None:
    options = shape(script)
    repo = make_repo({"a.txt": "a\n"}) if shape is not without_files else None
    wanted = cli.wait(start(cli, script, repo, options))
    assert wanted.result["status"] == "completed", wanted.err
    length = len(journal(cli.runs[-1]))
    folder = kill_at(cli, start(cli, script, repo, options), partial(longer, length // 4), 2)
    for part in (2, 3):
        process = cli.start("resume", folder.name, "--json")
        kill_at(cli, process, partial(longer, part * length // 4), 2)
    done = cli("resume", folder.name, "--json")
    assert result_of(done) == result_of(wanted), done.err
    assert_nothing_twice(folder)
    assert [event["type"] for event in journal(folder)].count("run_resume") == 3


def test_an_agent_goes_on_in_the_tree_that_it_left(cli: Cli, script: Script, make_repo: MakeRepo) -> None:
    script.planner(plan(subtask("one")))
    script.agent(
        "one",
        use("bash", command="echo $RANDOM > lot.txt; cat lot.txt"),
        {**use("bash", command="cat lot.txt"), "first_token_s": 0.8},
        {**use("bash", command="git status --porcelain"), "first_token_s": 0.8},
        submit("drew lots"),
    )

    def kept(events: list[dict[str, Any]]) -> bool:
        return any(event["type"] == "checkpoint" for event in events)

    folder = kill_at(cli, start(cli, script, make_repo({"a.txt": "a\n"}), ["--concurrency", "1"]), kept)
    done = cli("resume", "last", "--json")
    assert done.code == 0, done.err
    drawn, seen, status = [event["result"] for event in journal(folder) if event["type"] == "tool"][:3]
    assert seen == drawn
    assert "?? lot.txt" in status  # what it made is a change to its eyes as well
    told = [m for e in done.of("call") for m in e["new_messages"] if "The sandbox was restarted" in str(m["content"])]
    assert len(told) == 1


def test_a_run_that_was_interrupted_goes_on(cli: Cli, script: Script, make_repo: MakeRepo) -> None:
    options = planned(script)
    process = start(cli, script, make_repo({"a.txt": "a\n"}), options)
    wait_for(cli, process, lambda events: any(event["type"] == "tool" for event in events))
    process.send_signal(signal.SIGINT)
    stopped = cli.wait(process)
    assert stopped.code == 130
    assert f"swarm resume {cli.runs[-1].name}" in stopped.err
    done = cli("resume", cli.runs[-1].name[:12], "--json")
    assert (done.code, done.result["outcomes"]) == (0, {"completed": 4}), done.err
    assert_nothing_twice(cli.runs[-1])


def test_a_budget_is_raised_and_what_was_cut_short_is_done(cli: Cli, script: Script, make_repo: MakeRepo) -> None:
    options = planned(script)
    repo = make_repo({"a.txt": "a\n"})
    free = cli.wait(start(cli, script, repo, options))
    used = free.result["usage"]["prompt_tokens"] + free.result["usage"]["completion_tokens"]
    short = cli.wait(start(cli, script, repo, [*options, "--budget-tokens", str(used // 2)]))
    assert short.code == 4, short.err
    assert "--budget-tokens" in short.err
    done = cli("resume", "last", "--json", "--budget-tokens", str(4 * used))
    assert result_of(done)["patch"] == result_of(free)["patch"], done.err
    assert (done.code, done.result["outcomes"]) == (0, {"completed": 4})
    assert_nothing_twice(cli.runs[-1])
    kept = cli.runs[-1] / "result.json"
    told = kept.read_bytes()
    kept.unlink()  # killed before it was written
    again = cli("resume", "last", "--json")
    assert again.result == done.result
    assert "came to its end" in again.err
    assert kept.read_bytes() == told


def test_an_endpoint_that_was_away_is_asked_again(cli: Cli, script: Script, make_repo: MakeRepo) -> None:
    options = planned(script)
    repo = make_repo({"a.txt": "a\n"})
    nowhere = ["--model", "embedded", "--base-url", "http://127.0.0.1:9/v1"]
    away = cli.run("make it", repo, *options, *nowhere)
    assert away.code == 3, away.err
    serving = cli.start("endpoint", "--policy", script.model.removeprefix("embedded:"))
    try:
        assert serving.stdout is not None
        url = serving.stdout.readline().split()[-1]
        done = cli("resume", "last", "--json", "--base-url", url)
    finally:
        os.killpg(serving.pid, signal.SIGKILL)
        serving.communicate()
    assert (done.code, done.result["outcomes"]) == (0, {"completed": 4}), done.err


def test_a_run_that_lives_or_does_not_exist_is_not_resumed(cli: Cli, script: Script) -> None:
    script.planner(plan(subtask("one")))
    script.agent("one", {**use("bash", command="true"), "first_token_s": 1000})
    process = start(cli, script, None, [])
    wait_for(cli, process, lambda events: any(event["type"] == "call_sent" for event in events))
    refused = cli("resume", "last")
    assert (refused.code, "at work already" in refused.err) == (2, True)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert cli("gc", "--yes").code == 0  # what it left: mounts
    unknown = cli("resume", "2001")
    assert (unknown.code, "no run 2001" in unknown.err) == (2, True)


def test_a_torn_last_line_is_cut_off_and_another_version_is_told(cli: Cli, script: Script) -> None:
    options = without_files(script)
    folder = kill_at(
        cli,
        start(cli, script, None, options),
        lambda events: any(event["type"] == "call" and event["accepted"] for event in events),
    )
    path = folder / "events.jsonl"
    first, rest = path.read_text().split("\n", 1)
    began = json.loads(first) | {"swarm_version": "0.0.1"}
    path.write_text(f"{json.dumps(began)}\n{rest}" + '{"v":1,"seq":')
    done = cli("resume", folder.name, "--json")
    assert done.code == 0, done.err
    [resumed] = done.of("run_resume")
    assert any("0.0.1" in text for text in resumed["changed"])
    assert_nothing_twice(folder)


@pytest.mark.anyio
async def test_a_program_goes_on_with_a_run_that_it_stopped(
    script: Script, make_repo: MakeRepo, box: SandboxName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))
    planned(script)
    repo, stop, seen = make_repo({"a.txt": "a\n"}), anyio.Event(), list[Event]()

    def watch(event: Event) -> None:
        seen.append(event)
        if isinstance(event, CallFinished) and event.call_id == "one/2":
            stop.set()

    with anyio.fail_after(LIMIT_S):
        async with Swarm(config=RunConfig(model=script.model, sandbox=box)) as swarm:
            first = await swarm.run("x", repo=repo, test="test -f four.txt", on_event=watch, stop=stop)
            assert first.status is RunStatus.CANCELLED
            result = await swarm.resume(first.run_id, on_event=seen.append)
    assert (result.run_id, result.status, result.outcomes) == (first.run_id, RunStatus.COMPLETED, {"completed": 4})
    accepted = [event.call_id for event in seen if isinstance(event, CallFinished) and event.accepted]
    assert len(accepted) == len(set(accepted)) == result.total_steps


def test_a_resume_that_is_killed_at_once_is_no_obstacle(cli: Cli, script: Script) -> None:
    """It tried its sandbox then, which holds a lease, and had recorded nothing."""
    options = without_files(script)
    folder = kill_at(cli, start(cli, script, None, options), lambda events: any(e["type"] == "call" for e in events))
    leases, length = cli.home / "leases", len(journal(folder))
    left = set(leases.glob("check-*"))
    for _ in range(2):
        process = cli.start("resume", folder.name)
        limit = time.monotonic() + LIMIT_S
        while not set(leases.glob("check-*/lock")) - {each / "lock" for each in left}:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < limit
            time.sleep(0.001)  # another process is waited for
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        left = set(leases.glob("check-*"))
    assert len(journal(folder)) <= length + 4
    done = cli("resume", folder.name, "--json")
    assert done.code == 0, done.err
    assert_nothing_twice(folder)
