"""The governors of this process: one for each endpoint and key, whoever opens it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from anyio.lowlevel import RunVar

from swarm.models.governor import Governor


@dataclass(slots=True)
class _Shared:
    governor: Governor
    users: int = 0


_OPEN: RunVar[dict[tuple[str, str], _Shared]] = RunVar("swarm_governors")
"""Of the running event loop; empty where nobody has one open."""


@asynccontextmanager
async def open_governor(base_url: str, api_key: str | None, ceiling: int, park: float = 0.0) -> AsyncIterator[Governor]:
    """The governor of an endpoint and key, shared by all who have it open at once in this event loop.

    `ceiling` is the most calls in flight; `park` the seconds between two tries after a fault that will not pass by
    itself (0: such a fault ends all calls). Those of the first who opens it hold.
    """
    shared = _OPEN.get(None)
    if shared is None:
        shared = {}
        _OPEN.set(shared)
    # The key itself is kept nowhere.
    name = (base_url.rstrip("/"), hashlib.sha256((api_key or "").encode()).hexdigest())
    entry = shared.setdefault(name, _Shared(Governor(ceiling, park)))
    entry.users += 1
    try:
        yield entry.governor
    finally:
        entry.users -= 1
        if entry.users == 0:
            del shared[name]
