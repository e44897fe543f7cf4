"""Texts that are too long to be handed over: kept under handles, and opened by a tool."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import JournalError
from swarm.journal.artifacts import Artifacts, cut, opened_by, where_in
from swarm.journal.redaction import Redactor
from swarm.prompts.messages import agent_report, subagent_request
from swarm.stages import Merged, StageReport
from swarm.testing import FakeSandbox
from swarm.tools.artifacts import OpenArtifact
from swarm.tools.output import LIMIT
from swarm.tools.registry import Toolset
from swarm.types import AgentResult, Outcome, Plan, SubTask, ToolErrorKind, ToolResult

pytestmark = pytest.mark.anyio

TEXT = "\n".join(f"line {number} of the report" for number in range(1, 3001))


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path / "artifacts", Redactor({"API_KEY": "swordfish-42"}))


async def use(artifacts: Artifacts, **arguments: object) -> ToolResult:
    return await Toolset([OpenArtifact(artifacts)]).call("open_artifact", json.dumps(arguments), FakeSandbox())


async def test_the_same_text_has_the_same_handle_whoever_keeps_it(artifacts: Artifacts, tmp_path: Path) -> None:
    made = artifacts.of("result-fix#2/../x", "the key is swordfish-42 \udcff")
    assert made.handle.startswith("result-fix-2-..-x-")
    await artifacts.keep(made)
    await artifacts.keep(made)
    later = Artifacts(tmp_path / "artifacts", Redactor({"API_KEY": "swordfish-42"}))
    assert later.of("result-fix#2/../x", "the key is swordfish-42 \udcff") == made
    assert await later.read(made.handle) == "the key is [redacted:API_KEY] ?"
    assert [path.name for path in (tmp_path / "artifacts").iterdir()] == [f"{made.handle}.txt"]


async def test_it_is_read_in_pieces_until_its_end(artifacts: Artifacts) -> None:
    made = artifacts.of("result", TEXT)
    await artifacts.keep(made)
    seen: list[str] = []
    offset = 1
    while True:
        result = await use(artifacts, handle=made.handle, offset=offset)
        assert len(result.content) <= LIMIT
        *lines, last = result.content.split("\n")
        seen += [line.partition("\t")[2] for line in lines]
        if "go on with offset=" not in last:
            seen.append(last.partition("\t")[2])
            break
        offset = int(last.rpartition("=")[2].rstrip("]"))
    assert "\n".join(seen) == TEXT
    few = await use(artifacts, handle=f"artifact {made.handle}", offset=7, limit=2)
    assert few.content.startswith("     7\tline 7 of the report\n     8\tline 8 of")


async def test_it_is_searched(artifacts: Artifacts) -> None:
    made = artifacts.of("result", f"{TEXT}\n{'x' * 5000}NEEDLE{'y' * 5000}")
    await artifacts.keep(made)
    found = (await use(artifacts, handle=made.handle, find="LINE 299")).content.splitlines()
    assert [line.split("\t")[0].strip() for line in found] == ["299", *(str(at) for at in range(2990, 3000))]
    [needle] = (await use(artifacts, handle=made.handle, find="needle")).content.splitlines()
    assert "xxNEEDLEyy" in needle
    assert len(needle) < 600
    many = (await use(artifacts, handle=made.handle, find="report")).content
    assert "only the first 100 of 3000 lines" in many
    assert (await use(artifacts, handle=made.handle, find="nowhere")).content == "No line holds it."


@pytest.mark.parametrize(
    "handle", ["", "nothing-0123456789ab", "../events.jsonl", "/etc/passwd", "a/../b-0123456789ab"]
)
async def test_what_is_no_handle_opens_nothing(artifacts: Artifacts, handle: str) -> None:
    result = await use(artifacts, handle=handle)
    assert result.error is ToolErrorKind.NOT_FOUND
    made = artifacts.of("result", "short")
    await artifacts.keep(made)
    assert (await use(artifacts, handle=made.handle, offset=9)).error is ToolErrorKind.BAD_ARGUMENTS


async def test_a_folder_that_cannot_be_written_is_the_machines_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    broken = Artifacts(tmp_path / "file", Redactor({}))
    with pytest.raises(JournalError, match="cannot be written"):
        await broken.keep(broken.of("result", "text"))


@given(st.text(max_size=400), st.integers(10, 300))
def test_a_text_is_cut_to_head_and_tail(text: str, limit: int) -> None:
    made = cut(text, limit, opened_by("result-0123456789ab"))
    if len(text) <= limit:
        assert made == text
        return
    assert made.startswith(text[: limit * 2 // 3])
    assert made.endswith(text[len(text) - limit // 3 :])
    assert where_in(made).endswith("all is in artifact result-0123456789ab: use open_artifact")
    assert len(made) < limit + 150


def result_of(name: str, text: str) -> AgentResult:
    return AgentResult(
        name, name, Outcome.COMPLETED, text, "submitted", keep=True, artifact=f"result-{name}-0123456789ab"
    )


def test_many_results_share_the_room_of_one_prompt() -> None:
    results = tuple(result_of(f"part-{number}", "r" * 20_000) for number in range(60))
    subtasks = tuple(SubTask(id=result.subtask_id, title="part", instructions="x") for result in results)
    stage = StageReport(1, Plan(subtasks=subtasks), results, Merged(""), None)
    reports = [agent_report(result, stage) for result in results]
    assert sum(map(len, reports)) < 140_000
    for result, report in zip(results, reports, strict=True):
        assert f"all is in artifact {result.artifact}: use open_artifact" in report
    alone = agent_report(results[0], StageReport(1, Plan(subtasks=subtasks[:1]), results[:1], Merged(""), None))
    assert 16_000 < len(alone) < 17_000
    asked = subagent_request("task", None, subtasks[0], [("part", result) for result in results])
    assert len(asked) < 150_000
    assert asked.count("use open_artifact") == 60
