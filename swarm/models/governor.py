"""Admission to one endpoint: a call is admitted here, never queued inside the HTTP pool."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import anyio

from swarm.types import Role


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
    async def admit(self, role: Role) -> AsyncIterator[None]:
        async with self._limiter:
            while self._held_until > anyio.current_time():  # noqa: ASYNC110 (a time, which may be moved meanwhile)
                await anyio.sleep_until(self._held_until)
            yield

    def hold(self, seconds: float) -> None:
        self._held_until = max(self._held_until, anyio.current_time() + seconds)
