"""Records that are made without validation are those that validation would make, and are written as those are."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from swarm.calls import Tokens
from swarm.events import ANY_EVENT, CallFinished, Event
from swarm.events.made import call_finished, call_sent, tool_finished, tool_started
from swarm.testing import FakeSandbox
from swarm.tools.registry import FunctionTool, Toolset
from swarm.types import Submission, ToolCall, ToolErrorKind, ToolResult, ToolStatus

CALL = ToolCall("call_1", "lookup", '{"key": "a"}')
FAILED = ToolResult("no", ToolStatus.FAILED, 1, truncated=True, error=ToolErrorKind.RAISED)
ENDS = ToolResult("done", submission=Submission("done", "well"))


def finished() -> CallFinished:
    message = {"role": "user", "content": "Go on."}
    asked = ("m", {"seed": 1}, "ab" * 32, 4096)
    return call_finished("run/a/1", "run/a/1/2", (0, 2, 1), ("run/a/1/1", 3), [message], asked, "frozen", (1.5, 0.25))


@pytest.mark.parametrize(
    "made",
    [
        call_sent("run/a/1", "run/a/1/2", 1, 100, 8292, 0.5),
        finished(),
        tool_started("run/a/1", "run/a/1/2", CALL),
        tool_finished("run/a/1", "run/a/1/2", CALL, FAILED, (1.0, 2.0), "ab" * 32, "run/a/1/3", "box"),
        tool_finished("run/a/1", "run/a/1/2", CALL, ENDS, (1.0, 2.0), "ab" * 32, "run/a/1/3"),
    ],
    ids=["sent", "finished", "started", "failed", "ends"],
)
def test_what_is_made_is_what_validation_makes(made: Event) -> None:
    line = made.model_dump_json()
    read = ANY_EVENT.validate_json(line)
    assert read == made
    assert read.model_dump_json() == line, "the order of what is written"
    assert read == type(made)(**dict(made)), "each field is of its type, none is missing"
    assert ANY_EVENT.validate_python(dict(made), strict=True) == made


def test_two_that_are_made_share_nothing_that_changes() -> None:
    one, other = finished(), finished()
    one.response["role"] = "assistant"
    one.fitted["tools"] = "text"
    one.with_tokens(Tokens((1,), (2,)))
    assert (other.response, other.fitted, other.take_tokens()) == ({}, {}, None)
    assert one.take_tokens() == Tokens((1,), (2,))
    assert one.take_tokens() is None


def test_what_a_tool_of_the_users_gives_back_is_looked_at() -> None:
    odd = ToolResult("done", status="failed")  # type: ignore[arg-type]  # as somebody may who has no type checker
    made = tool_finished("run/a/1", "run/a/1/2", CALL, odd, (1.0, 2.0), "", "")
    assert made.status is ToolStatus.FAILED
    for wrong in (ToolResult({"a": 1}), ToolResult("a", exit_code=1.5)):  # type: ignore[arg-type]  # the same
        with pytest.raises(ValidationError):
            tool_finished("run/a/1", "run/a/1/2", CALL, wrong, (1.0, 2.0), "", "")


@pytest.mark.anyio
async def test_what_is_no_result_is_told_to_the_model() -> None:
    def odd() -> ToolResult:
        """Odd."""
        return ToolResult({"a": 1})  # type: ignore[arg-type]  # as somebody may who has no type checker

    result = await Toolset([FunctionTool(odd)]).call("odd", "{}", FakeSandbox())
    assert (result.status, result.error) == (ToolStatus.FAILED, ToolErrorKind.RAISED)
