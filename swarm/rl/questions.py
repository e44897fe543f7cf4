"""Puts questions to a model outside of any run, and takes answers in one form only: what judges stand on."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import anyio

from swarm.calls import Ask, ModelReply, ModelRequest
from swarm.errors import EndpointError
from swarm.protocols import ModelService
from swarm.retry import RetryPolicy
from swarm.types import JsonObject, Role, Usage

PATIENCE = 300.0
"""Seconds in which an endpoint must answer somebody."""

_BRIEFLY = 10.0
_MISFITS = 3
"""Answers in another form that are put up with."""
_CHARACTERS_PER_TOKEN = 3
_LIKELY_TOKENS = 300

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Unjudged:
    """There is no judgement, for this reason."""

    reason: str


class Questions:
    """Asks a model, at most `at_once` questions at a time. Where no answer at all has come for `patience` seconds, what
    waits is given up, and what follows is given little time, twice as much after each time that nothing came, until
    something comes again."""

    def __init__(self, service: ModelService, at_once: int = 32, patience: float = PATIENCE) -> None:
        self.name = service.name
        self.usage = Usage()
        """Of all calls so far."""
        self.asked = 0
        """Questions, however often each was sent."""
        self._service = service
        self._limiter = anyio.CapacityLimiter(at_once)
        self._retry = RetryPolicy()
        self._patience = patience
        self._given = patience  # seconds for the next question
        self._silent = False
        self._waiting: set[anyio.CancelScope] = set()

    def __repr__(self) -> str:
        return f"<Questions to {self.name}: {self.asked} asked>"

    async def ask(
        self,
        system: str,
        request: str,
        form: JsonObject,
        read: Callable[[str], Answer],
        paid: Callable[[ModelReply], None] | None = None,
    ) -> Answer | Unjudged:
        """The answer to one question, as `read` makes it of the text; it raises ValueError for one in another form,
        and the question is put again. `form` is the response format. `paid` is told of every answer that came."""
        async with self._limiter:
            seconds = self._given
            with anyio.move_on_after(seconds) as scope:
                self._waiting.add(scope)
                try:
                    return await self._put(system, request, form, read, paid)
                finally:
                    self._waiting.discard(scope)
        if not self._silent:
            self._silent, self._given = True, min(self._patience, _BRIEFLY)
        elif seconds == self._given:  # others may have waited for the same silence
            self._given = min(self._patience, 2 * seconds)
        return Unjudged(f"nothing came from {self.name} for {seconds:g} s")

    def _heard(self) -> None:
        """Something came: whoever waits may go on waiting."""
        self._silent, self._given = False, self._patience
        for scope in self._waiting:
            scope.deadline = anyio.current_time() + self._patience

    async def _put(
        self,
        system: str,
        request: str,
        form: JsonObject,
        read: Callable[[str], Answer],
        paid: Callable[[ModelReply], None] | None,
    ) -> Answer | Unjudged:
        messages = [{"role": "system", "content": system}, {"role": "user", "content": request}]
        tokens = len(system + request) // _CHARACTERS_PER_TOKEN + _LIKELY_TOKENS
        self.asked += 1
        name, rng = f"judge-{self.asked}", random.Random(self.asked)
        tries = misfits = attempt = 0
        while True:
            attempt += 1
            try:
                ask = Ask(Role.AGGREGATOR, tokens, trajectory_id=name, attempt=attempt)
                async with self._service.admit(ask) as model:
                    reply = await model.complete(ModelRequest(messages, response_format=form, temperature=0.0))
            except EndpointError as error:
                tries += self._retry.counts(error)
                again = self._retry.decide(error, tries, rng)
                if again is None:
                    return Unjudged(f"{error.kind}: {error.message}")
                await anyio.sleep(again)
                continue
            self._heard()
            self.usage = self.usage + reply.usage
            if paid is not None:
                paid(reply)
            try:
                return read(_bare(reply.content))
            except ValueError:
                misfits += 1
                if misfits >= _MISFITS:
                    return Unjudged("the judge did not answer in the form that it was asked for")


def json_form(name: str, properties: JsonObject) -> JsonObject:
    """A response format: an object with exactly these properties."""
    return {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": json_object(properties)}}


def json_object(properties: JsonObject) -> JsonObject:
    """The schema of an object with exactly these properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _bare(text: str) -> str:
    return text.strip().removeprefix("```json").removeprefix("```").removesuffix("```").strip()
