"""`swarm validate`: a log that is whole is valid, and whatever is done to it is found, by file and line."""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swarm.cli.main import main
from swarm.events import RewardGiven
from swarm.journal.late_rewards import give_rewards
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


# fmt: off
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
    "another group": (lambda log: log.events[0].update(group_id="g2"), "group_id: 'g2' where the configuration has"),
    "another rollout": (lambda log: log.events[0].update(rollout_index=3), "rollout_index: 3 where"),
    "another model": (lambda log: log.of("agent_start")[0].update(model="m"), "its model is m, that of its role"),
    "another model of a call": (lambda log: call(log).update(model="m"), "its model is m, that of its agent"),
    "another depth": (lambda log: log.of("agent_start", depth=1)[0].update(depth=2), "its depth is 2, that of its"),
    "a sub-agent that learns": (lambda log: log.of("agent_start", depth=1)[0].update(trainable=True), "is frozen"),
    "another system prompt": (lambda log: log.of("agent_start")[0].update(system_prompt_sha256="0"), "system prompt"),
    "another sub-task": (lambda log: log.of("agent_start", depth=1)[0]["subtask"].update(title="x"), "was planned"),
    "uses of no tool": (lambda log: log.of("agent_end")[-1].update(tool_calls=9), "it tells 9 uses of tools"),
    "a result that nobody saw": (lambda log: log.of("tool")[0].update(first_seen_by=""), "no record of a tool says so"),
    "another result than was seen": (
        lambda log: call(log, 1)["new_messages"][0].update(content="x"), "is not what the record of the tool tells",
    ),
    "a child that its parent does not know": (
        lambda log: log.of("tool", name="assign_task")[0].update(child_trajectory_ids=[]), "and does not say so",
    ),
    "a parent that its child does not know": (
        lambda log: log.of("agent_start", depth=1)[0].update(spawned_by_tool_call_id=""), "does not say that",
    ),
    "a tool that was not asked for": (lambda log: log.of("tool_start")[0].update(name="x"), "holds no such call"),
    "one agent twice": (
        lambda log: log.of("tool", name="assign_task")[0].update(child_trajectory_ids=["w-1"] * 2), "one agent twice",
    ),
    "another reason": (lambda log: call(log).update(untrainable="no_tokens"), "makes it trainable"),
    "a lineage out of nothing": (lambda log: call(log, 2).update(lineage_id=1), "a conversation that was shortened"),
    "an attempt left out": (lambda log: [c.update(attempt=3) for c in log.of("call_sent", attempt=2)], "3 after"),
    "a call before its time": (lambda log: call(log).update(t_done=9e9), "it was done at"),
    "a cost below 0": (lambda log: call(log).update(cost_usd=-1.0), "below 0"),
    "less than nothing": (lambda log: call(log).update(window_tokens=-1), "window_tokens below 0"),
    "other steps of a stage": (lambda log: log.of("stage_end")[0].update(main_steps=7), "tells other steps"),
    "another stage": (lambda log: log.of("stage_start")[0].update(stage=2), "stage 2, after 0"),
    "a changed reward": (lambda log: log.of("reward")[0].update(value=0.9), "another reward than the records"),
    "a changed weight": (lambda log: log.of("reward")[0].update(weight=0.9), "another reward than the records"),
    "a reward too few": (lambda log: without(log, "reward"), "another reward than the records"),
    "a reward twice": (lambda log: again(log, "reward"), "a second reward"),
    "a stage that ends twice": (lambda log: again(log, "stage_end"), "a second end of stage 1"),
    "a stage without an end": (lambda log: without(log, "stage_end"), "1 stages have no end"),
    "two decisions to end": (lambda log: again(log, "finish"), "a second decision to end"),
    "tokens in another order": (lambda log: log.tokens.reverse(), "it stands behind that of a later call"),
    "other coverage": (lambda log: log.of("run_end")[0]["result"]["coverage"].update(useful=0), "result.coverage"),
    "done, and failed": (lambda log: log.of("run_end")[0].update(exit_code=1), "status: completed, with exit code 1"),
    "a logprob above 0": (lambda log: log.tokens[2]["completion_logprobs"].__setitem__(0, 0.5), "that is none"),
    "a logprob unknown": (lambda log: log.tokens[2]["completion_logprobs"].__setitem__(0, -9999.0), "that is none"),
    "a key of a part too few": (lambda log: call(log)["usage"].pop("cached_tokens"), "without usage.cached_tokens"),
    "a number that is none": (lambda log: call(log).update(turn=True), "turn: Input should be a valid integer"),
    "nobody's run": (lambda log: log.events[3].update(run_id=""), "of the run ''"),
    "tokens of another version": (lambda log: log.tokens[1].update(policy_version="v9"), "not those of the call"),
}
# fmt: on


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


def field_damages(lines: list[bytes]) -> Iterator[st.SearchStrategy[list[bytes]]]:
    """Lines that are still in good form, of which one says something else."""
    places = st.integers(0, len(lines) - 1)
    yield st.tuples(places, st.randoms(use_true_random=False)).map(lambda at: _changed(lines, *at))
    yield st.tuples(places, places, st.randoms(use_true_random=False)).map(lambda at: _exchanged(lines, *at))
    yield places.map(lambda n: _numbered(lines[:n] + lines[n + 1 :]))


def _changed(lines: list[bytes], number: int, chance: random.Random) -> list[bytes]:
    record = json.loads(lines[number])
    place: Any = record
    while True:
        key = chance.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if not isinstance(place[key], dict | list) or not place[key]:
            break
        place = place[key]
    place[key] = _other(place[key])
    return [*lines[:number], _line(record), *lines[number + 1 :]]


def _other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int | float) else f"{value}x" if isinstance(value, str) else 1


def _exchanged(lines: list[bytes], one: int, other: int, chance: random.Random) -> list[bytes]:
    first, second = json.loads(lines[one]), json.loads(lines[other])
    key = chance.choice(sorted(first.keys() & second.keys() - {"crc"}))
    first[key], second[key] = second[key], first[key]
    changed = list(lines)
    changed[one], changed[other] = _line(first), _line(second)
    return changed if one != other else lines


def _numbered(lines: list[bytes]) -> list[bytes]:
    return [_line(json.loads(line) | {"seq": seq}) for seq, line in enumerate(lines)]


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


@pytest.mark.parametrize("name", (*FILES, "rewards.jsonl"))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_nothing_that_says_something_else_is_valid_though_the_run_was_killed(
    name: str, data: st.DataObject, run: Path, tmp_path: Path
) -> None:
    """Without an end there is no hash of all, and each line speaks for itself. Only lines that are gone from the end
    nobody misses: that is what a crash leaves."""
    folder = tmp_path / run.name
    folder.mkdir(exist_ok=True)
    for each in FILES:
        lines = (run / each).read_bytes().splitlines(keepends=True)
        (folder / each).write_bytes(b"".join(lines[:-1] if each == "events.jsonl" else lines))
    (folder / "rewards.jsonl").unlink(missing_ok=True)
    given = RewardGiven(scope="run", target_id=run.name, name="r", value=0.5, weight=1, source="t", formula_version=1)
    give_rewards(folder, [given, given])
    whole = (folder / name).read_bytes().splitlines(keepends=True)
    damaged = [line for line in data.draw(st.one_of(*raw_damages(whole), *field_damages(whole))) if line]
    (folder / name).write_bytes(b"".join(damaged))
    gone = name != "tokens.jsonl" and damaged == whole[: len(damaged)] and (damaged or name == "rewards.jsonl")
    assert bool(list(validate(folder))) != bool(gone or damaged == whole)


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


def test_a_patch_that_could_not_be_delivered_is_no_contradiction(run: Path, tmp_path: Path) -> None:
    """`result.json` then says what the owner was told: partial, exit code 1."""
    for each in (*FILES, "result.json"):
        shutil.copy(run / each, tmp_path / each)
    told = json.loads((run / "result.json").read_text())
    assert (told["status"], told["exit_code"]) == ("completed", 0)
    (tmp_path / "result.json").write_text(json.dumps({**told, "status": "partial", "exit_code": 1}))
    assert found(tmp_path) == []
    (tmp_path / "result.json").write_text(json.dumps({**told, "status": "failed", "exit_code": 1}))
    assert found(tmp_path) == ["result.json: it is not what the run's end tells"]


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
