"""Two attempts that are made elsewhere, under one limit: what is set aside ahead, and who gets it back."""

from __future__ import annotations

from functools import partial

import anyio
import pytest

from swarm.budgets.budget import Budget
from swarm.budgets.lease_messages import Returned, Settled, Wanted
from swarm.budgets.leased import HELD_S, LeasedBudget
from swarm.budgets.lessor import TELL_S, Lessor
from swarm.budgets.levels import Gauge, Limits
from swarm.testing.simulated_loop import Simulation
from tests.models.channels import Channel


class Pair:
    """Two attempts elsewhere, under one limit of tokens."""

    def __init__(self, tokens: int | None) -> None:
        self.sim = Simulation()
        self.run = Budget(Limits(tokens=tokens))
        self.ends: list[tuple[Lessor, LeasedBudget, Channel, Channel]] = []
        for name in ("a", "b"):
            self.sim.do(partial(self._join, name))
        for lessor, *_ in self.ends:
            self.sim.start(lessor.run)
        self.had: list[str] = []

    def _join(self, name: str) -> None:
        up, down = Channel(), Channel()
        lessor = Lessor(self.run.part(name), down.send)
        leased = LeasedBudget(lessor.first(), up.send, self.sim.loop.time)
        up.hear, down.hear = lessor.hear, leased.hear
        self.ends.append((lessor, leased, up, down))

    def quiet(self, seconds: float = 0.0) -> None:
        for _ in range(8):
            self.sim.settle(seconds / 8)
            for _, _, up, down in self.ends:
                self.sim.do(up.deliver)
                self.sim.do(down.deliver)

    def want(self, which: int, tokens: int) -> None:
        """Wait for room for a call, as it does before it is admitted."""

        async def wait() -> None:
            await self.ends[which][1].wait_for_room(lambda: (tokens, 0.0))
            self.had.append("ab"[which])

        self.sim.start(wait)

    def call(self, which: int, tokens: int) -> bool:
        """Whether a call can be made at once."""

        def make() -> bool:
            reservation = self.ends[which][1].try_reserve(tokens, 0.0)
            if reservation is not None:
                reservation.settle(tokens, 0.0)
            return reservation is not None

        return self.sim.do(make)


def test_one_call_after_the_other_is_paid_without_asking() -> None:
    pair = Pair(100_000)
    pair.want(0, 10)
    pair.quiet()
    for _ in range(5):
        assert pair.call(0, 10)
        pair.quiet()
    assert pair.run.used.tokens == 50
    assert pair.run.held.tokens <= 20
    sent = len([each for each in pair.ends[0][2].sent if isinstance(each, Wanted)])
    assert sent == 1
    pair.sim.close()


def test_who_waits_gets_at_once_what_another_does_not_use() -> None:
    pair = Pair(1000)
    pair.want(0, 10)
    pair.quiet()
    assert pair.call(0, 10)
    pair.quiet(2.0)
    assert pair.run.held.tokens > 0, "something is set aside ahead"
    pair.want(1, 990)
    pair.quiet()
    assert pair.had == ["a", "b"]
    pair.sim.close()


def test_what_was_just_asked_for_is_not_taken_before_it_can_be_used() -> None:
    pair = Pair(100)
    pair.want(0, 80)
    pair.quiet()
    pair.want(1, 80)
    pair.quiet(HELD_S * 0.9)
    assert pair.had == ["a"]
    pair.quiet(2 * TELL_S)
    assert pair.had == ["a", "b"]
    assert not pair.call(0, 80)
    assert pair.call(1, 80)
    pair.sim.close()


def test_others_use_is_seen_without_a_call() -> None:
    """What is told to agents near a limit is no older than some seconds."""
    pair = Pair(100)
    pair.want(0, 80)
    pair.quiet()
    assert pair.call(0, 80)
    pair.quiet(2 * TELL_S)
    used = {gauge.what: gauge.used for gauge in pair.ends[1][1].gauges()}
    assert used == {"tokens": 80}
    assert pair.ends[1][1].room().tokens == 20
    pair.sim.close()


def test_who_can_do_with_less_is_told_what_is_left() -> None:
    pair = Pair(100)
    stale = pair.ends[1][1].room()
    pair.want(0, 70)
    pair.quiet()
    assert pair.call(0, 70)
    took: list[int] = []

    async def flexible() -> None:
        budget = pair.ends[1][1]
        await budget.wait_for_room(lambda: (int(min(60, budget.room().tokens)), 0.0))
        took.append(int(min(60, budget.room().tokens)))

    assert stale.tokens == 100
    pair.sim.start(flexible)
    pair.quiet()
    assert took == [30]
    assert pair.call(1, 30)
    pair.sim.close()


def test_nobody_has_what_was_not_granted() -> None:
    pair = Pair(100)
    pair.want(0, 50)
    pair.quiet()
    assert not pair.call(0, 51)
    assert not pair.call(1, 1)
    assert pair.call(0, 50)
    pair.sim.close()


def test_what_is_used_is_known_at_once_where_it_was() -> None:
    pair = Pair(100)
    pair.want(0, 80)
    pair.quiet()
    assert pair.call(0, 80)  # nobody else has heard of it
    budget = pair.ends[0][1]
    assert budget.room().tokens == 20
    assert [gauge.used for gauge in budget.gauges()] == [80]
    pair.sim.close()


def test_what_a_call_does_not_need_of_its_grant_others_have() -> None:
    pair = Pair(1000)
    pair.want(0, 10)
    pair.quiet()
    assert pair.call(0, 10)
    pair.quiet(1.0)
    ahead = pair.run.held.tokens
    assert ahead > 10
    small = pair.sim.do(lambda: pair.ends[0][1].try_reserve(1, 0.0))
    assert small is not None
    pair.want(1, 1000 - 10 - ahead + 1)
    pair.sim.settle()
    pair.sim.do(pair.ends[1][2].deliver)  # of this call nobody has heard
    pair.sim.settle()
    assert pair.had == ["a"]
    pair.quiet()
    assert pair.had == ["a", "b"]
    pair.sim.close()


def test_nothing_is_set_aside_for_who_has_gone() -> None:
    pair = Pair(100)
    pair.want(0, 80)
    pair.quiet()
    held = pair.sim.do(lambda: pair.ends[0][1].try_reserve(80, 0.0))
    scope = pair.sim.do(anyio.CancelScope)

    async def wait() -> None:
        with scope:
            await pair.ends[1][1].wait_for_room(lambda: (50, 0.0))

    pair.sim.start(wait)
    pair.quiet()
    pair.sim.do(scope.cancel)
    pair.quiet()
    assert held is not None
    pair.sim.do(held.release)
    pair.quiet()
    assert pair.run.held.tokens == 0
    pair.sim.close()


def test_a_limit_that_nobody_met_is_not_told() -> None:
    """What is set aside ahead is no call that is refused."""
    pair, told = Pair(100_000), list[Gauge]()
    pair.run.allow(Limits(tokens=100_000, steps=1))
    pair.run.listener = lambda gauge: told.append(gauge) if gauge is not None else None
    pair.want(0, 10)
    pair.quiet()
    assert pair.call(0, 10)
    pair.quiet()
    assert told == []
    pair.want(0, 10)
    with pytest.raises(BaseExceptionGroup):
        pair.quiet()
    assert [gauge.what for gauge in told] == ["steps"]
    pair.sim.abandon()


@pytest.mark.parametrize("lost", [False, True])
def test_what_is_left_when_an_attempt_is_over_is_free(lost: bool) -> None:
    """Lost with its machine, a call that is known to be sent counts as it was meant; one of which nobody heard never
    was."""
    pair = Pair(1000)
    lessor, budget, up, _ = pair.ends[0]
    pair.want(0, 10)
    pair.quiet()
    assert pair.call(0, 10)
    pair.quiet()
    first = pair.sim.do(lambda: budget.try_reserve(7, 0.0))
    pair.want(0, 20)
    pair.quiet()
    second = pair.sim.do(lambda: budget.try_reserve(20, 0.0))
    assert first is not None
    assert second is not None
    if lost:
        up.cut()
        assert pair.sim.do(lessor.lost) == [(7, 0.0)]
        assert pair.run.used.tokens == 10 + 7
    else:
        pair.sim.do(lambda: first.settle(3, 0.0))
        pair.sim.do(second.release)
        pair.quiet()
        pair.sim.do(lessor.close)
        assert pair.run.used.tokens == 10 + 3
    assert pair.run.held.tokens == 0
    assert not pair.run.lent[1:]
    pair.sim.do(lambda: lessor.hear(Returned((1, 2, 3))))  # too late
    pair.sim.close()


def test_what_was_taken_back_is_not_given_back_again() -> None:
    pair = Pair(1000)
    pair.want(0, 10)
    pair.quiet()
    assert pair.call(0, 10)
    pair.quiet(2.0)
    pair.want(1, 990)
    pair.quiet()
    for lessor, *_ in pair.ends:
        pair.sim.do(lessor.close)
    assert (pair.run.used.tokens, pair.run.held.tokens) == (10, 0)
    pair.sim.close()


def test_where_nothing_is_limited_nothing_is_asked_for() -> None:
    pair = Pair(None)
    for _ in range(3):
        assert pair.call(0, 1_000_000)
    pair.quiet()
    assert pair.run.used.tokens == 3_000_000
    assert not [each for each in pair.ends[0][2].sent if isinstance(each, Wanted)]
    pair.run.allow(Limits(tokens=3_000_010))
    pair.quiet(2 * TELL_S)
    assert not pair.call(0, 10)
    pair.want(0, 10)
    pair.quiet()
    assert pair.call(0, 10)
    pair.sim.close()


def test_words_about_grants_that_are_not_there_end_no_run() -> None:
    """What was used counts all the same."""
    pair = Pair(1000)
    lessor = pair.ends[0][0]
    pair.sim.do(lambda: lessor.hear(Returned((99,))))
    pair.sim.do(lambda: lessor.hear(Settled(99, 70, 0.0, 1)))
    assert pair.run.room().tokens == 930
    pair.sim.close()
