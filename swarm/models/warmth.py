"""One call warms a prefix at an endpoint before its siblings follow, so that they find it in the endpoint's cache."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace

import anyio

from swarm.calls import Ask, ModelReply, ModelRequest
from swarm.models.capture import gives_tokens
from swarm.models.service import GovernedModel
from swarm.protocols import Model

WAIT_S = 10.0
"""Seconds that siblings wait at most, from when the first of them was wanted."""

KEPT_S = 300.0
"""Seconds after which a prefix that nobody used is taken to be out of the endpoint's cache."""

TELLING_TOKENS = 1024
"""Tokens of a prompt whose answer tells whether the endpoint caches: some cache none that is shorter."""

_PREFIXES = 1024


@dataclass(slots=True)
class _Prefix:
    since: float
    used_at: float
    ready: anyio.Event = field(default_factory=anyio.Event)
    warm: bool = False


class WarmedModel:
    """`swarm.protocols.ModelService` over a governed one, whose siblings wait for the first of them.

    Nobody waits who is alone, or goes on with a conversation, or comes after `WAIT_S`. An endpoint whose answers to
    siblings tell of no cached tokens either caches nothing or does not say so: then nobody waits any more.
    """

    def __init__(self, service: GovernedModel, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = service.name
        self.endpoint = service.endpoint
        self._service = service
        self._clock = clock
        self._prefixes: OrderedDict[str, _Prefix] = OrderedDict()
        self._pays = True

    def __repr__(self) -> str:
        return f"<WarmedModel {len(self._prefixes)} prefixes{'' if self._pays else ', off'}: {self._service!r}>"

    def estimated_wait(self, ask: Ask) -> float:
        """See `GovernedModel.estimated_wait`."""
        return self._service.estimated_wait(ask)

    async def gives_tokens(self) -> bool:
        """See `swarm.models.capture.TokenGiver`."""
        return await gives_tokens((self._service,))

    def admit(self, ask: Ask) -> AbstractAsyncContextManager[Model]:
        """See `swarm.protocols.ModelService.admit`."""
        waits = self._pays and ask.prefix and not ask.turn
        return self._in_turn(ask) if waits else self._service.admit(ask)

    @asynccontextmanager
    async def _in_turn(self, ask: Ask) -> AsyncIterator[Model]:
        now = self._clock()
        known = self._prefixes.get(ask.prefix)
        if known is None or (known.warm and now - known.used_at > KEPT_S):
            async with self._leading(ask.prefix, now) as prefix, self._service.admit(ask) as model:
                yield _Leading(model, prefix)
            return
        known.used_at = now
        self._prefixes.move_to_end(ask.prefix)
        left = known.since + WAIT_S - now
        if left > 0 and not known.ready.is_set():
            with anyio.move_on_after(left):
                await known.ready.wait()
        async with self._service.admit(ask) as model:
            yield _Following(model, self) if known.warm else model

    @asynccontextmanager
    async def _leading(self, name: str, now: float) -> AsyncIterator[_Prefix]:
        prefix = self._prefixes[name] = _Prefix(now, now)
        self._prefixes.move_to_end(name)
        if len(self._prefixes) > _PREFIXES:
            self._prefixes.popitem(last=False)[1].ready.set()
        try:
            yield prefix
        finally:
            prefix.ready.set()
            if not prefix.warm and self._prefixes.get(name) is prefix:
                del self._prefixes[name]  # it failed: whoever comes next is the first

    def told(self, reply: ModelReply) -> None:
        """A sibling of a warm prefix was answered."""
        if reply.usage.prompt_tokens >= TELLING_TOKENS:
            self._pays = reply.usage.cached_tokens > 0


class _Leading:
    """The model for the first call with a prefix."""

    def __init__(self, model: Model, prefix: _Prefix) -> None:
        self.name = model.name
        self.endpoint = model.endpoint
        self._model = model
        self._prefix = prefix

    async def complete(self, request: ModelRequest) -> ModelReply:
        reply = await self._model.complete(replace(request, began=self._began))
        self._began()
        return reply

    def _began(self) -> None:
        """The answer has begun, so that the prompt was read."""
        self._prefix.warm = True
        self._prefix.ready.set()


class _Following:
    """The model for a call whose prefix is warm."""

    def __init__(self, model: Model, warmed: WarmedModel) -> None:
        self.name = model.name
        self.endpoint = model.endpoint
        self._model = model
        self._warmed = warmed

    async def complete(self, request: ModelRequest) -> ModelReply:
        reply = await self._model.complete(request)
        self._warmed.told(reply)
        return reply
