"""How fast calls may follow each other: learnt from refusals, and from what the endpoint tells. Pure; the clock is
passed in."""

from __future__ import annotations

from array import array
from collections import deque
from math import inf

from swarm.errors import RateLimits

HORIZON_S = 60.0
"""How far back calls count for the first guess at a rate: most limits are per minute."""

_PROBE = 0.02
_STEADY_CALLS = 250  # calls from a refusal until the rate is probed above what was measured
_FIRST_CALLS = 40  # the same while the measurement is young
_SETTLES_S = 60.0  # and not longer than this: at a slow rate so many calls take minutes, and the limit may be gone
_TRUST = 0.5  # of the calls of a measurement: for so many at least it is taken for true
_ENOUGH_CALLS = 8  # for a measurement that stands by itself; one of fewer, with none before it, is a guess
_RAMP_CALLS = 64  # calls after a pause that follow in doubling numbers, while the measurement is young
_IN_VAIN = 0.7  # if so many tries after pauses that were asked for are refused, it is not our rate
_MEANT_S = 1.0  # a shorter one may be what rounding left of it
_NEWEST = 0.5  # the weight of the newest of them: two in a row are enough, every other one is not
_TRIES = (4, 32)  # calls that try it at once then: at first, and at most
_WORTH = 1.25  # if as many of them pass on average: where a slow bucket tells too short a pause, it is one
_BURST_S = 0.25  # what may be caught up after a late wake-up, in seconds of the rate
_BACKOFF_S = (0.5, 30.0)
_FLOOR_S = 0.25  # the least pause after one that ended too early, whatever the endpoint asks for; it doubles
_RESERVE = 0.2  # the share of an allowance that is spread evenly
_LOGGED = 20_000  # what is spent and was not told of yet
_FORGET = 8.0  # times the measured rate without a refusal: there is no limit any more


class LearntRate:
    """A rate of requests, from nothing but which calls were refused.

    Between the ends of two pauses an endpoint has let through what its limit allows, however it counts: by bucket or by
    window. So each refusal measures the rate anew. It is then held for a while and passed, slowly first (a cubic curve
    over the calls that had to wait for it), until the next refusal. After a pause calls follow in doubling
    numbers, so that a wrong guess costs few.

    Where calls are refused that tried it after the very pause that was asked for, time and again, others use up what
    is let through, or chance decides: our rate is not what it is about, and of one try at a time our share would be
    next to nothing. Then several try it at once; half as many where too few of them pass, twice as many else. The
    pauses are kept by all.
    """

    def __init__(self) -> None:
        self._sent: deque[float] = deque()  # of the last minute, while no rate is known
        self._anchor: float | None = None  # calls a second, as measured
        self._prior: float | None = None  # the same before the last refusal
        self._guess = 0  # of so few calls it was measured: it may have been no limit at all, but a bad minute
        self._calls = 0  # that had to wait, since the last refusal
        self._steady = _FIRST_CALLS
        self._pause_told = False  # with the last refusal
        self._meant = False  # and it was no trifle
        self._vain = 0.0  # the share of refusals among the last tries after a pause that was told
        self._tries = _TRIES[0]  # calls that try it at once, where that is high
        self._tried = 0  # calls between the last two refusals
        self._passed = float(_TRIES[0])  # of these, on average
        self._stands_on = 0.0  # calls for which the measurement is taken for true, if they are more than `_steady`
        self._credit, self._credit_at = 1.0, 0.0
        self._from, self._let_through = 0.0, 0  # the measurement that is going on: since when, how many
        self._whole = True  # it was this rate that held calls back, all the while
        self._start, self._count = 0.0, 0  # and the one that the last refusal ended
        self._trusted = True
        self._refused_at = -inf
        self._pause_s = _BACKOFF_S[0]
        self.floor_s = 0.0  # the least pause, after pauses that ended too early
        self._batch = 0  # calls between the last two refusals that were not refused so far
        self._paused_until = -inf
        self._since_pause = 0
        self._tried_at = -inf  # when the last of those that try it was sent
        self._reaction_s = 0.05  # how fast the endpoint refuses

    def __repr__(self) -> str:
        return "<LearntRate: none>" if self.rate is None else f"<LearntRate: {self.rate:.3g} calls a second>"

    @property
    def rate(self) -> float | None:
        """Calls a second; None: no limit was met."""
        if self._anchor is None:
            return None
        if self._guess:
            return self._anchor * 2.0 ** min(60, max(0, self._calls - self._guess))
        steady = max(min(self._steady, max(_ENOUGH_CALLS, _SETTLES_S * self._anchor)), self._stands_on)
        return self._anchor * (1 + _PROBE * max(0.0, (self._calls - steady) / steady) ** 3)

    @property
    def _at_once(self) -> int:
        """Calls that try it after a pause."""
        return self._tries if self._vain > _IN_VAIN else 1

    def delay(self, now: float) -> float:
        """Seconds until one more call may be sent."""
        if now < self._paused_until:
            return self._paused_until - now
        rate = self.rate
        if rate is None:
            return 0.0
        self._refill(now, rate)
        wait = 0.0 if self._credit >= 1 - 1e-9 else (1 - self._credit) / rate
        if 0 < self._since_pause < self._at_once:
            return 0.0
        if self._steady < _STEADY_CALLS and self._since_pause < _RAMP_CALLS:
            step = min(0.25, max(0.02, 2 * self._reaction_s))
            wait = max(wait, self._paused_until + self._since_pause.bit_length() * step - now)
        return wait

    def sent(self, now: float, waited: bool) -> None:
        """A call is sent; `waited`: it would have been sent earlier but for this rate."""
        rate = self.rate
        if rate is None:
            self._sent.append(now)
            while self._sent[0] < now - HORIZON_S:
                self._sent.popleft()
            return
        self._refill(now, rate)
        if not 0 < self._since_pause < self._at_once:  # those that try it together are charged as one
            self._credit -= 1
        if self._since_pause < self._at_once:
            self._tried_at = now
        self._since_pause += 1
        if waited:
            self._calls += 1
        else:  # nobody waited: what is let through says nothing about the limit
            self._whole = False
        self._let_through += 1
        if self._anchor is not None and rate > _FORGET * self._anchor:
            self._anchor = None
            self._sent.clear()

    def unsent(self) -> None:
        """The last call was not sent after all."""
        self._credit += 1
        self._let_through = max(0, self._let_through - 1)
        if self._sent:
            self._sent.pop()

    def refused(self, now: float, sent_at: float, pause: float | None, jitter: float = 0.0) -> bool:
        """A call that was sent at `sent_at` was refused; `pause` is what the endpoint asks for, `jitter` seconds that
        are added. Gives whether that was news: calls that were on their way tell of the same limit."""
        self._let_through = max(0, self._let_through - 1)
        if sent_at < self._refused_at:
            self._batch -= 1
            if self._batch == 0:  # none that was sent after the pause passed
                self._raise_floor()
                self._paused_until = max(self._paused_until, now + self.floor_s + jitter)
            if pause is not None and now + pause > self._paused_until:
                self._paused_until = now + pause + jitter
                if self._since_pause == 0:
                    self._measure(now + pause)
            return False
        meant = pause is not None and pause >= _MEANT_S
        if self._batch > 0:
            self.floor_s = 0.0
        if self._tried >= min(4, self._at_once) > 1:
            self._passed += _NEWEST * (self._batch - self._passed)
            self._tries = min(_TRIES[1], 2 * self._tries) if self._passed > _WORTH else self._tries // 2
        # In a burst a refusal is seen late: the quickest is nearest to what the endpoint takes.
        self._reaction_s = min(now - sent_at, 0.7 * self._reaction_s + 0.3 * min(1.0, now - sent_at))
        if self._anchor is None:
            self._steady, self._prior = _FIRST_CALLS, None
            self._vain, self._tries, self._passed = 0.0, _TRIES[0], float(_TRIES[0])
            self._start = self._sent[0] if self._sent else now
            self._count = max(0, len(self._sent) - 1)
            self._pause_s = _BACKOFF_S[0]
        elif sent_at <= self._tried_at:  # the call that tried it after a pause: a longer one
            self._pause_s = min(_BACKOFF_S[1], self._pause_s * 2)
            self._raise_floor()
            self._vain += _NEWEST * (self._meant - self._vain)
            pause = None if pause is None else max(pause, self.floor_s)
        else:
            self._vain -= _NEWEST * self._vain
            if self._tries < _TRIES[0]:  # they passed: more may be let through again
                self._tries, self._passed = _TRIES[0], float(_TRIES[0])
            self._steady = min(_STEADY_CALLS, 2 * self._steady)
            self._prior = self._anchor
            self._pause_s = min(_BACKOFF_S[0], 1.5 / self._anchor)
            self._start, self._count = self._from, self._let_through
        self._trusted = self._whole or self._prior is None
        self._pause_told, self._meant = pause is not None, meant
        self._batch, self._tried = self._since_pause - 1, self._since_pause
        self._refused_at = now
        self._since_pause = 0
        self._paused_until = now + (self._pause_s if pause is None else pause) + jitter
        # Where nothing is said, the limit lets calls through again somewhere in the pause.
        self._measure(now + (self._pause_s / 2 if pause is None else pause))
        return True

    def forget(self) -> None:
        """What was learnt was wrong."""
        self._anchor = self._prior = None
        self._sent.clear()
        self.floor_s, self._batch, self._paused_until = 0.0, 0, -inf

    def _raise_floor(self) -> None:
        self.floor_s = min(_BACKOFF_S[1], max(_FLOOR_S, self.floor_s * 2))

    def _measure(self, end: float) -> None:
        """A measurement ends where calls are let through again, and the next begins there. Of few calls, it leans on
        the one before."""
        span, count = max(1e-3, end - self._start), float(max(1, self._count))
        if self._prior is not None and count < _ENOUGH_CALLS:
            missing = _ENOUGH_CALLS - count
            span, count = span + missing / self._prior, count + missing
        # What was measured while others held calls back is no measure: then only somewhat slower than before.
        # Where nothing is said, a window that is used up too early is waited out blindly.
        self._stands_on = 0.0 if self._pause_told else _TRUST * min(count, HORIZON_S * count / span)
        self._guess = int(count) if self._prior is None and count < _ENOUGH_CALLS else 0
        self._anchor = count / span if self._trusted or self._prior is None else max(count / span, 0.8 * self._prior)
        self._whole = True
        self._calls = 0
        self._from, self._let_through = end, 0
        self._credit, self._credit_at = 1.0, self._paused_until

    def _refill(self, now: float, rate: float) -> None:
        if now > self._credit_at:
            most = max(2.0, rate * (_BURST_S if self._steady == _STEADY_CALLS else _BURST_S / 5))
            self._credit = min(most, self._credit + (now - self._credit_at) * rate)
            self._credit_at = now


class _Log:
    """When something was spent, and how much had been by then, in 16 bytes each: every agent at work has some."""

    def __init__(self) -> None:
        self._times, self._sums = array("d"), array("d")
        self._first = 0  # those before are forgotten
        self._forgotten = 0.0  # what had been spent by then

    def add(self, now: float, spent: float) -> None:
        """So much has been spent by now, the last included."""
        self._times.append(now)
        self._sums.append(spent)
        if len(self._times) - self._first > _LOGGED:
            self._forget_one()

    def spent_by(self, time: float) -> float:
        """What had been spent by then. Nobody asks for an earlier time again."""
        while self._first < len(self._times) and self._times[self._first] <= time:
            self._forget_one()
        return self._forgotten

    def forget(self, spent: float) -> None:
        """Nobody asks for a time before now, when so much has been spent."""
        del self._times[:], self._sums[:]
        self._first, self._forgotten = 0, spent

    def _forget_one(self) -> None:
        self._forgotten = self._sums[self._first]
        self._first += 1
        if self._first > _LOGGED:
            del self._times[: self._first], self._sums[: self._first]
            self._first = 0


class Allowance:
    """What is left of one limit, requests or tokens, by the endpoint's own word.

    Plenty is spent freely. From the last fifth of the limit on, what is left is spread evenly over the time until it is
    whole again: right for windows, which begin anew then, and for buckets, which fill all the while.
    """

    def __init__(self) -> None:
        self._limit = inf
        self._left = inf
        self._reset_s = self._period_s = 0.0
        self._spent_then = 0.0
        self._whole_at = -inf
        self._told_at = -inf
        self._last = -inf
        self._spent = 0.0
        self._log = _Log()

    def __repr__(self) -> str:
        return f"<Allowance: {self._left:g} of {self._limit:g}>"

    def told(self, limit: float | None, left: float | None, reset_s: float | None, sent_at: float) -> None:
        """The endpoint said so in answer to a call that was sent at `sent_at`. What was sent later comes off."""
        if left is None or reset_s is None or sent_at < self._told_at:
            return
        self._told_at = sent_at
        self._limit = limit if limit else max(left, 1.0)
        before = self._spent_then = self._log.spent_by(sent_at)
        self._left = left - (self._spent - before)
        self._reset_s = reset_s
        self._period_s = max(self._period_s, reset_s)
        self._whole_at = sent_at + reset_s

    def spent(self, now: float, amount: float) -> None:
        self._spent += amount
        self._left -= amount
        self._last = now
        self._log.add(now, self._spent)

    def rest(self) -> None:
        """No call is on its way: nobody will tell of one that was sent before now."""
        self._log.forget(self._spent)

    def plenty(self, now: float) -> bool:
        """Whether more may be spent freely."""
        if self._whole_at <= now and self._limit < inf:
            self._renew(now)
        return self._left >= self._limit * _RESERVE

    def delay(self, now: float, amount: float) -> float:
        """Seconds until so much more may be spent."""
        rest = self._whole_at - now
        if rest <= 0 and self._limit < inf:
            rest = self._renew(now)
        if self._left >= self._limit * _RESERVE:
            return 0.0
        if self._left < min(
            amount, self._limit * _RESERVE
        ):  # used up: look again at half time, a bucket is half full then
            return min(rest, max(0.0, max(self._last, self._told_at) + self._reset_s / 2 - now))
        return min(rest, max(0.0, self._last + amount * rest / self._left - now))

    def _renew(self, now: float) -> float:
        """It is whole again, but for what nobody has told of yet."""
        self._left, self._reset_s = self._limit - (self._spent - self._spent_then), self._period_s
        self._whole_at = now + self._period_s
        return self._period_s


def pause_told(limits: RateLimits) -> float | None:
    """How long to wait where only `x-ratelimit-*` says so: by half of the time a bucket is half full, a window half
    over."""
    resets = []
    if limits.requests_left == 0 and limits.requests_reset_s is not None:
        resets.append(limits.requests_reset_s)
    if limits.tokens_left == 0 and limits.tokens_reset_s is not None:
        resets.append(limits.tokens_reset_s)
    return max((max(reset / 2, min(reset, 1.0)) for reset in resets), default=None)
