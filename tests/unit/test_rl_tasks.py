"""Tasks with verifiable answers, read and generated; judges as a source of rewards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.calls import ModelRequest
from swarm.errors import EndpointError, EndpointFault, UsageError
from swarm.events import RewardGiven
from swarm.rl.judging import Judge, Score, WinRate
from swarm.rl.questions import Unjudged
from swarm.rl.tasks.answers import exact, final_answer, number
from swarm.rl.tasks.files import load_tasks, tasks_of
from swarm.rl.tasks.synthetic import TaskSet, batch_tasks, deep_tasks, score, wide_tasks
from swarm.rl.tasks.task import Task, by_score, perf
from swarm.testing import FakeSandbox, ScriptedModel, VirtualClock
from swarm.types import ToolStatus

VIRTUAL = "asyncio", {"loop_factory": VirtualClock}


def sets(seed: int) -> list[TaskSet]:
    return [wide_tasks(seed, [1, 7]), deep_tasks(seed, [1, 4]), batch_tasks(seed, [1, 9])]


def right(task: Task) -> str:
    """An answer that is all right."""
    if task.kind == "wide-search":
        columns = ["Firm", "Founded", "Town", "Employees"]
        rows = [columns, ["---"] * 4, *([row[name.lower()] for name in columns] for row in task.answer)]
        return "Here it is.\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows)
    if task.kind == "deep-search":
        lines = [f"{at}: {name}" for at, name in enumerate(task.answer["chain"], 1)]
        return "\n".join([*lines, f"**Answer: {task.answer['town']}**"])
    return "\n".join(f"- {item}: {value}" for item, value in task.answer.items())


def half(task: Task) -> str:
    """Its first lines."""
    lines = right(task).splitlines()
    return "\n".join(lines[: len(lines) * 2 // 3])


def test_a_seed_makes_the_same_tasks_and_another_seed_others() -> None:
    once, again, other = ([each.tasks for each in sets(seed)] for seed in (3, 3, 4))
    assert once == again
    assert not {task.prompt for tasks in once for task in tasks} & {task.prompt for task in other[2]}
    assert len({task.id for tasks in (*once, *other) for task in tasks}) == 12


@pytest.mark.parametrize("task", [each.tasks[1] for each in sets(3)], ids=lambda task: task.kind)
def test_answers_are_worth_what_is_right_in_them(task: Task) -> None:
    assert score(task, right(task)) == 1.0
    assert 0.2 < score(task, half(task)) < 1.0
    assert score(task, "I do not know.") == 0.0
    assert score(task, right(task) + "\n" + right(task).replace("1", "2")) <= 1.0


@pytest.mark.parametrize("task", [task for each in sets(3) for task in each.tasks], ids=lambda task: task.id)
@given(text=st.text(max_size=80))
@settings(max_examples=15, deadline=None)
def test_whatever_is_answered_has_a_score(task: Task, text: str) -> None:
    assert 0.0 <= score(task, text) <= 1.0


def test_the_key_is_not_in_the_prompt_and_can_be_found_by_searching() -> None:
    wide, deep, batch = sets(5)
    assert not any(str(row[name]) in wide.tasks[1].prompt for row in wide.tasks[1].answer for name in row)
    assert not any(
        name in deep.tasks[1].prompt for name in [*deep.tasks[1].answer["chain"], deep.tasks[1].answer["town"]]
    )
    assert not any(f"{item}: " in batch.tasks[1].prompt for item in batch.tasks[1].answer)
    assert wide.search is not None
    for row in wide.tasks[1].answer:
        found = wide.search.find(row["firm"])[0]
        assert all(str(value) in found.text for value in row.values())
    listed = wide.search.find(wide.tasks[1].prompt.split('"')[1])[0]
    assert all(row["firm"] in listed.text for row in wide.tasks[1].answer)


@pytest.mark.anyio
async def test_the_search_tool_shows_pages_and_tells_what_is_wrong() -> None:
    search = wide_tasks(5, [7]).search
    assert search is not None
    box = FakeSandbox("box", "/")
    first = await search.call({"query": "makers founded"}, box)
    last = await search.call({"query": "makers founded", "page": 3}, box)
    wrong = await search.call({"query": 3}, box)
    none = await search.call({"query": "zebra"}, box)
    assert first.content.startswith("8 documents fit; page 1.")
    assert first.content.count("## ") == 3
    assert last.content.count("## ") == 2
    assert wrong.status is ToolStatus.FAILED
    assert none.content == "No document fits."


def test_final_answers() -> None:
    assert final_answer("Answer: 3\nso\nFinal answer: **4**.") == "4"
    assert final_answer(r"thus \boxed{7}") == "7"
    assert final_answer(r"{ so \boxed{\frac{1}{2}}.") == r"\frac{1}{2}"
    assert final_answer(r"\boxed{a \boxed{7}") == "7"
    assert final_answer("first\nParis.\n") == "Paris"
    assert exact(Task(id="t", prompt="p", answer=["Bern", "Berne"]), "Answer:  BERN ") == 1.0
    assert number(Task(id="t", prompt="p", answer="by adding\n#### 1,042"), "so it is\nAnswer: $1042.00") == 1.0
    assert number(Task(id="t", prompt="p", answer="7"), "none") == 0.0


def test_task_sets_in_the_forms_of_others(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "one", "answer": 1, "id": "a"},
        {
            "data_source": "gsm8k",
            "prompt": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": [{"type": "text", "text": "two"}]},
            ],
            "reward_model": {"style": "rule", "ground_truth": "2"},
            "extra_info": {"index": 17},
        },
        {"question": "three", "solution": "3", "level": "hard"},
    ]
    path = tmp_path / "set.jsonl"
    path.write_text("\n\n".join(map(json.dumps, rows)))
    tasks = load_tasks(path)
    assert [(task.id, task.prompt, task.answer) for task in tasks] == [
        ("a", "one", 1),
        ("gsm8k-17", "be brief\n\ntwo", "2"),
        ("set-3", "three", "3"),
    ]
    assert tasks[2].about == {"level": "hard"}
    assert load_tasks(tmp_path, limit=2) == tasks[:2]
    assert tasks_of(rows, "set") == tasks
    path.write_text("\n".join(json.dumps({"prompt": "x", "id": "same"}) for _ in range(3)))
    with pytest.raises(UsageError, match="same"):
        load_tasks(path, limit=2)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no task"),
        ("{", "no JSON"),
        ('{"answer": 1}', "no prompt"),
        ('{"prompt": ""}', "no prompt"),
        ('[{"prompt": "x"}]', "jq"),
        ('{"prompt": "x", "id": "a"}\n' * 2, "'a'"),
        (r'{"prompt": "\ud800"}', "unicode"),
        ('{"prompt": [{"role": "user", "content": [{"type": "image_url"}]}]}', "'image_url'"),
    ],
)
def test_a_task_set_that_cannot_be_used_is_named(text: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text(text)
    with pytest.raises(UsageError, match=f"set.*{why}"):
        load_tasks(path)
    with pytest.raises(UsageError, match="nowhere"):
        load_tasks(tmp_path / "nowhere")


def test_a_reward_is_a_number() -> None:
    with pytest.raises(ValueError, match="nan"):
        perf("r", float("nan"), "me")
    with pytest.raises(ValueError, match="finite"):
        RewardGiven.model_validate(perf("r", 0.5, "me").model_dump() | {"value": float("nan")})
    assert perf("r", 0.5, "me").source == "me"
    assert by_score(exact, "exact") is not None


@pytest.mark.anyio
async def test_a_rubric_gives_a_score_and_its_reason() -> None:
    model = ScriptedModel(["no JSON", {"reason": "it lacks a row", "score": 0.75}])
    judge = Judge(model, "Is every row there? {sic}", name="r_rubric", weight=0.5)
    judged = await judge.score("make a table", "| a |")
    assert judged == Score(0.75, "it lacks a row")
    assert "{sic}" in model.requests[0].messages[0]["content"]
    (reward,) = judge.reward("r1", judged)
    assert (reward.name, reward.value, reward.weight) == ("r_rubric", 0.75, 0.5)


@pytest.mark.parametrize(
    "turns",
    [[EndpointError(EndpointFault.WRONG_KEY, "wrong key")], ["none", '{"score": 7}', '{"score": NaN}']],
    ids=["endpoint", "form"],
)
@pytest.mark.anyio
async def test_what_no_judge_has_said_is_no_zero(turns: Sequence[str | EndpointError]) -> None:
    judge = Judge(ScriptedModel(list(turns)))
    judged = await judge.score("t", "a")
    assert isinstance(judged, Unjudged)
    assert judge.reward("r1", judged) == []


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", [VIRTUAL])
async def test_a_judge_whose_endpoint_is_silent_is_given_up_by_all() -> None:
    """One question waits its time, those after it hardly; once something comes, all is as before."""
    silent = True

    async def answer(request: ModelRequest) -> dict[str, object]:
        if silent:
            await anyio.sleep_forever()
        return {"reason": "", "score": 1.0}

    judge = Judge(ScriptedModel(answer), at_once=1, patience=8)
    judged = [await judge.score("t", "a") for _ in range(3)]
    assert judged == [Unjudged("nothing came from scripted for 8 s")] * 3
    silent = False
    assert await judge.score("t", "a") == Score(1.0, "")


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", [VIRTUAL])
async def test_a_slow_judge_is_heard_again_after_a_silence() -> None:
    calls = 0

    async def answer(request: ModelRequest) -> dict[str, object]:
        nonlocal calls
        calls += 1
        await (anyio.sleep_forever() if calls == 1 else anyio.sleep(50))
        return {"reason": "", "score": 1.0}

    judge = Judge(ScriptedModel(answer), at_once=1, patience=400)
    judged = [await judge.score("t", "a") for _ in range(8)]
    assert isinstance(judged[1], Unjudged)
    assert judged[-1] == Score(1.0, "")


@pytest.mark.anyio
async def test_pairs_are_asked_both_ways_round() -> None:
    """The longer answer is better, and of two of one length the one that stands first, to this judge."""

    def answer(request: ModelRequest) -> dict[str, str]:
        a, b = (part.partition("\n\n")[0] for part in request.messages[1]["content"].split("# Answer ")[1:])
        return {"reason": "", "better": "A" if len(a) >= len(b) else "B"}

    model = ScriptedModel(answer)
    rates = await Judge(model).win_rates("t", ["xxx", "x", "y"])
    assert rates == [WinRate(1.0, 2), WinRate(0.25, 2), WinRate(0.25, 2)]
    assert len(model.requests) == 6
    failing = ScriptedModel(lambda request: EndpointError(EndpointFault.REFUSED, "no"))
    assert all(isinstance(each, Unjudged) for each in await Judge(failing).win_rates("t", ["x", "y"]))
