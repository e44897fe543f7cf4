"""Plans as planners write them: the form that they are offered, and what is wrong with what comes back."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from posixpath import normpath
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.calls import ModelRequest
from swarm.config import RunConfig
from swarm.parts import Parts
from swarm.prompts.plan_form import WITHHELD, offered, plan_format, read_plan
from swarm.prompts.texts import own_prompts
from swarm.runtime import Swarm
from swarm.scheduling.plan_graph import problems
from swarm.scheduling.scopes import shared
from swarm.testing import FakeBackend, ScriptedModel, Turn, tool_call
from swarm.types import Plan, SubTask

ONE = {"id": "one", "title": "t", "instructions": "do it"}


def test_the_form_is_strict_and_offers_or_withholds_every_field_of_a_sub_task() -> None:
    def closed(part: Any) -> None:
        if isinstance(part, list):
            for inner in part:
                closed(inner)
        elif isinstance(part, dict):
            if part.get("type") == "object":
                assert part["additionalProperties"] is False
                assert part["required"] == list(part["properties"])
            closed(list(part.values()))

    schema = plan_format()["json_schema"]["schema"]
    jsonschema.Draft202012Validator.check_schema(schema)
    closed(schema)
    assert offered() | WITHHELD == set(SubTask.model_fields)
    assert offered().isdisjoint(WITHHELD)
    assert all(f"`{name}`" in own_prompts()["planner"] for name in offered())


def test_a_plan_in_the_form_that_is_offered_is_read_whole() -> None:
    fields = [
        {"name": "city", "type": "string", "description": "as it calls itself"},
        {"name": "people", "type": "integer", "description": ""},
    ]
    none = {
        "budget_share": 0,
        "depends_on": [],
        "files": [],
        "replaces": [],
        "result_schema": {"rows": False, "fields": []},
    }
    answer = {
        "rationale": "r",
        "subtasks": [
            {**ONE, **none, "kind": "city", "group": "g", "result_schema": {"rows": True, "fields": fields}},
            {**ONE, **none, "id": "two", "kind": "", "group": "g"},
        ],
        "groups": [{"name": "g", "need": 1}],
        "dropped": [],
    }
    jsonschema.validate(answer, plan_format()["json_schema"]["schema"])
    plan, found = read_plan(f"```json\n{json.dumps(answer)}\n```")
    assert plan is not None, found
    assert (problems(plan), plan.need, plan.subtasks[0].kind) == ([], {"g": 1}, "city")
    assert plan.subtasks[1].result_schema is None
    schema = plan.subtasks[0].result_schema
    assert schema is not None
    jsonschema.validate([{"city": "Bonn", "people": 336_465}, {"city": "Ur", "people": None}], schema)
    for wrong in ([{"city": "Bonn"}], [{"city": "Bonn", "people": "many"}], {"city": "Bonn", "people": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


@pytest.mark.anyio
async def test_rows_that_a_planner_asks_for_become_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    fields = [{"name": name, "type": kind, "description": ""} for name, kind in (("city", "string"), ("km", "integer"))]
    asked = [{**ONE, "id": name, "result_schema": {"rows": True, "fields": fields}} for name in ("north", "south")]

    def answer(request: ModelRequest) -> Turn:
        if not request.tools:
            return {"rationale": "r", "subtasks": asked}
        (submit,) = (tool["function"] for tool in request.tools if tool["function"]["name"] == "submit")
        assert submit["parameters"]["properties"]["result"]["items"]["required"] == ["city", "km"]
        city = "Kiel" if "Sub-task north" in request.messages[1]["content"] else "Ulm"
        return tool_call("submit", status="done", summary="found", result=[{"city": city, "km": None}])

    async with Swarm(config=RunConfig(), parts=Parts(ScriptedModel(answer), backend=FakeBackend())) as swarm:
        result = await swarm.run("How far is it?")
    assert result.exit_code == 0
    assert [line.split("|")[1].strip() for line in result.answer.splitlines() if "|" in line][-2:] == ["Kiel", "Ulm"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ('{"subtasks": [', "the answer is not JSON: "),
        ("[]", "the answer is not a JSON object but begins with '[]'"),
        (" ", "the answer is empty"),
        ("{}", "`subtasks`: is missing"),
        ({"subtasks": "none"}, "`subtasks`: must be a list"),
        ({"subtasks": ["one"]}, "sub-task number 1: it: "),
        ({"subtasks": [{**ONE, "id": "a b"}]}, "sub-task 'a b': `id`: takes letters"),
        ({"subtasks": [{**ONE, "title": ""}]}, "sub-task 'one': `title`: must not be empty"),
        ({"subtasks": [{"id": "one", "title": "t"}]}, "sub-task 'one': `instructions`: is missing"),
        ({"subtasks": [{**ONE, "depends": ["a"]}]}, "sub-task 'one': `depends` is no field of a sub-task"),
        ({"subtasks": [{**ONE, "result_schema": {"fields": [{"type": "string"}]}}]}, "`result_schema.fields.0.name`: "),
        ({"subtasks": [{**ONE, "result_schema": {"type": "strin"}}]}, "`result_schema`: not a JSON schema"),
        ({"subtasks": [], "groups": [{"name": "g"}]}, "`groups.need`: is missing"),
        ({"subtasks": [], "groups": [{"name": "g", "need": 1}] * 2}, "`groups`: 'g' is named more than once"),
        (
            {"subtasks": [{**ONE, "result_schema": {"rows": True, "fields": [{"name": "n"}, {"name": "n"}]}}]},
            "sub-task 'one': `result_schema.fields`: the name 'n' is given to more than one field",
        ),
    ],
)
def test_what_is_wrong_with_an_answer_is_said_to_the_model(answer: Any, words: str) -> None:
    plan, found = read_plan(answer if isinstance(answer, str) else json.dumps(answer))
    assert plan is None
    assert any(words in problem for problem in found), found


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*SubTask.model_fields, "subtasks", "groups", "need", "fields"]), inner)
    ),
    max_leaves=12,
)


@given(values | st.fixed_dictionaries({"subtasks": st.lists(values, max_size=3), "groups": values}))
def test_whatever_a_planner_answers_is_a_plan_or_problems(answer: Any) -> None:
    plan, found = read_plan(json.dumps(answer))
    assert (plan is None) == bool(found)
    assert isinstance(read_plan(str(answer)), tuple)


def scoped(name: str, *files: str, needs: tuple[str, ...] = (), group: str = "") -> SubTask:
    return SubTask(id=name, title=name, instructions="x", files=files, depends_on=needs, group=group)


def test_sub_tasks_that_may_run_at_the_same_time_must_not_write_the_same() -> None:
    both = Plan(subtasks=(scoped("a", "src/x.py"), scoped("b", "./src/"), scoped("c", "docs/")))
    assert problems(both) == [
        "sub-tasks 'a' and 'b' may run at the same time, and both write src/x.py: make them one, let one depend on the "
        "other, or narrow their `files`"
    ]
    chain = (scoped("a", "x.py"), scoped("b", needs=("a",)), scoped("c", "x.py", needs=("b",)))
    assert problems(Plan(subtasks=chain)) == []
    rivals = (scoped("a", "x.py", group="g"), scoped("b", "x.py", group="g"), scoped("c", "x.py", needs=("g",)))
    assert problems(Plan(subtasks=rivals)) == []
    assert len(problems(Plan(subtasks=tuple(scoped(f"t{n}", "x") for n in range(50))))) == 10


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("a.py", "./a.py", True),
        ("src/", "src/a/b.py", True),
        ("src/a", "src/ab", False),
        (".", "a.py", True),
        ("src/*.py", "src/a/b.py", True),
        ("src/*.py", "src/a.txt", False),
        ("src/*.py", "src", True),
        ("tests/*.py", "tests/*.md", False),
        ("a*", "*b", True),
        ("src/a*", "src/b*", False),
        ("**", "x", True),
    ],
)
def test_scopes_meet_where_a_path_may_be_in_both(one: str, other: str, *, meet: bool) -> None:
    assert bool(list(shared({"a": [one], "b": [other]}))) == meet
    assert bool(list(shared({"a": [other], "b": [one]}))) == meet


texts = st.text(alphabet="ab/*", max_size=6)


@given(texts, texts, st.text(alphabet="ab/", min_size=1, max_size=6))
def test_a_path_that_fits_both_patterns_makes_them_meet(one: str, other: str, path: str) -> None:
    held = normpath(path.lstrip("/") or ".")
    plain = [normpath(text.lstrip("/") or ".") for text in (one, other)]
    if all("*" in text and fnmatchcase(held, text) for text in plain):
        assert list(shared({"a": [one], "b": [other]}))
