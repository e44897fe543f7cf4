"""WideSearch's figures are those of its own code, a failing judge gives no zero, and the synthetic world is whole."""

from __future__ import annotations

import importlib.util
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.calls import ModelRequest
from swarm.config import Price
from swarm.errors import EndpointError, EndpointFault, MachineError, UsageError
from swarm.evals.suite import Instance, Verdict
from swarm.evals.widesearch.answer import answer_table
from swarm.evals.widesearch.data import Question, Rule, gold_table, load_questions
from swarm.evals.widesearch.judge import JudgeMissing, KeptJudge, NoJudge
from swarm.evals.widesearch.report import report
from swarm.evals.widesearch.responses import missing, read_responses
from swarm.evals.widesearch.scoring import FIGURES, Scores, grade
from swarm.evals.widesearch.suite import WideData, WideSearch, file_data
from swarm.evals.widesearch.synthetic import World, read_corpus, synthetic_world, write_world
from swarm.evals.widesearch.tables import Table, read_table
from swarm.result import RunResult
from swarm.rl.questions import Questions
from swarm.rl.tasks.corpus import CorpusSearch
from swarm.testing import ScriptedModel
from swarm.types import RunStatus

OFFICIAL = Path(__file__).with_name("data") / "widesearch.jsonl"
"""Tables that chance made, with what WideSearch's own code (0e664c3, pandas 2.3.1) made of them and of `Likeness`."""
COLUMNS = ("firm", "employees", "notes")
QUESTION = Question(
    "q1",
    "?",
    COLUMNS,
    ("firm",),
    {
        "firm": Rule(("norm_str",), ("exact_match",)),
        "employees": Rule(("extract_number",), ("number_near",), 0.1),
        "notes": Rule((), ("llm_judge",), "the same sense"),
    },
)
GOLD = Table(list(COLUMNS), [["Acme", "10", "makes bells"], ["Bolt", "20", "makes lamps"]])
ANSWER = "| Firm | Employees | Notes |\n|---|---|---|\n| Acme Inc. | 10 | bells |\n| Bolt | 99 | lamps |\n"


class Likeness:
    """A judge that goes by letters: the same rule stood in place of the model when `OFFICIAL` was made."""

    def align(self, told: Sequence[str], wanted: Sequence[str]) -> Mapping[str, str]:
        begins: dict[str, str] = {}
        for text in wanted:
            begins.setdefault(_letters(text)[:3], text)
        return {
            text: begins[_letters(text)[:3]] for text in told if text not in wanted and _letters(text)[:3] in begins
        }

    def judge(self, told: Sequence[str], wanted: Sequence[str], criterion: Any) -> Sequence[float]:
        pairs = zip(told, wanted, strict=True)
        return [float(_letters(a) == _letters(b) or zlib.crc32(f"{a}#{b}".encode()) % 5 == 0) for a, b in pairs]


def _letters(text: str) -> str:
    return "".join(each for each in text.lower() if each.isalnum())


@pytest.fixture
def dates(require: Callable[[object, str], None]) -> None:
    require(importlib.util.find_spec("dateparser"), "dateparser is not installed")


@pytest.mark.usefixtures("dates")
def test_the_figures_are_those_of_the_official_code(tmp_path: Path) -> None:
    for number, line in enumerate(OFFICIAL.read_text(encoding="utf-8").splitlines()):
        case = json.loads(line)
        row = {"instance_id": "x", "query": "?", "evaluation": json.dumps(case["evaluation"]), "language": "en"}
        (tmp_path / "x.csv").write_text(case["gold"], encoding="utf-8", newline="")
        (tmp_path / "data.jsonl").write_text(json.dumps(row), encoding="utf-8")
        (question,) = load_questions(str(tmp_path / "data.jsonl"))
        scores = grade(question, gold_table(question, tmp_path), case["response"], Likeness())
        assert [getattr(scores, name) for name in FIGURES] == pytest.approx(case["official"]), (number, scores.msg)


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet='|-: \nab1."N/', max_size=80), st.sampled_from("|,"))
def test_any_text_is_a_table_or_none(text: str, separator: str) -> None:
    readers: list[Callable[[], Table | None]] = [lambda: read_table(text, separator), lambda: answer_table(text)]
    for reads in readers:
        try:
            table = reads()
        except ValueError:
            continue
        assert table is None or all(len(row) == len(table.columns) for row in table.rows)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        "",
        "I found nothing.",
        "```markdown\n```",
        "| firm | employees |\n|---|---|\n| Acme | 10 |",
        "|a|b|\n|x|y|z|q|\n",
    ],
)
def test_what_is_no_table_with_these_columns_is_worth_nothing(answer: str | None) -> None:
    scores = grade(QUESTION, GOLD, answer, NoJudge())
    assert {getattr(scores, name) for name in FIGURES} == {0.0}
    assert scores.msg


def test_without_a_model_what_only_a_model_can_tell_is_not_told() -> None:
    with pytest.raises(JudgeMissing, match="--judge-model"):
        grade(QUESTION, GOLD, ANSWER, NoJudge())


def judging(request: ModelRequest) -> dict[str, Any]:
    """Names that begin alike are one, and all cells are right."""
    asked = json.loads(request.messages[1]["content"])
    if isinstance(asked, dict):
        numbers = {text[:3]: int(number) for number, text in asked["reference"].items()}
        pairs = [
            {"answer": int(n), "reference": numbers[t[:3]]} for n, t in asked["answer"].items() if t[:3] in numbers
        ]
        return {"pairs": pairs}
    return {"cells": [{"number": cell["number"], "reason": "it is", "score": 1} for cell in asked]}


@pytest.mark.anyio
async def test_a_model_judges_once_and_what_it_said_is_kept(tmp_path: Path) -> None:
    model = ScriptedModel(judging)
    price = Price(prompt=1e6, completion=0)

    async def judged(model: ScriptedModel) -> tuple[Scores, KeptJudge]:
        judge = KeptJudge(Questions(model), tmp_path, price)
        return await anyio.to_thread.run_sync(grade, QUESTION, GOLD, ANSWER, judge), judge

    scores, judge = await judged(model)
    assert (scores.precision_by_row, scores.recall_by_item) == (0.5, 5 / 6)
    assert judge.bill.usage.calls == 2
    assert judge.bill.cost_usd == judge.bill.usage.prompt_tokens > 0
    refusing = ScriptedModel([EndpointError(EndpointFault.WRONG_KEY, "wrong key")])
    elsewhere = KeptJudge(Questions(refusing), tmp_path, price, host="other.example")
    with pytest.raises(MachineError, match="no judgement"):
        await anyio.to_thread.run_sync(grade, QUESTION, GOLD, ANSWER, elsewhere)
    silent = ScriptedModel([])
    again, judge = await judged(silent)
    assert (again, judge.bill.kept, judge.bill.cost_usd) == (scores, 2, 0.0)
    for path in tmp_path.rglob("*.json"):
        path.write_bytes(path.read_bytes()[:20])  # what a crash of the machine may leave
    assert (await judged(ScriptedModel(judging)))[0] == scores


@pytest.mark.parametrize(
    "turn",
    [
        EndpointError(EndpointFault.WRONG_KEY, "wrong key"),
        {"cells": []},
        {"pairs": [{"answer": 9, "reference": 1}]},
        "no",
    ],
    ids=["endpoint", "cells left out", "number made up", "form"],
)
@pytest.mark.anyio
async def test_a_judge_that_fails_gives_no_grade(tmp_path: Path, turn: Any) -> None:
    suite = WideSearch(WideData([QUESTION], lambda question: GOLD))
    judge = KeptJudge(Questions(ScriptedModel(lambda request: turn)), tmp_path, None)
    with pytest.raises(MachineError, match="no judgement"):
        await anyio.to_thread.run_sync(grade, QUESTION, GOLD, ANSWER, judge)
    assert not list(tmp_path.rglob("*.json"))
    result = RunResult(run_id="r", status=RunStatus.COMPLETED, exit_code=0, answer=ANSWER, run_dir=str(tmp_path))
    async with suite.open():
        verdict = await suite.grade(Instance("q1", "?"), result, tmp_path / "place")
    assert verdict.resolved is None
    assert "--judge-model" in verdict.error


def test_means_are_of_each_questions_mean_best_and_worst() -> None:
    def verdict(f1: float) -> Verdict:
        return Verdict(f1 == 1, f1, Scores(score=float(f1 == 1), f1_by_item=f1, msg="m").as_dict())

    lost = Verdict(None, error="no judge")
    told = report({"a": [verdict(1.0), verdict(0.5)], "b": [verdict(0.2), lost], "c": [lost]}, "", trials=(0, 1))
    assert told["summary"]["f1_by_item"] == pytest.approx({"avg@N": 0.475, "max@N": 0.6, "min@N": 0.35})
    assert told["summary"]["score"] == {"avg@N": 0.25, "max@N": 0.5, "min@N": 0.0}
    assert (told["N"], told["graded_instances"], told["ungraded"]) == (2, 2, ["c"])
    assert told["instances"]["b"][1] == {"trial": 1, "error": "no judge"}
    assert told["instances"]["a"][1]["f1_by_item"] == 0.5


def test_answers_of_others_are_read_by_question_and_trial(tmp_path: Path) -> None:
    rows = [("a", "x", {"trial": 0}), ("a", None, {"trial": 1}), ("b", "z", {"trial_idx": 1}), ("zz", "", {"trial": 0})]
    path = tmp_path / "responses.jsonl"
    path.write_text("\n".join(json.dumps({"instance_id": n, "response": r, **t}) for n, r, t in rows), encoding="utf-8")
    responses = read_responses(path, {"a", "b", "c"})
    assert (responses.trials, responses.unknown) == ((0, 1), ("zz",))
    assert [responses.answer(name, 1) for name in "abc"] == ["", "z", ""]
    assert missing(responses, ["a", "b", "c"]) == ["b", "c"]
    path.write_text(
        path.read_text(encoding="utf-8") + '\n{"instance_id": "a", "response": "y", "trial": 0}', encoding="utf-8"
    )
    with pytest.raises(UsageError, match="answered twice"):
        read_responses(path, {"a"})


def perfect(world: World, question: Question) -> str:
    header, *rows = (line.split(",") for line in world.gold[question.id].splitlines())
    lines = [header, ["---"] * len(header), *rows]
    return "```markdown\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n```"


@pytest.mark.usefixtures("dates")
def test_a_synthetic_world_holds_all_that_is_asked_for(tmp_path: Path) -> None:
    world = synthetic_world(5, 6)
    assert world == synthetic_world(5, 6) != synthetic_world(6, 6)
    assert len(world.documents) >= 300
    assert len({each.title for each in world.documents}) == len(world.documents)
    kinds = {name for question in world.questions for rule in question.rules.values() for name in rule.metrics}
    assert kinds == {"exact_match", "url_match", "number_near", "date_near"}
    search = CorpusSearch(world.documents)
    for question in world.questions:
        assert grade(question, world.table(question), perfect(world, question), NoJudge()).score == 1
        firm = world.table(question).column("firm")[0]
        assert {firm, f"{firm}: the year in figures"} <= {page.title for page in search.find(firm)[:3]}
    write_world(world, tmp_path)
    data = file_data(str(tmp_path / "widesearch.jsonl"), None)
    assert data.questions == list(world.questions)
    assert [data.gold(each) for each in data.questions] == [world.table(each) for each in world.questions]
    assert tuple(read_corpus(tmp_path / "corpus.jsonl")) == world.documents


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"unique_columns": ["town"]}, "the key town is no required column"),
        ({"eval_pipeline": {"a": {"metric": ["guess"]}}}, "wants guess"),
        ({"required": []}, "evaluation.required"),
        ({"required": ["A", "a "]}, "stands there twice"),
    ],
)
def test_data_that_cannot_be_graded_by_is_refused(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    evaluation = {"required": ["a"], "unique_columns": ["a"], "eval_pipeline": {}} | change
    row = {"instance_id": "x", "query": "?", "evaluation": json.dumps(evaluation), "language": "en"}
    (tmp_path / "data.jsonl").write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(UsageError, match=told):
        load_questions(str(tmp_path / "data.jsonl"))


def test_a_gold_table_must_be_there_and_have_all_columns(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no gold table for q1"):
        gold_table(QUESTION, tmp_path)
    for text, told in (
        ("firm,employees\nA,1\n", "no column notes"),
        ("firm,employees,notes\n", "no row"),
        ('"', "read"),
    ):
        (tmp_path / "q1.csv").write_text(text, encoding="utf-8")
        with pytest.raises(UsageError, match=told):
            gold_table(QUESTION, tmp_path)
