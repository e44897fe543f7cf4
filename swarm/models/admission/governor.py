"""Admission to one endpoint with one key: a call is admitted here and sent at once, never queued in the HTTP pool."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from math import inf
from typing import NamedTuple

import anyio

from swarm.calls import Ask, ModelReply
from swarm.errors import EndpointError, EndpointFault, RateLimits
from swarm.models.admission.apart import Apart
from swarm.models.admission.halts import Halt, again, as_quota
from swarm.models.admission.rates import Allowance, LearntRate, pause_told
from swarm.models.admission.waiting import Admission, Waiter, WaitingCalls
from swarm.models.admission.window import Window
from swarm.models.announcements import Announcements
from swarm.models.locking import locked

PATIENCE_S = 900.0
"""A rate limit that answers nobody for so long, while a call wants to be made, is as good as a used-up quota."""

OVERLOAD_S = 60.0
"""The longest that an overloaded endpoint is left alone at its word, before it is tried again."""

_CONGESTION = frozenset({EndpointFault.OVERLOADED, EndpointFault.NO_FIRST_TOKEN, EndpointFault.TIMED_OUT})
_JITTER = 0.02


class GovernorStatistics(NamedTuple):
    """The state of admission. `held_s`: seconds until the next call may be sent as far as rates go; `rate`: calls a
    second, as learnt from refusals, None where no limit was met; `parked`: why nothing is admitted, or "".
    `admitted` and `refused` count calls since the start; `refused` are those that met a rate limit or overload."""

    in_flight: int
    window: int
    waiting: int
    held_s: float
    rate: float | None
    parked: str
    admitted: int
    refused: int


class Governor:
    """Calls in flight by a window, their rate by what the endpoint refuses or tells, and nothing at all after a fault
    that meets everybody. One for an endpoint and key in this process, whose event loops may share it: see
    `swarm.models.admission.governors`."""

    def __init__(self, ceiling: int, park: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.lock = threading.RLock()
        self._clock = clock
        self._window = Window(ceiling)
        self._rate = LearntRate()
        self._apart = Apart()
        self._met_the_rate: set[tuple[str, float | None]] = set()  # the calls of whose refusals it was learnt
        self._requests, self._tokens = Allowance(), Allowance()
        self._halt = Halt(park)
        self._waiting = WaitingCalls()
        self._in_flight: set[Admission] = set()
        self._held_until = -inf
        self._rate_bound_at = -inf
        self._leader: Waiter | None = None
        self._leader_until = self._due = inf
        self._answer_s = 1.0
        self._tokens_ratio = 1.0
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
        wait = max(self._held_until - now, self._rate_delay(now, ask), halted, self._apart.delay(ask, now))
        if self._rate.rate is not None:
            wait += waiting / self._rate.rate
        rounds = (len(self._in_flight) + waiting + 1 - self._window.size) / self._window.size
        return max(wait, rounds * self._answer_s)

    @asynccontextmanager
    async def admit(self, ask: Ask, model: str = "") -> AsyncIterator[Admission]:
        """Wait until one more call may be in flight, and hold its place for the length of the block.

        Raises on entering:
            EndpointError: a fault meets every call (a wrong key, a used-up quota), or this one alone time and again,
                and waiting is no use.
        """
        with self.lock:
            times, delay = self._apart.hopeless(ask), self._apart.delay(ask, self._clock())
        if times:
            text = f"the endpoint limits the rate of this call: refused {times} times while other calls pass"
            raise EndpointError(EndpointFault.RATE_LIMITED, text, remedy="it may be larger than the limit allows")
        if delay:
            await anyio.sleep(delay)
        admission = await self._wait(self._enter(ask, model))
        try:
            yield admission
        finally:
            self._leave(admission)

    @locked
    def succeeded(self, reply: ModelReply, admission: Admission | None = None) -> None:
        """Learn from an answer."""
        now = self._clock()
        seconds = max(0.0, reply.t_done - reply.t_sent)
        self._answer_s += 0.1 * (seconds - self._answer_s)
        self._answered_at = now
        self._window.answered(seconds, pressed=bool(self._waiting))
        if admission is not None and reply.usage.total_tokens:
            ratio = reply.usage.total_tokens / max(1, admission.ask.tokens)
            self._tokens_ratio += 0.2 * (ratio - self._tokens_ratio)
        sent_at = admission.at if admission else reply.t_sent
        if admission is not None:
            self._apart.passed(admission.ask, sent_at)
        self._learn_limits(reply.limits, sent_at)
        if self._halt.ended(sent_at):
            self._announce("the endpoint answers again: calls go on", now, again=True)
        self._dispatch()

    @locked
    def failed(self, error: EndpointError, admission: Admission | None = None) -> None:
        """Learn how a call failed."""
        now = self._clock()
        sent_at = admission.at if admission else now
        self._learn_limits(error.limits, sent_at)
        if error.kind is EndpointFault.RATE_LIMITED:
            self._limited(error, now, sent_at, admission)
        elif error.kind in _CONGESTION:
            self._refused += error.kind is EndpointFault.OVERLOADED
            if self._window.congested(now, sent_at, len(self._in_flight)) and error.retry_after is not None:
                self._held_until = max(self._held_until, now + min(error.retry_after, OVERLOAD_S) + _jitter(0.0))
        text = self._halt.met(error, admission.model if admission else "", now, sent_at)
        if text:
            self._announce(text, now, again=True)
        if error.status is not None:
            self._halt.reached()
        self._dispatch()

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
            self._window.congested(now, sent_at, len(self._in_flight))
            pause = pause or 0.0
            self._held_until = max(self._held_until, now + pause + _jitter(pause))
            return
        jitter = _jitter(max(pause or 0.0, self._rate.floor_s))
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

    def _learn_limits(self, limits: RateLimits | None, sent_at: float) -> None:
        if limits is not None:
            self._requests.told(limits.requests_limit, limits.requests_left, limits.requests_reset_s, sent_at)
            self._tokens.told(limits.tokens_limit, limits.tokens_left, limits.tokens_reset_s, sent_at)

    # waiting

    @locked
    def _enter(self, ask: Ask, model: str) -> Waiter:
        now = self._clock()
        waiter = Waiter(ask, model, now if ask.since is None else ask.since, entered=now)
        self._waiting.add(waiter)
        self._news.tell(waiter, now)
        return waiter

    async def _wait(self, waiter: Waiter) -> Admission:
        """Until admitted. One of the waiters, the leader, also waits for the time at which the next may be."""
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
        waiter.event = anyio.Event()
        if self._leader is not None and self._leader is not waiter:
            return waiter.event, None
        self._leader, self._leader_until = waiter, self._due
        return waiter.event, max(0.0, self._due - self._clock())

    @locked
    def _withdraw(self, waiter: Waiter) -> None:
        self._waiting.remove(waiter)
        if waiter.admission is not None:
            self._leave(waiter.admission)

    @locked
    def _hand_on(self, waiter: Waiter) -> None:
        """Let another lead, also where this one was to lead next, and was admitted before it woke."""
        if self._leader is waiter:
            self._leader = None
        following = self._waiting.first() if self._leader is None else None
        if following is not None:
            following.wake()

    def _dispatch(self) -> None:
        """Admit whoever may go now; then see when the next may."""
        if not len(self._waiting):
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
        if self._leader is not None and self._due < self._leader_until:
            self._leader.wake()

    def _delay(self, waiter: Waiter, now: float) -> float | None:
        """Seconds until `waiter` may be admitted; None: not before a call ends."""
        halted = self._halt.delay(now)
        if halted is None or halted > 0:
            return halted
        wait = max(self._held_until - now, 0.0)
        if self._rate.delay(now) > 0:
            self._rate_bound_at = now
        wait = max(wait, self._rate_delay(now, waiter.ask))
        if wait > 0:
            return wait
        if len(self._in_flight) >= self._window.size:
            grows_in = self._window.full(now)
            return grows_in if len(self._in_flight) >= self._window.size else 0.0
        return 0.0

    def _rate_delay(self, now: float, ask: Ask) -> float:
        return max(
            self._rate.delay(now),
            self._requests.delay(now, 1.0),
            self._tokens.delay(now, ask.tokens * self._tokens_ratio),
        )

    def _admit(self, waiter: Waiter, now: float) -> None:
        self._waiting.take(waiter)
        admission = Admission(waiter.ask, waiter.model, now, trial=self._halt.try_one(), loop=waiter.loop)
        self._in_flight.add(admission)
        self._admitted += 1
        self._rate.sent(now, waited=waiter.entered <= self._rate_bound_at)
        self._requests.spent(now, 1.0)
        self._tokens.spent(now, waiter.ask.tokens * self._tokens_ratio)
        waiter.admission = admission
        waiter.wake()

    def _refuse(self, waiter: Waiter, fault: EndpointError) -> None:
        self._waiting.remove(waiter)
        waiter.refused = fault
        waiter.wake()

    @locked
    def _leave(self, admission: Admission) -> None:
        """The call is over, or was never made: then it leaves no trace."""
        self._in_flight.discard(admission)
        if not admission.sent:
            self._admitted -= 1
            self._rate.unsent()
            self._requests.spent(self._clock(), -1.0)
            self._tokens.spent(self._clock(), -admission.ask.tokens * self._tokens_ratio)
        if admission.trial:
            self._halt.tried()
        self._dispatch()

    def _announce(self, text: str, now: float, *, again: bool = False) -> None:
        self._news.announce(text, (*self._waiting, *self._in_flight), now, again=again)


def _jitter(seconds: float) -> float:
    """Seconds after a pause, so that not every process comes back at the same moment."""
    return random.uniform(0.0, min(1.0, 0.005 + _JITTER * seconds))
