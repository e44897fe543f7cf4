"""Windows: whole runs against an endpoint that refuses what does not fit; and results too long to be handed over."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from swarm.journal.reader import read_events
from tests.integration.conftest import Cli, Done, Script, plan, submit, subtask, use

ASKED = "about to reach the end of your window"
COUNT = (
    "n=$(( $(cat n 2>/dev/null || echo 0) + 1 )); echo $n > n; seq -s ' ' 1 1500; echo \"reached $n of them\" "
    "the-key-is-swordfish-42"
)
NEEDLE = "the needle of {{n}}"


@dataclass
class Windowed(Script):
    """A script whose model has a window."""

    tokens: int = 16_000
    told: bool = True

    @property
    def model(self) -> str:
        window = {"tokens": self.tokens, "told": self.told}
        self.path.write_text(json.dumps({"rules": self.rules, "window": window}))
        return f"embedded:script:{self.path}"

    def rule(self, role: str, match: str, *turns: dict[str, Any]) -> None:
        """Turns for requests whose last message holds something."""
        self.rules.append({"role": role, "match": match, "where": "last", "turns": list(turns)})


@pytest.fixture
def script(tmp_path: Path) -> Windowed:
    return Windowed(tmp_path / "script.json")


def calls_of(done: Done, error: str) -> list[dict[str, Any]]:
    return [call for call in done.of("call") if call["error"] == error]


@pytest.mark.parametrize("told", [True, False])
def test_an_agent_overflows_many_times_and_completes(cli: Cli, script: Windowed, told: bool) -> None:
    """It is told of its window, or learns it from being refused; its own words are long as well."""
    script.told = told
    cli.env["MY_API_KEY"] = "swordfish-42"
    script.rule("any", ASKED, {"content": "The task: count. I counted on; the file n holds how far. Next: go on."})
    script.rule("subagent", "reached 60 of them", submit("counted to 60"))
    script.rules.append({"role": "subagent", "turns": [use("bash", command=f"{COUNT}; : {'thought ' * 150}")]})
    done = cli.run("count", None, "--mode", "single", "--model", script.model, "--max-steps", "70", "--timeout", "120")
    assert (done.code, done.result["status"]) == (0, "completed"), done.err
    assert "counted to 60" in done.result["answer"]
    edits = done.of("compaction")
    assert len(edits) >= 5
    assert {edit["action"] for edit in edits} == {"shortened", "summarized"}
    refused = calls_of(done, "context_too_long")
    assert len(refused) == (0 if told else 1)
    assert done.result["outcomes"] == {"completed": 1}
    assert all(call["usage"]["prompt_tokens"] < script.tokens for call in done.of("call"))
    lineages = [call["lineage_id"] for call in done.of("call") if call["accepted"]]
    assert lineages == sorted(lineages)
    assert len(set(lineages)) > len(edits)
    # What was left out is in the run's artifacts, without secrets; the record is whole.
    folder = Path(done.result["run_dir"])
    kept = sorted(path.stem for path in (folder / "artifacts").glob("output-*.txt"))
    assert kept
    assert set(kept) == {handle for edit in edits for handle in edit["artifacts"]}
    for path in (folder / "artifacts").glob("output-*.txt"):
        assert "swordfish" not in path.read_text()
        assert "[redacted:MY_API_KEY]" in path.read_text()
    assert [event.seq for event in read_events(folder / "events.jsonl")] == list(range(len(done.lines) - 1))


def test_a_run_that_is_resumed_comes_to_the_same_summary(cli: Cli, script: Windowed) -> None:
    """It was killed when the summary was paid, and when the conversation was edited: neither is done again."""
    script.rule("any", ASKED, {"content": "I counted on. Next: go on."})
    script.rule("subagent", "reached 24 of them", submit("counted to 24"))
    script.rules.append({"role": "subagent", "turns": [use("bash", command=f"{COUNT}; : {'thought ' * 150}")]})
    done = cli.run("count", None, "--mode", "single", "--model", script.model)
    assert done.code == 0, done.err
    calls = [call["call_id"] for call in done.of("call")]
    folder = Path(done.result["run_dir"])
    events = folder / "events.jsonl"
    lines = events.read_text().splitlines(keepends=True)
    [paid, *_] = [at for at, line in enumerate(lines) if '-summary"' in line and '"type":"call",' in line]
    edited = next(at for at in range(paid, len(lines)) if '"type":"compaction"' in lines[at])
    for last in (paid, edited):
        (folder / "result.json").unlink()
        events.write_text("".join(lines[: last + 1]))
        again = cli("resume", folder.name, "--json")
        assert again.code == 0, again.err
        assert "counted to 24" in again.result["answer"]
        recorded = [json.loads(line) for line in events.read_text().splitlines()]
        assert [event["call_id"] for event in recorded if event["type"] == "call"] == calls


def test_a_run_that_is_replayed_comes_to_the_same_edits(cli: Cli, script: Windowed, tmp_path: Path) -> None:
    """Also without the endpoint that told the window."""
    script.rule("any", ASKED, {"content": "I counted on. Next: go on."})
    script.rule("subagent", "reached 24 of them", submit("counted to 24"))
    script.rules.append({"role": "subagent", "turns": [use("bash", command=f"{COUNT}; : {'thought ' * 150}")]})
    tape = str(tmp_path / "tape.jsonl")
    first = cli.run("count", None, "--mode", "single", "--model", script.model, "--record", tape)
    again = cli.run("count", None, "--mode", "single", "--replay", tape)
    assert (first.code, again.code) == (0, 0), first.err + again.err
    same = ("action", "lineage_id", "tokens_before", "tokens_after", "window_tokens", "call_id", "artifacts")
    edits = [[{key: edit[key] for key in same} for edit in done.of("compaction")] for done in (first, again)]
    assert edits[0] == edits[1]
    assert {"shortened", "summarized"} == {edit["action"] for edit in edits[0]}
    assert [call["prompt_sha256"] for call in first.of("call")] == [call["prompt_sha256"] for call in again.of("call")]


def test_a_window_that_is_given_is_kept(cli: Cli, script: Windowed) -> None:
    script.tokens, script.told = 1_000_000, False
    script.rule("any", ASKED, {"content": "I counted on; go on."})
    script.rule("subagent", "reached 12 of them", submit("counted to 12"))
    script.rules.append({"role": "subagent", "turns": [use("bash", command=COUNT)]})
    done = cli.run("count", None, "--mode", "single", "--model", script.model, "--context-tokens", "12000")
    assert done.code == 0, done.err
    assert done.of("compaction")
    assert all(call["usage"]["prompt_tokens"] < 12_000 for call in done.of("call"))


def test_a_task_that_does_not_fit_ends_the_run_with_the_reason(cli: Cli, script: Windowed) -> None:
    script.tokens = 4_000
    script.agent("task", submit())
    done = cli.run("word " * 20_000, None, "--mode", "single", "--model", script.model)
    assert done.code in (1, 3)
    assert "does not fit the window" in done.out + done.err
    assert not done.of("compaction")
    assert not [call for call in done.of("call") if call["accepted"]]


def test_an_orchestrator_with_sixty_large_results_opens_the_one_that_it_needs(cli: Cli, script: Windowed) -> None:
    script.tokens = 24_000
    worker = {"name": "worker", "system_prompt": "You look."}
    assigned = [{"name": "assign_task", "arguments": {"agent": "worker", "prompt": f"look {n}"}} for n in range(1, 61)]
    script.rule("any", ASKED, {"content": "All sixty workers were asked; their results are in artifacts."})
    script.rule("planner", r"\d+\tthe needle of (?P<n>\d+)", {"content": "found the needle of {{n}}"})
    script.rule(
        "planner", r"artifact (?P<handle>\S+): use open", use("open_artifact", handle="{{handle}}", find="needle")
    )
    script.rules.append(
        {
            "role": "planner",
            "turns": [{"tool_calls": [{"name": "create_subagent", "arguments": worker}]}, {"tool_calls": assigned}],
        }
    )
    long = f"{'hay ' * 3_000}\n{NEEDLE}\n{'straw ' * 2_000}"
    script.rules.append({"role": "subagent", "match": r"Sub-task worker-(?P<n>\d+):", "turns": [submit(long)]})
    options = ("--mode", "parl", "--model", script.model, "--concurrency", "30", "--timeout", "150")
    done = cli.run("find it", None, *options)
    assert (done.code, done.result["status"]) == (0, "completed"), done.err
    assert done.result["answer"].startswith("found the needle of 60"), done.result["answer"]
    assert done.result["n_subagents"] == 60
    assert not calls_of(done, "context_too_long")
    assert done.of("compaction")
    ends = {end["trajectory_id"]: end for end in done.of("agent_end")}
    artifacts = Path(done.result["run_dir"]) / "artifacts"
    for number in range(1, 61):
        [handle] = ends[f"worker-{number}"]["artifacts"]
        assert f"the needle of {number}\n" in (artifacts / f"{handle}.txt").read_text()
    told = [tool for tool in done.of("tool") if tool["name"] == "assign_task"]
    assert len(told) == 60
    for tool in told:
        [handle] = tool["artifacts"]
        assert handle in tool["result"]
        assert len(tool["result"]) < 2_500


def test_a_dependent_sees_a_digest_and_opens_the_whole(cli: Cli, script: Windowed) -> None:
    script.tokens = 1_000_000
    script.planner(plan(subtask("find"), subtask("use", depends_on=["find"])))
    script.rule("subagent", r"\d+\tthe needle of (?P<n>\w+)", submit("it is {{n}}"))
    script.rule(
        "subagent", r"artifact (?P<handle>\S+): use open", use("open_artifact", handle="{{handle}}", find="needle")
    )
    script.agent("find", submit(f"{'hay ' * 3_000}\nthe needle of gold\n{'straw ' * 2_000}"))
    script.rules.append({"role": "aggregator", "turns": [{"content": "gold\nSources: find, use"}]})
    done = cli.run("find it and use it", None, "--model", script.model)
    assert done.code == 0, done.err
    [first] = [call for call in done.of("call") if call["trajectory_id"] == "use" and call["turn"] == 1]
    prompt = first["new_messages"][1]["content"]
    assert "hay hay" in prompt
    assert "straw" in prompt
    assert "needle" not in prompt
    assert len(prompt) < 6_000
    [end] = [end for end in done.of("agent_end") if end["trajectory_id"] == "use"]
    assert end["final_output"] == "it is gold"
    # The aggregator is given all of it.
    [merge] = [call for call in done.of("call") if call["trajectory_id"].startswith("aggregator")]
    assert "the needle of gold" in json.dumps(merge["new_messages"])
