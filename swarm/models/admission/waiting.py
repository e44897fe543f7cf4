"""The order in which waiting calls are admitted. Pure."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf

import anyio

from swarm.calls import Ask
from swarm.errors import EndpointError
from swarm.types import Role

OLDEST_EVERY = 2
"""Of so many admissions one goes to whoever waits longest, whatever its class: so nobody starves, and the slowest calls
of a crowd take no longer than where all come in turn."""

_CLASS = {Role.ORCHESTRATOR: 0, Role.AGGREGATOR: 1, Role.SUBAGENT: 2}


Loop = asyncio.AbstractEventLoop


def running_loop() -> Loop | None:
    """The event loop of this thread, while it runs."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def in_loop(loop: Loop | None, callback: Callable[[], None]) -> None:
    """Call back in the thread of a loop: at once where that is this thread, soon in another."""
    if loop is None or loop is running_loop():
        callback()
    else:
        with suppress(RuntimeError):  # it is closed: nobody waits there any more
            loop.call_soon_threadsafe(callback)


@dataclass(slots=True, eq=False)
class Admission:
    """One call that was admitted at `at`. `sent` becomes true when it is really made; a `trial` is the only one while
    it lasts. `loop`: where it is made. `idle`: it is over, and its place kept for another."""

    ask: Ask
    model: str
    at: float
    trial: bool = False
    sent: bool = False
    idle: bool = False
    loop: Loop | None = None


@dataclass(slots=True, eq=False)
class Waiter:
    """One call that waits. It leaves by being admitted, refused or withdrawn."""

    ask: Ask
    model: str
    since: float
    event: anyio.Event | None = None  # where it waits
    admission: Admission | None = None
    refused: EndpointError | None = None
    gone: bool = False
    entered: float = 0.0  # when it began to wait here

    loop: Loop | None = field(default_factory=running_loop)

    def wake(self) -> None:
        if self.event is not None:
            in_loop(self.loop, self.event.set)


class Lead:
    """One of the waiters, the leader, also waits for the time at which the next may be admitted."""

    def __init__(self) -> None:
        self._leader: Waiter | None = None
        self._until = inf

    def wait(self, waiter: Waiter, due: float, now: float) -> tuple[anyio.Event, float | None]:
        """What a waiter waits for, and how many seconds at most, where the next may be admitted when it is `due`."""
        waiter.event = anyio.Event()
        if self._leader is not None and self._leader is not waiter:
            return waiter.event, None
        self._leader, self._until = waiter, due
        return waiter.event, max(0.0, due - now)

    def hasten(self, due: float) -> None:
        """The next may be admitted when it is `due`, which may be sooner than the leader waits for."""
        if self._leader is not None and due < self._until:
            self._leader.wake()

    def leave(self, waiter: Waiter, waiting: WaitingCalls) -> None:
        """Let another lead, also where this one was to lead next, and was admitted before it woke."""
        if self._leader is waiter:
            self._leader = None
        if self._leader is None and (following := waiting.first()) is not None:
            following.wake()


class WaitingCalls:
    """Orchestrator before aggregator before sub-agents; among these near-finished before fresh; else by age."""

    def __init__(self) -> None:
        self._by_class: list[tuple[tuple[int, int, float, int], Waiter]] = []
        self._by_age: list[tuple[float, int, Waiter]] = []
        self.count = 0
        """Calls that wait."""
        self.taken = 0
        """Calls that were admitted: those that did not have to wait, too."""
        self._number = 0

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Waiter]:
        return iter([waiter for _, _, waiter in self._by_age if not waiter.gone])

    def add(self, waiter: Waiter) -> None:
        self._number += 1
        self.count += 1
        nearness = -waiter.ask.turn.bit_length()
        rank = (_CLASS[waiter.ask.role], nearness, waiter.since, self._number)
        heapq.heappush(self._by_class, (rank, waiter))
        heapq.heappush(self._by_age, (waiter.since, self._number, waiter))

    def first(self) -> Waiter | None:
        """Whose turn it is."""
        self._drop_gone()
        if not self._by_age:
            return None
        oldest = self.taken % OLDEST_EVERY == OLDEST_EVERY - 1
        return self._by_age[0][2] if oldest else self._by_class[0][1]

    def take(self, waiter: Waiter) -> None:
        """`waiter` is admitted."""
        self.taken += 1
        self.remove(waiter)

    def remove(self, waiter: Waiter) -> None:
        if not waiter.gone:
            waiter.gone = True
            self.count -= 1
            if len(self._by_age) > 2 * self.count + 64:  # calls that left from the middle: sweep now and then
                self._by_age = [entry for entry in self._by_age if not entry[2].gone]
                heapq.heapify(self._by_age)
            if len(self._by_class) > 2 * self.count + 64:
                self._by_class = [ranked for ranked in self._by_class if not ranked[1].gone]
                heapq.heapify(self._by_class)

    def _drop_gone(self) -> None:
        while self._by_age and self._by_age[0][2].gone:
            heapq.heappop(self._by_age)
        while self._by_class and self._by_class[0][1].gone:
            heapq.heappop(self._by_class)
