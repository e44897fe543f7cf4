"""A run whose answer says nothing is not completed, and says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from swarm import Parts, RunConfig, Swarm
from swarm.testing import FakeBackend, ScriptedModel, Turn
from swarm.types import RunStatus

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))


def plan(*ids: str) -> Turn:
    return {"rationale": "r", "subtasks": [{"id": name, "title": name, "instructions": "x"} for name in ids]}


@pytest.mark.parametrize("said", ["-", "\u200b", "<think>hmm</think>"])
async def test_a_text_that_says_nothing_is_not_completed(said: str) -> None:
    async with Swarm(
        config=RunConfig(mode="single"), parts=Parts(ScriptedModel([said]), backend=FakeBackend())
    ) as swarm:
        result = await swarm.run("x")
    assert (result.status, result.outcomes) == (RunStatus.FAILED, {"failed": 1})
    assert result.answer.startswith("There is no answer: no sub-task came to a result of use.")


async def test_a_table_without_a_row_is_not_completed() -> None:
    turns: list[Turn] = [plan("a"), "words, no table"]
    async with Swarm(
        config=RunConfig(aggregate="table"), parts=Parts(ScriptedModel(turns), backend=FakeBackend())
    ) as swarm:
        result = await swarm.run("x")
    assert (result.status, result.coverage.useful) == (RunStatus.FAILED, 1)
    assert "no result holds a table with a row" in result.answer


async def test_a_stage_in_vain_leaves_nothing_in_the_answer_of_the_next() -> None:
    again = {"rationale": "r", "subtasks": [{"id": "b", "title": "b", "instructions": "x", "replaces": ["a"]}]}
    turns: list[Turn] = [plan("a"), "-", again, "found: 7"]  # no turn for a merge
    model = ScriptedModel(turns)
    async with Swarm(config=RunConfig(), parts=Parts(model, backend=FakeBackend())) as swarm:
        result = await swarm.run("x")
    assert (result.status, result.answer, len(model.requests)) == (RunStatus.COMPLETED, "found: 7", 4)
