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
"""Seconds between two bundles at least."""

GATHER_S = 0.08
"""Seconds that a message waits for others where there is much to be said, so that many agents share a bundle: what it
costs is the same, and agents that go on together cost their process less than each by itself."""

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
        self._rate = 0.0  # messages per second
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

    async def filled(self) -> None:
        """Wait until there is a message."""
        while not self._items:
            await self._some.wait()

    async def gathered(self) -> None:
        """Wait until there is a message, and others have had the time to come along."""
        await self.filled()
        if len(self._items) < MOST and (seconds := self.due_in) > 0:
            with anyio.move_on_after(seconds):
                await self._many.wait()

    @property
    def due_in(self) -> float:
        """Seconds until what there is should be sent."""
        gather_s = GATHER_S * min(self._rate / MUCH, 1.0)
        return max(self._closed_at + LINGER_S, self._began_at + gather_s) - self._clock()

    def close(self) -> Bundle:
        """All of them as one bundle, which may be empty."""
        items, self._items = self._items, []
        if items:  # else whoever waits for the first would wait for an event that nobody sets
            self._some, self._many = anyio.Event(), anyio.Event()
        self.number += 1
        now = self._clock()
        passed = now - self._closed_at
        self._rate *= max(0.0, 1.0 - passed / _MEMORY_S)
        self._rate += len(items) / max(passed, _MEMORY_S)
        self._closed_at = now
        return self.number, pack(items) if items else b""


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
