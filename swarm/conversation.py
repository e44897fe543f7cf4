"""One trajectory's way to a model: reserve, be admitted, call, record, settle; and again where a retry is due.

Everybody who asks a model, orchestrator, sub-agent or aggregator, asks through a `Conversation`. Its messages only
grow at the end, so that prefixes stay cached and the journal holds each message once.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio
from pydantic_core import to_json

from swarm.budget import Budget, Reservation
from swarm.config import Price
from swarm.errors import EndpointError, EndpointFault
from swarm.events import CallFinished, CallSent, Notice
from swarm.models.pricing import cost
from swarm.protocols import EventSink, ModelService
from swarm.retry import RetryPolicy
from swarm.types import Ask, JsonObject, Message, ModelReply, ModelRequest, Role, Usage

BYTES_PER_TOKEN = 3
"""Prompt tokens are estimated from bytes of JSON; 3 is below the ratio of common tokenizers, so on the safe side."""

ASSUMED_COMPLETION = 8192
"""Completion tokens that are reserved for one call."""

_MAY_BE_BILLED = frozenset({EndpointFault.CUT, EndpointFault.TIMED_OUT, EndpointFault.MALFORMED})

_QUIET_WAIT = 2.0
"""Waits for the endpoint that are longer than this many seconds are told on the screen."""


@dataclass(frozen=True, slots=True)
class Line:
    """How a role reaches its model: shared by all conversations of that role in a run."""

    service: ModelService
    budget: Budget
    sink: EventSink
    price: Price | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    temperature: float | None = None
    seed: int | None = None
    call_timeout: float = 600.0
    rng: random.Random = field(default_factory=random.Random)


class Conversation:
    """The messages of one trajectory, and the calls that made them."""

    def __init__(self, line: Line, trajectory_id: str, role: Role, messages: Sequence[Message]) -> None:
        self._line = line
        self._trajectory_id = trajectory_id
        self._role = role
        self.messages = list(messages)
        self._prefix = hashlib.sha256(to_json(self.messages[:1])).hexdigest()[:16]
        self.steps = 0
        self.usage = Usage()
        self._last_call_id = ""
        self._told = 0  # how many messages the journal already holds
        self._prompt_hash = hashlib.sha256()
        self._prompt_bytes = 0
        self._hashed = 0

    def __repr__(self) -> str:
        return f"<Conversation {self._trajectory_id}: {len(self.messages)} messages, {self.steps} steps>"

    def say(self, message: Message) -> None:
        """Add a message of the user or of a tool."""
        self.messages.append(message)

    @property
    def call_id(self) -> str:
        """The accepted call that gave the last answer."""
        return self._last_call_id

    async def ask(self, tools: Sequence[JsonObject] = (), response_format: JsonObject | None = None) -> ModelReply:
        """The model's next message, which is added to the messages.

        Raises:
            BudgetExhausted: there is no room for another call.
            EndpointError: the call failed, and failed again as often as makes sense.
        """
        call_id = f"{self._trajectory_id}/{self.steps + 1}"
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._attempt(call_id, attempt, tools, response_format)
            except EndpointError as error:
                again = self._line.retry.decide(error, attempt, self._line.rng)
                if again is None:
                    raise
                if again > _QUIET_WAIT:
                    text = f"{error.message}; again in {again:.0f} s"
                    self._line.sink.emit(Notice(message=text, trajectory_id=self._trajectory_id, level="warning"))
                await anyio.sleep(again)

    async def _attempt(
        self, call_id: str, attempt: int, tools: Sequence[JsonObject], response_format: JsonObject | None
    ) -> ModelReply:
        line = self._line
        self._digest_new_messages()
        waiting_since = time.monotonic()
        prompt = self._prompt_bytes // BYTES_PER_TOKEN
        ask = Ask(self._role, prompt + ASSUMED_COMPLETION, self._prefix, self.steps)
        async with line.service.admit(ask) as model:
            reservation, max_tokens = await self._reserve(prompt)
            request = ModelRequest(
                messages=self.messages,
                tools=tools,
                response_format=response_format,
                temperature=line.temperature,
                seed=line.seed,
                max_tokens=max_tokens,
                timeout=line.call_timeout,
            )
            record = CallFinished(
                trajectory_id=self._trajectory_id,
                call_id=call_id,
                turn=self.steps + 1,
                attempt=attempt,
                accepted=False,
                model=line.service.name,
                prefix_call_id=self._last_call_id,
                prefix_messages=self._told,
                new_messages=self.messages[self._told :],
                prompt_sha256=self._prompt_hash.hexdigest(),
                sampling={"temperature": line.temperature, "seed": line.seed, "max_tokens": max_tokens},
                t_sent=time.monotonic(),
                wait_s=time.monotonic() - waiting_since,
            )
            line.sink.emit(CallSent(trajectory_id=self._trajectory_id, call_id=call_id, attempt=attempt))
            try:
                reply = await model.complete(request)
            except EndpointError as error:
                if error.kind in _MAY_BE_BILLED:
                    reservation.forfeit()
                else:
                    reservation.release()
                record.error, record.error_message, record.t_done = error.kind, error.message, time.monotonic()
                line.sink.emit(record)
                raise
            except BaseException:  # cancelled: what was in flight may still be billed
                reservation.forfeit()
                record.error, record.t_done = "cancelled", time.monotonic()
                line.sink.emit(record)
                raise
        dollars = cost(line.price, reply.usage)
        reservation.settle(reply.usage.total_tokens, dollars or 0.0)
        self._accept(call_id, record, reply, dollars)
        return reply

    async def _reserve(self, prompt_tokens: int) -> tuple[Reservation, int | None]:
        """Room for the prompt and an answer. Where tokens are limited, so is the length of the answer."""
        budget, price = self._line.budget, self._line.price
        completion, max_tokens = ASSUMED_COMPLETION, None
        room = budget.room()
        if room is not None:
            completion = max_tokens = max(1, min(ASSUMED_COMPLETION, room - prompt_tokens))
        dollars = cost(price, Usage(prompt_tokens=prompt_tokens, completion_tokens=completion)) or 0.0
        return await budget.reserve(prompt_tokens + completion, dollars), max_tokens

    def _accept(self, call_id: str, record: CallFinished, reply: ModelReply, dollars: float | None) -> None:
        record.accepted = True
        record.message = reply.message
        record.finish_reason = reply.finish_reason
        record.usage = reply.usage
        record.cost_usd = dollars
        record.t_sent, record.t_first_token, record.t_done = reply.t_sent, reply.t_first_token, reply.t_done
        self._line.sink.emit(record)
        self.messages.append(reply.message)
        self._told = len(self.messages)
        self._last_call_id = call_id
        self.steps += 1
        self.usage = self.usage + reply.usage

    def _digest_new_messages(self) -> None:
        """Hash and measure what was added since the last call; the hash of the whole prompt grows with it."""
        for message in self.messages[self._hashed :]:
            data = to_json(message)
            self._prompt_hash.update(data)
            self._prompt_hash.update(b"\n")
            self._prompt_bytes += len(data)
        self._hashed = len(self.messages)
