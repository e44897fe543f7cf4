"""The order of waiting calls and the circuit breaker, move by move beside those on paper."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from swarm.calls import Ask
from swarm.models.admission.waiting import Waiter, WaitingCalls
from swarm.models.breaker import Breaker, BreakerState
from swarm.types import Role
from tests.effort import examples
from tests.models.paper_governor import PaperBreaker, Waiting, first


class Order(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.real = WaitingCalls()
        self.paper: dict[Waiting, Waiter] = {}
        self.taken = self.came = 0

    @rule(
        role=st.sampled_from(Role), turn=st.integers(0, 9), since=st.integers(0, 5), count=st.sampled_from([1, 1, 40])
    )
    def add(self, role: Role, turn: int, since: int, count: int) -> None:
        for _ in range(count):
            self.came += 1
            waiter = Waiter(Ask(role, 1, turn=turn), "", float(since))
            self.paper[Waiting(role, turn, float(since), self.came)] = waiter
            self.real.add(waiter)

    @rule(count=st.sampled_from([1, 1, 3, 50]))
    def take(self, count: int) -> None:
        for _ in range(min(count, len(self.paper))):
            wanted, found = first(list(self.paper), self.taken), self.real.first()
            assert wanted is not None and found is not None
            assert found is self.paper.pop(wanted)
            self.real.take(found)
            self.taken += 1

    @precondition(lambda self: self.paper)
    @rule(data=st.data(), twice=st.booleans())
    def withdraw(self, data: st.DataObject, twice: bool) -> None:
        waiter = self.paper.pop(data.draw(st.sampled_from(list(self.paper))))
        for _ in range(1 + twice):
            self.real.remove(waiter)

    @invariant()
    def the_same_wait(self) -> None:
        assert len(self.real) == len(self.paper)
        assert set(map(id, self.real)) == set(map(id, self.paper.values()))
        wanted = first(list(self.paper), self.taken)
        assert self.real.first() is (None if wanted is None else self.paper[wanted])


class Breakers(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.real, self.paper = Breaker(), PaperBreaker()
        self.now = 100.0
        self.out: list[tuple[float, bool]] = []

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 2.0, 10.0, 70.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def send(self) -> None:
        if self.real.allows(self.now):
            trial = self.paper.opened is not None
            assert self.real.sent(self.now) is trial
            self.paper.trials += trial
            self.out.append((self.now, trial))

    @precondition(lambda self: self.out)
    @rule(
        data=st.data(),
        how=st.sampled_from(["answer", "fail", "fail", "sure", "cancel"]),
        least=st.sampled_from([0.0, 0.0, 10.0]),
    )
    def end(self, data: st.DataObject, how: str, least: float) -> None:
        call = data.draw(st.sampled_from(self.out))
        self.out.remove(call)
        sent, trial = call
        if how == "answer":
            assert self.real.succeeded() is (self.paper.opened is not None)
            self.paper.succeeded()
        elif how != "cancel":
            opened = self.paper.opened is None
            self.paper.failed(self.now, sent, how == "sure", least)
            told = self.real.failed(self.now, sent, surely=how == "sure", at_least=least)
            assert told is (opened and self.paper.opened is not None)
        if trial:
            self.real.untried()
            self.paper.trials = 0

    @invariant()
    def both_let_through_the_same(self) -> None:
        assert self.real.allows(self.now) is self.paper.allows(self.now)
        assert (self.real.state(self.now) is BreakerState.CLOSED) is (self.paper.opened is None)
        assert self.paper.trials <= 1 or self.paper.opened is None


Order.TestCase.settings = settings(max_examples=examples(40), stateful_step_count=30)
TestOrder = Order.TestCase
Breakers.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=30)
TestBreakers = Breakers.TestCase
