"""Admission to an endpoint in a process that has its places from an authority in another one.

As long as the authority says so, one call follows the other in a place, and nobody is asked. See
`swarm.models.admission.authority`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from itertools import count
from math import inf

import anyio

from swarm.calls import Ask, ModelReply
from swarm.errors import EndpointError, EndpointFault
from swarm.models.admission.halts import again
from swarm.models.admission.lease_messages import (
    Answered,
    Began,
    Call,
    Conditions,
    Ended,
    Failed,
    Fault,
    Given,
    News,
    Refused,
    Report,
    Returned,
    Ruling,
    Unwanted,
    Wanted,
)
from swarm.models.admission.place import Place
from swarm.models.admission.statistics import GovernorStatistics
from swarm.models.admission.waiting import Admission, Loop, Waiter, WaitingCalls
from swarm.models.announcements import Announcements

AHEAD = 64
"""Where one call follows the other in a place, so many places are wanted at once at most, whoever gets them."""

_MANY = 4096


@dataclass(slots=True, eq=False)
class _Admitted(Admission):
    """A call in a place."""

    place: int = 0
    answered: Answered | None = None


@dataclass(frozen=True, slots=True)
class _Wish:
    """A place that is wanted: for this waiter, if it is `named`; else for whoever is the next."""

    waiter: Waiter
    named: bool


class LeasedGovernor:
    """Admits calls as a `Governor` does, in places that are given by an authority. `send` takes messages for it, in
    order. Of one event loop."""

    def __init__(self, send: Callable[[Report], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._send = send
        self._clock = clock
        self._waiting = WaitingCalls()
        self._kept: list[int] = []  # places that no call has
        self._in_flight: set[_Admitted] = set()
        self._numbers = count(1)
        self._wanted: dict[int, _Wish] = {}
        self._asking: set[Waiter] = set()  # those that are named
        self._limited: dict[
            tuple[str, float], None
        ] = {}  # calls that met a limit of their rate, and did not pass since
        self._alone: dict[int, Waiter] = {}  # of these, those that wait: each for its own place, whatever holds
        self._conditions = Conditions(False, None, 0, 0.0)
        self._told_at = clock()
        self._failures = 0
        self._news = Announcements()
        self._fault: EndpointError | None = None
        self._answer_s = 1.0
        self._admitted = self._refused = 0

    def __repr__(self) -> str:
        s = self.statistics()
        return f"<LeasedGovernor {s.in_flight} of {s.window} places used, {s.waiting} waiting>"

    def statistics(self) -> GovernorStatistics:
        """See `Governor.statistics`; the window is of the places here."""
        flying, places = len(self._in_flight), len(self._in_flight) + len(self._kept)
        held, fault = self._held(), f"waiting: {self._fault.message}" if self._fault is not None else ""
        return GovernorStatistics(flying, places, self._count, held, None, fault, self._admitted, self._refused)

    def reached(self, seconds: float) -> None:
        """See `Governor.reached`. How many calls are let go is the authority's, which has connections of its own."""

    def tell_all(self, text: str) -> None:
        """Tell every run that has calls here."""
        self._news.announce(text, (*self._waiting, *self._alone.values(), *self._in_flight), self._clock(), again=True)

    def estimated_wait(self, ask: Ask) -> float:
        """See `Governor.estimated_wait`; as far as is known here."""
        if not self._free:
            return max(self._held(), 0.0)
        if self._kept and not len(self._waiting):
            return 0.0
        rounds = (len(self._waiting) + 1) / max(1, len(self._in_flight) + len(self._kept))
        return rounds * self._answer_s if self._in_flight else 0.0

    def admit(self, ask: Ask, model: str = "") -> AbstractAsyncContextManager[Admission]:
        """See `Governor.admit`."""
        return Place(self, ask, model)

    async def enter(self, ask: Ask, model: str) -> Admission:
        """See `swarm.models.admission.place.Places.enter`."""
        return self._at_once(ask, model) or await self._wait(ask, model)

    def _at_once(self, ask: Ask, model: str) -> Admission | None:
        """What `_wait` comes to at once for most calls: a place is kept, nobody waits, and nothing holds this one
        back."""
        if not self._kept or self._waiting.count or not self._free or self._too_many:
            return None
        if self._limited and (ask.trajectory_id, ask.since) in self._limited:
            return None
        now, place = self._clock(), self._kept.pop()
        admission = self._begin(ask, model, now, None, place)
        self._waiting.taken += 1
        self._news.tell(admission, now)
        self._send(Began(place, Call.of(ask, model, now), self._count))
        return admission

    async def _wait(self, ask: Ask, model: str) -> Admission:
        now = self._clock()
        waiter = Waiter(ask, model, now if ask.since is None else ask.since, entered=now)
        waiter.event = anyio.Event()
        self._enter(waiter)
        self._news.tell(waiter, now)
        self._go_on()
        try:
            if waiter.admission is None:
                await waiter.event.wait()
            if waiter.refused is not None:
                raise again(waiter.refused)
            assert waiter.admission is not None
            return waiter.admission
        except BaseException:
            self._withdraw(waiter)
            if waiter.admission is not None:
                self.leave(waiter.admission)
            else:
                self._go_on()
            raise

    def succeeded(self, reply: ModelReply, admission: Admission | None = None) -> None:
        """Learn from an answer: it is told with the end of the call."""
        seconds = max(0.0, reply.t_done - reply.t_sent)
        self._answer_s += 0.1 * (seconds - self._answer_s)
        self._fault = None
        if isinstance(admission, _Admitted):
            if self._limited:
                self._limited.pop((admission.ask.trajectory_id, admission.ask.since or 0.0), None)
            age = self._clock() - admission.at
            admission.answered = Answered(age, seconds, reply.usage.total_tokens, reply.limits)

    def failed(self, error: EndpointError, admission: Admission | None = None) -> None:
        """Learn how a call failed. Nothing is sent before the authority has heard of it."""
        self._failures += 1
        self._refused += 1
        self._fault = error
        place, at = (admission.place, admission.at) if isinstance(admission, _Admitted) else (0, self._clock())
        ask = admission.ask if admission is not None and error.kind is EndpointFault.RATE_LIMITED else None
        if ask is not None and ask.since is not None and ask.trajectory_id:
            self._limited[ask.trajectory_id, ask.since] = None
            if len(self._limited) > _MANY:
                del self._limited[next(iter(self._limited))]
        self._send(Failed(place, Fault.of(error), self._clock() - at))

    def hear(self, message: Ruling) -> None:
        """A message of the authority."""
        match message:
            case Given():
                self._given(message)
            case Refused():
                self._deny(message)
            case Conditions():
                self._conditions, self._told_at = message, self._clock()
                if message.free:
                    self._fault = None
            case News():
                self.tell_all(message.text)
        self._go_on()

    # waiting

    def _enter(self, waiter: Waiter) -> None:
        """One more waits. A call that met a limit of its rate is admitted by the authority alone: there it is known how
        long it is to be put apart, and when it is given up."""
        if (waiter.ask.trajectory_id, waiter.ask.since) in self._limited:
            waiter.gone = True  # it stands in no line
            number = next(self._numbers)
            self._alone[number] = waiter
            self._send(Wanted(number, Call.of(waiter.ask, waiter.model, self._clock()), self._count))
        else:
            self._waiting.add(waiter)

    def _withdraw(self, waiter: Waiter) -> None:
        self._waiting.remove(waiter)
        if waiter.admission is None and waiter.refused is None:
            for number in [number for number, each in self._alone.items() if each is waiter]:
                del self._alone[number]
                self._send(Unwanted((number,), self._count))

    @property
    def _count(self) -> int:
        return self._waiting.count + len(self._alone)

    # places

    @property
    def _free(self) -> bool:
        """Whether a call may follow another in a place."""
        return self._conditions.free and self._conditions.heard == self._failures

    @property
    def _too_many(self) -> bool:
        most = self._conditions.most
        return most is not None and len(self._in_flight) + len(self._kept) > most

    def _given(self, given: Given) -> None:
        if (alone := self._alone.pop(given.wanted, None)) is not None:
            self._admit(alone, given.place)
            return
        wish = self._wanted.pop(given.wanted, None)
        named = wish.waiter if wish is not None and wish.named else None
        if named is not None:
            self._asking.discard(named)
        waiter = self._waiting.first() if named is None or named.gone or self._free else named
        if waiter is not None:
            self._admit(waiter, given.place)
            if waiter is not named:
                self._begun(waiter, given.place)
            return
        if self._free:
            self._kept.append(given.place)
        self._send(Ended(given.place, None, False, self._free, 0))

    def _follow(self) -> None:
        """Let calls into places that are kept."""
        while self._kept and self._free and (waiter := self._waiting.first()) is not None:
            place = self._kept.pop()
            self._admit(waiter, place)
            self._begun(waiter, place)

    def _begun(self, waiter: Waiter, place: int) -> None:
        self._send(Began(place, Call.of(waiter.ask, waiter.model, self._clock()), self._count))

    def _admit(self, waiter: Waiter, place: int) -> None:
        self._waiting.take(waiter)
        waiter.admission = self._begin(waiter.ask, waiter.model, self._clock(), waiter.loop, place)
        waiter.wake()

    def _begin(self, ask: Ask, model: str, now: float, loop: Loop | None, place: int) -> _Admitted:
        admission = _Admitted(ask, model, now, loop=loop, place=place)
        self._in_flight.add(admission)
        self._admitted += 1
        return admission

    def leave(self, admission: Admission) -> None:
        """A call is over, or was never made."""
        assert isinstance(admission, _Admitted)
        kept = self._free and not self._too_many
        self._in_flight.discard(admission)
        if kept:
            self._kept.append(admission.place)
        self._admitted -= not admission.sent
        self._send(Ended(admission.place, admission.answered, admission.sent, kept, self._count))
        if not kept or self._count or self._wanted:  # else nothing waits for the place, and nothing is to be asked for
            self._go_on()

    def _go_on(self) -> None:
        """Do what may be done now, and ask for what is missing."""
        self._follow()
        back: list[int] = []
        while self._kept and (not self._conditions.free or self._too_many):
            back.append(self._kept.pop())
        if back:
            self._send(Returned(tuple(back)))
        self._want()

    def _want(self) -> None:
        """Places for those that wait: where each call needs its own, in its name."""
        if self._conditions.free:
            excess = len(self._wanted) - len(self._waiting)
            unwanted = list(self._wanted)[:excess] if excess > 0 else []
        else:
            unwanted = [number for number, wish in self._wanted.items() if not wish.named or wish.waiter.gone]
        for number in unwanted:
            wish = self._wanted.pop(number)
            if wish.named:
                self._asking.discard(wish.waiter)
        if unwanted:
            self._send(Unwanted(tuple(unwanted), self._count))
        if self._conditions.free:
            first = self._waiting.first()
            while first is not None and len(self._wanted) < min(AHEAD, len(self._waiting)):
                self._ask(_Wish(first, named=False))
        elif len(self._asking) < len(self._waiting):
            for waiter in self._waiting:
                if waiter not in self._asking:
                    self._asking.add(waiter)
                    self._ask(_Wish(waiter, named=True))

    def _ask(self, wish: _Wish) -> None:
        number, waiter = next(self._numbers), wish.waiter
        self._wanted[number] = wish
        self._send(Wanted(number, Call.of(waiter.ask, waiter.model, self._clock()), self._count))

    def _deny(self, refused: Refused) -> None:
        waiter = self._alone.pop(refused.wanted, None)
        if waiter is None and (wish := self._wanted.pop(refused.wanted, None)) is not None:
            if wish.named:
                self._asking.discard(wish.waiter)
            waiter = wish.waiter if not wish.waiter.gone else None  # else it has gone, or has a place already
        if waiter is not None:
            self._waiting.remove(waiter)
            waiter.refused = refused.fault.error()
            waiter.wake()

    def _held(self) -> float:
        return inf if self._conditions.wait_s == inf else self._conditions.wait_s - (self._clock() - self._told_at)
