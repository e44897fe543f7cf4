"""`swarm export`: what trainers get of a run. Other projects' packages read it in tests/interop."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swarm.cli.export import FORMATS
from swarm.cli.main import main
from swarm.errors import JournalError, UsageError
from swarm.events import RewardGiven
from swarm.journal.late_rewards import give_rewards
from swarm.journal.validation import validate
from swarm.rl.export import catalog
from swarm.rl.tasks.task import perf
from tests.rollouts import Log, make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"))


def export(form: str, out: Path, *runs: Path) -> list[Any]:
    assert main(["export", *map(str, runs), "--format", form, "--out", str(out)]) == 0
    return [json.loads(line) for line in out.read_text().splitlines()]


def row_of(run: Path) -> tuple[list[int], list[int]]:
    """Tokens and mask of the one row of the run, straight from its log."""
    tokens: list[int] = []
    mask: list[int] = []
    for line in Log.read(run).tokens:
        kept = line["prefix_len"]
        tokens = [*tokens[:kept], *line["prompt_ids_tail"], *line["completion_ids"]]
        mask = [*mask[:kept], *[0] * len(line["prompt_ids_tail"]), *[1] * len(line["completion_ids"])]
    return tokens, mask


def test_the_command_knows_all_forms() -> None:
    assert tuple(catalog.FORMATS) == FORMATS


def test_rows_are_the_tokens_of_the_journal(run: Path, tmp_path: Path) -> None:
    tokens, mask = row_of(run)
    (verl,) = export("verl", tmp_path / "verl", run)
    assert verl["prompt_ids"] + verl["response_ids"] == tokens
    assert [0] * len(verl["prompt_ids"]) + verl["response_mask"] == mask
    assert verl["reward_score"] == pytest.approx(0.2 * 0.3 + 1.0 * 0.2 + 1.0)
    assert (verl["uid"], verl["num_turns"]) == ("g1", 6)
    (trl,) = export("trl", tmp_path / "trl", run)
    assert (trl["input_ids"], trl["completion_mask"]) == (tokens, mask)
    assert trl["prompt_ids"] + trl["completion_ids"] == tokens
    assert trl["metadata"]["rewards"]["r_perf"] == {"value": 1.0, "weight": 1.0}


def test_sub_agents_are_frozen_and_seen(run: Path, tmp_path: Path) -> None:
    (atif,) = export("atif", tmp_path / "atif", run)
    assert [each["trajectory_id"] for each in atif["subagent_trajectories"]] == ["w-1", "w-2"]
    assert [step["step_id"] for step in atif["steps"]] == list(range(1, len(atif["steps"]) + 1))
    assert not any("prompt_token_ids" in step.get("metrics", {}) for step in atif["subagent_trajectories"][0]["steps"])
    (episode,) = export("verifiers", tmp_path / "verifiers", run)
    assert [trace["agent"]["trainable"] for trace in episode["traces"]] == [True, False, False]
    tokens, mask = row_of(run)
    nodes = episode["traces"][0]["nodes"]
    assert [token for node in nodes for token in node["token_ids"]] == tokens
    assert [int(each) for node in nodes for each in node["mask"]] == mask


def test_a_late_result_stands_with_the_call_that_asked_for_it(run: Path, tmp_path: Path) -> None:
    (atif,) = export("atif", tmp_path / "atif", run)
    asked = next(step for step in atif["steps"] if len(step.get("tool_calls", ())) == 2)
    assert [call["arguments"]["prompt"] for call in asked["tool_calls"]] == ["one", "two"]
    results = asked["observation"]["results"]
    assert {each["extra"]["first_seen_by"] for each in results} == {"orchestrator/3"}
    assert [each["subagent_trajectory_ref"] for each in results] == [[{"trajectory_id": f"w-{n}"}] for n in (1, 2)]


def test_what_a_resumed_run_did_again_is_told_once(run: Path, tmp_path: Path) -> None:
    """The use of a tool that was cut off stands in the log beside the one that took its place."""
    log = Log.read(run)
    at = next(n for n, each in enumerate(log.events) if each["type"] == "tool" and each["name"] == "assign_task")
    cut = copy.deepcopy(log.events[at]) | {"status": "cancelled", "result": "", "child_trajectory_ids": []}
    log.events.insert(at, cut)
    (atif,) = export("atif", tmp_path / "atif", log.write(tmp_path / "resumed"))
    asked = next(step for step in atif["steps"] if len(step.get("tool_calls", ())) == 2)
    results = asked["observation"]["results"]
    assert [each["extra"]["status"] for each in results] == ["completed", "completed"]


def test_a_late_reward_of_a_sub_agent_is_its_own(run: Path, tmp_path: Path) -> None:
    judged = Log.read(run).write(tmp_path / run.name)
    given = {"scope": "trajectory", "source": "t", "formula_version": 1, "weight": 1.0}
    give_rewards(judged, [RewardGiven.model_validate(given | {"target_id": "w-1", "name": "r_found", "value": 0.5})])
    assert not list(validate(judged))
    (episode,) = export("verifiers", tmp_path / "verifiers", judged)
    rewards = [trace["rewards"] for trace in episode["traces"]]
    assert rewards[0].keys() == {"r_parallel", "r_finish", "r_perf"}
    assert rewards[1:] == [{"r_found": {"score": 0.5, "weight": 1.0}}, {}]
    (atif,) = export("atif", tmp_path / "atif", judged)
    assert atif["subagent_trajectories"][0]["extra"]["rewards"] == {"r_found": {"value": 0.5, "weight": 1.0}}


def test_arguments_that_are_no_json_are_kept_raw(run: Path, tmp_path: Path) -> None:
    log = Log.read(run)
    broken = log.of("call", call_id="orchestrator/1", accepted=True)[0]["response"]["tool_calls"][0]["function"]
    broken["arguments"] = '{"name": "w'
    (atif,) = export("atif", tmp_path / "atif", log.write(tmp_path / "broken"))
    call = next(step for step in atif["steps"] if step.get("tool_calls"))["tool_calls"][0]
    assert (call["arguments"], call["extra"]) == ({}, {"raw_arguments": '{"name": "w'})


def test_conversations_keep_the_words_of_the_model(run: Path, tmp_path: Path) -> None:
    (row,) = export("sft", tmp_path / "sft", run)
    roles = [each["role"] for each in row["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "assistant", "tool", "tool", "assistant"]
    assert row["messages"][4]["tool_calls"][0]["function"]["arguments"] == '{"agent": "w", "prompt": "one"}'
    assert {tool["function"]["name"] for tool in row["tools"]} >= {"assign_task", "create_subagent"}


def test_what_the_machine_ended_is_left_out(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = Log.read(run)
    log.of("agent_end", trajectory_id="orchestrator")[0].update(outcome="errored", terminated=False, truncated=True)
    broken = log.write(tmp_path / "broken")
    assert len(export("verl", tmp_path / "verl", run, broken)) == 1
    assert "left out: 1 rows that the machine ended" in capsys.readouterr().err
    assert len(export("sft", tmp_path / "sft", run, broken)) == 1


def test_a_run_that_ended_before_any_agent_began_is_told_where_it_makes_no_document(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = Log.read(run)
    log.events[:] = [each for each in log.events if each["type"] in ("run_start", "run_end")]
    bare = log.write(tmp_path / "bare")
    assert main(["export", str(bare), "--format", "atif", "--out", str(tmp_path / "out")]) == 0
    assert "left out: 1 runs in which no agent began" in capsys.readouterr().err


def other_prefix(log: Log) -> None:
    del log.tokens[0]


def fewer_logprobs(log: Log) -> None:
    log.tokens[0]["completion_logprobs"].pop()


def no_tokens(log: Log) -> None:
    log.tokens.clear()


def no_record(log: Log) -> None:
    log.tokens[0] = {"type": "tokens"}


@pytest.mark.parametrize("damage", [other_prefix, fewer_logprobs, no_tokens, no_record])
@pytest.mark.parametrize("form", ["trl", "verifiers"])
def test_no_row_is_made_of_damaged_tokens(
    run: Path, tmp_path: Path, damage: Callable[[Log], None], form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    log = Log.read(run)
    damage(log)
    broken = log.write(tmp_path / "broken")
    assert main(["export", str(broken), "--format", form, "--out", str(tmp_path / "out")]) == JournalError.exit_code
    assert "swarm validate" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_reward_of_another_run_is_refused(run: Path) -> None:
    with pytest.raises(UsageError, match="r_perf is a reward of the run 'other'"):
        give_rewards(run, [perf("other", 1.0, "t")])
    assert not (run / "rewards.jsonl").exists()


def test_what_cannot_be_written_or_read_is_told(run: Path, tmp_path: Path) -> None:
    assert main(["export", str(run), "--format", "trl", "--out", str(tmp_path / "no/where")]) == 2
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn/events.jsonl").write_text("{}\n")
    (tmp_path / "torn/tokens.jsonl").write_text("")
    assert main(["export", str(tmp_path / "torn"), "--format", "trl", "--out", str(tmp_path / "out")]) != 0
    assert not (tmp_path / "out").exists()
