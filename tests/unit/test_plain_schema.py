"""What certainly fits a plain schema has no error that counts; and a plan is looked at without the library."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from swarm.models.fitting import structured
from swarm.models.fitting.plain_schema import surely_fits
from swarm.models.fitting.structured import _counts, read_json
from swarm.prompts.plan_form import plan_format

NAMES = st.sampled_from(["a", "b", "c"])
LEAVES = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.5, 1.0]) | st.sampled_from(["", "x", "y"])
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)
KINDS = st.sampled_from(["object", "array", "string", "boolean", "null", "integer", "number"])
SCHEMAS: st.SearchStrategy[Any] = st.recursive(
    st.fixed_dictionaries({}, optional={"type": KINDS, "enum": st.just(["x", 1]), "minimum": st.just(1)})
    | st.fixed_dictionaries({"type": st.lists(KINDS, min_size=1, max_size=2, unique=True)})
    | st.booleans(),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "type": KINDS,
            "properties": st.dictionaries(NAMES, inner, max_size=3),
            "required": st.lists(NAMES, max_size=2, unique=True),
            "additionalProperties": inner,
            "items": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "description": st.just("what it is"),
        },
    ),
    max_leaves=8,
)


@given(VALUES, SCHEMAS)
def test_what_surely_fits_has_no_error_that_counts(value: Any, schema: Any) -> None:
    if surely_fits(value, schema):
        assert not any(map(_counts, Draft202012Validator(schema).iter_errors(value)))


SUBTASK = {"id": "a", "title": "t", "instructions": "i", "depends_on": [], "budget_share": 1}


@pytest.mark.parametrize(
    ("plan", "sure"),
    [
        ({"rationale": "r", "subtasks": [SUBTASK]}, True),
        ({"subtasks": []}, True),
        ({"subtasks": [{**SUBTASK, "more": 1}]}, True),
        ({"steps": []}, False),
        ({"subtasks": [{**SUBTASK, "budget_share": True}]}, False),
        ({"subtasks": [{"step": 1}]}, False),
        ({"subtasks": "a"}, False),
        ([], False),
    ],
)
def test_a_plan_is_looked_at_without_the_library(plan: Any, sure: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    schema = plan_format()["json_schema"]["schema"]
    asked: list[object] = []
    monkeypatch.setattr(structured, "_fits", lambda value, schema: asked.append(value))
    assert surely_fits(plan, schema) is sure
    assert (read_json(json.dumps(plan), schema) is not None) is sure
    assert bool(asked) is not sure


def test_what_may_be_anything_is_not_gone_into() -> None:
    deep: Any = []
    for _ in range(sys.getrecursionlimit()):
        deep = [deep]
    assert surely_fits({"a": deep}, {"type": "object", "properties": {"a": {}}})
