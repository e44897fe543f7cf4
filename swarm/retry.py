"""What to do about a failed call, and about a failed attempt: decisions without side effects."""

from __future__ import annotations

import random
from dataclasses import dataclass

from swarm.errors import EndpointError, EndpointFault

FATAL = frozenset(
    {
        EndpointFault.UNREACHABLE,
        EndpointFault.QUOTA_EXHAUSTED,
        EndpointFault.WRONG_KEY,
        EndpointFault.UNKNOWN_MODEL,
    }
)
"""Faults that will meet every further call as well: the run ends, with the reason."""

PATIENCE = 300.0
"""Seconds that a server may ask us to wait; one that asks for more is given up."""

_TRIES = {
    EndpointFault.RATE_LIMITED: 12,
    EndpointFault.OVERLOADED: 8,
    EndpointFault.UNREACHABLE: 4,
    EndpointFault.TIMED_OUT: 3,
    EndpointFault.CUT: 4,
    EndpointFault.MALFORMED: 3,
}


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter, in seconds; what the server asks for comes first."""

    base: float = 0.5
    ceiling: float = 60.0

    def decide(self, error: EndpointError, attempt: int, rng: random.Random) -> float | None:
        """Seconds until the next try after the `attempt`-th failure (1-based) of one call; None: give up."""
        if attempt >= _TRIES.get(error.kind, 1):
            return None
        backoff = min(self.ceiling, self.base * 2.0 ** (attempt - 1))
        if error.retry_after is not None and error.retry_after > PATIENCE:
            return None
        if error.retry_after is not None:
            return error.retry_after + rng.uniform(0, self.base)
        return rng.uniform(backoff / 2, backoff)
