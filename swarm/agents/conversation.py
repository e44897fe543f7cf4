"""One trajectory's way to a model: reserve, be admitted, call, record, settle; and again where a retry is due.

Everybody who asks a model, orchestrator, sub-agent or aggregator, asks through a `Conversation`. Its messages only
grow at the end, so that prefixes stay cached and the journal holds each message once.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from functools import partial

import anyio

from swarm.agents.line import Line, Teller
from swarm.agents.prompt import Prompt
from swarm.agents.sent import Sent
from swarm.budgets.budget import Budget, Reservation
from swarm.budgets.sizes import Needs
from swarm.calls import Ask, ModelReply, ModelRequest
from swarm.errors import EndpointError
from swarm.events import CallFinished, Notice
from swarm.events.made import call_finished, call_sent
from swarm.models.pricing import cost
from swarm.models.tapes.recorded import recorded_reply
from swarm.retry import may_be_billed
from swarm.steering import WorkClock
from swarm.types import NO_USAGE, JsonObject, Message, Role, Usage

__all__ = ["Conversation", "Line"]

_QUIET_WAIT = 2.0
"""Waits for the endpoint that are longer than this many seconds are told on the screen."""


class Conversation:
    """The messages of one trajectory, and the calls that made them."""

    __slots__ = (
        "_aside_id", "_attempts", "_next", "_prompt", "_role", "_told", "budget", "call_id", "clock", "line", "lineage",
        "measured", "messages", "steps", "tool_calls", "trajectory_id", "usage", "window",
    )  # fmt: skip

    def __init__(
        self, line: Line, trajectory_id: str, role: Role, messages: Sequence[Message], budget: Budget | None = None
    ) -> None:
        """`budget` pays its calls, where it is not that of the line."""
        self.line = line
        self.budget = line.budget if budget is None else budget
        self.trajectory_id = trajectory_id
        self._role = role
        self.messages = list(messages)
        self.clock = WorkClock()
        self.steps = 0
        self.usage = NO_USAGE
        self.tool_calls = 0
        """Uses of tools that were answered, without those that no tool saw."""
        self.lineage = 0  # a rewind opens the next
        self.measured = (0, 0)  # bytes and tokens of the last prompt that the endpoint counted
        self.window: int | None = None  # tokens, as far as refusals or the journal told
        self.call_id = ""
        """The accepted call that gave the last answer."""
        self._aside_id = ""  # of the one call of an aside
        self._next = (-1, "")  # the id of the next turn's call, made once for each
        self._attempts = 0  # at the next call
        self._told = 0  # how many messages the journal already holds
        self._prompt = Prompt()

    def __repr__(self) -> str:
        return f"<Conversation {self.trajectory_id}: {len(self.messages)} messages, {self.steps} steps>"

    def say(self, message: Message) -> None:
        """Add a message of the user or of a tool."""
        self.messages.append(message)

    @property
    def recorded(self) -> bool:
        """Whether the next answer is in the journal, with the messages that it answers."""
        past = self.line.past
        return past.anything and past.call(self.next_call_id) is not None

    @property
    def next_call_id(self) -> str:
        """The call that is told next what is said now."""
        if self._aside_id:
            return self._aside_id
        if self._next[0] != self.steps:
            self._next = self.steps, f"{self.trajectory_id}/{self.steps + 1}"
        return self._next[1]

    def size(self, tools: Sequence[JsonObject] = ()) -> int:
        """Bytes of the next prompt, messages and tools."""
        self._prompt.take(self.messages)
        return self._prompt.size + len(self._prompt.tools(tools))

    def rewind(self, messages: Sequence[Message]) -> None:
        """Go on from other messages: a new lineage. What both begin with is not told again."""
        pairs = zip(self.messages[: self._told], messages, strict=False)
        self._told = next((at for at, (old, new) in enumerate(pairs) if old != new), min(self._told, len(messages)))
        self.messages = list(messages)
        self.lineage += 1
        self._prompt = Prompt()

    def go_on_by(self, line: Line) -> None:
        """Make the calls that come by another line."""
        self.line = line

    def pass_over(self, made: Sequence[CallFinished]) -> None:
        """Count calls that the journal holds as made, whose answers do not fit what is asked for now: a new lineage."""
        wanted, last = self.messages, made[-1]
        self.messages = [*self.line.past.prompt(last), last.response]
        self._told, self.call_id, self.lineage = len(self.messages), last.call_id, last.lineage_id
        self.steps += len(made)
        self.usage = sum((call.usage for call in made), self.usage)
        self.rewind(wanted)

    async def aside(self, messages: Sequence[Message], name: str, tools: Sequence[JsonObject] = ()) -> ModelReply:
        """A call of this trajectory that is no turn of it, from other messages, in a lineage of its own. Its id is that
        of the next call with `name` behind it. Raises as `ask`.
        """
        other = copy.copy(self)
        other.rewind(messages)
        other.usage, other._attempts = NO_USAGE, 0
        other._aside_id = f"{self.trajectory_id}/{self.steps + 1}-{name}"
        try:
            return await other.ask(tools)
        finally:
            self.lineage, self.usage = other.lineage, self.usage + other.usage

    async def ask(self, tools: Sequence[JsonObject] = (), response_format: JsonObject | None = None) -> ModelReply:
        """The model's next message, which is added to the messages.

        Raises:
            BudgetExhausted: there is no room for another call.
            EndpointError: the call failed, and failed again as often as makes sense.
        """
        call_id = self.next_call_id
        if (recorded := self.line.past.call(call_id)) is not None:
            return self._adopt(recorded, tools)
        self._attempts = max(self._attempts, self.line.past.tries(call_id))
        wanted, retry = time.monotonic(), self.line.retry
        tries = 0
        while True:
            self._attempts += 1
            reply = await self._attempt(call_id, self._attempts, wanted, tools, response_format)
            if isinstance(reply, ModelReply):
                return reply
            tries += retry.counts(reply)
            again = retry.decide(reply, tries, self.line.rng)
            if again is None:
                raise reply
            if again > _QUIET_WAIT:
                text = f"{reply.message}; again in {again:.0f} s"
                self.line.sink.emit(Notice(message=text, trajectory_id=self.trajectory_id, level="warning"))
            self.clock.stop()
            await anyio.sleep(again)

    def _adopt(self, record: CallFinished, tools: Sequence[JsonObject]) -> ModelReply:
        """Take a call from the journal as it was made: what the model had been told by then is in its prompt."""
        past, reply = self.line.past, recorded_reply(record)
        prompt = past.prompt(record)
        if self.steps == 0 and not self._aside_id and not record.redacted:
            self._prompt.take(self.messages)
            if self._prompt.sha256 != record.prompt_sha256:
                past.tell_of_prompts(self.line.sink)
        self.messages = [*prompt, reply.message]
        self._prompt, self._told = Prompt(), len(self.messages)
        self.lineage, self.call_id, self._attempts = record.lineage_id, record.call_id, 0
        self.window = record.window_tokens or None
        self.steps += 1
        self.usage = self.usage + sum((aside.usage for aside in past.asides(record.call_id)), reply.usage)
        if not self.recorded:  # the next one is made: its prompt is measured by this one
            measure = Prompt()
            measure.take(prompt)
            self.measured = (measure.size + len(measure.tools(tools)), reply.usage.prompt_tokens)
        return reply

    async def _attempt(
        self,
        call_id: str,
        attempt: int,
        wanted: float,
        tools: Sequence[JsonObject],
        response_format: JsonObject | None,
    ) -> ModelReply | EndpointError:
        """One attempt, till its record. How the call failed is a value; what is raised meets all further calls as well.

        Nobody holds a place at the endpoint while waiting for the budget, or budget while waiting for a place: it waits
        for room, then for admission, and takes both at once or begins anew.
        """
        self._prompt.take(self.messages)
        waiting_since = time.monotonic()
        self.clock.stop()
        prompt = self.line.ratio.tokens(self._prompt.size + len(self._prompt.tools(tools)))
        tokens, prefix, tell = prompt + self.line.sizes.likely, self._prompt.shared_prefix, Teller(self.line.sink)
        ask = Ask(self._role, tokens, prefix, self.steps, wanted, tell, self.trajectory_id, attempt)
        while True:
            await self.budget.wait_for_room(partial(self._aside, prompt))
            async with self.line.service.admit(ask) as model:
                needs = self._needs(prompt)
                reservation = self.budget.try_reserve(needs.tokens, needs.usd)
                if reservation is None:
                    continue
                with reservation:
                    request = self._request(tools, response_format, needs.max_tokens)
                    now, window = time.monotonic(), self.window or self.line.window.tokens or 0
                    sent = Sent(request, call_id, attempt, window, now, now - waiting_since)
                    self._tell_sent(sent, reservation)
                    try:
                        reply = await model.complete(request)
                    except EndpointError as error:
                        self._failed(sent, reservation, error)
                        return error
                    except BaseException:  # cancelled: what was in flight may still be billed
                        self._failed(sent, reservation, None)
                        raise
                    self._answered(sent, reservation, reply)
                    return reply

    def _request(
        self, tools: Sequence[JsonObject], response_format: JsonObject | None, max_tokens: int | None
    ) -> ModelRequest:
        line = self.line
        return ModelRequest(
            messages=self.messages,
            encoded=self._prompt,
            tools=tools,
            encoded_tools=self._prompt.tools(tools),
            response_format=response_format,
            temperature=1.0 if line.temperature is None and line.capture else line.temperature,
            top_p=1.0 if line.capture else None,
            seed=line.seed,
            max_tokens=max_tokens,
            timeout=line.call_timeout,
            stream=None if line.capture else line.stream,
            tokens=line.capture,
            pictures=line.pictures.urls,
        )

    def _tell_sent(self, sent: Sent, reservation: Reservation) -> None:
        self.clock.start()
        tokens = self.line.ratio.tokens(self._prompt.size + len(sent.request.encoded_tools))
        aside = reservation.tokens, reservation.usd
        self.line.sink.emit(call_sent(self.trajectory_id, sent.call_id, sent.attempt, tokens, *aside))

    def _failed(self, sent: Sent, reservation: Reservation, error: EndpointError | None) -> None:
        """Settle and record a call that gave no answer; None: it was cancelled."""
        record = self._record(sent)
        if error is None or may_be_billed(error):
            reservation.forfeit()
            self._estimate(record, sent.request, error.completion_tokens if error is not None else 0)
        else:
            reservation.release()
        if error is not None:
            record.error, record.error_message = error.kind, error.message
        else:
            record.error = "cancelled"
        record.t_done = time.monotonic()
        self.line.sink.emit(record)

    def _answered(self, sent: Sent, reservation: Reservation, reply: ModelReply) -> None:
        """Learn from an answer, settle the call and record it."""
        line, name = self.line, self.line.service.name
        if "images" in reply.fitted.get("dropped", ()) and name not in line.pictures.unseen_by:
            line.pictures.unseen_by.add(name)
            word = f"{name} takes no images: those that are attached are not shown to it"
            line.sink.emit(Notice(message=word, level="warning"))
        size = self._prompt.size + len(sent.request.encoded_tools)
        if not reply.fitted:  # else the usage is of more than this prompt
            line.ratio.learn(size, reply.usage.prompt_tokens)
            line.sizes.observe(reply.usage.completion_tokens, cut=reply.finish_reason == "length")
        if "exchanges" not in reply.fitted:
            self.measured = (size, reply.usage.prompt_tokens)
        dollars = cost(line.price, reply.usage)
        reservation.settle(reply.usage.total_tokens, dollars or 0.0)
        self._accept(sent, reply, dollars)

    def _record(self, sent: Sent) -> CallFinished:
        """The record of a call that has ended, as far as it was known when it was sent. It is made now: hundreds are in
        flight, each for a minute."""
        line = self.line
        return call_finished(
            self.trajectory_id,
            sent.call_id,
            (self.lineage, self.steps + 1, sent.attempt),
            (self.call_id, self._told),
            self.messages[self._told :],
            (line.service.name, sent.sampling, self._prompt.sha256, sent.window),
            "failed" if line.learns else "frozen",
            (sent.at, sent.wait),
        )

    def _estimate(self, record: CallFinished, request: ModelRequest, completion_tokens: int) -> None:
        """What a failed attempt may be billed for: the prompt, and what had come of the answer."""
        prompt = self.line.ratio.tokens(self._prompt.size + len(request.encoded_tools))
        record.usage = Usage(prompt_tokens=prompt, completion_tokens=completion_tokens)
        record.cost_usd = cost(self.line.price, record.usage)
        record.estimated = True

    def _aside(self, prompt_tokens: int) -> tuple[int, float]:
        return self._needs(prompt_tokens).aside

    def _needs(self, prompt_tokens: int) -> Needs:
        needs = self.line.sizes.needs(prompt_tokens, self.budget.room(), self.line.price)
        if needs.max_tokens is None:
            return needs
        return needs.within(self.window or self.line.window.tokens, prompt_tokens)

    def _accept(self, sent: Sent, reply: ModelReply, dollars: float | None) -> None:
        record = self._record(sent)
        vars(record).update(  # what pydantic does at each assignment costs more than all else here
            accepted=True,
            response=reply.message,
            read_as=reply.content if reply.content != (reply.message.get("content") or "") else None,
            fitted=reply.fitted,
            finish_reason=reply.finish_reason,
            usage=reply.usage,
            cost_usd=dollars,
            t_sent=reply.t_sent,
            t_first_token=reply.t_first_token,
            t_done=reply.t_done,
            policy_version=reply.policy_version,
        )
        if self.line.learns:
            record.untrainable = "no_tokens"
            if reply.tokens is not None and reply.tokens.completion_ids:
                record.token_source, record.token_exact = "server_ids", reply.tokens.exact
                record.untrainable = "" if record.token_exact else "inexact"
                record.with_tokens(reply.tokens)
        self.line.sink.emit(record)
        self.messages.append(reply.message)
        self._told = len(self.messages)
        self.call_id = sent.call_id
        self._attempts = 0
        self.steps += 1
        self.usage = self.usage + reply.usage
