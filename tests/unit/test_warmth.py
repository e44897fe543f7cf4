"""One call warms a prefix at an endpoint before its siblings follow."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from swarm.errors import EndpointFault
from swarm.models.admission.governor import Governor
from swarm.models.service import GovernedModel
from swarm.models.warmth import KEPT_S, WarmedModel
from tests.unit.test_router import Clock, Fake, ask, call

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def siblings(service: WarmedModel, number: int) -> AsyncIterator[None]:
    async with anyio.create_task_group() as group:
        for n in range(number):
            group.start_soon(call, service, ask(f"{n}"))
        await wait_all_tasks_blocked()
        yield


def warmed(fake: Fake, clock: Clock | None = None) -> WarmedModel:
    return WarmedModel(GovernedModel(fake, Governor(64)), clock or Clock())


async def test_one_call_goes_first_and_its_siblings_follow_when_its_answer_begins() -> None:
    fake = Fake("host", cached=1000)
    async with siblings(warmed(fake), 5):
        assert fake.calls == 1
        began = fake.requests[0].began
        assert began is not None
        began()
        await wait_all_tasks_blocked()
        assert fake.calls == 5
        fake.open.set()


async def test_siblings_do_not_wait_for_one_that_failed_and_a_prefix_cools_down() -> None:
    clock, fake = Clock(), Fake("host", fault=EndpointFault.CUT)
    service = warmed(fake, clock)
    async with siblings(service, 3):
        assert fake.calls == 1
        fake.open.set()
    assert fake.calls == 3
    fake.fault, fake.cached = None, 1000
    assert await call(service, ask("warms")) is None
    fake.open = anyio.Event()
    async with siblings(service, 3):
        assert fake.calls == 7
        fake.open.set()
    clock.now += KEPT_S + 1
    fake.open = anyio.Event()
    async with siblings(service, 3):
        assert fake.calls == 8
        fake.open.set()


async def test_an_endpoint_that_tells_of_no_cache_is_not_warmed_again() -> None:
    clock, fake = Clock(), Fake("host", cached=0)
    service = warmed(fake, clock)
    fake.open.set()
    async with siblings(service, 3):
        pass
    clock.now += KEPT_S + 1
    fake.open = anyio.Event()
    async with siblings(service, 3):
        assert fake.calls == 6
        fake.open.set()


async def test_siblings_wait_a_bounded_time_and_a_conversation_that_goes_on_not_at_all() -> None:
    fake, clock = Fake("host"), Clock()
    service = warmed(fake, clock)
    async with anyio.create_task_group() as group:
        group.start_soon(call, service, ask("first"))
        await wait_all_tasks_blocked()
        group.start_soon(call, service, ask("second", turn=1))
        await wait_all_tasks_blocked()
        assert fake.calls == 2
        clock.now += 11.0
        group.start_soon(call, service, ask("third"))
        await wait_all_tasks_blocked()
        assert fake.calls == 3
        fake.open.set()
