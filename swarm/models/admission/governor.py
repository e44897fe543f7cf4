"""Admission to one endpoint with one key: a call is admitted here and sent at once, never queued in the HTTP pool."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from math import inf

import anyio

from swarm.calls import Ask, ModelReply
from swarm.errors import EndpointError, EndpointFault, RateLimits
from swarm.models.admission.apart import Apart
from swarm.models.admission.halts import PATIENCE_S, Halt, again, as_quota
from swarm.models.admission.pace import OVERLOAD_S, Pace, jitter_of
from swarm.models.admission.place import Place
from swarm.models.admission.rates import pause_told
from swarm.models.admission.statistics import GovernorStatistics
from swarm.models.admission.waiting import Admission, Lead, Loop, Waiter, WaitingCalls, running_loop
from swarm.models.admission.window import Window
from swarm.models.announcements import Announcements
from swarm.models.locking import locked

_CONGESTION = frozenset({EndpointFault.OVERLOADED, EndpointFault.NO_FIRST_TOKEN, EndpointFault.TIMED_OUT})


class Governor:
    """Calls in flight by a window, their rate by what the endpoint refuses or tells, and nothing at all after a fault
    that meets everybody. One for an endpoint and key in this process, whose event loops may share it: see
    `swarm.models.admission.governors`."""

    def __init__(self, ceiling: int, park: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.lock = threading.RLock()
        self._clock = clock
        self._window = Window(ceiling)
        self._pace = Pace()
        self._rate = self._pace.rate
        self._apart = Apart()
        self._met_the_rate: set[tuple[str, float | None]] = set()  # the calls of whose refusals it was learnt
        self._halt = Halt(park)
        self._waiting = WaitingCalls()
        self._in_flight: set[Admission] = set()
        self._idle = 0  # of these are places that are kept elsewhere for calls to come
        self.watchers: list[Callable[[], None]] = []
        """Called whenever something changed that bears on who is admitted, with the lock held."""
        self._held_until = -inf
        self._rate_bound_at = -inf
        self._lead = Lead()
        self._due = inf
        self._answer_s = 1.0
        self._answered_at = clock()
        self._news = Announcements()
        self._admitted = self._refused = 0

    def __repr__(self) -> str:
        s = self.statistics()
        state = f", {s.parked}" if s.parked else f", held for {s.held_s:.1f} s" if s.held_s > 0 else ""
        return f"<Governor {s.in_flight} of {s.window} in flight, {s.waiting} waiting{state}>"

    @locked
    def statistics(self) -> GovernorStatistics:
        now = self._clock()
        held = max(0.0, self._held_until - now, self._rate.delay(now))
        counts = len(self._in_flight), self._window.size, len(self._waiting)
        return GovernorStatistics(*counts, held, self._rate.rate, self._halt.reason(now), self._admitted, self._refused)

    @locked
    def limit(self, ceiling: int) -> None:
        """From now on at most so many calls in flight."""
        self._window.limit(ceiling)
        self._dispatch()

    @locked
    def tell_all(self, text: str) -> None:
        """Tell every run that has calls here, or will have soon."""
        self._announce(text, self._clock(), again=True)

    @locked
    def estimated_wait(self, ask: Ask) -> float:
        """Seconds that such a call would about wait; infinite where it would be refused, or another one tries it."""
        now = self._clock()
        halted = self._halt.delay(now)
        if halted is None or self._halt.stopped(now):
            return inf
        waiting = len(self._waiting)
        wait = max(self._held_until - now, self._pace.delay(now, ask), halted, self._apart.delay(ask, now))
        if self._rate.rate is not None:
            wait += waiting / self._rate.rate
        rounds = (len(self._in_flight) + waiting + 1 - self._window.size) / self._window.size
        return max(wait, rounds * self._answer_s)

    @locked
    def free(self) -> bool:
        """Whether nothing but the window bounds calls now: no fault, no limit of their rate."""
        now = self._clock()
        return self._halt.clear and self._held_until <= now and self._pace.plenty(now)

    def rest(self, admission: Admission) -> None:
        """A call is over; its place is kept for the next one, which `follow`s, or leaves."""
        with self.lock:
            self._over(admission)
            admission.trial, admission.sent, admission.idle = False, True, True
            self._idle += 1
            self._dispatch()

    def follow(self, admission: Admission, ask: Ask) -> None:
        """The next call takes a place that was kept."""
        with self.lock:
            admission.ask, admission.at, admission.sent, admission.idle = ask, self._clock(), False, False
            self._idle -= 1
            self._admitted += 1
            self._pace.sent(admission.at, ask, waited=False)
            self._dispatch()

    def admit(self, ask: Ask, model: str = "") -> AbstractAsyncContextManager[Admission]:
        """Wait until one more call may be in flight, and hold its place for the length of the block.

        Raises on entering:
            EndpointError: a fault meets every call (a wrong key, a used-up quota), or this one alone time and again,
                and waiting is no use.
        """
        return Place(self, ask, model)

    def succeeded(self, reply: ModelReply, admission: Admission | None = None) -> None:
        """Learn from an answer."""
        sent_at = admission.at if admission else reply.t_sent
        self.answered(reply.t_done - reply.t_sent, reply.usage.total_tokens, reply.limits, sent_at, admission)

    def answered(
        self, seconds: float, tokens: int, limits: RateLimits | None, sent_at: float, admission: Admission | None
    ) -> None:
        """The same of an answer that took so many seconds, and so many tokens."""
        with self.lock:
            now, seconds = self._clock(), max(0.0, seconds)
            self._answer_s += 0.1 * (seconds - self._answer_s)
            self._answered_at = now
            self._window.answered(seconds, pressed=self._waiting.count > 0)
            if admission is not None:
                self._pace.used(admission.ask, tokens)
                self._apart.passed(admission.ask, sent_at)
            self._pace.told(limits, sent_at)
            if self._halt.ended(sent_at):
                self._announce("the endpoint answers again: calls go on", now, again=True)
            self._dispatch()

    @locked
    def failed(self, error: EndpointError, admission: Admission | None = None) -> None:
        """Learn how a call failed."""
        now = self._clock()
        sent_at = admission.at if admission else now
        self._pace.told(error.limits, sent_at)
        if error.kind is EndpointFault.RATE_LIMITED:
            self._limited(error, now, sent_at, admission)
        elif error.kind in _CONGESTION:
            self._refused += (refused := error.kind is EndpointFault.OVERLOADED)
            surely = not refused or error.retry_after is not None
            news = self._window.congested(now, sent_at, len(self._in_flight) - self._idle, surely=surely)
            if news and error.retry_after is not None:
                self._held_until = max(self._held_until, now + min(error.retry_after, OVERLOAD_S) + jitter_of(0.0))
        if text := self._halt.met(error, admission.model if admission else "", now, sent_at):
            self._announce(text, now, again=True)
        if error.status is not None:
            self._halt.reached()
        self._dispatch()

    @locked
    def reached(self, seconds: float) -> None:
        """A connection to the endpoint was made in so many seconds; see `Window.reached`."""
        self._window.reached(seconds)

    def _limited(self, error: EndpointError, now: float, sent_at: float, admission: Admission | None) -> None:
        self._refused += 1
        pause = error.retry_after
        if pause is None and error.limits is not None:
            pause = pause_told(error.limits)
        wanted = sent_at if admission is None or admission.ask.since is None else admission.ask.since
        nobody = sent_at > self._answered_at and now - max(wanted, self._answered_at) > PATIENCE_S
        if (pause or 0.0) > PATIENCE_S or nobody:
            text = self._halt.met(as_quota(error, PATIENCE_S), "", now, sent_at)
            self._announce(text, now, again=True)
            return
        if "concurren" in error.message.lower():  # some endpoints say so when they limit calls in flight
            self._window.congested(now, sent_at, len(self._in_flight) - self._idle)
            pause = pause or 0.0
            self._held_until = max(self._held_until, now + pause + jitter_of(pause))
            return
        jitter = jitter_of(max(pause or 0.0, self._rate.floor_s))
        if admission is not None and self._its_own(error, admission.ask, now, pause, jitter):
            return
        if self._rate.refused(now, sent_at, pause, jitter):
            self._announce(f"{error.message}; calls wait and go on by themselves", now)

    def _its_own(self, error: EndpointError, ask: Ask, now: float, pause: float | None, jitter: float) -> bool:
        """Whether a rate limit is met by this call alone; then the others go on as if nothing was."""
        name = (ask.trajectory_id, ask.since)
        if self._rate.rate is None:
            self._met_the_rate.clear()
        if not self._apart.refused(ask, now, pause, jitter):
            if len(self._met_the_rate) < 2:
                self._met_the_rate.add(name)
            return False
        if self._met_the_rate == {name}:
            self._rate.forget()
            self._met_the_rate.clear()
        return True

    async def enter(self, ask: Ask, model: str) -> Admission:
        """See `swarm.models.admission.place.Places.enter`."""
        if (admission := self._at_once(ask, model)) is not None:
            return admission
        with self.lock:
            delay = self._apart.allowed_in(ask, self._clock())
        if delay:
            await anyio.sleep(delay)
        return await self._wait(self._queued(ask, model))

    def _at_once(self, ask: Ask, model: str) -> Admission | None:
        """What `_wait` comes to at once for most calls: nobody waits or watches, and nothing holds this one back."""
        with self.lock:
            now = self._clock()
            waits = self._waiting.count or len(self._in_flight) >= self._window.size or self._held_until > now
            if waits or self.watchers or self._apart.any or not self._halt.clear or self._pace.delay(now, ask) > 0:
                return None
            admission = self._begin(ask, model, now, now, running_loop())
            self._waiting.taken += 1
            self._news.tell(admission, now)
            return admission

    @locked
    def _queued(self, ask: Ask, model: str) -> Waiter:
        now = self._clock()
        waiter = Waiter(ask, model, now if ask.since is None else ask.since, entered=now)
        self._waiting.add(waiter)
        self._news.tell(waiter, now)
        return waiter

    async def _wait(self, waiter: Waiter) -> Admission:
        """Until admitted."""
        try:
            while (woken := self._look(waiter)) is not None:
                event, seconds = woken
                with anyio.move_on_after(seconds):
                    await event.wait()
            if waiter.refused is not None:
                raise again(waiter.refused)
            assert waiter.admission is not None
            return waiter.admission
        except BaseException:
            self._withdraw(waiter)
            raise
        finally:
            self._hand_on(waiter)

    @locked
    def _look(self, waiter: Waiter) -> tuple[anyio.Event, float | None] | None:
        """What to wait for, and how long; None where the waiter was admitted or refused."""
        self._dispatch()
        if waiter.refused is not None or waiter.admission is not None:
            return None
        return self._lead.wait(waiter, self._due, self._clock())

    @locked
    def _withdraw(self, waiter: Waiter) -> None:
        self._waiting.remove(waiter)
        if waiter.admission is not None:
            self.leave(waiter.admission)

    @locked
    def _hand_on(self, waiter: Waiter) -> None:
        self._lead.leave(waiter, self._waiting)

    def _dispatch(self) -> None:
        """Admit whoever may go now; then see when the next may."""
        for watch in self.watchers:
            watch()
        if not self._waiting.count:
            self._due = inf
            return
        now = self._clock()
        if fault := self._halt.stopped(now):
            for each in self._waiting:
                self._refuse(each, fault)
        self._due = inf
        while (waiter := self._waiting.first()) is not None:
            if fault := self._halt.unknown(waiter.model, now):
                self._refuse(waiter, fault)
                continue
            wait = self._delay(waiter, now)
            if wait is None or wait > 0:
                self._due = inf if wait is None else now + wait
                break
            self._admit(waiter, now)
        self._lead.hasten(self._due)

    def _delay(self, waiter: Waiter, now: float) -> float | None:
        """Seconds until `waiter` may be admitted; None: not before a call ends."""
        halted = self._halt.delay(now)
        if halted is None or halted > 0:
            return halted
        if self._rate.delay(now) > 0:
            self._rate_bound_at = now
        wait = max(self._held_until - now, self._pace.delay(now, waiter.ask))
        if wait > 0:
            return wait
        if len(self._in_flight) >= self._window.size:
            if self._idle:  # it is given back
                return None
            grows_in = self._window.full(now)
            return grows_in if len(self._in_flight) >= self._window.size else 0.0
        return 0.0

    def _admit(self, waiter: Waiter, now: float) -> None:
        self._waiting.take(waiter)
        waiter.admission = self._begin(waiter.ask, waiter.model, now, waiter.entered, waiter.loop)
        waiter.wake()

    def _begin(self, ask: Ask, model: str, now: float, entered: float, loop: Loop | None) -> Admission:
        admission = Admission(ask, model, now, trial=self._halt.try_one(), loop=loop)
        self._in_flight.add(admission)
        self._admitted += 1
        self._pace.sent(now, ask, waited=entered <= self._rate_bound_at)
        return admission

    def _refuse(self, waiter: Waiter, fault: EndpointError) -> None:
        self._waiting.remove(waiter)
        waiter.refused = fault
        waiter.wake()

    def leave(self, admission: Admission) -> None:
        """See `swarm.models.admission.place.Places.leave`."""
        with self.lock:
            self._in_flight.discard(admission)
            self._idle -= admission.idle
            self._over(admission)
            if not self._in_flight:
                self._pace.rest()
            self._dispatch()

    def _over(self, admission: Admission) -> None:
        if not admission.sent:  # it leaves no trace
            self._admitted -= 1
            self._pace.unsent(self._clock(), admission.ask)
        if admission.trial:
            self._halt.tried()

    def _announce(self, text: str, now: float, *, again: bool = False) -> None:
        self._news.announce(text, (*self._waiting, *self._in_flight), now, again=again)
