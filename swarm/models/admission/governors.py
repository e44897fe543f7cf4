"""The governors of this process: one for each endpoint and key, whoever opens it, in whatever thread and event loop.

Nothing is shared between processes: each has its own ceiling, and learns the rate by itself.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from swarm.models.admission.governor import Governor


@dataclass(slots=True)
class _Shared:
    governor: Governor
    park: float
    ceilings: list[int] = field(default_factory=list)
    """Of those who have it open."""


_OPEN: dict[tuple[str, str], _Shared] = {}
"""Of this process; empty where nobody has one open."""

_LOCK = threading.Lock()


def open_governors() -> tuple[Governor, ...]:
    """Those that are open now."""
    with _LOCK:
        return tuple(entry.governor for entry in _OPEN.values())


@asynccontextmanager
async def open_governor(base_url: str, api_key: str | None, ceiling: int, park: float = 0.0) -> AsyncIterator[Governor]:
    """The governor of an endpoint and key, shared by all who have it open at once.

    `ceiling` is the most calls in flight; `park` the seconds between two tries after a fault that will not pass by
    itself (0: such a fault ends all calls). Of several who have it open the lowest ceiling holds, and the `park` of the
    first; where it is not that of another, both are told.
    """
    # The key itself is kept nowhere.
    name = (base_url.rstrip("/"), hashlib.sha256((api_key or "").encode()).hexdigest())
    with _LOCK:
        entry = _OPEN.setdefault(name, _Shared(Governor(ceiling, park), park))
        entry.ceilings.append(ceiling)
        entry.governor.limit(min(entry.ceilings))
    if park != entry.park:
        text = f"another run has {base_url} open with park {entry.park:g} s, which holds; {park:g} s does not"
        entry.governor.tell_all(text)
    try:
        yield entry.governor
    finally:
        with _LOCK:
            entry.ceilings.remove(ceiling)
            if entry.ceilings:
                entry.governor.limit(min(entry.ceilings))
            else:
                del _OPEN[name]
