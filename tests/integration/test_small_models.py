"""What small models do instead of what they were asked for: over HTTP, by a script, on the way of every run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from swarm import Parts, RunConfig, RunResult, Swarm
from swarm.testing import FakeBackend
from swarm.types import RunStatus

pytestmark = pytest.mark.anyio

HARMONY = '<|channel|>commentary to=functions.submit <|constrain|>json<|message|>{"status": "done", "summary": "42"}'
INVOKE = (
    '<minimax:tool_call>\n<invoke name="submit">\n<parameter name="status">done</parameter>\n'
    '<parameter name="summary">42</parameter>\n</invoke>\n</minimax:tool_call>'
)


async def run(folder: Path, *turns: dict[str, Any], mode: str = "single") -> RunResult:
    script = folder / "script.json"
    script.write_text(json.dumps({"rules": [{"turns": turns}]}))
    streamed = {"token_ids": "none", "logprobs": False}
    config = RunConfig.model_validate({"mode": mode, "model": f"embedded:script:{script}", "capabilities": streamed})
    async with Swarm(config=config, parts=Parts(backend=FakeBackend())) as swarm:
        return await swarm.run("x")


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))


async def test_after_an_empty_answer_the_agent_goes_on(tmp_path: Path) -> None:
    result = await run(tmp_path, {"content": ""}, {"content": "42"})
    assert (result.status, result.answer) == (RunStatus.COMPLETED, "42")


@pytest.mark.parametrize("text", [HARMONY, INVOKE])
async def test_calls_that_a_server_left_in_the_text(tmp_path: Path, text: str) -> None:
    result = await run(tmp_path, {"content": text})
    assert (result.status, result.answer) == (RunStatus.COMPLETED, "42")


async def test_prose_in_place_of_a_plan_is_told_with_a_way_out(tmp_path: Path) -> None:
    result = await run(tmp_path, {"content": "Sure! First I would look."}, mode="plan")
    assert result.status is RunStatus.FAILED
    said = Path(result.run_dir, "events.jsonl").read_text()
    assert "begins with 'Sure! First I would look.'" in said and "mode single needs no plan" in said
