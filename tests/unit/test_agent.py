"""The loop of a sub-agent and its way to the model, against a scripted model and scripted tools."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from swarm.agents.agent import AgentLoop, LoopEnd, ToolUser
from swarm.agents.conversation import Conversation, Line
from swarm.agents.repetition import REPEATS
from swarm.budgets.budget import Budget
from swarm.budgets.levels import Limits
from swarm.calls import ModelReply
from swarm.errors import EndpointError, EndpointFault
from swarm.events import CallFinished, ToolFinished
from swarm.protocols import Sandbox
from swarm.retry import RetryPolicy
from swarm.testing import FakeSandbox, RecordingSink, ScriptedModel, Turn
from swarm.types import (
    AgentLimits,
    JsonObject,
    Outcome,
    Role,
    Submission,
    ToolCall,
    ToolResult,
    Usage,
)

pytestmark = pytest.mark.anyio


class Tools:
    def schemas(self) -> Sequence[JsonObject]:
        return []

    async def call(self, name: str, raw_arguments: str, sandbox: Sandbox) -> ToolResult:
        if name == "submit":
            status = "done" if "done" in raw_arguments else "partial"
            return ToolResult("ok", submission=Submission("done" if status == "done" else "partial", "I did it"))
        return ToolResult(f"{name} says hello")


def use(name: str, arguments: str = "{}") -> list[ToolCall]:
    return [ToolCall("id", name, arguments)]


async def play(
    *turns: Turn, limits: AgentLimits | None = None, budget: Limits | None = None
) -> tuple[LoopEnd, ScriptedModel, RecordingSink, AgentLoop]:
    model, sink = ScriptedModel(turns), RecordingSink()
    line = Line(model, Budget(budget or Limits()), sink, retry=RetryPolicy(base=0.0))
    conversation = Conversation(line, "t", Role.SUBAGENT, [{"role": "user", "content": "go"}])
    loop = AgentLoop(conversation, ToolUser(conversation, Tools(), sink), FakeSandbox())
    return await loop.run(limits or AgentLimits()), model, sink, loop


async def test_it_uses_tools_and_ends_with_its_submission() -> None:
    end, model, sink, loop = await play(use("look"), [*use("look"), *use("submit", "done"), *use("look")])
    assert (end.outcome, end.stop, end.text) == (Outcome.COMPLETED, "submitted", "I did it")
    assert loop.tool_calls == 2
    tools = sink.of(ToolFinished)
    assert [tool.status for tool in tools] == ["completed", "completed", "completed", "cancelled"]
    assert model.requests[1].messages[0] == model.requests[0].messages[0]
    first, second = sink.of(CallFinished)
    assert (first.prefix_messages, len(first.new_messages)) == (0, 1)
    assert (second.prefix_call_id, second.prefix_messages) == (first.call_id, 2)
    assert [message["role"] for message in second.new_messages] == ["tool"]


async def test_partial_work_is_a_failure_that_is_worth_keeping() -> None:
    end, *_ = await play(use("submit", "half"))
    assert (end.outcome, end.stop, end.partial) == (Outcome.FAILED, "submitted_partial", True)


async def test_plain_text_is_an_answer_and_an_empty_turn_is_asked_about_once() -> None:
    end, *_ = await play("", "the answer")
    assert (end.outcome, end.stop, end.text) == (Outcome.COMPLETED, "answered", "the answer")
    end, *_ = await play("", "")
    assert (end.outcome, end.stop) == (Outcome.FAILED, "no_answer")


@pytest.mark.parametrize("reason", ["length", "content_filter", "error"])
async def test_half_a_text_is_no_answer(reason: str) -> None:
    half = ModelReply({"role": "assistant", "content": "half"}, "half", (), reason, Usage(calls=1), "m", 0, 0, 0)
    end, *_ = await play(half, "the answer")
    assert (end.outcome, end.text) == (Outcome.COMPLETED, "the answer")
    end, *_ = await play(half, half)
    assert (end.outcome, end.stop) == (Outcome.FAILED, "no_answer")


async def test_limits_end_it() -> None:
    end, model, *_ = await play(use("a"), use("b"), limits=AgentLimits(max_steps=2))
    assert (end.outcome, end.stop, len(model.requests)) == (Outcome.BUDGET_EXHAUSTED, "max_steps", 2)
    end, model, *_ = await play(use("a"), use("b"), use("c"), budget=Limits(steps=2))
    assert (end.outcome, end.stop, len(model.requests)) == (Outcome.BUDGET_EXHAUSTED, "budget", 2)
    end, *_ = await play(*[use("same")] * REPEATS)
    assert (end.outcome, end.stop) == (Outcome.FAILED, "repetition")


async def test_a_token_budget_is_never_overshot_and_limits_the_answer() -> None:
    end, model, *_ = await play(use("a"), use("b"), budget=Limits(tokens=40))
    assert end.stop == "budget" or len(model.requests) == 2
    assert all(request.max_tokens is not None and request.max_tokens <= 40 for request in model.requests)


async def test_every_failed_attempt_is_on_record_and_exactly_one_is_accepted() -> None:
    cut = EndpointError(EndpointFault.CUT, "cut")
    limited = EndpointError(EndpointFault.RATE_LIMITED, "wait", retry_after=0.0)
    end, _, sink, _ = await play(cut, limited, "fine")
    assert end.outcome is Outcome.COMPLETED
    assert [(call.attempt, call.accepted, call.error) for call in sink.of(CallFinished)] == [
        (1, False, "cut"),
        (2, False, "rate_limited"),
        (3, True, ""),
    ]
    assert len({call.call_id for call in sink.of(CallFinished)}) == 1


async def test_a_wrong_key_is_raised_and_a_long_context_ends_only_this_agent() -> None:
    with pytest.raises(EndpointError):
        await play(EndpointError(EndpointFault.WRONG_KEY, "no"))
    end, *_ = await play(EndpointError(EndpointFault.CONTEXT_TOO_LONG, "too long"))
    assert (end.outcome, end.stop) == (Outcome.ERRORED, "context_too_long")
