"""The governors of an event loop: one for each endpoint and key, whoever opens it.

Nothing is shared between event loops, be they of one process in several threads or of several processes: each then has
its own ceiling, and learns the rate by itself. Runs that are to share an endpoint belong in one event loop.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from anyio.lowlevel import RunVar

from swarm.models.governor import Governor


@dataclass(slots=True)
class _Shared:
    governor: Governor
    park: float
    ceilings: list[int] = field(default_factory=list)
    """Of those who have it open."""


_OPEN: RunVar[dict[tuple[str, str], _Shared]] = RunVar("swarm_governors")
"""Of the running event loop; empty where nobody has one open."""


@asynccontextmanager
async def open_governor(base_url: str, api_key: str | None, ceiling: int, park: float = 0.0) -> AsyncIterator[Governor]:
    """The governor of an endpoint and key, shared by all who have it open at once in this event loop.

    `ceiling` is the most calls in flight; `park` the seconds between two tries after a fault that will not pass by
    itself (0: such a fault ends all calls). Of several who have it open the lowest ceiling holds, and the `park` of the
    first; where it is not that of another, both are told.
    """
    shared = _OPEN.get(None)
    if shared is None:
        shared = {}
        _OPEN.set(shared)
    # The key itself is kept nowhere.
    name = (base_url.rstrip("/"), hashlib.sha256((api_key or "").encode()).hexdigest())
    entry = shared.setdefault(name, _Shared(Governor(ceiling, park), park))
    entry.ceilings.append(ceiling)
    entry.governor.limit(min(entry.ceilings))
    if park != entry.park:
        text = f"another run has {base_url} open with park {entry.park:g} s, which holds; {park:g} s does not"
        entry.governor.tell_all(text)
    try:
        yield entry.governor
    finally:
        entry.ceilings.remove(ceiling)
        if entry.ceilings:
            entry.governor.limit(min(entry.ceilings))
        else:
            del shared[name]
