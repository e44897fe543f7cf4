"""Replicas as the router knows them: what they can be asked, what is known of each, and which a prefix is drawn to."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import nlargest
from typing import NamedTuple, Protocol

import anyio

from swarm.calls import Ask
from swarm.errors import EndpointError, EndpointFault
from swarm.models.breaker import Breaker, BreakerState
from swarm.models.speed import Speed
from swarm.protocols import ModelService

NEAR = 8
"""Replicas that a prefix is drawn to."""

FOR_GOOD = frozenset(
    {
        EndpointFault.WRONG_KEY,
        EndpointFault.QUOTA_EXHAUSTED,
        EndpointFault.UNKNOWN_MODEL,
        EndpointFault.UNTRUSTED,
    }
)
"""Faults of a replica that do not pass by themselves."""

_PREFIXES = 1024


class Replica(ModelService, Protocol):
    """A service at one endpoint."""

    def estimated_wait(self, ask: Ask) -> float:
        """Seconds that such a call would about wait for its admission; infinite where none is admitted."""
        ...


class ReplicaStatistics(NamedTuple):
    """One replica. `calls` are those that wait or are in flight there, `fault` why it is left out, or ""."""

    endpoint: str
    state: BreakerState
    calls: int
    answered: int
    failed: int
    fault: str


@dataclass(slots=True, eq=False)
class Place:
    """A replica and what is known of it."""

    service: Replica
    speed: Speed
    breaker: Breaker = field(default_factory=Breaker)
    fault: EndpointError | None = None
    calls: int = 0
    answered: int = 0
    failed: int = 0
    waiting: set[anyio.CancelScope] = field(default_factory=set)

    def load(self, now: float) -> float:
        """What it has to do with one call more, in calls of a replica that is as fast as the others."""
        return (self.calls + 1) * self.speed.times(now)

    @property
    def lost(self) -> bool:
        """Left out for what does not pass by itself."""
        return self.fault is not None and self.fault.kind in FOR_GOOD


class Near:
    """The replicas that a prefix is drawn to, the nearest first: worked out once for each."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = places
        self._of: OrderedDict[str, list[Place]] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Near: {len(self._of)} prefixes>"

    def to(self, prefix: str) -> list[Place]:
        near = self._of.get(prefix)
        if near is None:
            near = nlargest(NEAR, self._places, key=lambda place: weight(place.service.endpoint, prefix))
            self._of[prefix] = near
            if len(self._of) > _PREFIXES:
                self._of.popitem(last=False)
        else:
            self._of.move_to_end(prefix)
        return near


def weight(endpoint: str, prefix: str) -> int:
    """How strongly a prefix is drawn to an endpoint: rendezvous hashing, the highest wins."""
    return int.from_bytes(hashlib.blake2b(f"{endpoint}\n{prefix}".encode(), digest_size=8).digest())
