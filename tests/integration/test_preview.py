"""Cost previews from the command line: of a dry run, of a run, and what past runs make of the next."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from swarm import Parts, Question, RunConfig, Swarm
from swarm.config import Price
from swarm.events import CostPreviewed, Event, PreviewHeld
from swarm.preview import Preview, Range
from swarm.testing import FakeBackend, ScriptedModel
from swarm.types import Plan
from tests.integration.conftest import Cli, Done, Script, plan, submit, subtask, use

RUNS = 4


@pytest.fixture
def ready(script: Script) -> Script:
    script.planner(plan(subtask("a"), subtask("b", depends_on=["a"])), plan())
    for name in ("a", "b"):
        script.agent(name, use("bash", command="echo hi"), submit())
    script.rules.append({"role": "aggregator", "turns": [{"content": "both"}]})
    return script


def preview_of(done: Done) -> Preview:
    (event,) = done.of("preview")
    return Preview.model_validate(event["preview"])


def width(found: Range) -> float:
    return found.high / found.low


def test_past_runs_sharpen_the_preview(cli: Cli, ready: Script) -> None:
    def dry() -> Done:
        return cli.run("task", None, "--model", ready.model, "--dry-run")

    first = dry()
    assert first.code == 0, first.err
    assert [line["type"] for line in first.lines[-4:]].count("result") == 1
    assert "preview" not in first.result
    assert preview_of(first).basis.assumed == 1
    assert not first.of("preview_held")  # nothing was run that it could be held against

    for _ in range(RUNS):
        done = cli.run("task", None, "--model", ready.model)
        assert done.code == 0, done.err
    (held,) = done.of("preview_held")
    usage = done.result["usage"]
    assert held["held"]["tokens"]["actual"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert held["held"]["calls"]["actual"] == usage["calls"] == 7
    assert done.lines[-2]["type"] == "run_end"
    kept = (Path(done.result["run_dir"]) / "measured.json").read_bytes()
    assert b"do a" not in kept
    assert ready.model.encode() not in kept

    later = preview_of(dry())
    before = preview_of(first)
    assert later.basis.repository == RUNS
    for quantity in ("tokens", "calls", "wall_s"):
        then, now = before.of(quantity), later.of(quantity)
        assert then is not None
        assert now is not None
        assert width(now) < width(then)
    assert later.tokens.holds(held["held"]["tokens"]["actual"])
    assert later.calls.holds(7)
    assert later.calibration["calls"].previews == RUNS

    text = cli("run", "task", "--no-repo", "--sandbox", cli.box, "--model", ready.model, "--dry-run")
    assert f"from {RUNS} past runs like this (repository, model, mode)" in text.out
    assert f"of the last {RUNS} held" in text.out
    assert "a: do a" in text.out
    assert "tokens said" in cli("show", done.result["run_id"]).out


@pytest.mark.anyio
async def test_who_is_asked_gets_the_preview_and_an_unknown_price_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    tasks = [subtask("one"), subtask("two")]
    answers = [
        json.dumps({"rationale": "r", "subtasks": tasks}),
        "this",
        "that",
        "[1] [2] all",
        json.dumps({"subtasks": []}),
    ]
    asked: list[Question] = []
    events: list[Event] = []

    async def approve(question: Question) -> bool | Plan:
        asked.append(question)
        return True

    for prices in ({}, {"scripted": Price(prompt=1, completion=2)}):
        model = ScriptedModel(list(answers), name="scripted")
        config = RunConfig(concurrency=1, prices=prices)
        async with Swarm(config=config, parts=Parts(model, backend=FakeBackend())) as swarm:
            result = await swarm.run("task", approve=approve, on_event=events.append)
        assert result.coverage.useful == 2
    unpriced, priced = (event.preview for event in events if isinstance(event, CostPreviewed))
    assert [question.preview for question in asked if question.kind == "plan"] == [unpriced, priced]
    assert unpriced.usd is None
    assert unpriced.unpriced == ("scripted",)
    assert priced.usd is not None
    assert priced.usd.high > priced.usd.low > 0
    assert (unpriced.basis.repository, priced.basis.repository) == (0, 1)
    _, held = (event for event in events if isinstance(event, PreviewHeld))
    assert held.held["usd"].actual == result.cost_usd
