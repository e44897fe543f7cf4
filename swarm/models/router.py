"""One model at several endpoints: which of them a call goes to, and what happens when one of them fails.

Calls with the same prefix go to the same few replicas, the first of an order that hashing gives (rendezvous: when a
replica joins or leaves, no other changes its prefixes), as long as they have not much more to do than the others, and
then to the least busy of some; a conversation stays where its last answer came from, for its own prefix is there. What
a choice costs does not grow with the number of replicas.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from math import ceil, inf, isinf

import anyio

from swarm.calls import Ask, ModelReply, ModelRequest
from swarm.errors import EndpointError, EndpointFault
from swarm.models.admission.bulletin import Bulletin, Tell
from swarm.models.breaker import BreakerState
from swarm.models.capture import gives_tokens
from swarm.models.replicas import FOR_GOOD, Near, Place, Replica, ReplicaStatistics, weight
from swarm.models.speed import Speed, Speeds
from swarm.protocols import Model

LOOK = 32
"""Replicas of which the least busy takes a call that has no home, and no room near its prefix: others each time."""

SPILL_HOME = 1.5
"""A replica near a prefix takes calls until it has its share of all; then others do, and have the prefix soon, too. The
home of a conversation keeps it until it has so many times its share, and `FEW` calls more than that."""

FEW = 8

SPILL_S = 1.0
"""Seconds that a call may have to wait longer at its replica than elsewhere."""

SPILL_HOME_S = 15.0
READ_PER_S = 500.0
"""The same for one that is at home there, at most; else as long as its prompt is read anew elsewhere, so many tokens a
second: a busy replica reads ten times as many, but all whom it answers meanwhile wait longer for each token."""

RECONSIDER_S = (2.0, 16.0)
"""Seconds after which a call that waits for its admission looks again where it would go: at first, and at most. In
between it is when it should have been admitted, and they double at least, or thousands that wait would do nothing
else. No later: nobody tells those that wait at one replica that another has nothing to do any more."""

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
_OF_THE_REPLICA = FOR_GOOD | _AWAY | _ILL
"""Others are of one call alone: a replica that refused it so is not asked again, however well it is."""

_PAUSE_FOR_GOOD_S = 10.0
_HOMES = 200_000
_NAMED = 8


@dataclass(slots=True)
class _Session:
    """Where a conversation was answered last, or where its last call failed."""

    home: Place | None = None
    avoid: Place | None = None


_NOWHERE = _Session()


class RoutedModel:
    """`swarm.protocols.ModelService` over several replicas."""

    def __init__(self, replicas: Sequence[Replica], clock: Callable[[], float] = time.monotonic) -> None:
        self.name = replicas[0].name
        self.endpoint = ", ".join(each.endpoint for each in replicas)
        self._clock = clock
        speeds = Speeds()
        self._places = [Place(each, Speed(speeds)) for each in replicas]
        self._ill: dict[Place, None] = {}  # those with a fault
        self._calls = 0  # of all
        self._looked = 0
        self._near = Near(self._places)
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
        refused: dict[Place, EndpointError] = {}
        again = RECONSIDER_S[0]
        with self._bulletin.reading(ask.tell):
            while True:
                place = self._choose(ask, refused)
                again = min(RECONSIDER_S[1], max(again, place.service.estimated_wait(ask)))
                async with AsyncExitStack() as stack:
                    stack.enter_context(self._counted(place))
                    model = await self._enter(stack, place, ask, refused, again)
                    if model is not None:
                        yield model
                        return
                again *= 2

    @contextmanager
    def _counted(self, place: Place) -> Iterator[None]:
        place.calls += 1
        self._calls += 1
        try:
            yield
        finally:
            place.calls -= 1
            self._calls -= 1

    async def _enter(
        self, stack: AsyncExitStack, place: Place, ask: Ask, refused: dict[Place, EndpointError], again: float
    ) -> Model | None:
        """Be admitted at a replica; None where it is time to look for another one."""
        now = self._clock()
        if place.breaker.sent(now):
            stack.callback(place.breaker.untried)
        told = replace(ask, tell=_Aside(self, place, ask.tell)) if ask.tell is not None else ask
        with anyio.CancelScope(deadline=anyio.current_time() + again) as scope:
            place.waiting.add(scope)
            try:
                admission = place.service.admit(told)
                return _Watched(await stack.enter_async_context(admission), self, place, ask)
            except EndpointError as error:
                refused[place] = error
                self.failed(place, ask, error, now)
            finally:
                place.waiting.discard(scope)
        return None

    # choosing

    def _choose(self, ask: Ask, refused: Mapping[Place, EndpointError]) -> Place:
        """Where a call goes.

        Raises:
            EndpointError: every replica refused it.
        """
        now = self._clock()
        near = self._near.to(ask.prefix)
        out = {place for place, error in refused.items() if error.kind not in _OF_THE_REPLICA}
        if self._ill:
            due = [place for place in self._ill if place not in out and place.breaker.allows(now)]
            for place in sorted(due, key=lambda place: weight(place.service.endpoint, ask.prefix), reverse=True):
                if place.service.estimated_wait(ask) <= RECONSIDER_S[0]:
                    return place  # left out until now: this call tries it
        well = len(self._places) - len(self._ill)
        left = well - sum(place.fault is None for place in out)
        if not left:
            return self._last_hope(near, ask, refused)
        session = self._sessions.get(_key(ask), _NOWHERE)
        home, avoid = session.home, session.avoid
        if left == 1 or (avoid is not None and avoid.fault is not None):
            avoid = None
        calls = self._calls - sum(place.calls for place in self._ill)
        mean = (calls + 1) / well
        if home is not None and (home.fault is not None or home.calls > max(SPILL_HOME * mean, mean + FEW)):
            home = None
        if home in out:
            home = None
        if home is not None and home.service.estimated_wait(ask) + home.speed.lag(now) <= _worth(ask):
            return home
        share = ceil(mean)
        if avoid is not None:
            out.add(avoid)
        for place in near:
            room = place.fault is None and place not in out and place.load(now) <= share
            if room and place.service.estimated_wait(ask) <= SPILL_S:
                return place
        return self._least_busy(ask, home, out, now)

    def _least_busy(self, ask: Ask, home: Place | None, out: set[Place], now: float) -> Place:
        """Of some that are well: the one with the least to do where a call need not wait long, else the one where it
        need not wait as long as at the others; its home, where that is not much longer."""
        loads = {place: place.load(now) for place in self._some() if place.fault is None and place not in out}
        waits: dict[Place, float] = {}
        for place in sorted(loads, key=loads.__getitem__):
            waits[place] = place.service.estimated_wait(ask)
            if waits[place] <= SPILL_S and home is None:
                return place
        best = min(waits.values(), default=inf)
        if home is not None:
            wait = home.service.estimated_wait(ask) + home.speed.lag(now)
            if wait <= best + _worth(ask) or isinf(best):
                return home
        if not waits:  # those that were looked at are ill, or left out
            well = [place for place in self._places if place.fault is None and place not in out]
            return min(well, key=lambda place: place.load(now))
        return min(waits, key=lambda place: (waits[place] > best + SPILL_S, loads[place], waits[place]))

    def _some(self) -> list[Place]:
        """Others each time, or all where they are few."""
        count = len(self._places)
        if count <= LOOK:
            begin = self._looked = (self._looked + 1) % count
            return self._places[begin:] + self._places[:begin]
        begin, self._looked = self._looked, (self._looked + LOOK) % count
        return (self._places[begin:] + self._places[: max(0, begin + LOOK - count)])[:LOOK]

    def _last_hope(self, near: Sequence[Place], ask: Ask, refused: Mapping[Place, EndpointError]) -> Place:
        """None is well: the call waits where it may pass, or where somebody may mend it."""
        left = [place for place in (*near, *self._some()) if place not in refused]
        left = left or [place for place in self._places if place not in refused]
        if not left:
            faults = [place.fault or refused[place] for place in self._places]
            first = next((fault for fault in faults if fault.kind in FOR_GOOD), faults[0])
            texts = "; ".join(list(dict.fromkeys(fault.message for fault in faults))[:_NAMED])
            raise EndpointError(first.kind, f"no replica is left: {texts}", remedy=first.remedy, status=first.status)
        return min(left, key=lambda place: (place.lost, place.service.estimated_wait(ask)))

    # learning

    def succeeded(self, place: Place, ask: Ask, reply: ModelReply) -> None:
        place.answered += 1
        place.speed.answered(reply.t_done - reply.t_sent, reply.usage.completion_tokens, self._clock())
        self._remember(ask, _Session(home=place))
        if place.breaker.succeeded():
            place.fault = None
            self._ill.pop(place, None)
            self._bulletin.post(place.service.endpoint, f"{place.service.endpoint} is back", stands=False)

    def failed(self, place: Place, ask: Ask, error: EndpointError, sent_at: float) -> None:
        """A call failed at a replica, or was refused there. Says in the error whether it is worth to try elsewhere."""
        kind = error.kind
        place.failed += 1
        if kind not in _OF_THE_REPLICA:
            return
        self._remember(ask, _Session(avoid=place))
        surely = kind not in _ILL
        pause = _PAUSE_FOR_GOOD_S if kind in FOR_GOOD else 0.0
        opened = place.breaker.failed(self._clock(), sent_at, surely=surely, at_least=pause)
        if place.breaker.state(self._clock()) is not BreakerState.CLOSED:
            place.fault = error
            self._ill[place] = None
        if kind in FOR_GOOD:
            error.elsewhere = sum(each.lost for each in self._ill) - place.lost < len(self._places) - 1
        elif kind in _AWAY:
            error.elsewhere = self.others_work(place)
        if opened:
            well = [each.service.endpoint for each in self._places if each.fault is None]
            left = ", ".join(well[:_NAMED]) or "no other is left"
            left += f" and {len(well) - _NAMED} more" if len(well) > _NAMED else ""
            text = f"{place.service.endpoint} is left out ({error.message}); calls go to: {left}"
            self._bulletin.post(place.service.endpoint, text, stands=True)
            for scope in list(place.waiting):
                scope.cancel()

    def others_work(self, place: Place) -> bool:
        return len(self._places) - len(self._ill) > (place.fault is None)

    def _remember(self, ask: Ask, session: _Session) -> None:
        self._sessions[_key(ask)] = session
        self._sessions.move_to_end(_key(ask))
        if len(self._sessions) > _HOMES:
            self._sessions.popitem(last=False)


def _worth(ask: Ask) -> float:
    """Seconds that a call may wait to be answered at home."""
    return min(SPILL_HOME_S, SPILL_S + ask.tokens / READ_PER_S)


def _key(ask: Ask) -> tuple[int, str]:
    """Names a conversation; of two runs with the same names the tellers differ."""
    return hash(ask.tell), ask.trajectory_id


@dataclass(frozen=True, slots=True)
class _Aside:
    """A replica's own words: of use to a run only where its calls have no other way."""

    router: RoutedModel
    place: Place
    tell: Tell

    def __call__(self, text: str) -> None:
        if not self.router.others_work(self.place):
            self.tell(text)


class _Watched:
    """The model for one call at one replica."""

    def __init__(self, model: Model, router: RoutedModel, place: Place, ask: Ask) -> None:
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
        self._router.succeeded(self._place, self._ask, reply)
        return reply
