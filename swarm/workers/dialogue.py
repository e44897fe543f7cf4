"""The conversation that somebody else's agent has with its model, as one trajectory of ours.

Such an agent sends the whole conversation with each call, as it remembers it. What goes on from the last answer is
added to the trajectory; anything else begins a new lineage. What the agent is to be told (to finish) is put before its
next call as a message of the user that it does not know of, and stays where it was put.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
from pydantic_core import to_json

from swarm.agents.agent import LoopEnd
from swarm.agents.landing import Landing
from swarm.agents.prompt import Prompt
from swarm.agents.trajectory import sha256
from swarm.calls import ModelReply
from swarm.embedded.proxy_sessions import same
from swarm.errors import BudgetExhausted, EndpointError
from swarm.events import CallFinished, ContextEdited, ToolFinished, ToolStarted
from swarm.executors.worker import Errand
from swarm.journal.open_calls import calls_in
from swarm.retry import FATAL
from swarm.scheduling.stragglers import FINISH_WORK
from swarm.types import JsonObject, Message, Outcome, ToolCall, ToolStatus

PATIENCE = 20
"""Calls in a row that may fail: an agent that asks again for ever uses up neither steps nor tokens."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A call as the agent asks for it."""

    messages: Sequence[Message]
    tools: Sequence[JsonObject] = ()
    response_format: JsonObject | None = None
    temperature: float | None = None


@dataclass(slots=True)
class _Open:
    """Tool calls of answers whose results the agent has not told yet, and when it was given them."""

    calls: list[tuple[str, ToolCall]] = field(default_factory=list)
    since: float = 0.0


class Dialogue:
    """Answers the calls of one attempt, one after another.

    `over` is set when none will be answered any more: `end` says how the attempt ended by that, `fault` holds what
    ends the run. `failed` is the last call's failure, None where that was answered; `answered`: whether any was.
    """

    def __init__(self, errand: Errand) -> None:
        spec = errand.spec
        self.over = anyio.Event()
        self.end: LoopEnd | None = None
        self.fault: EndpointError | None = None
        self.failed: EndpointError | None = None
        self._conversation = errand.conversation
        self._line = errand.conversation.line
        self._steering = spec.steering
        self._max_steps = spec.limits.max_steps
        self._failures = 0  # in a row
        self._turn = anyio.Lock()
        self._ours: set[int] = set()  # places of messages that the agent does not know of
        self._shown: dict[int, Message] = {}  # answers as the agent was given them, where that differs
        self._open = _Open()
        self._repeats = True  # what is asked for is what was asked before the run was taken up again
        spec.steering.advice = Landing(self._conversation, spec.steering, self._max_steps, FINISH_WORK)

    def __repr__(self) -> str:
        return f"<Dialogue {self._conversation!r}{', over' if self.over.is_set() else ''}>"

    @property
    def model(self) -> str:
        return self._line.service.name

    @property
    def answered(self) -> bool:
        return self._conversation.steps > 0

    async def answer(self, wanted: Wanted) -> tuple[ModelReply, Message]:
        """The model's answer, and the message as the agent is given it.

        Raises:
            BudgetExhausted: none will be given any more.
            EndpointError: the call failed.
        """
        async with self._turn:
            try:
                return await self._answer(wanted)
            finally:
                self._conversation.clock.start()  # which stood as long as the call waited: the agent works on now

    async def _answer(self, wanted: Wanted) -> tuple[ModelReply, Message]:
        self._refuse_when_over()
        texts = await self._steering.before_call()
        self._refuse_when_over()
        self._take(wanted)
        for text in texts:
            self._ours.add(len(self._conversation.messages))
            self._conversation.say({"role": "user", "content": text})
        if self._repeats:
            self._compare()
        try:
            reply = await self._conversation.ask(wanted.tools, wanted.response_format)
        except BudgetExhausted as error:
            late = error.stop == "timeout"
            outcome = Outcome.TIMED_OUT if late else Outcome.BUDGET_EXHAUSTED
            self._finish(LoopEnd(outcome, error.stop, error.message))
            raise
        except EndpointError as error:
            self.failed, self._failures = error, self._failures + 1
            if self._failures >= PATIENCE:
                text = f"{error.message}; {PATIENCE} calls in a row failed"
                self._finish(LoopEnd(Outcome.ERRORED, str(error.kind), text))
            if error.kind in FATAL:
                self.fault = error
                self.over.set()
            raise
        self.failed, self._failures = None, 0
        return reply, self._give(reply)

    def _refuse_when_over(self) -> None:
        if self.end is None and self._conversation.steps >= self._max_steps:
            text = f"not done after {self._max_steps} model calls"
            self._finish(LoopEnd(Outcome.BUDGET_EXHAUSTED, "max_steps", text))
        if self.end is not None:
            raise BudgetExhausted(self.end.text)
        if self.fault is not None:
            raise self.fault

    def _finish(self, end: LoopEnd) -> None:
        self.end = end
        self.over.set()

    def _take(self, wanted: Wanted) -> None:
        """Bring the conversation to what the agent remembers of it."""
        conversation, theirs = self._conversation, wanted.messages
        ours, at, told = conversation.messages, 0, 0
        while at < len(ours):
            if at in self._ours:
                at += 1
            elif told < len(theirs) and same(self._shown.get(at, ours[at]), theirs[told]):
                at, told = at + 1, told + 1
            else:
                break
        if self._line.temperature is None and not self._line.capture:
            conversation.go_on_by(replace(conversation.line, temperature=wanted.temperature))
        self._used(theirs[told:])
        if at == len(ours):
            for message in theirs[told:]:
                conversation.say(message)
            return
        size = len(ours)
        conversation.rewind([*ours[:at], *theirs[told:]])
        self._ours = {place for place in self._ours if place < at}
        self._shown = {place: message for place, message in self._shown.items() if place < at}
        self._edited(size)

    def _edited(self, before: int) -> None:
        """Tell that the agent goes on from other messages than the last answer."""
        conversation = self._conversation
        conversation.line.sink.emit(
            ContextEdited(
                trajectory_id=conversation.trajectory_id,
                lineage_id=conversation.lineage,
                action="rewritten",
                messages_before=before,
                messages_after=len(conversation.messages),
                tokens_after=conversation.line.ratio.tokens(conversation.size()),
            )
        )

    def _compare(self) -> None:
        """Take answers from the journal as long as what is asked for is the same; from then on, make calls anew."""
        conversation, past = self._conversation, self._line.past
        known = past.call(conversation.next_call_id)
        if known is not None and not known.redacted and _sha256(conversation.messages) == known.prompt_sha256:
            return
        self._repeats = False
        left: list[CallFinished] = []
        while (known := past.call(f"{conversation.trajectory_id}/{conversation.steps + len(left) + 1}")) is not None:
            left.append(known)
        if left:  # they were made, and are paid for
            conversation.pass_over(left)
            self._edited(len(conversation.messages))

    def _used(self, messages: Sequence[Message]) -> None:
        """Tools that the agent has used since its last call, as far as it tells."""
        conversation, past = self._conversation, self._line.past
        for message in messages:
            found = next((each for each in self._open.calls if each[1].id == message.get("tool_call_id")), None)
            if message.get("role") != "tool" or found is None:
                continue
            self._open.calls.remove(found)
            conversation.tool_calls += 1
            call_id, call = found
            if past.tool(call_id, call.id) is not None:
                continue
            about: dict[str, Any] = {
                "trajectory_id": conversation.trajectory_id,
                "call_id": call_id,
                "tool_call_id": call.id,
                "name": call.name,
                "arguments": call.arguments,
            }
            content = message.get("content")
            conversation.line.sink.emit(ToolStarted(**about))
            conversation.line.sink.emit(
                ToolFinished(
                    **about,
                    t_start=self._open.since,
                    t_end=time.monotonic(),
                    status=ToolStatus.COMPLETED,
                    result=content if isinstance(content, str) else to_json(content).decode(),
                    result_sha256=sha256(str(content)),
                    first_seen_by=conversation.next_call_id,
                )
            )

    def _give(self, reply: ModelReply) -> Message:
        """The answer as any client takes it: tool calls that were read out of its text stand where tool calls stand."""
        message, place = reply.message, len(self._conversation.messages) - 1
        if reply.tool_calls and not message.get("tool_calls"):
            calls = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in reply.tool_calls
            ]
            message = {"role": "assistant", "content": reply.content or None, "tool_calls": calls}
            self._shown[place] = message
        self._open.calls += [(self._conversation.call_id, call) for call in calls_in(message)]
        self._open.since = time.monotonic()
        return message


def _sha256(messages: Sequence[Message]) -> str:
    prompt = Prompt()
    prompt.take(messages)
    return prompt.sha256
