"""One governor for an endpoint and key, whoever opens it."""

from __future__ import annotations

import threading

import anyio
import pytest
from anyio.lowlevel import checkpoint

from swarm.calls import Ask, ModelReply
from swarm.errors import EndpointError, EndpointFault
from swarm.models.admission.governor import Governor
from swarm.models.admission.governors import open_governor
from swarm.types import Role, Usage

pytestmark = pytest.mark.anyio
OVERLOADED = EndpointError(EndpointFault.OVERLOADED, "busy")
ANSWER = ModelReply({}, "", (), "stop", Usage(calls=1), "m", 0.0, 0.0, 0.05)


async def test_whoever_opens_an_endpoint_with_the_same_key_gets_the_same_governor() -> None:
    async with (
        open_governor("http://a/v1", "key", 10) as first,
        open_governor("http://a/v1/", "key", 20) as same,
        open_governor("http://a/v1", "other", 10) as other,
    ):
        assert same is first
        assert other is not first
    async with open_governor("http://a/v1", "key", 10) as later:
        assert later is not first


def test_threads_with_event_loops_of_their_own_share_one_governor() -> None:
    """Never more calls at once than the ceiling, nobody forgotten, and each told in a thread of its own."""
    most = flying = 0
    lock, barrier = threading.Lock(), threading.Barrier(3)
    told: list[tuple[int, int]] = []

    async def run() -> None:
        nonlocal most, flying
        thread = threading.get_ident()
        ask = Ask(Role.SUBAGENT, 1, tell=lambda text: told.append((thread, threading.get_ident())))

        async def agent(governor: Governor) -> None:
            nonlocal most, flying
            for turn in range(20):
                async with governor.admit(ask) as admission:
                    admission.sent = True
                    with lock:
                        flying += 1
                        most = max(most, flying)
                    await checkpoint()
                    with lock:
                        flying -= 1
                    if turn % 8 == 0:
                        governor.failed(OVERLOADED, admission)
                    else:
                        governor.succeeded(ANSWER, admission)
                    if turn == 15:
                        governor.tell_all("halfway")

        async with open_governor("http://threads/v1", "key", 4) as governor:
            barrier.wait(30)
            with anyio.fail_after(300):
                async with anyio.create_task_group() as group:
                    for _ in range(15):
                        group.start_soon(agent, governor)
            assert governor.statistics().admitted > 0
            barrier.wait(30)
            assert repr(governor).startswith("<Governor 0 of ")

    threads = [threading.Thread(target=anyio.run, args=(run,), daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
        assert not thread.is_alive()
    assert 1 <= most <= 4
    assert len({asked for asked, _ in told}) == 3
    assert all(asked == called for asked, called in told)


async def test_of_several_who_open_an_endpoint_the_lowest_ceiling_holds_and_the_first_park() -> None:
    told: list[str] = []
    ask = Ask(Role.SUBAGENT, 1, tell=told.append)
    async with open_governor("http://b/v1", None, 9) as governor, governor.admit(ask):
        async with open_governor("http://b/v1", None, 2, park=5.0):
            assert governor.statistics().window == 2
        assert governor._window.ceiling == 9
    assert len(told) == 1
    assert "park 0 s" in told[0]
