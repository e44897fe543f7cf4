"""The window of calls in flight, and the rates: decisions on a clock of ours."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.models.admission.rates import Allowance, LearntRate
from swarm.models.admission.window import START, Window

# the window


def test_the_window_doubles_until_congestion_and_then_grows_by_one_for_a_window_of_answers() -> None:
    window, now = Window(ceiling=64), 0.0
    for _ in range(1000):
        now += window.full(now) or 0.0
    assert window.size == 64
    assert window.congested(now, sent_at=now, in_flight=63)
    assert window.size == 44
    assert window.full(now) is None
    for _ in range(46):
        window.answered(30.0, pressed=True)
    assert window.size == 45
    for _ in range(1000):
        window.answered(30.0, pressed=False)
    assert window.size == 45


def test_the_window_doubles_as_fast_as_a_refusal_could_come() -> None:
    def seconds_to_a_thousand(connected_in: float | None) -> float:
        window, now = Window(ceiling=1000), 0.0
        if connected_in is not None:
            window.reached(connected_in)
        while (wait := window.full(now)) is not None:
            now += wait
        return now

    unknown, near, across_the_sea, very_far = map(seconds_to_a_thousand, (None, 0.001, 0.08, 3.0))
    assert near < across_the_sea < unknown == very_far
    assert near < 0.7, "a thousand agents on a near endpoint are not held up"


def test_a_refusal_now_and_then_is_no_congestion_and_some_in_a_row_are() -> None:
    window = Window(ceiling=START)
    for n in range(1, 200):
        window.answered(1.0, pressed=True)
        assert n % 20 or not window.congested(float(n), float(n), START, surely=False)
    assert window.size == START
    assert window.congested(200.0, 200.0, START), "one that surely is counts at once"
    window = Window(ceiling=START)
    cut = [window.congested(float(n), float(n), START, surely=False) for n in range(5)]
    assert cut == [False, False, False, True, True]


def test_one_congestion_shrinks_the_window_once_however_many_calls_tell_of_it() -> None:
    window = Window(ceiling=START)
    told = [window.congested(10.0 + n / 100, sent_at=9.0, in_flight=START - n) for n in range(START)]
    assert told == [True] + [False] * (START - 1)
    assert window.size == int(START * 0.7)


@given(st.lists(st.tuples(st.sampled_from("fac"), st.floats(0, 100)), max_size=200), st.integers(1, 1000))
def test_the_window_stays_between_one_and_its_ceiling(steps: list[tuple[str, float]], ceiling: int) -> None:
    window, now = Window(ceiling), 0.0
    for what, seconds in steps:
        now += seconds
        if what == "f":
            window.full(now)
        elif what == "a":
            window.answered(seconds, pressed=True)
        else:
            window.congested(now, now, window.size - 1)
        assert 1 <= window.size <= ceiling


# the rates, against endpoints on paper


@dataclass
class Paper:
    """An endpoint that lets `limit` calls through in `per_s`, by window or by bucket."""

    limit: int
    per_s: float
    bucket: bool
    left: float = field(init=False)
    at: float = 0.0

    def __post_init__(self) -> None:
        self.left = self.limit

    def take(self, now: float) -> bool:
        if self.bucket:
            self.left = min(self.limit, self.left + (now - self.at) * self.limit / self.per_s)
            self.at = now
        elif now - self.at >= self.per_s:
            self.at += (now - self.at) // self.per_s * self.per_s
            self.left = self.limit
        if self.left < 1:
            return False
        self.left -= 1
        return True

    def pause(self, now: float) -> float:
        return (1 - self.left) * self.per_s / self.limit if self.bucket else self.at + self.per_s - now


def drive(rate: LearntRate, paper: Paper, seconds: float, hints: bool, start: float = 0.0) -> tuple[int, int]:
    """Ask as fast as `rate` allows; refusals are seen a little later. Gives how many got through and how many not."""
    now, through, refused = start, 0, 0
    while now < start + seconds:
        now += max(rate.delay(now), 1e-4)
        while rate.delay(now) > 0:
            now += rate.delay(now)
        rate.sent(now, waited=True)
        if paper.take(now):
            through += 1
        else:
            refused += 1
            rate.refused(now + 0.01, now, paper.pause(now) if hints else None)
            now += 0.01
        now += 1e-3 if rate.rate is None else 0.0
    return through, refused


@pytest.mark.parametrize("hints", [True, False])
@pytest.mark.parametrize("bucket", [True, False])
@pytest.mark.parametrize(("limit", "per_s"), [(60, 60.0), (600, 60.0), (10_000, 60.0), (20, 1.0)])
def test_a_hard_limit_is_used_and_not_run_against(limit: int, per_s: float, bucket: bool, hints: bool) -> None:
    rate, paper = LearntRate(), Paper(limit, per_s, bucket)
    first = max(2 * per_s, 500 * per_s / limit)
    drive(rate, paper, first, hints)  # learns
    last = max(20 * per_s, 5000 * per_s / limit)
    through, refused = drive(rate, paper, last, hints, start=first)
    # A window that says nothing must be tried for its next beginning, which costs some of it.
    assert through / (last * limit / per_s) > (0.97 if bucket or hints else 0.93)
    assert refused / (through + refused) < 0.02


@pytest.mark.parametrize("hints", [True, False])
def test_a_storm_at_the_beginning_is_not_taken_for_a_rate_that_lasts(hints: bool) -> None:
    """Six refusals after two calls, whatever was behind them, once cost twenty seconds for each of the next forty."""
    rate, now = LearntRate(), 100.0
    for refused in [False, False, *[True] * 6, *[False] * 40]:
        now += rate.delay(now)
        rate.sent(now, waited=True)
        if refused:
            rate.refused(now + 0.01, now, 0.2 if hints else None)
        now += 0.05
    assert now - 100 < 80


def test_what_was_measured_of_many_calls_is_not_left_after_few() -> None:
    """Else a window of a minute is used up in half of it, and its next beginning is waited for blindly."""
    rate, now = LearntRate(), 60.0
    for n in range(6000):
        rate.sent(n / 100, waited=False)
    rate.refused(now, now, None)
    for _ in range(5000):
        while rate.delay(now) > 0:
            now += rate.delay(now)
        rate.sent(now, waited=True)
    assert rate.rate is not None
    assert 95 < rate.rate < 101


def test_calls_that_were_sent_before_the_first_refusal_was_seen_measure_nothing() -> None:
    rate = LearntRate()
    for n in range(100):
        rate.sent(n / 100, waited=False)
    rate.refused(1.0, 0.99, None)
    now = 1.0 + rate.delay(1.0)
    rate.sent(now, waited=True)
    rate.sent(now + 0.05, waited=True)
    rate.refused(now + 0.06, now, None)
    assert rate.rate is not None
    assert rate.rate > 30


def test_a_limit_that_was_lifted_is_forgotten() -> None:
    rate, paper = LearntRate(), Paper(60, 60.0, True)
    drive(rate, paper, 300.0, hints=True)
    assert rate.rate is not None
    assert 0.9 < rate.rate < 1.1
    drive(rate, Paper(10**9, 1.0, True), 3600.0, hints=True, start=300.0)
    assert rate.rate is None


def test_many_refusals_of_one_moment_are_one_and_the_longest_pause_holds() -> None:
    rate = LearntRate()
    for n in range(10):
        rate.sent(n / 10, waited=False)
    assert rate.refused(1.0, 0.9, 5.0)
    assert not rate.refused(1.1, 0.8, 7.0)
    assert rate.delay(1.2) == pytest.approx(6.9)


@pytest.mark.parametrize("bucket", [True, False])
def test_what_the_endpoint_tells_is_enough_never_to_be_refused(bucket: bool) -> None:
    allowance, paper, now, through = Allowance(), Paper(100, 10.0, bucket), 0.0, 0
    for _ in range(2000):
        now += allowance.delay(now, 1.0) + 1e-3
        while allowance.delay(now, 1.0) > 0:
            now += allowance.delay(now, 1.0) + 1e-6
        allowance.spent(now, 1.0)
        assert paper.take(now)
        through += 1
        whole = (100 - paper.left) / 10.0 if bucket else paper.at + 10.0 - now
        allowance.told(100.0, float(int(paper.left)), whole, now)
    assert through / (now * 10.0) > 0.97


def test_a_refusal_while_others_held_calls_back_costs_little_of_a_known_rate() -> None:
    rate, paper = LearntRate(), Paper(600, 60.0, True)
    drive(rate, paper, 600.0, hints=True)
    known, now = rate.rate, 700.0
    assert known is not None
    for n in range(30):  # a trickle, far below the rate
        now = 700.0 + 10.0 * n
        rate.sent(now, waited=False)
    rate.refused(now, now, 1.0)
    assert rate.rate is not None
    assert rate.rate > 0.6 * known


@pytest.mark.parametrize("pause", [0.0, 0.001])
def test_an_endpoint_that_asks_for_no_pause_and_refuses_again_is_left_alone_ever_longer(pause: float) -> None:
    rate, now, tries = LearntRate(), 0.0, 0
    while now < 60.0:
        now += rate.delay(now) + 1e-3
        rate.sent(now, waited=True)
        rate.refused(now + 1e-3, now, pause)
        now += 1e-3
        tries += 1
    assert tries < 12


def crowd(take: Callable[[float], float | None], seconds: float, rate: LearntRate | None = None) -> tuple[int, int]:
    """Let as many calls go as may; of one that is refused `take` gives what it is told to wait, which is heard 10 ms
    later. Gives how many got through and how many not."""
    rate, now, through, refused = rate or LearntRate(), 0.0, 0, 0
    unheard: deque[tuple[float, float, float]] = deque()
    while now < seconds:
        while unheard and unheard[0][0] <= now:
            heard_at, sent_at, pause = unheard.popleft()
            rate.refused(heard_at, sent_at, pause)
        if (wait := rate.delay(now)) > 0:
            now = min(now + wait + 1e-9, unheard[0][0] if unheard else inf)
            continue
        rate.sent(now, waited=True)
        if (told := take(now)) is None:
            through += 1
        else:
            refused += 1
            unheard.append((now + 0.01, now, told))
        now += 1e-4
    return through, refused


def test_where_chance_refuses_several_try_it_and_the_pauses_are_kept() -> None:
    rng, tried_at = Random(1), list[float]()

    def take(now: float) -> float | None:
        tried_at.append(now)
        return None if rng.random() < 0.2 else 2.0

    through, refused = crowd(take, 120.0)
    assert through > 80, "one at a time has about 20"
    assert refused < 8 * through
    pauses = [after - before for before, after in pairwise(tried_at) if after - before > 0.5]
    assert all(pause > 1.9 for pause in pauses)
    assert len(pauses) > 30


def test_many_that_try_it_and_all_pass_leave_no_debt() -> None:
    """As where the limit is gone. They are sent beside the rate: whoever is next does not wait for each of them."""
    rng, rate, sent_at, rates = Random(1), LearntRate(), list[float](), list[float]()

    def take(now: float) -> float | None:
        if now > 60.0:
            sent_at.append(now)
            rates.append(rate.rate or inf)
        return None if now > 60.0 or rng.random() < 0.3 else 2.0

    crowd(take, 200.0, rate)
    assert sent_at[31] - sent_at[0] < 0.1, "32 try it at once"
    longest = max(after - before for before, after in pairwise([*sent_at, 200.0]))
    assert longest < 2 / rates[0]


def bursts(passes: Callable[[float], bool], seconds: float) -> list[int]:
    """How many calls went after each pause of two seconds. That they are refused is heard late."""
    rate, now, sizes, last = LearntRate(), 0.0, [0], 0.0
    unheard: deque[tuple[float, float]] = deque()
    while now < seconds:
        while unheard and unheard[0][0] <= now:
            rate.refused(*unheard.popleft(), 2.0)
        if (wait := rate.delay(now)) > 0:
            now = min(now + wait + 1e-9, unheard[0][0] if unheard else inf)
            continue
        if now - last > 1.0:
            sizes.append(0)
        sizes[-1], last = sizes[-1] + 1, now
        rate.sent(now, waited=True)
        if not passes(now):
            unheard.append((now + 0.3, now))
        now += 1e-3
    return sizes[1:]  # but for the first, before anything is known


def test_where_nothing_passes_few_try_it() -> None:
    tried = bursts(lambda now: False, 1000.0)
    assert max(tried) <= 8
    assert tried[-20:] == [1] * 20


def test_where_some_pass_again_several_try_it_again() -> None:
    rng = Random(1)
    tried = bursts(lambda now: now > 100.0 and rng.random() < 0.3, 400.0)
    assert max(tried[-20:]) >= 32, "once it was one it stayed one"


@pytest.mark.parametrize("part", [0.5, 0.9])
@pytest.mark.parametrize("a_minute", [6, 12, 60])
def test_a_bucket_that_tells_too_short_a_pause_is_not_taken_for_chance(part: float, a_minute: int) -> None:
    paper = Paper(a_minute, 60.0, bucket=True)
    through, refused = crowd(lambda now: None if paper.take(now) else part * paper.pause(now), 600.0)
    assert through > 10 * a_minute
    assert refused < 400, "if several always tried it at once it would be many more"


def test_a_low_limit_that_is_gone_is_found_to_be_gone_in_minutes() -> None:
    """As after refusals that had nothing to do with how often was asked: at a slow rate 250 calls are long."""
    rate = LearntRate()
    drive(rate, Paper(18, 60.0, True), 3_600.0, hints=True)
    assert rate.rate is not None and rate.rate < 0.5
    through, refused = drive(rate, Paper(1_000_000, 60.0, True), 600.0, hints=True, start=3_600.0)
    assert refused == 0
    assert through > 2_000, "at the old rate it would be 180"
