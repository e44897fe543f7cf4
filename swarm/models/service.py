"""A model with the admission to it: what the rest of the program calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from swarm.errors import EndpointError
from swarm.models.governor import Governor
from swarm.protocols import Model
from swarm.types import Ask, ModelReply, ModelRequest


class GovernedModel:
    """`swarm.protocols.ModelService` over one endpoint."""

    def __init__(self, model: Model, governor: Governor) -> None:
        self.name = model.name
        self.endpoint = model.endpoint
        self._model = model
        self._governor = governor

    def __repr__(self) -> str:
        return f"<GovernedModel {self.name} at {self.endpoint}>"

    @asynccontextmanager
    async def admit(self, ask: Ask) -> AsyncIterator[Model]:
        """See `swarm.protocols.ModelService.admit`."""
        async with self._governor.admit(ask):
            yield _Reporting(self._model, self._governor)


class _Reporting:
    """The model for one call, whose end the governor learns."""

    def __init__(self, model: Model, governor: Governor) -> None:
        self.name = model.name
        self.endpoint = model.endpoint
        self._model = model
        self._governor = governor

    async def complete(self, request: ModelRequest) -> ModelReply:
        try:
            return await self._model.complete(request)
        except EndpointError as error:
            self._governor.failed(error)
            raise
