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
from swarm.calls import Ask, ModelReply, ModelRequest, StreamLimits
from swarm.config import Price
from swarm.errors import EndpointError, EndpointFault
from swarm.events import CallFinished, CallSent, Notice
from swarm.models.pricing import cost
from swarm.models.tokens import TokenRatio
from swarm.protocols import EventSink, Model, ModelService
from swarm.retry import RetryPolicy
from swarm.steering import WorkClock
from swarm.types import JsonObject, Message, Role, Usage

ASSUMED_COMPLETION = 8192
"""Completion tokens that are reserved for one call."""

_MAY_BE_BILLED = frozenset(
    {
        EndpointFault.CUT,
        EndpointFault.NO_FIRST_TOKEN,
        EndpointFault.STALLED,
        EndpointFault.TIMED_OUT,
        EndpointFault.MALFORMED,
    }
)

_QUIET_WAIT = 2.0
"""Waits for the endpoint that are longer than this many seconds are told on the screen."""


@dataclass(frozen=True, slots=True)
class Line:
    """How a role reaches its model: shared by all conversations of that role in a run."""

    service: ModelService
    budget: Budget
    sink: EventSink
    price: Price | None = None
    ratio: TokenRatio = field(default_factory=TokenRatio)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    temperature: float | None = None
    seed: int | None = None
    call_timeout: float = 600.0
    stream: StreamLimits | None = None
    rng: random.Random = field(default_factory=random.Random)


@dataclass(frozen=True, slots=True, eq=False)
class _Teller:
    """Tells the user of one run; equal to every other of that run."""

    sink: EventSink

    def __call__(self, text: str) -> None:
        self.sink.emit(Notice(message=text, level="warning"))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Teller) and other.sink is self.sink

    def __hash__(self) -> int:
        return id(self.sink)


def _may_be_billed(error: EndpointError) -> bool:
    """Not where its status says that the request was turned away."""
    return error.kind in _MAY_BE_BILLED and not (error.status is not None and 300 <= error.status < 500)


class Conversation:
    """The messages of one trajectory, and the calls that made them."""

    def __init__(self, line: Line, trajectory_id: str, role: Role, messages: Sequence[Message]) -> None:
        self._line = line
        self._trajectory_id = trajectory_id
        self._role = role
        self.messages = list(messages)
        self.clock = WorkClock()
        self._prefix = ""  # names what siblings share: the system prompt and the tools
        self.steps = 0
        self.usage = Usage()
        self._last_call_id = ""
        self._told = 0  # how many messages the journal already holds
        self._prompt_hash = hashlib.sha256()
        self._prompt_bytes = 0
        self._encoded: list[bytes] = []  # the messages as JSON, each made once
        self._tools: tuple[Sequence[JsonObject], bytes] = ((), b"")

    def __repr__(self) -> str:
        return f"<Conversation {self._trajectory_id}: {len(self.messages)} messages, {self.steps} steps>"

    @property
    def trajectory_id(self) -> str:
        return self._trajectory_id

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
        wanted, retry = time.monotonic(), self._line.retry
        attempt = tries = 0
        while True:
            attempt += 1
            reply = await self._attempt(call_id, attempt, wanted, tools, response_format)
            if isinstance(reply, ModelReply):
                return reply
            tries += retry.counts(reply)
            again = retry.decide(reply, tries, self._line.rng)
            if again is None:
                raise reply
            if again > _QUIET_WAIT:
                text = f"{reply.message}; again in {again:.0f} s"
                self._line.sink.emit(Notice(message=text, trajectory_id=self._trajectory_id, level="warning"))
            self.clock.stop()
            await anyio.sleep(again)

    async def _attempt(
        self,
        call_id: str,
        attempt: int,
        wanted: float,
        tools: Sequence[JsonObject],
        response_format: JsonObject | None,
    ) -> ModelReply | EndpointError:
        """One attempt. How the call failed is a value; what is raised meets every further call as well.

        Nobody holds a place at the endpoint while waiting for the budget, or budget while waiting for a place: it waits
        for room, then for admission, and takes both at once or begins anew.
        """
        self._digest_new_messages()
        waiting_since = time.monotonic()
        self.clock.stop()
        prompt = self._line.ratio.tokens(self._prompt_bytes + len(self._encode_tools(tools)))
        tell = _Teller(self._line.sink)
        ask = Ask(
            self._role,
            prompt + ASSUMED_COMPLETION,
            self._shared_prefix(),
            self.steps,
            since=wanted,
            tell=tell,
            trajectory_id=self._trajectory_id,
            attempt=attempt,
        )
        while True:
            tokens, dollars, _ = self._needs(prompt)
            await self._line.budget.wait_for_room(tokens, dollars)
            async with self._line.service.admit(ask) as model:
                tokens, dollars, max_tokens = self._needs(prompt)
                reservation = self._line.budget.try_reserve(tokens, dollars)
                if reservation is not None:
                    request = self._request(tools, response_format, max_tokens)
                    return await self._call(model, request, reservation, call_id, attempt, waiting_since)

    def _request(
        self, tools: Sequence[JsonObject], response_format: JsonObject | None, max_tokens: int | None
    ) -> ModelRequest:
        line = self._line
        return ModelRequest(
            messages=self.messages,
            encoded=self._encoded,
            tools=tools,
            encoded_tools=self._encode_tools(tools),
            response_format=response_format,
            temperature=line.temperature,
            seed=line.seed,
            max_tokens=max_tokens,
            timeout=line.call_timeout,
            stream=line.stream,
        )

    async def _call(
        self,
        model: Model,
        request: ModelRequest,
        reservation: Reservation,
        call_id: str,
        attempt: int,
        waiting_since: float,
    ) -> ModelReply | EndpointError:
        line, now = self._line, time.monotonic()
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
            sampling={"temperature": line.temperature, "seed": line.seed, "max_tokens": request.max_tokens},
            t_sent=now,
            wait_s=now - waiting_since,
        )
        self.clock.start()
        line.sink.emit(CallSent(trajectory_id=self._trajectory_id, call_id=call_id, attempt=attempt))
        try:
            reply = await model.complete(request)
        except EndpointError as error:
            if _may_be_billed(error):
                reservation.forfeit()
                self._estimate(record, request, error.completion_tokens)
            else:
                reservation.release()
            record.error, record.error_message, record.t_done = error.kind, error.message, time.monotonic()
            line.sink.emit(record)
            return error
        except BaseException:  # cancelled: what was in flight may still be billed
            reservation.forfeit()
            self._estimate(record, request, 0)
            record.error, record.t_done = "cancelled", time.monotonic()
            line.sink.emit(record)
            raise
        if not reply.fitted:  # else the usage is of more than this prompt
            line.ratio.learn(self._prompt_bytes + len(request.encoded_tools), reply.usage.prompt_tokens)
        dollars = cost(line.price, reply.usage)
        reservation.settle(reply.usage.total_tokens, dollars or 0.0)
        self._accept(call_id, record, reply, dollars)
        return reply

    def _estimate(self, record: CallFinished, request: ModelRequest, completion_tokens: int) -> None:
        """What a failed attempt may be billed for: the prompt, and what had come of the answer."""
        prompt = self._line.ratio.tokens(self._prompt_bytes + len(request.encoded_tools))
        record.usage = Usage(prompt_tokens=prompt, completion_tokens=completion_tokens)
        record.cost_usd = cost(self._line.price, record.usage)
        record.estimated = True

    def _needs(self, prompt_tokens: int) -> tuple[int, float, int | None]:
        """Tokens and dollars for the prompt and an answer, and where tokens are limited the most that it may have."""
        price, room = self._line.price, self._line.budget.room()
        completion, max_tokens = ASSUMED_COMPLETION, None
        if room is not None:
            completion = max_tokens = max(1, min(ASSUMED_COMPLETION, room - prompt_tokens))
        dollars = cost(price, Usage(prompt_tokens=prompt_tokens, completion_tokens=completion)) or 0.0
        return prompt_tokens + completion, dollars, max_tokens

    def _accept(self, call_id: str, record: CallFinished, reply: ModelReply, dollars: float | None) -> None:
        record.accepted = True
        record.message = reply.message
        record.fitted = reply.fitted
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
        """Encode, hash and measure what was added since the last call; the hash of the whole prompt grows with it."""
        for message in self.messages[len(self._encoded) :]:
            data = to_json(message)
            self._encoded.append(data)
            self._prompt_hash.update(data)
            self._prompt_hash.update(b"\n")
            self._prompt_bytes += len(data)

    def _shared_prefix(self) -> str:
        if not self._prefix:
            self._prefix = hashlib.sha256(b"\n".join((self._encoded[0], self._tools[1]))).hexdigest()[:16]
        return self._prefix

    def _encode_tools(self, tools: Sequence[JsonObject]) -> bytes:
        if tools and tools is not self._tools[0]:
            self._tools = (tools, to_json(list(tools)))
            self._prefix = ""
        return self._tools[1] if tools else b""
