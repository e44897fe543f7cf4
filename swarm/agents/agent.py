"""The loop of one sub-agent: model, tools, sandbox, until it submits, answers, or meets a limit."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Protocol

from swarm.agents.checkpoints import Keeper
from swarm.agents.context import Context
from swarm.agents.conversation import Conversation
from swarm.agents.gathering import as_gathering
from swarm.agents.repetition import Repetition
from swarm.agents.trajectory import sha256
from swarm.calls import ModelReply
from swarm.errors import BudgetExhausted, EndpointError
from swarm.events.made import tool_finished, tool_started
from swarm.journal.open_calls import was_used
from swarm.protocols import EventSink, Sandbox, Seat
from swarm.retry import FATAL
from swarm.steering import Steering
from swarm.types import (
    AgentLimits,
    JsonObject,
    Outcome,
    Submission,
    SubTask,
    ToolCall,
    ToolResult,
    ToolStatus,
)
from swarm.values import value

_NOT_WHOLE = frozenset({"length", "content_filter", "error"})
"""Reasons to finish of a text that is no last word: it was cut off, taken back, or broke off."""

_NUDGE = "You gave neither an answer nor a tool call. Go on with the sub-task, or call submit to end it."


class ToolBox(Protocol):
    """The tools of an agent, as it needs them."""

    def schemas(self) -> Sequence[JsonObject]: ...

    async def call(self, name: str, raw_arguments: str, sandbox: Sandbox) -> ToolResult: ...


class ToolKit(Protocol):
    """The tools of a run, from which each attempt gets its own."""

    def orchestrators(self) -> ToolBox:
        """The orchestrator's own tools, beside those for delegation."""
        ...

    def fitted(self, subtask: SubTask, seat: Seat | None = None) -> ToolBox:
        """The tools for one sub-task. `seat`: its agent's place at the board, None where it has none."""
        ...

    def bench(self, sandbox: Sandbox) -> AbstractAsyncContextManager[Sandbox]:
        """The sandbox as the tools of one agent use it; what they left running in it ends with the block."""
        ...


class Reviewer(Protocol):
    """Looks at the last word of an agent before it counts."""

    async def objection(self, text: str) -> str:
        """What the model is to be told of it, "" for nothing."""
        ...


@value(frozen=True, slots=True)
class LoopEnd:
    """Why the loop ended, and what the agent said last. `partial` is a change worth keeping of work not done."""

    outcome: Outcome
    stop: str
    text: str
    partial: bool = False
    result: Any = None


class ToolUser:
    """Uses tools for one trajectory, and tells the journal of it. `keeper` keeps what they make of the workspace."""

    __slots__ = ("_conversation", "_gathering", "_keeper", "_reviewer", "_sink", "_tools")

    def __init__(
        self,
        conversation: Conversation,
        tools: ToolBox,
        sink: EventSink,
        keeper: Keeper | None = None,
        reviewer: Reviewer | None = None,
    ) -> None:
        self._conversation = conversation
        self._tools = tools
        self._gathering = as_gathering(tools)
        self._sink = sink
        self._keeper = keeper
        self._reviewer = reviewer

    def schemas(self) -> Sequence[JsonObject]:
        return self._tools.schemas()

    def beside(self) -> AbstractAsyncContextManager[None]:
        """For the time in which the model thinks; see `Keeper.beside`."""
        return self._keeper.beside() if self._keeper is not None else nullcontext()

    async def use(self, call: ToolCall, sandbox: Sandbox) -> ToolResult:
        """Do what a call asks for; what the journal holds the result of is done again only for its effect."""
        recorded = self.recorded(call)
        if recorded is not None:
            if self._keeper is not None and self._keeper.remakes(call.name):
                await self._tools.call(call.name, call.arguments, sandbox)
            return recorded
        if self._keeper is not None:
            self._keeper.used(call.name)
        self._sink.emit(tool_started(self._conversation.trajectory_id, self._conversation.call_id, call))
        started = time.monotonic()
        result = ToolResult("", status=ToolStatus.CANCELLED)
        try:
            result = await self._tools.call(call.name, call.arguments, sandbox)
        finally:
            self.record(call, result, started, sandbox_id=sandbox.id)
        return result

    async def objection(self, text: str) -> str:
        """What the model is to be told of its last word; where the journal holds what came next, that stands there."""
        if self._reviewer is None or self._conversation.recorded:
            return "go on" if self._reviewer is not None else ""
        return await self._reviewer.objection(text)

    def gathers(self, call: ToolCall) -> bool:
        """Whether it is taken together with others of its turn."""
        return self._gathering is not None and self._gathering.gathers(call.name)

    async def gather(self, calls: Sequence[ToolCall]) -> list[ToolResult]:
        """Do what such calls of one turn ask for, together; the results in their order."""
        assert self._gathering is not None
        recorded, started = [self.recorded(call) for call in calls], time.monotonic()
        answers = await self._gathering.gather(calls, recorded)
        for call, known, answer in zip(calls, recorded, answers, strict=True):
            if known is None:
                self.record(call, answer.result, started, child=answer.child, artifact=answer.artifact)
        return [answer.result for answer in answers]

    def recorded(self, call: ToolCall) -> ToolResult | None:
        """The result of a call as the journal holds it. What ended the attempt is done again: it changes nothing."""
        found = self._conversation.line.past.tool(self._conversation.call_id, call.id)
        if found is None or found.ends:
            return None
        return ToolResult(found.result, found.status, found.exit_code, found.truncated, error=found.error)

    def record(
        self,
        call: ToolCall,
        result: ToolResult,
        started: float,
        *,
        sandbox_id: str = "",
        child: str = "",
        artifact: str = "",
    ) -> None:
        """Tell the journal how a call ended. `child`: the trajectory that it started; `artifact`: what holds the whole
        of its result."""
        told = tool_finished(
            self._conversation.trajectory_id,
            self._conversation.call_id,
            call,
            result,
            (started, time.monotonic()),
            sha256(result.content),
            self._conversation.next_call_id,
            sandbox_id,
        )
        if artifact:
            told.artifacts = [artifact]
        if child:
            told.child_trajectory_ids = [child]
        self._sink.emit(told)

    def say(self, call: ToolCall, result: ToolResult) -> None:
        """Give the model its answer to a call."""
        self._conversation.tool_calls += was_used(result.status, result.error, ends=result.submission is not None)
        self._conversation.say({"role": "tool", "tool_call_id": call.id, "content": result.content})


class AgentLoop:
    """One attempt. `run` gives how it ended; only a broken machine raises."""

    __slots__ = ("_context", "_conversation", "_nudged", "_repetition", "_sandbox", "_steering", "_user")

    def __init__(
        self,
        conversation: Conversation,
        user: ToolUser,
        sandbox: Sandbox,
        steering: Steering | None = None,
        context: Context | None = None,
    ) -> None:
        self._conversation = conversation
        self._context = context or Context(conversation)
        self._user = user
        self._sandbox = sandbox
        self._steering = steering or Steering()
        self._repetition = Repetition()
        self._nudged = False

    @property
    def tool_calls(self) -> int:
        """Uses of tools other than submit that reached the tool."""
        return self._conversation.tool_calls

    async def run(self, limits: AgentLimits) -> LoopEnd:
        conversation, tools = self._conversation, self._user.schemas()
        conversation.clock = self._steering.clock
        with conversation.clock.limited(limits.timeout):
            while conversation.steps < limits.max_steps:
                for text in await self._steering.before_call():
                    conversation.say({"role": "user", "content": text})
                try:
                    async with self._user.beside():
                        reply = await self._context.ask(tools)
                except (BudgetExhausted, EndpointError) as error:
                    return _stopped(error)
                ended = await self._use_tools(reply) if reply.tool_calls else await self._hear(reply)
                if ended is not None:
                    return ended
                del reply  # a thousand agents wait for the next one
            return LoopEnd(Outcome.BUDGET_EXHAUSTED, "max_steps", f"not done after {limits.max_steps} steps")
        return LoopEnd(Outcome.TIMED_OUT, "timeout", self._steering.clock.why)

    async def _hear(self, reply: ModelReply) -> LoopEnd | None:
        """What follows from an answer without a call of a tool; None: the loop goes on."""
        if reply.content.strip() and reply.finish_reason not in _NOT_WHOLE:
            if told := await self._user.objection(reply.content):
                self._conversation.say({"role": "user", "content": told})
                return None
            return LoopEnd(Outcome.COMPLETED, "answered", reply.content.strip())
        if self._nudged:
            return LoopEnd(Outcome.FAILED, "no_answer", "the model gave neither an answer nor a tool call")
        self._nudged = True
        self._conversation.say({"role": "user", "content": _NUDGE})
        return None

    async def _use_tools(self, reply: ModelReply) -> LoopEnd | None:
        """Use the tools of one turn in order, those last that are taken together; a submission ends the attempt."""
        ended: LoopEnd | None = None
        results: dict[int, ToolResult] = {}
        together = [at for at, call in enumerate(reply.tool_calls) if self._user.gathers(call)]
        for at, call in enumerate(reply.tool_calls):
            if ended is None and at not in together:
                results[at] = await self._user.use(call, self._sandbox)
                ended = self._end_of(call, results[at])
        if together and ended is None:
            calls = [reply.tool_calls[at] for at in together]
            for at, call, result in zip(together, calls, await self._user.gather(calls), strict=True):
                results[at] = result
                ended = ended or self._end_of(call, result)
        for at, call in enumerate(reply.tool_calls):
            if at not in results:
                results[at] = ToolResult("not run: the attempt had ended", status=ToolStatus.CANCELLED)
                self._user.record(call, results[at], time.monotonic())
            self._user.say(call, results[at])
        return ended

    def _end_of(self, call: ToolCall, result: ToolResult) -> LoopEnd | None:
        repeated = self._repetition.after(call.name, call.arguments, result.content)
        if result.submission is not None:
            return _submitted(result.submission)
        return LoopEnd(Outcome.FAILED, "repetition", repeated) if repeated else None


def _stopped(error: BudgetExhausted | EndpointError) -> LoopEnd:
    """How an agent ends that could not make a call. Raises: EndpointError, where nobody's next one can be made."""
    if isinstance(error, BudgetExhausted):
        late = error.stop == "timeout"
        return LoopEnd(Outcome.TIMED_OUT if late else Outcome.BUDGET_EXHAUSTED, error.stop, error.message)
    if error.kind in FATAL:
        raise error
    return LoopEnd(Outcome.ERRORED, error.kind, error.message)


def _submitted(submission: Submission) -> LoopEnd:
    text, result = submission.summary, submission.result
    if result is not None:  # others see the text alone
        text += f"\n\n```json\n{json.dumps(result, ensure_ascii=False)}\n```"
    if submission.status == "done":
        return LoopEnd(Outcome.COMPLETED, "submitted", text, result=result)
    partial = submission.status == "partial"
    return LoopEnd(Outcome.FAILED, f"submitted_{submission.status}", text, partial=partial, result=result)
