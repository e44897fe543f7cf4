"""What the real routing and admission are compared with: what people write when they have neither.

Routing: each call to the next replica (`round robin`), to any (`random`), to the less busy of two (`two choices`), or
to the least busy of all (`least busy`), all without any memory of prefixes; one that cannot be reached is left out for
10 seconds, as nginx does (`max_fails=1 fail_timeout=10s`), or the least busy of all is a dead one. Admission: `fixed N`
calls at once to each replica, and none at all (`unbounded`). `swarm` is ours: `RoutedModel`, and a `Governor` for each
replica.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random

import anyio

from swarm.calls import Ask, ModelReply, ModelRequest
from swarm.errors import EndpointError, EndpointFault
from swarm.models.admission.governor import Governor
from swarm.models.capture import gives_tokens
from swarm.models.replicas import Replica
from swarm.models.router import RoutedModel
from swarm.models.service import GovernedModel
from swarm.models.warmth import WarmedModel
from swarm.protocols import Model, ModelService
from swarm.retry import RetryPolicy

ROUTING = ("swarm", "round robin", "random", "two choices", "least busy")
LEFT_OUT_S = 10.0
_LONGEST_S = 8.0
_UNBOUNDED = 1_000_000


@dataclass(frozen=True, slots=True)
class Policy:
    """`routing` is one of `ROUTING`; `admission` is "swarm", "unbounded" or "fixed N". `warm`: siblings wait for the
    first of them, as with swarm's option `warm_prefix`."""

    routing: str = "swarm"
    admission: str = "swarm"
    warm: bool = True
    ceiling: int = 256

    def __str__(self) -> str:
        both = self.routing if self.routing == self.admission else f"{self.routing} + {self.admission}"
        return both if self.warm or self.admission != "swarm" else f"{both}, not warmed"


class FixedModel:
    """`swarm.models.router.Replica` that lets so many calls in at once, first come, first served."""

    def __init__(self, model: Model, count: int) -> None:
        self.name = model.name
        self.endpoint = model.endpoint
        self._model = model
        self._count = count
        self._free = anyio.Semaphore(count, fast_acquire=True)
        self._asked = 0
        self._answer_s = 1.0

    def estimated_wait(self, ask: Ask) -> float:
        """Seconds that such a call would about wait."""
        return max(0.0, (self._asked + 1 - self._count) / self._count) * self._answer_s

    async def gives_tokens(self) -> bool:
        """See `swarm.models.capture.TokenGiver`."""
        return await gives_tokens((self._model,))

    @asynccontextmanager
    async def admit(self, ask: Ask) -> AsyncIterator[Model]:
        """See `swarm.protocols.ModelService.admit`."""
        self._asked += 1
        try:
            async with self._free:
                yield self
        finally:
            self._asked -= 1

    async def complete(self, request: ModelRequest) -> ModelReply:
        """See `swarm.protocols.Model.complete`."""
        reply = await self._model.complete(request)
        self._answer_s += 0.1 * (reply.t_done - reply.t_sent - self._answer_s)
        return reply


class SpreadModel:
    """`swarm.protocols.ModelService` over replicas of which one is chosen without a memory; `calls` counts those that
    wait or are in flight at each."""

    def __init__(self, replicas: Sequence[Replica], routing: str, rng: Random) -> None:
        self.name = replicas[0].name
        self.endpoint = "all"
        self.calls = [0] * len(replicas)
        self._back_at = [0.0] * len(replicas)
        self._left_out = False
        self._replicas = replicas
        self._next = 0
        choose: dict[str, Callable[[Sequence[int]], int]] = {
            "round robin": self._turn,
            "random": rng.choice,
            "two choices": lambda some: min((rng.choice(some) for _ in range(2)), key=self.calls.__getitem__),
            "least busy": lambda some: min(some, key=self.calls.__getitem__),
        }
        self._choose = choose[routing]

    @asynccontextmanager
    async def admit(self, ask: Ask) -> AsyncIterator[Model]:
        """See `swarm.protocols.ModelService.admit`."""
        some: Sequence[int] = range(len(self._replicas))
        if self._left_out:
            now = anyio.current_time()
            some = [number for number in some if self._back_at[number] <= now] or some
            self._left_out = len(some) < len(self._replicas)
        number = self._choose(some)
        self.calls[number] += 1
        try:
            async with self._replicas[number].admit(ask) as model:
                yield model
        except EndpointError as error:
            if error.kind is EndpointFault.UNREACHABLE:
                self._back_at[number] = anyio.current_time() + LEFT_OUT_S
                self._left_out = True
            raise
        finally:
            self.calls[number] -= 1

    def _turn(self, some: Sequence[int]) -> int:
        self._next += 1
        return some[self._next % len(some)]


@dataclass(frozen=True, slots=True)
class Backoff:
    """How callers without admission try again: as the usual clients do, by the endpoint's word or ever longer; but as
    often as it takes, so that they are compared by time and not by who gives up."""

    real: RetryPolicy

    def counts(self, error: EndpointError) -> bool:
        return True

    def decide(self, error: EndpointError, tries: int, rng: Random) -> float | None:
        """See `RetryPolicy.decide`."""
        patient = error.kind in (EndpointFault.RATE_LIMITED, EndpointFault.UNREACHABLE, EndpointFault.OVERLOADED)
        if not patient:
            return self.real.decide(error, tries, rng)
        if error.retry_after is not None:
            return error.retry_after
        return min(_LONGEST_S, 0.5 * 2.0 ** min(10, tries - 1)) * rng.uniform(0.75, 1.0)


@dataclass(frozen=True, slots=True)
class Client:
    """A policy at work: what agents call, how they try again, and the governors in it."""

    service: ModelService
    retry: RetryPolicy | Backoff
    governors: Sequence[Governor]


def client(policy: Policy, models: Sequence[Model], clock: Callable[[], float], rng: Random) -> Client:
    """Put a policy before replicas."""
    governors: list[Governor] = []
    replicas: list[Replica] = []
    kind, _, number = policy.admission.partition(" ")
    for model in models:
        if kind == "swarm":
            governors.append(Governor(policy.ceiling, clock=clock))
            governed = GovernedModel(model, governors[-1])
            replicas.append(WarmedModel(governed, clock) if policy.warm else governed)
        else:
            replicas.append(FixedModel(model, int(number) if kind == "fixed" else _UNBOUNDED))
    real = RetryPolicy()
    retry = real if kind == "swarm" else Backoff(real)
    if policy.routing == "swarm":
        service: ModelService = RoutedModel(replicas, clock) if len(replicas) > 1 else replicas[0]
    else:
        service = SpreadModel(replicas, policy.routing, rng)
    return Client(service, retry, governors)
