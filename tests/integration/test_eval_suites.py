"""WideSearch and repair as whole evaluations: the runner, the embedded endpoint, real sandboxes, the grader."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from swarm.config import RunConfig
from swarm.evals.records import read_results
from swarm.evals.repair.damage import Wanted
from swarm.evals.repair.origins import local
from swarm.evals.repair.suite import Repair, Settings
from swarm.evals.runner.arms import ways
from swarm.evals.runner.evaluation import Halt, Width
from swarm.evals.runner.given import Given
from swarm.evals.runner.whole import Asked, evaluate, grade_given
from swarm.evals.suite import Suite
from swarm.evals.widesearch.responses import read_responses
from swarm.evals.widesearch.suite import WideSearch, synthetic_data
from swarm.evals.widesearch.synthetic import synthetic_world
from swarm.journal.reader import read_events
from swarm.rl.rollout.keeping import Patience
from tests.integration.conftest import Script, use

pytestmark = pytest.mark.anyio
QUICK = Asked(width=Width(2, 2), patience=Patience(tries=1, retry_s=0.01, grace=0.0))
AREA = """def area(width, height):
    if width < 0 or height < 0:
        raise ValueError("negative")
    return width * height


def edge(width, height):
    total = width + height
    return 2 * total
"""
TESTS = """import pytest
from pkg.tiles import area, edge


def test_area():
    assert area(2, 3) == 6


def test_wide_area():
    assert area(7, 3) == 21


def test_negative():
    with pytest.raises(ValueError):
        area(-1, 3)


def test_edge():
    assert edge(2, 3) == 10


def test_long_edge():
    assert edge(20, 3) == 46
"""


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))
    yield


async def evaluated(suite: Suite, config: RunConfig, out: Path, modes: Sequence[str] = ()) -> dict[str, Any]:
    found = await evaluate(suite, ways(config, tuple(modes)), out, QUICK, Halt(), lambda line, progress: None)
    assert found.exit_code == 0, read_results(out)
    report: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return report


async def test_wide_questions_about_a_closed_world(
    tmp_path: Path, script: Script, require: Callable[[object, str], None]
) -> None:
    require(importlib.util.find_spec("dateparser"), "dateparser is not installed")
    world = synthetic_world(4, 2)
    for question, kept in zip(world.questions, (99, 4), strict=True):
        header, *rows = (f"| {line.replace(',', ' | ')} |" for line in world.gold[question.id].splitlines())
        table = "\n".join([header, re.sub(r"[^|]+", "---", header), *rows[:kept]])
        goods = re.escape(question.query.partition(" that make ")[2].partition(". The")[0])
        ask = use("search_corpus", query=world.table(question).column("firm")[0])
        script.rules.append({"match": goods, "turns": [ask, {"content": f"Found:\n```markdown\n{table}\n```"}]})
    config = RunConfig(mode="single", model=script.model, sandbox="process")
    report = await evaluated(WideSearch(synthetic_data(4, 2)), config, tmp_path / "e")

    first, second = (report["instances"][question.id][0] for question in world.questions)
    assert (first["score"], second["score"], second["precision_by_item"]) == (1.0, 0.0, 1.0)
    wanted = len(world.table(world.questions[1]).rows)
    assert second["recall_by_row"] == pytest.approx(4 / wanted)
    assert report["summary"]["score"] == {"avg@N": 0.5, "max@N": 0.5, "min@N": 0.5}
    lines = {each.instance_id: each for each in read_results(tmp_path / "e")}
    assert lines[world.questions[1].id].details["kind"] == "rows missing"
    events = read_events(tmp_path / "e" / lines[world.questions[0].id].run / "events.jsonl")
    called = [event for event in events if event.type == "tool"]
    assert any("documents fit" in str(event.model_dump()) for event in called)

    responses = read_responses(tmp_path / "e/responses.jsonl", {question.id for question in world.questions})
    given = [Given(question.id, 1, responses.answer(question.id, 1)) for question in world.questions]
    await grade_given(
        WideSearch(synthetic_data(4, 2)), given, tmp_path / "g", QUICK, Halt(), lambda line, progress: None
    )
    graded = json.loads((tmp_path / "g/report.json").read_text(encoding="utf-8"))
    assert (graded["instances"], graded["summary"]) == (report["instances"], report["summary"])


async def test_faults_are_repaired_and_hidden_tests_grade(
    tmp_path: Path, require: Callable[[object, str], None]
) -> None:
    require(shutil.which("git"), "git is not installed")
    package = tmp_path / "mine"
    for path, text in (("pkg/tiles.py", AREA), ("tests/test_tiles.py", TESTS), ("pkg/__init__.py", "")):
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_text(text, encoding="utf-8")
    test = f"PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 {sys.executable} -m pytest -q --tb=short -p no:cacheprovider"
    config = RunConfig(model="embedded", sandbox="process", timeout=120)
    settings = Settings(config, tmp_path / "home", tmp_path / "home/evals/repair")
    wanted = Wanted(local(package, test=test), 1, 3, 0.4)
    report = await evaluated(Repair([wanted], settings), config, tmp_path / "e", ("plan",))
    assert (report["planted"], report["repaired"], report["resolved_trials"]) == (1, 1, 1)

    (made,) = (tmp_path / "home/evals/repair").iterdir()
    facts = json.loads((made / "instance.json").read_text(encoding="utf-8"))
    assert len(facts["green"]) == 5
    assert facts["hidden"]
    (line,) = read_results(tmp_path / "e")
    assert line.resolved
    for name in facts["hidden"]:
        file, _, function = name.partition("::")
        assert f"def {function}(" in (made / "whole" / file).read_text(encoding="utf-8")
        assert f"def {function}(" not in (made / "seen" / file).read_text(encoding="utf-8")

    given = [
        Given(wanted.id, 1, patch=""),
        Given(wanted.id, 2, patch="--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"),
    ]
    await grade_given(Repair([wanted], settings), given, tmp_path / "g", QUICK, Halt(), lambda line, progress: None)
    kinds = {each.epoch: (each.resolved, each.score, each.details.get("kind")) for each in read_results(tmp_path / "g")}
    assert kinds == {1: (False, 0.0, "empty patch"), 2: (False, 0.0, "patch does not apply")}
