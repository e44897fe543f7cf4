"""Replicas: who gets a call, what opens and closes a breaker, who hears of it, and who warms a prefix."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from swarm.calls import Ask, ModelReply, ModelRequest
from swarm.errors import EndpointError, EndpointFault
from swarm.models.admission.bulletin import Bulletin
from swarm.models.admission.governor import Governor
from swarm.models.breaker import PAUSE_S, Breaker, BreakerState
from swarm.models.replicas import NEAR, weight
from swarm.models.router import LOOK, RoutedModel
from swarm.models.service import GovernedModel
from swarm.models.warmth import TELLING_TOKENS
from swarm.protocols import ModelService
from swarm.types import Role, Usage

pytestmark = pytest.mark.anyio
PREFIXES = [f"prefix {n}" for n in range(200)]


def ask(agent: str = "a", turn: int = 0, told: list[str] | None = None) -> Ask:
    tell = told.append if told is not None else None
    return Ask(Role.SUBAGENT, 10, "p", turn, tell=tell, trajectory_id=agent)


# the order of replicas


@given(st.sets(st.text(min_size=1, max_size=20), min_size=2, max_size=6), st.data())
def test_when_a_replica_leaves_only_its_own_prefixes_move(names: set[str], data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(sorted(names)))
    for prefix in PREFIXES:
        ranked = sorted(names, key=lambda name: weight(name, prefix), reverse=True)
        left = sorted(names - {gone}, key=lambda name: weight(name, prefix), reverse=True)
        assert left == [name for name in ranked if name != gone]


def test_prefixes_are_spread_evenly() -> None:
    first = Counter(max("abcd", key=lambda name: weight(name, prefix)) for prefix in PREFIXES)
    assert min(first.values()) > len(PREFIXES) / 4 * 0.6


# the breaker


class Switching(RuleBasedStateMachine):
    """Calls go out where it allows them, and end in any order and way."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker, self.now = Breaker(), 0.0
        self.out: list[tuple[float, bool]] = []
        self.in_a_row = 0

    @precondition(lambda self: self.breaker.allows(self.now))
    @rule()
    def send(self) -> None:
        closed = self.breaker.state(self.now) is BreakerState.CLOSED
        trial = self.breaker.sent(self.now)
        assert trial != closed
        self.out.append((self.now, trial))

    @precondition(lambda self: self.out)
    @rule(data=st.data(), end=st.sampled_from(["good", "bad", "dead", "gone"]))
    def end(self, data: st.DataObject, end: str) -> None:
        sent_at, trial = call = data.draw(st.sampled_from(self.out))
        self.out.remove(call)
        before = self.breaker.state(self.now)
        if end == "good":
            self.in_a_row = 0
            assert self.breaker.succeeded() == (before is not BreakerState.CLOSED)
        elif end != "gone":
            self.in_a_row += before is BreakerState.CLOSED
            opened = self.breaker.failed(self.now, sent_at, surely=end == "dead")
            assert opened == (before is BreakerState.CLOSED and (end == "dead" or self.in_a_row >= 3))
        if trial:
            self.breaker.untried()

    @rule(seconds=st.floats(0.01, 2 * PAUSE_S[1]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def one_call_at_most_tries_it(self) -> None:
        assert sum(trial for _, trial in self.out) <= 1

    @invariant()
    def it_is_open_for_a_bounded_time(self) -> None:
        assert self.breaker.state(self.now + PAUSE_S[1]) is not BreakerState.OPEN


Switching.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestSwitching = Switching.TestCase


def test_the_pause_doubles_and_one_answer_ends_it() -> None:
    breaker, now, pauses = Breaker(), 0.0, []
    breaker.failed(now, now, surely=True)
    for _ in range(9):
        began = now
        while not breaker.allows(now):
            now += 0.5
        pauses.append(now - began)
        assert breaker.sent(now)
        assert not breaker.allows(now)
        breaker.failed(now, now)
        breaker.untried()
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert breaker.succeeded()
    breaker.failed(now, now, surely=True)
    assert breaker.allows(now + PAUSE_S[0])


def test_news_is_told_once_in_order_and_newcomers_hear_what_stands() -> None:
    bulletin, first, late = Bulletin(), list[str](), list[str]()
    tell_first, tell_late = first.append, late.append
    with bulletin.reading(tell_first):
        bulletin.post("a", "a is out", stands=True)
        bulletin.post("b", "b is out", stands=True)
    bulletin.post("a", "a is back", stands=False)
    for _ in range(2):
        with bulletin.reading(tell_first), bulletin.reading(tell_late):
            pass
    assert first == ["a is out", "b is out", "a is back"]
    assert late == ["b is out"]


# whole routers, over models of our own behind real governors


@dataclass
class Fake:
    """A model that answers when it is let, or fails as it is told."""

    endpoint: str
    name: str = "m"
    fault: EndpointFault | None = None
    cached: int = 0
    seconds: float = 0.05
    said: int = 0
    open: anyio.Event = field(default_factory=anyio.Event)
    calls: int = 0
    requests: list[ModelRequest] = field(default_factory=list)

    async def complete(self, request: ModelRequest) -> ModelReply:
        self.calls += 1
        self.requests.append(request)
        await self.open.wait()
        if self.fault is not None:
            raise EndpointError(self.fault, f"{self.endpoint}: {self.fault}")
        usage = Usage(prompt_tokens=TELLING_TOKENS, completion_tokens=self.said, cached_tokens=self.cached, calls=1)
        return ModelReply({}, "", (), "stop", usage, "m", 0.0, 0.0, self.seconds)


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def routed(*fakes: Fake, clock: Clock | None = None) -> RoutedModel:
    clock = clock or Clock()
    return RoutedModel([GovernedModel(fake, Governor(64, clock=clock)) for fake in fakes], clock)


def fakes(number: int = 3) -> list[Fake]:
    """The first is the one to which the prefix belongs."""
    made = sorted((Fake(f"host{n}") for n in range(number)), key=lambda f: weight(f.endpoint, "p"), reverse=True)
    for fake in made:
        fake.open.set()
    return made


async def call(service: ModelService, wanted: Ask) -> EndpointError | None:
    async with service.admit(wanted) as model:
        try:
            await model.complete(ModelRequest([]))
        except EndpointError as error:
            return error
    return None


async def test_calls_go_to_the_prefixs_replica_spill_by_load_and_stay_at_home() -> None:
    first, second, third = fakes()
    router = routed(first, second, third)
    for _ in range(5):
        assert await call(router, ask("alone")) is None
    assert (first.calls, second.calls, third.calls) == (5, 0, 0)
    for fake in (first, second, third):
        fake.open = anyio.Event()
    async with anyio.create_task_group() as group:
        for n in range(12):
            group.start_soon(call, router, ask(f"agent {n}"))
        await wait_all_tasks_blocked()
        at_once = [each.calls for each in router.statistics()]
        assert sum(at_once) == 12
        assert 5 >= at_once[0] >= at_once[1] >= at_once[2] >= 2
        for fake in (first, second, third):
            fake.open.set()
    before = [fake.calls for fake in (first, second, third)]
    for n in range(12):
        assert await call(router, ask(f"agent {n}", turn=1)) is None
    assert [fake.calls for fake in (first, second, third)] == [b + a for b, a in zip(before, at_once, strict=True)]


async def test_a_crowd_with_one_prefix_is_spread_evenly_and_leaves_a_home_that_is_too_busy() -> None:
    """A quarter more for the first replicas would leave the last of four with a quarter of the others' calls."""
    replicas = fakes(4)
    router = routed(*replicas)
    for fake in replicas:
        fake.open = anyio.Event()
    async with anyio.create_task_group() as group:
        for n in range(80):
            group.start_soon(call, router, ask(f"agent {n}"))
        await wait_all_tasks_blocked()
        assert [each.calls for each in router.statistics()] == [20] * 4
        for fake in replicas:
            fake.open.set()
    for fake in replicas:
        fake.open, fake.calls = anyio.Event(), 0
    home = replicas[0]
    async with anyio.create_task_group() as group:
        for n in range(20):  # others of the crowd are gone: only those whose home is the first go on
            group.start_soon(call, router, ask(f"agent {n}", turn=1))
        await wait_all_tasks_blocked()
        busiest = max(each.calls for each in router.statistics())
        assert busiest < 20, "all are at one replica, and three have nothing to do"
        for fake in replicas:
            fake.open.set()
    assert home.calls <= busiest


async def test_a_choice_looks_at_few_of_many_replicas() -> None:
    looks = 0

    class Counting(GovernedModel):
        def estimated_wait(self, ask: Ask) -> float:
            nonlocal looks
            looks += 1
            return super().estimated_wait(ask)

    clock = Clock()
    router = RoutedModel([Counting(fake, Governor(64, clock=clock)) for fake in fakes(300)], clock)
    for n in range(10):
        assert await call(router, ask(f"agent {n}")) is None
    assert looks <= 10 * (NEAR + LOOK + 2)


@pytest.mark.parametrize("fault", [EndpointFault.UNREACHABLE, EndpointFault.WRONG_KEY, EndpointFault.UNKNOWN_MODEL])
async def test_a_replica_that_fails_is_left_out_told_once_and_taken_back(fault: EndpointFault) -> None:
    clock, told = Clock(), list[str]()
    first, second = fakes(2)
    router = routed(first, second, clock=clock)
    first.fault = fault
    error = await call(router, ask("a", told=told))
    assert error is not None
    assert error.elsewhere
    for n in range(5):
        assert await call(router, ask(f"{n}", told=told)) is None
    assert first.calls == 1
    assert [state for _, state, *_ in router.statistics()] == [BreakerState.OPEN, BreakerState.CLOSED]
    clock.now += 12.0
    first.fault = None
    for n in range(3):
        assert await call(router, ask(f"{n}", told=told)) is None
    assert first.calls > 1
    assert [state for _, state, *_ in router.statistics()] == [BreakerState.CLOSED] * 2
    assert told == [
        f"{first.endpoint} is left out ({first.endpoint}: {fault}); calls go to: {second.endpoint}",
        f"{first.endpoint} is back",
    ]


async def test_calls_that_wait_at_a_replica_that_dies_go_elsewhere() -> None:
    first, second = fakes(2)
    clock = Clock()
    router = RoutedModel(
        [GovernedModel(fake, Governor(ceiling, clock=clock)) for fake, ceiling in ((first, 1), (second, 64))], clock
    )
    for n in range(4):  # at home at the first
        assert await call(router, ask(f"{n}")) is None
    first.open, first.fault = anyio.Event(), EndpointFault.UNREACHABLE
    errors: list[EndpointError | None] = []

    async def again(agent: str) -> None:
        errors.append(await call(router, replace(ask(agent, turn=1), tokens=60_000)))

    async with anyio.create_task_group() as group:
        for n in range(4):
            group.start_soon(again, f"{n}")
        await wait_all_tasks_blocked()
        assert router.statistics()[0].calls == 4
        first.open.set()
    assert sum(error is not None for error in errors) == 1
    assert second.calls == 3


async def test_the_run_ends_only_when_no_replica_is_left() -> None:
    first, second = fakes(2)
    router = routed(first, second)
    first.fault = second.fault = EndpointFault.WRONG_KEY
    one, two = await call(router, ask()), await call(router, ask())
    assert one is not None
    assert two is not None
    assert (one.elsewhere, two.elsewhere) == (True, False)
    with pytest.raises(EndpointError, match=r"no replica is left: .*host.*; .*host") as caught:
        await call(router, ask())
    assert caught.value.kind is EndpointFault.WRONG_KEY
    assert (first.calls, second.calls) == (1, 1)


async def test_three_bad_answers_in_a_row_open_and_the_next_attempt_is_made_elsewhere() -> None:
    first, second = fakes(2)
    router = routed(first, second)
    first.fault = EndpointFault.OVERLOADED
    for n in range(3):
        assert await call(router, ask(f"{n}")) is not None
        assert await call(router, ask(f"{n}")) is None
    assert (first.calls, second.calls) == (3, 3)
    assert router.statistics()[0].state is BreakerState.OPEN
