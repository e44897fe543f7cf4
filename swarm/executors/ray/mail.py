"""Messages on their way: gathered on one side, put into order on the other.

Mail travels in numbered bundles, several of which may be on their way at once; they are opened in the order in which
they were closed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import anyio

from swarm.executors.ray.packing import pack, unpack

MOST = 512
"""Messages in one bundle that wait for no others."""

LINGER_S = 0.005
"""Seconds from a bundle to the next that is not full at least, but for those that answer."""

GATHER_S = 0.08
"""Seconds at most that a message waits for others where there is much to be said, so that many agents share a bundle:
what it costs is the same, and agents that go on together cost their process less than each by itself."""

PART = 0.03
"""Of the time that a model takes to answer: no message waits for others longer, for there is one wait in each call."""

MUCH = 1000
"""Messages per second. Where there are fewer, agents that share a bundle are few: they wait the less for each other."""

_MEMORY_S = 1.0
"""Seconds over which it is reckoned how much is said."""

Bundle = tuple[int, bytes]


class Outbox:
    """Messages that wait to be sent."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._items: list[Any] = []
        self.number = 0
        """Of the last bundle that was closed."""
        self._clock = clock
        self._began_at = self._closed_at = clock()
        self._rate = 0.0  # messages per second, when the last bundle was closed
        self._answer_s = 1.0
        self._some = anyio.Event()
        self._many = anyio.Event()
        self.count = 0
        """Of all messages that were ever put in."""

    def __repr__(self) -> str:
        return f"<Outbox: {len(self._items)} of {self.count} messages>"

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Any) -> None:
        """Send a message with the next bundle."""
        items = self._items
        items.append(item)
        self.count += 1
        if len(items) == 1:
            self._began_at = self._clock()
            self._some.set()
        elif len(items) == MOST:
            self._many.set()

    def say(self, channel: str, message: Any) -> None:
        """Send a word of a channel with the next bundle."""
        self.put((channel, message))

    def answered(self, seconds: float) -> None:
        """Learn how long a model took to answer."""
        self._answer_s += 0.1 * (seconds - self._answer_s)

    async def filled(self) -> None:
        """Wait until there is a message."""
        while not self._items:
            await self._some.wait()

    async def gathered(self) -> None:
        """Wait until there is a message, and others have had the time to come along."""
        while True:
            await self.filled()
            if len(self._items) >= MOST or (seconds := self.due_in) <= 0:
                return
            with anyio.move_on_after(seconds):
                await self._many.wait()  # it is full, or somebody else has closed it

    @property
    def due_in(self) -> float:
        """Seconds until what there is should be sent."""
        now = self._clock()
        gather_s = min(GATHER_S, PART * self._answer_s) * min(self._faded(now) / MUCH, 1.0)
        return max(self._closed_at + LINGER_S, self._began_at + gather_s) - now

    def close(self) -> Bundle:
        """All of them as one bundle, which may be empty."""
        items, self._items = self._items, []
        if items:  # else whoever waits for the first would wait for an event that nobody sets
            self._many.set()
            self._some, self._many = anyio.Event(), anyio.Event()
        self.number += 1
        now = self._clock()
        self._rate = self._faded(now) + len(items) / max(now - self._closed_at, _MEMORY_S)
        self._closed_at = now
        return self.number, pack(items) if items else b""

    def _faded(self, now: float) -> float:
        """What is left by now of the rate."""
        return self._rate * max(0.0, 1.0 - (now - self._closed_at) / _MEMORY_S)


class Inbox:
    """Opens bundles in their order."""

    def __init__(self, take: Callable[[Sequence[Any]], None]) -> None:
        self._take = take
        self._next = 1
        self._early: dict[int, bytes] = {}

    def open(self, bundle: Bundle) -> None:
        """Take in a bundle, and those after it that came earlier."""
        number, data = bundle
        self._early[number] = data
        while self._next in self._early:
            found = self._early.pop(self._next)
            self._next += 1
            if found:
                self._take(unpack(found))
