"""Mail between a run and its outposts: its order, what a bundle waits for, and who waits for a bundle."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.executors.ray.mail import GATHER_S, LINGER_S, MOST, MUCH, PART, Inbox, Outbox
from swarm.executors.ray.messages import Taken
from swarm.executors.ray.relay import Relay

pytestmark = pytest.mark.anyio


@given(st.lists(st.lists(st.integers(), max_size=3), max_size=8), st.randoms())
def test_mail_is_opened_in_the_order_in_which_it_was_closed(letters: list[list[int]], order: Any) -> None:
    outbox, taken = Outbox(), list[int]()
    bundles = []
    for items in letters:
        for item in items:
            outbox.put(item)
        bundles.append(outbox.close())
    order.shuffle(bundles)
    inbox = Inbox(taken.extend)
    for bundle in bundles:
        inbox.open(bundle)
    assert taken == [item for items in letters for item in items]


def test_a_message_waits_for_others_the_longer_the_more_is_said() -> None:
    now = 0.0
    outbox = Outbox(lambda: now)
    for _ in range(100):
        outbox.answered(60.0)

    def due_after(count: int, seconds: float) -> float:
        """Of a message after so many in each of so many seconds."""
        nonlocal now
        for _ in range(int(seconds * 10)):
            for _ in range(count // 10):
                outbox.put("something")
            now += 0.1
            outbox.close()
        now += LINGER_S
        outbox.put("something")
        due_in = outbox.due_in
        outbox.close()
        return due_in

    assert due_after(0, 5.0) == pytest.approx(0.0, abs=1e-9), "alone it is sent at once"
    waits = [due_after(count, 5.0) for count in (MUCH // 10, MUCH // 2, MUCH, 3 * MUCH)]
    assert waits == pytest.approx([GATHER_S / 10, GATHER_S / 2, GATHER_S, GATHER_S], rel=0.05)
    now += 10.0
    assert due_after(0, 0.0) <= 0.0, "it is forgotten how much was said"


@pytest.mark.parametrize("answer_s", [0.05, 0.5, 1.0, 30.0])
def test_a_message_waits_for_others_no_more_than_a_small_part_of_what_a_call_takes(answer_s: float) -> None:
    now = 0.0
    outbox = Outbox(lambda: now)
    for _ in range(100):
        outbox.answered(answer_s)
    for _ in range(5 * MUCH):
        outbox.put("something")
    now = 1.0
    outbox.close()
    now += LINGER_S
    outbox.put("something")
    assert outbox.due_in <= min(GATHER_S, PART * answer_s) + 1e-6


@pytest.mark.parametrize("closed", [False, True], ids=["its own", "closed by another meanwhile"])
async def test_a_bundle_that_is_full_waits_for_nothing_more(closed: bool) -> None:
    now = 0.0
    outbox, due = Outbox(lambda: now), list[int]()
    for _ in range(3 * MUCH):
        outbox.put("something")
    now += 1.0
    outbox.close()

    async def wait() -> None:
        await outbox.gathered()
        due.append(len(outbox))

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        outbox.put("something")
        await anyio.wait_all_tasks_blocked()
        if closed:
            outbox.close()
            await anyio.wait_all_tasks_blocked()
            outbox.put("something")
            await anyio.wait_all_tasks_blocked()
        assert due == [], "others may come"
        for _ in range(MOST - 1):
            outbox.put("something")
        await anyio.wait_all_tasks_blocked()
        assert due == [MOST]


async def test_who_waits_for_mail_is_woken_though_an_empty_bundle_was_closed() -> None:
    outbox, woken = Outbox(), list[int]()

    async def wait() -> None:
        await outbox.filled()
        woken.append(len(outbox))

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert outbox.close() == (1, b"")
        outbox.put("something")
        await anyio.wait_all_tasks_blocked()
        assert woken == [1]
        group.cancel_scope.cancel()


async def test_who_waits_until_all_is_taken_goes_on_with_the_bundle_that_it_went_with() -> None:
    """And not before: a call is made when the record that it is made is in the journal."""
    relay, gone_on = Relay(), list[str]()

    async def wait(name: str) -> None:
        relay.put(name)
        await relay.taken()
        gone_on.append(name)

    async with anyio.create_task_group() as group:
        for name in ("a", "b"):
            group.start_soon(wait, name)
        await anyio.wait_all_tasks_blocked()
        relay.outbox.close()
        group.start_soon(wait, "c")
        await anyio.wait_all_tasks_blocked()
        relay.hear(Taken(1))
        await anyio.wait_all_tasks_blocked()
        assert gone_on == []
        relay.hear(Taken(2))
        await anyio.wait_all_tasks_blocked()
        assert gone_on == ["a", "b"]
        relay.outbox.close()
        relay.hear(Taken(3))
        await anyio.wait_all_tasks_blocked()
        assert gone_on == ["a", "b", "c"]
        await relay.taken()  # nothing was said since
