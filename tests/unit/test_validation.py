"""`swarm validate`: a log that is whole is valid, and whatever is done to it is found, by file and line."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swarm.cli.main import main
from swarm.journal.validation import Problem, validate
from tests.rollouts import Log, make_run

FILES = ("events.jsonl", "tokens.jsonl")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def log(run: Path) -> Log:
    return Log.read(run)


def found(folder: Path) -> list[str]:
    return [str(problem) for problem in validate(folder)]


def test_a_run_is_valid_and_says_what_it_was(run: Path, log: Log) -> None:
    assert found(run) == []
    mine = log.of("call", trajectory_id="orchestrator", accepted=True)
    assert [(call["token_exact"], call["untrainable"]) for call in mine] == [(True, "")] * 3
    assert all(call["sampling"]["temperature"] == call["sampling"]["top_p"] == 1.0 for call in mine)
    assert len(log.tokens) == 3
    assert log.tokens[1]["prefix_len"] == log.tokens[0]["prompt_len"] + len(log.tokens[0]["completion_ids"])
    failed = log.of("call", trajectory_id="orchestrator", accepted=False)
    assert [(call["error"], call["untrainable"]) for call in failed] == [("overloaded", "failed")]
    others = [call for call in log.of("call") if call["trajectory_id"] != "orchestrator"]
    assert {(call["untrainable"], call["token_source"]) for call in others} == {("frozen", "none")}
    rewards = {each["name"]: (each["value"], each["weight"]) for each in log.of("reward")}
    assert rewards == {"r_parallel": (0.2, 0.3), "r_finish": (1.0, 0.2), "r_perf": (1.0, 1.0)}
    assert (log.events[0]["group_id"], log.events[0]["rollout_index"]) == ("g1", 2)


def test_written_anew_it_is_valid(log: Log, tmp_path: Path) -> None:
    assert found(copy.deepcopy(log).write(tmp_path)) == []


Damage = Callable[[Log], Any]


def call(log: Log, number: int = 0) -> dict[str, Any]:
    return log.of("call", trajectory_id="orchestrator", accepted=True)[number]


def again(log: Log, kind: str, **changes: Any) -> None:
    """A record twice, the second one changed."""
    at = next(n for n, each in enumerate(log.events) if each["type"] == kind and each.get("accepted", True))
    log.events.insert(at + 1, copy.deepcopy(log.events[at]) | changes)


def without(log: Log, kind: str) -> None:
    log.events.remove(log.of(kind)[0])


DAMAGES: dict[str, tuple[Damage, str]] = {
    "two accepted attempts": (lambda log: again(log, "call", attempt=2), "a second attempt is accepted"),
    "no tool record": (lambda log: without(log, "tool"), "has no record"),
    "two tool records": (lambda log: again(log, "tool"), "no such tool call that has no record yet"),
    "no start of an agent": (lambda log: without(log, "agent_start"), "has no start"),
    "two starts of an agent": (lambda log: again(log, "agent_start"), "a second start"),
    "no end of an agent": (lambda log: without(log, "agent_end"), "has no end"),
    "two ends of an agent": (lambda log: again(log, "agent_end"), "it had ended before"),
    "no start of the run": (lambda log: without(log, "run_start"), "the run has no start"),
    "a call that was never sent": (lambda log: without(log, "call_sent"), "was not sent"),
    "a lost call": (lambda log: log.events.remove(call(log, 1)), "has no end"),
    "both ends": (lambda log: log.of("agent_end")[0].update(truncated=True), "are both True"),
    "no end at all": (lambda log: log.of("agent_end")[0].update(terminated=False), "are both False"),
    "another result": (lambda log: log.of("tool", name="bash")[0].update(result="ha"), "the result has another hash"),
    "other arguments": (lambda log: log.of("tool")[0].update(arguments="{}"), "not those that the model wrote"),
    "another message": (lambda log: call(log)["new_messages"][0].update(content="x"), "the prompt that is rebuilt"),
    "another answer": (lambda log: call(log, 1)["response"].update(content="x"), "the prompt that is rebuilt"),
    "another prefix": (lambda log: call(log, 1).update(prefix_messages=1), "messages are gone"),
    "a turn too far": (lambda log: call(log, 1).update(turn=7), "it is turn 7"),
    "a prefix that is not there": (lambda log: call(log, 1).update(prefix_call_id="x/1"), "begins with that of 'x/1'"),
    "trainable without a version": (lambda log: call(log).update(policy_version=""), "lacks a policy version"),
    "trainable without exact tokens": (lambda log: call(log).update(token_exact=False), "lacks exact tokens"),
    "trainable and frozen": (lambda log: log.of("call")[-1].update(untrainable="frozen"), "is to be trained on"),
    "a secret and its tokens": (lambda log: call(log).update(redacted=True), "its tokens are kept"),
    "an error that is accepted": (lambda log: call(log).update(error="overloaded"), "its error is"),
    "a parent that is not there": (
        lambda log: log.of("agent_start", depth=1)[0].update(parent_trajectory_id="no"),
        "no start",
    ),
    "a spawn that is not there": (
        lambda log: log.of("agent_start", depth=1)[0].update(spawned_by_tool_call_id="no"),
        "started by no, which no turn of",
    ),
    "a child that is not there": (
        lambda log: log.of("tool", name="assign_task")[0].update(child_trajectory_ids=["no"]),
        "has no start",
    ),
    "a reward for nobody": (lambda log: log.of("reward")[0].update(target_id="no"), "there is no run no"),
    "another reward": (lambda log: log.of("run_end")[0].update(r_parallel=0.9), "r_parallel: 0.9 where 0.2 follows"),
    "other steps": (lambda log: log.of("run_end")[0].update(critical_steps=1), "critical_steps: 1"),
    "other usage": (lambda log: log.of("run_end")[0]["result"]["usage"].update(calls=1), "result.usage"),
    "another run": (lambda log: log.events[3].update(run_id="other"), "of the run 'other'"),
    "a key too few": (lambda log: log.events[3].pop("mono"), "without mono"),
    "a key too many": (lambda log: log.events[3].update(more=1), "more: Extra inputs"),
    "another version": (lambda log: log.events[3].update(v=2), "version 2"),
    "a time that goes back": (lambda log: log.events[9].update(mono=0.5), "is before"),
    "a token too few": (lambda log: log.tokens[1]["completion_ids"].pop(), "token_exact is True"),
    "a logprob too few": (lambda log: log.tokens[1]["completion_logprobs"].pop(), "token_exact is True"),
    "a token of the prompt too few": (lambda log: log.tokens[1]["prompt_ids_tail"].pop(), "another length or hash"),
    "another token of the prompt": (
        lambda log: log.tokens[0]["prompt_ids_tail"].__setitem__(4, 9),
        "another length or hash",
    ),
    "a shorter prefix": (lambda log: log.tokens[1].update(prefix_len=3), "another length or hash"),
    "a longer prefix": (lambda log: log.tokens[1].update(prefix_len=10**6), "there are"),
    "an id below 0": (lambda log: log.tokens[2]["completion_ids"].__setitem__(0, -1), "an id below 0"),
    "an id too large": (lambda log: log.tokens[2]["completion_ids"].__setitem__(0, 2**70), "tokens.jsonl:3"),
    "other counts": (lambda log: log.tokens[2].update(completion_tokens=1), "token_exact is True"),
    "tokens twice": (lambda log: log.tokens.append(copy.deepcopy(log.tokens[2])), "told before"),
    "tokens of no call": (lambda log: log.tokens[2].update(call_id="orchestrator/9"), "there is no such call"),
    "no tokens": (lambda log: log.tokens.pop(), "its tokens are not in tokens.jsonl"),
    "tokens of another version": (lambda log: log.tokens[1].update(policy_version="v9"), "not those of the call"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_each_damage_is_found_by_itself(name: str, log: Log, tmp_path: Path) -> None:
    """Numbers and hashes of the files are mended after it, so that nothing else gives it away."""
    damage, words = DAMAGES[name]
    changed = copy.deepcopy(log)
    damage(changed)
    problems = found(changed.write(tmp_path))
    assert any(words in problem for problem in problems), problems
    assert all(problem.startswith(FILES) for problem in problems)


def raw_damages(lines: list[bytes]) -> Iterator[st.SearchStrategy[list[bytes]]]:
    """Lines as they are after something happened to the file."""
    places = st.integers(0, len(lines) - 1)
    yield places.map(lambda n: lines[:n] + lines[n + 1 :])  # one is gone
    yield places.map(lambda n: lines[: n + 1] + lines[n:])  # one is there twice
    yield st.permutations(lines).filter(lambda other: other != lines).map(list)
    yield st.tuples(places, st.integers(1, 5000)).map(lambda at: [*lines[: at[0]], lines[at[0]][: -at[1]]])  # torn
    yield st.tuples(places, st.integers(0, 10**6), st.binary(min_size=1, max_size=3)).map(
        lambda at: _overwritten(lines, *at)
    )
    yield places.map(lambda n: [*lines[:n], lines[n].replace(b":0.", b":NaN,0.", 1), *lines[n + 1 :]])
    yield places.map(lambda n: [*lines[:n], b"\n", *lines[n:]])
    yield st.just([])


def _overwritten(lines: list[bytes], number: int, place: int, data: bytes) -> list[bytes]:
    line = bytearray(lines[number])
    at = place % len(line)
    line[at : at + len(data)] = data
    return [*lines[:number], bytes(line), *lines[number + 1 :]]


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_happens_to_a_file_is_found(name: str, data: st.DataObject, run: Path, tmp_path: Path) -> None:
    for each in (*FILES, "result.json"):
        shutil.copy(run / each, tmp_path / each)
    whole = (run / name).read_bytes()
    damaged = b"".join(data.draw(st.one_of(*raw_damages(whole.splitlines(keepends=True)))))
    (tmp_path / name).write_bytes(damaged)
    problems = list(validate(tmp_path))
    assert bool(problems) == (damaged != whole), problems
    assert all(isinstance(problem, Problem) for problem in problems)


def test_the_command_names_file_and_line(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SWARM_HOME", str(run.parent.parent))
    assert main(["validate", run.name]) == 0
    assert "valid" in capsys.readouterr().out
    shutil.copytree(run, tmp_path / "torn")
    lines = (run / "events.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "torn/events.jsonl").write_bytes(b"".join(lines)[:-20])
    assert main(["validate", str(tmp_path / "torn")]) == 1
    told = capsys.readouterr()
    assert f"events.jsonl:{len(lines)}: the line is not whole" in told.out
    assert "is not valid" in told.err
    assert main(["validate", "there-is-none"]) == 2
