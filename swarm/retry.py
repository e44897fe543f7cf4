"""What to do about a failed call, and about a failed attempt: decisions without side effects."""

from __future__ import annotations

import random

from swarm.errors import EndpointError, EndpointFault
from swarm.values import value

FATAL = frozenset(
    {
        EndpointFault.UNREACHABLE,
        EndpointFault.CONNECT_TIMED_OUT,
        EndpointFault.UNTRUSTED,
        EndpointFault.QUOTA_EXHAUSTED,
        EndpointFault.WRONG_KEY,
        EndpointFault.UNKNOWN_MODEL,
        EndpointFault.NOT_RECORDED,
    }
)
"""Faults that will meet every further call as well: the run ends, with the reason."""

PATIENCE = 300.0
"""Seconds that an overloaded server may ask us to wait; one that asks for more is given up."""

PARKED = frozenset({EndpointFault.QUOTA_EXHAUSTED, EndpointFault.WRONG_KEY})
"""Faults that somebody may mend while the run waits, where it is told to."""

OUTAGE = frozenset({EndpointFault.UNREACHABLE, EndpointFault.CONNECT_TIMED_OUT})
"""Faults after which one call at a time tries whether the endpoint is there again: see `models.admission.halts`."""

_TRIES = {
    EndpointFault.OVERLOADED: 8,
    EndpointFault.NO_FIRST_TOKEN: 3,
    EndpointFault.STALLED: 4,
    EndpointFault.TIMED_OUT: 3,
    EndpointFault.CUT: 4,
    EndpointFault.MALFORMED: 3,
}


@value(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with jitter, in seconds; what the server asks for comes first.

    A rate limit is no failed try, nor is an outage: the call goes back to admission, which knows when the next may be
    sent and gives up an endpoint that answers nobody. With `park`, so does a call that met a fault that somebody may
    mend; and one that another replica may answer.
    """

    base: float = 0.5
    ceiling: float = 60.0
    park: bool = False

    def counts(self, error: EndpointError) -> bool:
        """Whether such a failure is a try."""
        if error.kind is EndpointFault.RATE_LIMITED or error.elsewhere:
            return False
        if error.kind in OUTAGE and error.status is None:  # with a status somebody answers: it sends us elsewhere
            return False
        return not (self.park and error.kind in PARKED)

    def decide(self, error: EndpointError, tries: int, rng: random.Random) -> float | None:
        """Seconds until a call is made again after its `tries`-th failed try (1-based); None: give up."""
        if not self.counts(error):
            return rng.uniform(0, self.base / 10)
        if tries >= _TRIES.get(error.kind, 1):
            return None
        backoff = min(self.ceiling, self.base * 2.0 ** (tries - 1))
        if error.retry_after is not None and error.retry_after > PATIENCE:
            return None
        if error.retry_after is not None:
            return error.retry_after + rng.uniform(0, self.base)
        return rng.uniform(backoff / 2, backoff)


_MAY_BE_BILLED = frozenset(
    {
        EndpointFault.CUT,
        EndpointFault.NO_FIRST_TOKEN,
        EndpointFault.STALLED,
        EndpointFault.TIMED_OUT,
        EndpointFault.MALFORMED,
    }
)


def may_be_billed(error: EndpointError) -> bool:
    """Whether a call that failed may be paid for. Not where its status says that the request was turned away."""
    return error.kind in _MAY_BE_BILLED and not (error.status is not None and 300 <= error.status < 500)
