"""A call's place among those in flight, as a block: without a generator, for every call of a run has one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType

from swarm.models.admission.waiting import Admission


class Place(AbstractAsyncContextManager[Admission]):
    """Waits for a place by `enter`, and gives it back by `leave` in any case."""

    __slots__ = ("_admission", "_enter", "_leave")

    def __init__(self, enter: Callable[[], Awaitable[Admission]], leave: Callable[[Admission], None]) -> None:
        self._enter = enter
        self._leave = leave
        self._admission: Admission | None = None

    async def __aenter__(self) -> Admission:
        self._admission = admission = await self._enter()
        return admission

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._admission is not None
        self._leave(self._admission)
