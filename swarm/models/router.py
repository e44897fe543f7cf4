"""One model at several endpoints: which of them a call goes to, and what happens when one of them fails.

Calls with the same prefix go to the same replicas, the first of an order that hashing gives (rendezvous: when a replica
joins or leaves, no other changes its prefixes), as long as it has not much more to do than the others; a conversation
stays where its last answer came from, for its own prefix is there.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from math import ceil, isinf
from typing import NamedTuple, Protocol

import anyio

from swarm.calls import Ask, ModelReply, ModelRequest
from swarm.errors import EndpointError, EndpointFault
from swarm.models.admission.bulletin import Bulletin, Tell
from swarm.models.breaker import Breaker, BreakerState
from swarm.models.capture import gives_tokens
from swarm.protocols import Model, ModelService

SPILL = 1.25
"""A replica has at most so many times its share of the calls, before those that have no home there go elsewhere."""

SPILL_S = 1.0
"""Seconds that a call may have to wait longer at its replica than elsewhere; for one that is at home there ..."""

SPILL_HOME_S = 15.0

RECONSIDER_S = 2.0
"""Seconds after which a call that waits for its admission looks again where it would go."""

_FOR_GOOD = frozenset(
    {
        EndpointFault.WRONG_KEY,
        EndpointFault.QUOTA_EXHAUSTED,
        EndpointFault.UNKNOWN_MODEL,
        EndpointFault.UNTRUSTED,
    }
)
"""Faults of a replica that do not pass by themselves."""

_AWAY = frozenset({EndpointFault.UNREACHABLE, EndpointFault.CONNECT_TIMED_OUT})
_ILL = frozenset(
    {
        EndpointFault.OVERLOADED,
        EndpointFault.NO_FIRST_TOKEN,
        EndpointFault.STALLED,
        EndpointFault.TIMED_OUT,
        EndpointFault.CUT,
        EndpointFault.MALFORMED,
    }
)
_PAUSE_FOR_GOOD_S = 10.0
_HOMES = 20_000


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
class _Place:
    """A replica and what is known of it."""

    service: Replica
    breaker: Breaker = field(default_factory=Breaker)
    fault: EndpointError | None = None
    calls: int = 0
    answered: int = 0
    failed: int = 0
    waiting: set[anyio.CancelScope] = field(default_factory=set)

    @property
    def lost(self) -> bool:
        """Left out for what does not pass by itself."""
        return self.fault is not None and self.fault.kind in _FOR_GOOD

    @contextmanager
    def counted(self) -> Iterator[None]:
        self.calls += 1
        try:
            yield
        finally:
            self.calls -= 1


@dataclass(slots=True)
class _Session:
    """Where a conversation was answered last, or where its last call failed."""

    home: _Place | None = None
    avoid: _Place | None = None


class RoutedModel:
    """`swarm.protocols.ModelService` over several replicas."""

    def __init__(self, replicas: Sequence[Replica], clock: Callable[[], float] = time.monotonic) -> None:
        self.name = replicas[0].name
        self.endpoint = ", ".join(each.endpoint for each in replicas)
        self._clock = clock
        self._places = [_Place(each) for each in replicas]
        self._sessions: OrderedDict[tuple[int, str], _Session] = OrderedDict()
        self._bulletin = Bulletin()

    def __repr__(self) -> str:
        states = ", ".join(f"{each.endpoint} {each.state} {each.calls}" for each in self.statistics())
        return f"<RoutedModel {self.name}: {states}>"

    def statistics(self) -> tuple[ReplicaStatistics, ...]:
        now = self._clock()
        return tuple(
            ReplicaStatistics(
                endpoint=place.service.endpoint,
                state=place.breaker.state(now),
                calls=place.calls,
                answered=place.answered,
                failed=place.failed,
                fault=place.fault.message if place.fault else "",
            )
            for place in self._places
        )

    async def gives_tokens(self) -> bool:
        """See `swarm.models.capture.TokenGiver`: all replicas do, of those that can be asked."""
        told, failure = list[bool](), None
        for place in self._places:
            try:
                told.append(await gives_tokens((place.service,)))
            except EndpointError as error:
                failure = error
        if failure is not None and not told:
            raise failure
        return all(told)

    @asynccontextmanager
    async def admit(self, ask: Ask) -> AsyncIterator[Model]:
        """See `swarm.protocols.ModelService.admit`. A call is refused only when every replica refused it."""
        refused: dict[_Place, EndpointError] = {}
        with self._bulletin.reading(ask.tell):
            while True:
                place = self._choose(ask, refused)
                async with AsyncExitStack() as stack:
                    stack.enter_context(place.counted())
                    model = await self._enter(stack, place, ask, refused)
                    if model is not None:
                        yield model
                        return

    async def _enter(
        self, stack: AsyncExitStack, place: _Place, ask: Ask, refused: dict[_Place, EndpointError]
    ) -> Model | None:
        """Be admitted at a replica; None where it is time to look for another one."""
        now = self._clock()
        if place.breaker.sent(now):
            stack.callback(place.breaker.untried)
        tell = _Aside(self, place, ask.tell) if ask.tell is not None else None
        with anyio.CancelScope(deadline=anyio.current_time() + RECONSIDER_S) as scope:
            place.waiting.add(scope)
            try:
                admission = place.service.admit(replace(ask, tell=tell))
                return _Watched(await stack.enter_async_context(admission), self, place, ask)
            except EndpointError as error:
                refused[place] = error
                self.failed(place, ask, error, now)
            finally:
                place.waiting.discard(scope)
        return None

    # choosing

    def _choose(self, ask: Ask, refused: Collection[_Place]) -> _Place:
        """Where a call goes.

        Raises:
            EndpointError: every replica refused it.
        """
        now = self._clock()
        order = sorted(self._places, key=lambda place: weight(place.service.endpoint, ask.prefix), reverse=True)
        usable = [place for place in order if place.breaker.allows(now)]
        if not usable:
            return self._last_hope(order, ask, refused)
        for place in usable:
            if place.fault is not None and place.service.estimated_wait(ask) <= RECONSIDER_S:
                return place  # left out until now: this call tries it
        usable = [place for place in usable if place.fault is None]
        if not usable:
            return self._last_hope(order, ask, refused)
        session = self._sessions.get(_key(ask), _Session())
        usable = [place for place in usable if place is not session.avoid] or usable
        waits = {place: place.service.estimated_wait(ask) for place in usable}
        best = min(waits.values())
        if session.home in waits and (waits[session.home] <= best + SPILL_HOME_S or isinf(best)):
            return session.home
        share = ceil(SPILL * (sum(place.calls for place in usable) + 1) / len(usable))
        for place in usable:
            if place.calls < share and waits[place] <= best + SPILL_S:
                return place
        return min(usable, key=lambda place: (waits[place], place.calls))

    def _last_hope(self, order: Sequence[_Place], ask: Ask, refused: Collection[_Place]) -> _Place:
        """None is well: the call waits where it may pass, or where somebody may mend it."""
        left = [place for place in order if place not in refused]
        if not left:
            faults = [place.fault for place in order if place.fault is not None]
            first = next((fault for fault in faults if fault.kind in _FOR_GOOD), faults[0])
            texts = "; ".join(dict.fromkeys(fault.message for fault in faults))
            raise EndpointError(first.kind, f"no replica is left: {texts}", remedy=first.remedy, status=first.status)
        return min(left, key=lambda place: (place.lost, place.service.estimated_wait(ask)))

    # learning

    def succeeded(self, place: _Place, ask: Ask) -> None:
        place.answered += 1
        self._remember(ask, _Session(home=place))
        if place.breaker.succeeded():
            place.fault = None
            self._bulletin.post(place.service.endpoint, f"{place.service.endpoint} is back", stands=False)

    def failed(self, place: _Place, ask: Ask, error: EndpointError, sent_at: float) -> None:
        """A call failed at a replica, or was refused there. Says in the error whether it is worth to try elsewhere."""
        kind = error.kind
        place.failed += 1
        if kind not in _FOR_GOOD | _AWAY | _ILL:
            return
        self._remember(ask, _Session(avoid=place))
        surely = kind not in _ILL
        pause = _PAUSE_FOR_GOOD_S if kind in _FOR_GOOD else 0.0
        opened = place.breaker.failed(self._clock(), sent_at, surely=surely, at_least=pause)
        others = [each for each in self._places if each is not place]
        if place.breaker.state(self._clock()) is not BreakerState.CLOSED:
            place.fault = error
        if kind in _FOR_GOOD:
            error.elsewhere = any(not each.lost for each in others)
        elif kind in _AWAY:
            error.elsewhere = any(each.fault is None for each in others)
        if opened:
            left = ", ".join(each.service.endpoint for each in others if each.fault is None) or "no other is left"
            text = f"{place.service.endpoint} is left out ({error.message}); calls go to: {left}"
            self._bulletin.post(place.service.endpoint, text, stands=True)
            for scope in list(place.waiting):
                scope.cancel()

    def others_work(self, place: _Place) -> bool:
        return any(each.fault is None for each in self._places if each is not place)

    def _remember(self, ask: Ask, session: _Session) -> None:
        self._sessions[_key(ask)] = session
        self._sessions.move_to_end(_key(ask))
        if len(self._sessions) > _HOMES:
            self._sessions.popitem(last=False)


def weight(endpoint: str, prefix: str) -> int:
    """How strongly a prefix is drawn to an endpoint: rendezvous hashing, the highest wins."""
    return int.from_bytes(hashlib.blake2b(f"{endpoint}\n{prefix}".encode(), digest_size=8).digest())


def _key(ask: Ask) -> tuple[int, str]:
    """Names a conversation; of two runs with the same names the tellers differ."""
    return hash(ask.tell), ask.trajectory_id


@dataclass(frozen=True, slots=True)
class _Aside:
    """A replica's own words: of use to a run only where its calls have no other way."""

    router: RoutedModel
    place: _Place
    tell: Tell

    def __call__(self, text: str) -> None:
        if not self.router.others_work(self.place):
            self.tell(text)


class _Watched:
    """The model for one call at one replica."""

    def __init__(self, model: Model, router: RoutedModel, place: _Place, ask: Ask) -> None:
        self.name = model.name
        self.endpoint = model.endpoint
        self._model = model
        self._router = router
        self._place = place
        self._ask = ask

    async def complete(self, request: ModelRequest) -> ModelReply:
        sent_at = self._router._clock()
        try:
            reply = await self._model.complete(request)
        except EndpointError as error:
            self._router.failed(self._place, self._ask, error, sent_at)
            raise
        self._router.succeeded(self._place, self._ask)
        return reply
