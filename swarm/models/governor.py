"""Admission to one endpoint: a call is admitted here, never queued inside the HTTP pool."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import anyio

from swarm.errors import EndpointError, EndpointFault
from swarm.types import Ask

_UNTOLD_S = 1.0
"""Seconds that a limited rate is left alone where the endpoint does not say how long."""


class GovernorStatistics(NamedTuple):
    """Calls in flight, calls waiting, and seconds until new ones are admitted again."""

    in_flight: int
    waiting: int
    held_s: float


class Governor:
    """At most `in_flight` calls at once, and none while the endpoint asked to be left alone."""

    def __init__(self, in_flight: int) -> None:
        self._limiter = anyio.CapacityLimiter(in_flight)
        self._held_until = 0.0

    def __repr__(self) -> str:
        s = self.statistics()
        return f"<Governor {s.in_flight} in flight, {s.waiting} waiting, held for {s.held_s:.1f} s>"

    def statistics(self) -> GovernorStatistics:
        inner = self._limiter.statistics()
        held = max(0.0, self._held_until - anyio.current_time())
        return GovernorStatistics(inner.borrowed_tokens, inner.tasks_waiting, held)

    @asynccontextmanager
    async def admit(self, ask: Ask) -> AsyncIterator[None]:
        """Wait until one more call may be in flight, and hold its place for the length of the block."""
        async with self._limiter:
            while self._held_until > anyio.current_time():  # noqa: ASYNC110 (a time, which may be moved meanwhile)
                await anyio.sleep_until(self._held_until)
            yield

    def failed(self, error: EndpointError) -> None:
        """Learn how a call failed: where the rate is limited, nothing new is admitted for a while."""
        if error.kind is EndpointFault.RATE_LIMITED:
            self._hold(error.retry_after or _UNTOLD_S)

    def _hold(self, seconds: float) -> None:
        self._held_until = max(self._held_until, anyio.current_time() + seconds)
