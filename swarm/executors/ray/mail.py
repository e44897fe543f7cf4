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
"""Seconds between two bundles where there is little to be said."""

GATHER_S = 0.08
"""Seconds between two where there is much, so that many agents share one: what a bundle costs is the same, and agents
that go on together cost their process less than each by itself."""

MUCH = 1000
"""Messages per second. Where there are fewer, agents that share a bundle are few: it waits the less for them."""

Bundle = tuple[int, bytes]


class Outbox:
    """Messages that wait to be sent."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._items: list[Any] = []
        self.number = 0
        """Of the last bundle that was closed."""
        self._clock = clock
        self._closed_at = clock()
        self.linger_s = LINGER_S
        """Seconds that the next one waits for more, by how much was said until the last."""
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

    async def lingered(self) -> None:
        """Wait until the next bundle is due, or there are many messages."""
        if len(self._items) < MOST:
            with anyio.move_on_after(self.linger_s):
                await self._many.wait()

    def close(self) -> Bundle:
        """All of them as one bundle, which may be empty."""
        items, self._items = self._items, []
        if items:  # else whoever waits for the first would wait for an event that nobody sets
            self._some, self._many = anyio.Event(), anyio.Event()
        self.number += 1
        now = self._clock()
        busy = len(items) / (MUCH * max(now - self._closed_at, LINGER_S))
        self.linger_s = max(LINGER_S, GATHER_S * min(busy, 1.0))
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
