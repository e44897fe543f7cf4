"""A model with the admission to it: what the rest of the program calls."""

from __future__ import annotations

import time
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from random import Random
from types import TracebackType

import anyio

from swarm.calls import Ask, ModelReply, ModelRequest
from swarm.errors import EndpointError
from swarm.models.admission.admitting import Admitting
from swarm.models.admission.waiting import Admission
from swarm.models.capture import TokenGiver
from swarm.protocols import Model
from swarm.retry import RetryPolicy
from swarm.types import Role

_RETRY = RetryPolicy()
_RNG = Random()
_SMALL = Ask(Role.ORCHESTRATOR, 64)


class GovernedModel:
    """`swarm.protocols.ModelService` over one endpoint."""

    def __init__(self, model: Model, governor: Admitting, retry: RetryPolicy = _RETRY) -> None:
        self.name = model.name
        self.endpoint = model.endpoint
        self.governor = governor
        self._model = model
        self._retry = retry  # of what is asked beside the calls of a run

    def __repr__(self) -> str:
        return f"<GovernedModel {self.name} at {self.endpoint}: {self.governor!r}>"

    def admit(self, ask: Ask) -> AbstractAsyncContextManager[Model]:
        """See `swarm.protocols.ModelService.admit`."""
        return _Admitted(self._model, self.governor, ask)

    async def gives_tokens(self) -> bool:
        """See `swarm.models.capture.TokenGiver`. Asked at once, for mostly it is known; where that fails as every call
        is: when it is admitted, and as often as makes sense."""
        if not isinstance(self._model, TokenGiver):
            return False
        tries, ask = 0, replace(_SMALL, since=time.monotonic())
        async with AsyncExitStack() as place:
            admission: Admission | None = None
            while True:
                try:
                    return await self._model.gives_tokens()
                except EndpointError as error:
                    self.governor.failed(error, admission)
                    tries += self._retry.counts(error)
                    again = self._retry.decide(error, tries, _RNG)
                    if again is None:
                        raise
                await place.aclose()
                await anyio.sleep(again)
                admission = await place.enter_async_context(self.governor.admit(ask, self.name))
                admission.sent = True

    def estimated_wait(self, ask: Ask) -> float:
        """Seconds that such a call would about wait for its admission; see `Governor.estimated_wait`."""
        return self.governor.estimated_wait(ask)


class _Admitted:
    """One admission, from the wait for it to its end; and in between the model for one call, whose end the governor
    learns."""

    __slots__ = ("_admission", "_governor", "_model", "_place", "endpoint", "name")

    def __init__(self, model: Model, governor: Admitting, ask: Ask) -> None:
        self.name = model.name
        self.endpoint = model.endpoint
        self._model = model
        self._governor = governor
        self._place = governor.admit(ask, model.name)
        self._admission: Admission | None = None

    async def __aenter__(self) -> Model:
        self._admission = await self._place.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._place.__aexit__(kind, error, trace)

    async def complete(self, request: ModelRequest) -> ModelReply:
        """See `swarm.protocols.Model.complete`."""
        admission = self._admission
        assert admission is not None
        admission.sent = True
        try:
            reply = await self._model.complete(request)
        except EndpointError as error:
            self._governor.failed(error, admission)
            raise
        self._governor.succeeded(reply, admission)
        return reply
