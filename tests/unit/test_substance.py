"""Which results say something."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.executors.substance import holds, says

NAMES = {"type": "object", "properties": {"items": {"type": "array", "items": {"type": "string"}, "minItems": 0}}}
REFERS = {
    "anyOf": [{"$ref": "#/$defs/Some"}, {"type": "null"}],
    "$defs": {"Some": {"properties": {"all": {"$ref": "#/$defs/All"}}}, "All": {"type": "array", "minItems": 0}},
}


@pytest.mark.parametrize(
    "value", [None, "", "  ", "\u200b", [], {}, {"x": None}, {"x": ""}, [{"x": None}], {"items": []}]
)
def test_a_result_without_a_value_anywhere_is_empty(value: Any) -> None:
    assert not holds(value, {})
    assert not holds([[{"deep": value}]], {})


@pytest.mark.parametrize("value", [0, False, "-", [0], {"x": None, "y": [{"z": "a"}]}])
def test_one_value_is_enough(value: Any) -> None:
    assert holds(value, {})


def test_that_nothing_was_found_is_a_result_where_the_schema_says_so() -> None:
    assert holds({"items": []}, NAMES)
    assert not holds({"items": [""]}, NAMES)
    assert not holds({"others": []}, NAMES)
    assert holds({"all": []}, REFERS)
    assert not holds({"all": None}, REFERS)


def test_a_schema_that_holds_itself_and_a_deep_result_are_read() -> None:
    value: Any = ""
    for _ in range(5000):
        value = [value]
    schema = {"$ref": "#/$defs/A", "$defs": {"A": {"anyOf": [{"$ref": "#/$defs/A"}], "items": {"$ref": "#/$defs/A"}}}}
    assert not holds(value, schema)


@pytest.mark.parametrize("text", ["", "-", "\u200b", "...", "<think>hmm</think>", "<think>hmm, 42", "```\n```"])
def test_a_text_without_a_word_says_nothing(text: str) -> None:
    assert not says(text)


@pytest.mark.parametrize("text", ["a", "7", "<think>hmm</think> 42", "はい", "👍"])
def test_a_word_a_number_or_a_picture_does(text: str) -> None:
    assert says(text)


@given(
    st.recursive(st.none() | st.booleans() | st.text(), lambda part: st.lists(part) | st.dictionaries(st.text(), part))
)
def test_any_value_is_judged(value: Any) -> None:
    assert holds([value], {}) == holds(value, {})
