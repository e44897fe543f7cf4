"""A call's place among those in flight, as a block: without a generator, for every call of a run has one."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

from swarm.calls import Ask
from swarm.models.admission.waiting import Admission


class Places(Protocol):
    """Who has places to give."""

    async def enter(self, ask: Ask, model: str) -> Admission:
        """Wait for a place. Raises: EndpointError, where waiting is no use."""
        ...

    def leave(self, admission: Admission) -> None:
        """The call is over, or was never made."""
        ...


class Place:
    """Waits for a place, and gives it back in any case."""

    __slots__ = ("_admission", "_ask", "_model", "_places")

    def __init__(self, places: Places, ask: Ask, model: str) -> None:
        self._places = places
        self._ask = ask
        self._model = model
        self._admission: Admission | None = None

    async def __aenter__(self) -> Admission:
        self._admission = admission = await self._places.enter(self._ask, self._model)
        return admission

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._admission is not None
        self._places.leave(self._admission)
