"""Admission: the order, the books, and what happens to calls that wait."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from anyio.lowlevel import checkpoint

from swarm.calls import Ask, ModelReply
from swarm.errors import EndpointError, EndpointFault
from swarm.models.admission.apart import Apart
from swarm.models.admission.governor import Governor
from swarm.models.admission.halts import OUTAGE_S, PATIENCE_S, STOP_S
from swarm.models.admission.waiting import OLDEST_EVERY, Waiter, WaitingCalls
from swarm.types import Role, Usage

pytestmark = pytest.mark.anyio
SUB = Ask(Role.SUBAGENT, 100)
LIMITED = EndpointError(EndpointFault.RATE_LIMITED, "slow down")
OVERLOADED = EndpointError(EndpointFault.OVERLOADED, "busy")
WRONG_KEY = EndpointError(EndpointFault.WRONG_KEY, "no such key")
QUOTA = EndpointError(EndpointFault.QUOTA_EXHAUSTED, "empty")
DEAD = EndpointError(EndpointFault.UNREACHABLE, "nobody there")
ANSWER = ModelReply({}, "", (), "stop", Usage(calls=1), "m", 0.0, 0.0, 0.05)


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


# the order


def test_urgent_roles_and_near_finished_agents_go_first_and_nobody_starves() -> None:
    calls = WaitingCalls()
    fresh = [Waiter(SUB, "", since=float(n)) for n in range(40)]
    for waiter in fresh:
        calls.add(waiter)
    order = []
    for n in range(160):  # ever more urgent ones arrive
        calls.add(Waiter(Ask(Role.ORCHESTRATOR if n % 2 else Role.SUBAGENT, 1, turn=50), "", since=1000.0 + n))
        first = calls.first()
        assert first is not None
        order.append(first)
        calls.take(first)
    served = [waiter.since for waiter in order if waiter in fresh]
    assert served == sorted(served)
    assert len(served) == min(len(fresh), 160 // OLDEST_EVERY)
    assert fresh[-1] not in order[: 40 * OLDEST_EVERY - 1], "others go before and between them"
    assert order[0].ask.turn == 50


# waiting


async def call(governor: Governor, ask: Ask = SUB, end: EndpointError | None = None, model: str = "m") -> None:
    async with governor.admit(ask, model) as admission:
        admission.sent = True
        await checkpoint()
        if end is None:
            governor.succeeded(ANSWER, admission)
        else:
            governor.failed(end, admission)


async def test_a_call_that_gives_up_leaves_no_trace() -> None:
    governor = Governor(ceiling=1)
    async with anyio.create_task_group() as group, governor.admit(SUB):
        async with anyio.create_task_group() as waiting:
            for _ in range(100):
                waiting.start_soon(call, governor)
            await wait_all_tasks_blocked()
            assert governor.statistics().waiting == 100
            waiting.cancel_scope.cancel()
        assert governor.statistics().waiting == 0
        group.start_soon(call, governor)
    assert governor.statistics()[:3] == (0, 1, 0)
    assert governor.statistics().admitted == 1  # the first was never sent
    assert repr(governor) == "<Governor 0 of 1 in flight, 0 waiting>"


async def test_ten_thousand_wait_and_are_served() -> None:
    governor = Governor(ceiling=200)
    async with anyio.create_task_group() as group:
        for _ in range(10_000):
            group.start_soon(call, governor)
    assert governor.statistics().admitted == 10_000


@pytest.mark.parametrize("fault", [WRONG_KEY, QUOTA])
async def test_after_a_fault_that_meets_everybody_nothing_is_admitted(fault: EndpointError) -> None:
    clock = Clock()
    governor = Governor(ceiling=1, clock=clock)
    refused: list[EndpointError] = []

    async def waits() -> None:
        try:
            await call(governor)
        except EndpointError as error:
            refused.append(error)

    async with anyio.create_task_group() as group, governor.admit(SUB) as admission:
        admission.sent = True
        for _ in range(20):
            group.start_soon(waits)
        await wait_all_tasks_blocked()
        governor.failed(fault, admission)
    assert [(error.kind, error.message) for error in refused] == [(fault.kind, fault.message)] * 20
    assert governor.statistics().admitted == 1
    assert fault.message in governor.statistics().parked
    assert governor.estimated_wait(SUB) == float("inf")
    clock.now += STOP_S + 1  # the next run may try it with one call
    await call(governor)
    await call(governor)
    assert governor.statistics().parked == ""


async def test_a_parked_endpoint_is_tried_by_one_call_and_told_once_to_each_run() -> None:
    governor = Governor(ceiling=8, park=0.05)
    runs: list[list[str]] = [[], []]
    tell: list[Callable[[str], None]] = [runs[0].append, runs[1].append]
    at_once = most = tries = 0

    async def agent(number: int) -> None:
        nonlocal at_once, most, tries
        while True:
            async with governor.admit(Ask(Role.SUBAGENT, 10, tell=tell[number % 2])) as admission:
                admission.sent = True
                at_once += 1
                await checkpoint()
                tries += 1
                if tries > 8:
                    most = max(most, at_once) if tries <= 11 else most
                over = tries > 11
                at_once -= 1
                if over:
                    governor.succeeded(ANSWER, admission)
                    return
                governor.failed(QUOTA, admission)

    with anyio.fail_after(300):
        async with anyio.create_task_group() as group:
            for number in range(30):
                group.start_soon(agent, number)
    assert most == 1
    for told in runs:
        assert [text.split(";")[0] for text in told] == ["empty", "the endpoint answers again: calls go on"]


async def test_an_unknown_model_stops_calls_to_that_model_only() -> None:
    governor = Governor(ceiling=4)
    await call(governor, end=EndpointError(EndpointFault.UNKNOWN_MODEL, "who?"), model="a")
    with pytest.raises(EndpointError, match="who"):
        await call(governor, model="a")
    await call(governor, model="b")


async def test_an_endpoint_that_never_answered_is_given_up_soon_one_that_did_is_waited_for() -> None:
    clock = Clock()
    new, old = Governor(4, clock=clock), Governor(4, clock=clock)
    await call(old)
    for _ in range(4):
        await call(new, end=DEAD)
        await call(old, end=DEAD)
        clock.now += 2.0 if new.statistics().parked.startswith("waiting") else 0.0
    with pytest.raises(EndpointError):
        await call(new)
    assert old.statistics().parked.startswith("waiting")
    clock.now += OUTAGE_S
    await call(old, end=DEAD)
    with pytest.raises(EndpointError):
        await call(old)


async def test_a_rate_limit_that_answers_nobody_ends_as_a_used_up_quota() -> None:
    governor = Governor(4)
    await call(governor, end=EndpointError(EndpointFault.RATE_LIMITED, "tomorrow", retry_after=PATIENCE_S * 10))
    with pytest.raises(EndpointError, match="tomorrow") as caught:
        await call(governor)
    assert caught.value.kind is EndpointFault.QUOTA_EXHAUSTED


async def test_a_rate_limit_is_a_used_up_quota_only_when_a_call_waited_for_so_long() -> None:
    """While the run stood still, or its tools were at work, nobody was answered because nobody asked."""
    clock = Clock()
    governor = Governor(4, clock=clock)
    await call(governor)
    clock.now += 2 * PATIENCE_S
    wanted = Ask(Role.SUBAGENT, 100, since=clock.now, trajectory_id="a")
    await call(governor, wanted, end=LIMITED)
    assert governor.statistics().parked == ""
    clock.now += PATIENCE_S
    await call(governor, wanted, end=LIMITED)
    assert governor.statistics().parked == ""
    clock.now += 1.0 + governor.statistics().held_s
    await call(governor, wanted, end=LIMITED)
    assert "nobody is answered" in governor.statistics().parked


async def test_a_call_that_never_passes_does_not_hold_the_others_and_is_given_up() -> None:
    clock = Clock()
    apart = Apart()
    big = Ask(Role.SUBAGENT, 1, since=1.0, trajectory_id="big")
    small = Ask(Role.SUBAGENT, 1, since=2.0, trajectory_id="small")
    delays = []
    while not apart.hopeless(big):
        own = apart.refused(big, clock.now, None, 0.0)
        delays.append(apart.delay(big, clock.now))
        assert own == (len(delays) > 2)
        for _ in range(9):
            clock.now += 0.1
            apart.passed(small, clock.now)
        clock.now += delays[-1]
    assert delays[:5] == [0.0, 1.0, 2.0, 4.0, 8.0]
    assert len(delays) < 12
    assert apart.delay(small, clock.now) == 0.0


async def test_a_limit_that_meets_others_as_well_gives_nobody_up() -> None:
    clock = Clock()
    apart = Apart()
    asks = [Ask(Role.SUBAGENT, 1, since=float(n), trajectory_id=f"a{n}") for n in range(20)]
    for n in range(400):
        clock.now += 1.0
        apart.refused(asks[n % 20], clock.now, None, 0.0)
        apart.passed(SUB, clock.now)
    assert not any(apart.hopeless(ask) for ask in asks)


async def test_nobody_is_left_waiting_when_the_next_leader_is_admitted_before_it_wakes() -> None:
    governor = Governor(ceiling=300)
    for _ in range(300):  # a rate that makes the others wait for the time
        governor._rate.sent(governor._clock(), waited=False)
    governor._rate.refused(governor._clock(), governor._clock(), 0.02)
    with anyio.fail_after(300):
        async with anyio.create_task_group() as group:
            for _ in range(600):
                group.start_soon(call, governor)


async def test_nothing_is_kept_of_calls_that_are_over() -> None:
    clock = Clock()
    governor = Governor(4, clock=clock)

    async def calls(count: int) -> int:
        for _ in range(count):
            clock.now += 1.0  # what a minute back is needed for goes on in a minute
            async with governor.admit(SUB) as admission:
                governor.succeeded(ANSWER, admission)
        gc.collect()
        return sys.getallocatedblocks()

    before = await calls(200)
    assert await calls(1000) - before < 300, "a thousand calls leave blocks behind"
