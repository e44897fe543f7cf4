"""What models are told: golden files, and prompts of the user's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from swarm.agents.trajectory import sha256
from swarm.config import RunConfig, load_config
from swarm.errors import UsageError
from swarm.events import AgentStarted, Event, RunStarted
from swarm.parts import Parts
from swarm.prompts.messages import material, stage_report, subagent_request
from swarm.prompts.plan_form import plan_fields
from swarm.prompts.texts import REQUIRED, load_prompts, own_prompts
from swarm.runtime import Swarm
from swarm.stages import Merged, StageReport
from swarm.testing import FakeBackend, ScriptedModel
from swarm.types import AgentResult, Outcome, Plan, SubTask
from tests.unit.rendered import PLAN, RENDERED, TASK, TEST

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests/golden"
ONE = {"id": "one", "title": "t", "instructions": "do it"}


@pytest.mark.parametrize("name", RENDERED)
def test_what_models_see_is_what_the_golden_files_hold(name: str) -> None:
    """Write them anew with `SWARM_GOLDEN=1 pytest tests/unit/test_prompts.py`, and look at the difference."""
    path, text = GOLDEN / f"{name}.txt", RENDERED[name]()
    if os.environ.get("SWARM_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert path.read_bytes() == text.encode()


def test_there_are_no_other_golden_files() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == {f"{name}.txt" for name in RENDERED}


@pytest.mark.parametrize("seed", ["0", "4711"])
def test_rendering_is_the_same_in_every_process(seed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.rendered"],
        cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == {name: render() for name, render in RENDERED.items()}


def test_siblings_share_what_they_are_told_up_to_the_sub_task() -> None:
    one, other = (subagent_request(TASK, TEST, subtask, []) for subtask in PLAN.subtasks[:2])
    own = "# Your sub-task\n\nSub-task "
    assert one.partition(own)[0] == other.partition(own)[0] != one


def test_prompts_are_short_and_every_file_is_one() -> None:
    folder = ROOT / "swarm/prompts"
    assert {path.stem for path in folder.glob("*.md")} == set(REQUIRED)
    for path in folder.glob("*.md"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 26
    assert all("{{" not in text for text in own_prompts().texts.values())


def test_many_results_do_not_flood_the_planner() -> None:
    subtasks = tuple(SubTask(id=f"t{n}", title="t", instructions="x") for n in range(300))
    results = tuple(AgentResult(s.id, s.id, Outcome.COMPLETED, "word " * 1000, "submitted") for s in subtasks)
    text = stage_report(StageReport(1, Plan(subtasks=subtasks), results, Merged(""), None), 5, 2)
    assert "300 of 300 completed" in text
    assert len(text) < 200_000


def test_an_ordinary_answer_is_quoted_as_it_is() -> None:
    text = (
        "# Stages\n\n## Stage 1 of the pipeline\n\n- Python (1991): Guido\n- C (1972): completes it\n# Answer Engines"
    )
    assert material(text) == text
    assert material(f"{text}\n# Answer a question\n# The tasks") == f"{text}\n# Answer a question\n# The tasks"
    ours = f"- one ({'t' * 300}): failed: nothing\n- two (t): completed [merged]: x\n## Stage 2: what came back"
    assert material(ours) == "\n".join(f"> {line}" for line in ours.splitlines())


@pytest.mark.parametrize(
    "line",
    [
        *(" # Result of s1", "**# The task**", "# **The task**", "# the task", "#THE TASK", "\u200b\xa0# The task"),
        *("test COMMAND: rm", "  - s1 (t): Completed: x", "`plan the next stage`", "# answer b"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1d", "\x85", "\u2028", "\u2029"])
def test_what_reads_like_ours_is_marked(line: str, end: str) -> None:
    assert material(f"so{end}{line}{end}and") == f"so{end}> {line}{end}and"


def test_marking_takes_linear_time() -> None:
    for piece in ("- a (\r", "# ", "* ", "\u2028 ", "- a (): ", "#"):
        assert len(material(piece * 100_000)) >= 100_000


# -- prompts of the user's own -----------------------------------------------------------------------------------------


def test_a_file_takes_the_place_of_ours_and_is_seen_in_the_versions(tmp_path: Path) -> None:
    (tmp_path / "planner.md").write_bytes("\ufeffPlan well.\r\n{{ plan_fields }}\r\n".encode())
    (tmp_path / ".notes").write_text("not looked at")
    ours, found = own_prompts(), load_prompts(tmp_path)
    assert found["planner"] == f"Plan well.\n{plan_fields()}"
    assert found["judge"] == ours["judge"]
    assert [name for name in REQUIRED if found.versions[name] != ours.versions[name]] == ["planner"]
    assert load_prompts(None) is ours


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("palnner.md", b"x", "no prompt has this name; the prompts are planner.md, orchestrator.md"),
        ("planner.txt", b"x", "no prompt has this name"),
        ("planner.md", b"Answer as you like.", "{{plan_fields}} is missing; put it where the fields of a plan"),
        ("judge.md", b"{{ranking}} {{task}}", "{{task}} is no placeholder of this prompt; it takes {{ranking}}"),
        ("judge.md", b"  \n", "it is empty"),
        ("judge.md", b"\xff{{ranking}}", "it is not UTF-8"),
        ("judge.md", b"{{ranking}}" + b"x" * 70_000, "it has 70011 bytes"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UsageError) as refused:
        load_prompts(tmp_path)
    assert words in str(refused.value)
    assert str(tmp_path / name) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_folders_that_are_none_and_links_that_lead_out_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("{{submit}} token")
    (tmp_path / "own").mkdir()
    (tmp_path / "own/single.md").symlink_to(tmp_path / "secret")
    for folder, words in ((tmp_path / "none", "No such file"), (tmp_path / "own", "a link that leads out")):
        with pytest.raises(UsageError, match=words):
            load_prompts(folder)
    (tmp_path / "own/single.md").unlink()
    (tmp_path / "own/single.md").mkdir()
    with pytest.raises(UsageError, match=r"single\.md: Is a directory"):
        load_prompts(tmp_path / "own")


def test_a_repository_may_name_a_folder_of_its_own_only(tmp_path: Path) -> None:
    (tmp_path / "swarm.toml").write_text('prompts = "prompts"')
    assert load_config({}, {}, tmp_path).prompts == tmp_path / "prompts"
    for outside in ("../elsewhere", "/etc"):
        (tmp_path / "swarm.toml").write_text(f"prompts = {outside!r}")
        with pytest.raises(UsageError, match="is not in the repository"):
            load_config({}, {}, tmp_path)
    assert load_config({"prompts": "/etc"}, {}, None).prompts == Path("/etc")


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["single", "plan", "parl"])
async def test_a_run_uses_them_and_records_which(tmp_path: Path, mode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))
    folder = tmp_path / "prompts"
    folder.mkdir()
    for name, (part, *_) in ((name, parts) for name, parts in REQUIRED.items() if parts):
        (folder / f"{name}.md").write_text(f"My own {name}.\n\n{{{{{part}}}}}")
    first = {"plan": {"rationale": "r", "subtasks": [ONE]}}.get(mode, "done")
    model, seen = ScriptedModel([first, "done"]), list[Event]()
    parts = Parts(model, backend=FakeBackend())
    async with Swarm(config=RunConfig(mode=mode, prompts=folder), parts=parts) as swarm:
        await swarm.run("x", on_event=seen.append)
    (began,) = [event for event in seen if isinstance(event, RunStarted)]
    assert began.prompts == load_prompts(folder).versions
    for request, event in zip(model.requests, (e for e in seen if isinstance(e, AgentStarted)), strict=True):
        system = request.messages[0]["content"]
        name = system.partition(".")[0].removeprefix("My own ")
        assert event.system_prompt_sha256 == sha256(system)
        assert began.prompts[name] == sha256(system)[:12]
