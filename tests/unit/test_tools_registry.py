"""Tools in use: what a model wrote is checked, results and failures are told; toolsets and wrappers."""

from __future__ import annotations

import argparse
import json
import threading
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, cast

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from swarm.errors import SandboxError, UsageError
from swarm.protocols import Sandbox
from swarm.tools.output import LIMIT
from swarm.tools.registry import Toolset, tool
from swarm.tools.toolsets import coding, plain, reading
from swarm.tools.wrappers import Approved, Prefixed
from swarm.types import JsonObject, Submission, ToolResult, ToolStatus

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


@dataclass
class Pair:
    left: int
    right: str


@tool(name="shout", description="Say it loud.")
async def loud(word: Annotated[str, Field(description="What to say.")], box: Sandbox, times: int = 1) -> str:
    assert box is BOX
    return " ".join([word.upper()] * times)


@tool
def fine() -> None:
    """Do nothing."""


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ('{"word": "hi"', ["not valid JSON", "line 1, column 14", "cut off"]),
        ('{"word": hi}', ["not valid JSON", "line 1, column 10"]),
        ("[1]", ["one JSON object", "[1]"]),
        ('{"word": "a", "times": NaN}', ["NaN"]),
        ('{"times": ' + "9" * 5000 + "}", ["not valid JSON"]),
        ("[" * 100_000, ["not valid JSON"]),
        ("", ["`word` is missing", "word (string), times (integer, optional)"]),
        ('{"wrod": "hi"}', ["`word` is missing", "`wrod` is unknown (did you mean `word`?)"]),
        ('{"word": "a", "times": "many"}', ["`times`: Input should be a valid integer", "(got 'many')"]),
        ('{"word": null}', ["`word`: Input should be a valid string"]),
        ('{"word": "\\ud800"}', ["surrogate"]),
        ('{"word": "a", "box": "x"}', ["`box` is unknown"]),
    ],
)
async def test_arguments_that_do_not_fit_are_told(raw: str, words: list[str]) -> None:
    result = await Toolset([loud]).call("shout", raw, BOX)
    assert result.status is ToolStatus.FAILED
    assert result.content.startswith("Error: shout: ")
    assert len(result.content) < 1000
    for word in words:
        assert word in result.content


@given(raw=st.one_of(st.text(), st.text(alphabet='{}[]",:\\ \n0eE.-nulltrufas"word')))
async def test_no_arguments_whatever_raise(raw: str) -> None:
    result = await Toolset([loud]).call("shout", raw, BOX)
    assert result.status in (ToolStatus.FAILED, ToolStatus.COMPLETED)
    result.content.encode()


async def test_forgiving_where_the_meaning_is_clear() -> None:
    tools = Toolset([loud])
    assert (await tools.call("shout", '{"word": "a\nb", "times": "2"}', BOX)).content == "A\nB A\nB"


async def test_an_unknown_tool_is_told_with_the_known_ones() -> None:
    result = await Toolset([loud, fine]).call("bsh", "{}", BOX)
    assert result.status is ToolStatus.FAILED
    assert result.content == "Error: there is no tool 'bsh'. The tools are: fine, shout."


async def test_results_are_given_back_as_text() -> None:
    given_back: list[tuple[Any, str]] = [
        ("as it is", "as it is"),
        (Colour.RED, "red"),
        ({"a": [1, None]}, '{"a":[1,null]}'),
        (Point(x=1), '{"x":1,"title":"here"}'),
        (Pair(1, "é"), '{"left":1,"right":"é"}'),
        (None, "null"),
        ("half \ud800", "half ?"),
    ]
    for value, text in given_back:

        @tool(name="give")
        def give(value: Any = value) -> Any:
            return value

        assert (await Toolset([give]).call("give", "", BOX)).content == text


async def test_long_and_strange_results_are_tamed() -> None:
    @tool
    def flood() -> str:
        return "a" * 50_000 + "z" * 50_000

    @tool
    def strange() -> object:
        return object()

    tools = Toolset([flood, strange])
    result = await tools.call("flood", "{}", BOX)
    assert result.truncated
    assert len(result.content) <= LIMIT
    assert (await tools.call("strange", "{}", BOX)).status is ToolStatus.FAILED


async def test_an_exception_is_told_without_a_traceback() -> None:
    @tool
    def broken() -> str:
        raise LookupError("no such\nword")

    @tool
    async def many() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.lowlevel.checkpoint)
            raise RuntimeError("in a group")

    result = await broken.call({}, BOX)
    assert (result.status, result.content) == (ToolStatus.FAILED, "Error: LookupError: no such\nword")
    assert (await many.call({}, BOX)).content == "Error: RuntimeError: in a group"


async def test_a_broken_machine_passes_through() -> None:
    async def die() -> None:
        raise SandboxError("there is no sandbox")

    @tool
    async def look() -> None:
        await die()

    @tool
    async def look_in_a_group() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(die)

    for each in (look, look_in_a_group):
        with pytest.raises(SandboxError, match="no sandbox"):
            await Toolset([each]).call(each.name, "{}", BOX)


async def test_cancellation_passes_through() -> None:
    @tool
    async def forever() -> None:
        await anyio.sleep_forever()

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(Toolset([forever]).call, "forever", "{}", BOX)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught


async def test_a_sync_function_does_not_hold_the_loop() -> None:
    @tool
    def where() -> bool:
        return threading.current_thread() is threading.main_thread()

    assert (await where.call({}, BOX)).content == "false"


async def test_a_sync_function_that_exits_ends_itself_and_not_the_program() -> None:
    @tool
    def parse(line: str) -> str:
        argparse.ArgumentParser(prog="parse", exit_on_error=True).parse_args(line.split())
        return "parsed"

    result = await Toolset([parse]).call("parse", '{"line": "--unknown"}', BOX)
    assert (result.status, result.content) == (ToolStatus.FAILED, "Error: RuntimeError: the tool called sys.exit(2)")


async def test_a_tool_of_its_own_class_may_fail_too() -> None:
    class Odd:
        name = "odd"
        description = ""
        parameters: JsonObject = {"type": "object", "properties": {}}  # noqa: RUF012 - a stand-in

        async def call(self, arguments: JsonObject, sandbox: Sandbox) -> ToolResult:
            raise KeyError("gone")

    result = await Toolset([Odd()]).call("odd", "{}", BOX)
    assert result.content == "Error: KeyError: 'gone'"


def test_toolsets_are_ordered_and_unique() -> None:
    tools = Toolset([loud, fine])
    assert tools.names == ("shout", "fine")
    assert [schema["function"]["name"] for schema in tools.schemas()] == ["fine", "shout"]
    assert tools.only("shout").names == ("shout",)
    assert tools.without("shout").names == ("fine",)
    assert tools.get("shout") is loud
    assert tools.get("x") is None
    assert "shout" in tools
    assert repr(tools) == "Toolset(shout, fine)"
    with pytest.raises(UsageError, match="two tools"):
        Toolset([loud, loud])
    with pytest.raises(UsageError, match="not allowed"):
        Toolset([Prefixed("a.", loud)])
    with pytest.raises(UsageError, match="there is no tool 'x'"):
        tools.only("x")


def test_a_tool_can_be_exchanged_for_one_that_is_told_alike() -> None:
    other = Prefixed("", loud)
    tools = Toolset([fine, loud])
    exchanged = tools.exchanged(other)
    assert list(exchanged) == [fine, other]
    assert exchanged.get("shout") is other
    assert exchanged.schemas() is tools.schemas()
    assert list(tools) == [fine, loud], "the set itself stays as it is"


def test_equal_schemas_are_one_object_apart_from_the_tools_own() -> None:
    tools = coding()
    assert tools.schemas() is coding().schemas()
    assert tools.schemas()[0]["function"]["parameters"] is not next(iter(tools)).parameters


def test_the_shipped_toolsets() -> None:
    assert coding().names == ("bash", "job", "read", "write", "edit", "grep", "glob", "submit")
    assert reading().names == ("read", "grep", "glob", "submit")
    assert plain().names == ("bash", "job", "read", "submit")
    for schema in coding().schemas():
        parameters = schema["function"]["parameters"]
        assert schema["function"]["description"]
        assert all("description" in each for each in parameters["properties"].values())


async def test_wrapped_tools() -> None:
    asked: list[tuple[str, JsonObject]] = []

    async def never(name: str, arguments: JsonObject) -> bool:
        asked.append((name, arguments))
        return False

    tools = Toolset([Prefixed("my_", loud), Approved(never, loud)])
    assert tools.names == ("my_shout", "shout")
    assert (await tools.call("my_shout", '{"word": "a"}', BOX)).content == "A"
    assert (await tools.call("shout", '{"word": "a"}', BOX)).status is ToolStatus.DENIED
    assert asked == [("shout", {"word": "a"})]


async def test_submit_ends_the_attempt() -> None:
    async def hand_in(**arguments: Any) -> ToolResult:
        return await coding().call("submit", json.dumps(arguments), BOX)

    assert (await hand_in(status="done", summary=" Mended a.py. ")).submission == Submission("done", "Mended a.py.")
    assert (await hand_in(status="partial", summary="half")).submission == Submission("partial", "half")
    assert (await hand_in(status="failed", summary="no way")).submission == Submission("failed", "no way")
    for refused in ({"status": "done", "summary": " \n"}, {"status": "done"}, {"status": "fine", "summary": "x"}):
        result = await hand_in(**refused)
        assert result.status is ToolStatus.FAILED
        assert result.submission is None
