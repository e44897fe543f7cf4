"""From a typed function to a JSON schema, and back to checked arguments."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, assert_type, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from swarm.errors import UsageError
from swarm.protocols import Sandbox, Tool
from swarm.tools.registry import FunctionTool, Toolset, tool
from swarm.types import JsonObject, ToolStatus

pytestmark = pytest.mark.anyio


BOX = cast("Sandbox", object())
"""Stands for a sandbox where only its identity counts."""


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Point(BaseModel):
    """A place."""

    x: int
    title: str = "here"


@tool
def everything(
    text: str,
    number: Annotated[int, Field(ge=0, le=9)],
    colour: Colour,
    mode: Literal["fast", "slow"] = "fast",
    ratio: float | None = None,
    tags: list[str] | None = None,
    points: tuple[Point, ...] = (),
    table: Mapping[str, int | str] | None = None,
    schema: bool = False,
) -> dict[str, Any]:
    """Give back what came.

    A second paragraph that no model needs to see.

    Args:
        text: Any text,
            on two lines.
        number (int): A digit.
        schema: A name that pydantic has a use of its own for.

    Returns:
        text: not an argument.
    """
    return {
        "text": text,
        "number": number,
        "colour": colour,
        "mode": mode,
        "ratio": ratio,
        "tags": tags,
        "points": [point.model_dump() for point in points],
        "table": table,
        "schema": schema,
    }


@tool(name="shout", description="Say it loud.")
async def loud(word: Annotated[str, Field(description="What to say.")], box: Sandbox, times: int = 1) -> str:
    assert box is BOX
    return " ".join([word.upper()] * times)


def test_schema_is_plain_and_described() -> None:
    schema = everything.parameters
    assert everything.name == "everything"
    assert everything.description == "Give back what came."
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["text", "number", "colour"]
    properties = schema["properties"]
    assert list(properties)[:3] == ["text", "number", "colour"]
    assert properties["text"] == {"description": "Any text, on two lines.", "type": "string"}
    assert properties["number"] == {"description": "A digit.", "type": "integer", "minimum": 0, "maximum": 9}
    assert properties["ratio"] == {"type": "number"}
    assert properties["mode"] == {"default": "fast", "enum": ["fast", "slow"], "type": "string"}
    assert "title" in schema["$defs"]["Point"]["properties"], "a property of that name is no title"
    assert "title" not in schema["$defs"]["Point"]["properties"]["x"]
    assert "title" not in schema


def test_a_sandbox_is_not_part_of_the_schema() -> None:
    assert loud.name == "shout"
    assert loud.description == "Say it loud."
    assert loud.parameters == {
        "additionalProperties": False,
        "properties": {
            "word": {"description": "What to say.", "type": "string"},
            "times": {"default": 1, "type": "integer"},
        },
        "required": ["word"],
        "type": "object",
    }


def test_types_of_the_function_are_kept() -> None:
    @tool
    def double(number: int) -> int:
        return 2 * number

    assert_type(double(4), int)
    assert double(4) == 8
    assert isinstance(double, FunctionTool)
    assert isinstance(double, Tool)


def _values(schema: JsonObject, definitions: JsonObject) -> st.SearchStrategy[Any]:
    """Any JSON value that fits a schema of the kinds that occur here."""
    if "$ref" in schema:
        return _values(definitions[schema["$ref"].rsplit("/", 1)[1]], definitions)
    if "anyOf" in schema:
        return st.one_of([_values(choice, definitions) for choice in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema["type"]:
        case "object" if "properties" in schema:
            fields = {name: _values(held, definitions) for name, held in schema["properties"].items()}
            wanted = schema.get("required", [])
            optional = {name: held for name, held in fields.items() if name not in wanted}
            return st.fixed_dictionaries({name: fields[name] for name in wanted}, optional=optional)
        case "object":
            return st.dictionaries(st.text(), _values(schema["additionalProperties"], definitions), max_size=3)
        case "array":
            return st.lists(_values(schema["items"], definitions), max_size=3)
        case "string":
            return st.text()
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(schema.get("minimum", -(2**53)), schema.get("maximum", 2**53))
        case "number":
            return st.floats(allow_nan=False, allow_infinity=False)
    raise AssertionError(f"a schema of an unknown kind: {schema}")


@given(arguments=_values(everything.parameters, everything.parameters["$defs"]))
async def test_what_fits_the_schema_comes_through(arguments: JsonObject) -> None:
    result = await Toolset([everything]).call("everything", json.dumps(arguments), BOX)
    assert result.status is ToolStatus.COMPLETED, result.content
    if not result.truncated:
        got = json.loads(result.content)
        for name, value in arguments.items():
            if name == "points":
                value = [{"title": "here"} | point for point in value]
            assert got[name] == value


def test_a_function_that_json_cannot_call_is_refused() -> None:
    def bare(x) -> None:  # type: ignore[no-untyped-def]  # the missing annotation is the point
        ...

    def rest(*words: str) -> None: ...

    def strange(lock: threading.Thread) -> None: ...

    def two(one: Sandbox, other: Sandbox) -> None: ...

    def unknown(x: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821 - so is this

    for function, words in (
        (bare, "x has no annotation"),
        (rest, "words cannot be given by name"),
        (strange, "core schema"),
        (two, "one and other are both a Sandbox"),
        (unknown, "Missing is not known"),
    ):
        with pytest.raises(UsageError, match=words):
            tool(function)


def test_a_default_that_json_cannot_hold_is_kept_to_the_function() -> None:
    @tool
    def find(where: Path = Path("/tmp"), _x: Annotated[int, Field(alias="other")] = 3) -> str:
        return f"{where} {_x}"

    assert set(find.parameters["properties"]) == {"where", "_x"}
