"""How many agents may be at work at once, whoever has started them: one count for all schedulers of a run."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager

import anyio

Waker = Callable[[], None]


class Width:
    """A number of places. An agent that waits for agents of its own lends its place to others, so that a forest of them
    never stands still: a place is free as soon as no leaf works in it.

    Who comes back goes before who begins, and who began last looks first: the group of an agent that waits goes before
    its siblings.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._taken = 0
        self._lent = 0
        self._back: deque[anyio.Event] = deque()
        self._wakers: list[Waker] = []

    def __repr__(self) -> str:
        return f"<Width {self._taken} of {self._count} taken, {self._lent} lent>"

    @property
    def count(self) -> int:
        return self._count

    @count.setter
    def count(self, count: int) -> None:
        """Those who have a place keep it."""
        self._count = count
        self._hand_out()

    @property
    def taken(self) -> int:
        return self._taken

    @property
    def free(self) -> bool:
        """Whether somebody may begin."""
        return self._taken < self._count and not self._back

    def take(self) -> None:
        """Begin in a free place."""
        self._taken += 1

    def give(self) -> None:
        """Give a place back; whoever waits for one is woken."""
        self._taken -= 1
        self._hand_out()

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[Loan]:
        """Let one's group, and others, have one's place for the length of the block; wait for one again at its end."""
        loan = Loan(self)
        self._lent += 1
        self.give()
        try:
            yield loan
            if not loan.kept:
                await self._come_back()
        except BaseException:  # it ends: nothing is waited for, and the place counts until it is given back
            if not loan.kept:
                self.take()
            raise
        finally:
            self._lent -= 1

    @contextmanager
    def heard_by(self, waker: Waker) -> Iterator[None]:
        """Wake this one, before those who came earlier, whenever a place may be free."""
        self._wakers.append(waker)
        try:
            yield
        finally:
            self._wakers.remove(waker)

    async def _come_back(self) -> None:
        if self.free:
            self.take()
            return
        called = anyio.Event()
        self._back.append(called)
        try:
            await called.wait()
        except BaseException:
            if called.is_set():
                self.give()
            else:
                self._back.remove(called)
            raise

    def _hand_out(self) -> None:
        while self._back and self._taken < self._count:
            self.take()
            self._back.popleft().set()
        if self.free:
            for waker in reversed(self._wakers):
                waker()


class Loan:
    """A width as the group of an agent uses it that has lent its place. The last of the group to end leaves its place
    to whoever is next in the group, or to the agent itself: that need not wait for a stranger."""

    def __init__(self, width: Width) -> None:
        self._width = width
        self._running = 0
        self.kept = False
        """Whether a place is kept for the group, in which nobody works."""

    def __repr__(self) -> str:
        return f"<Loan of {self._width!r}: {self._running} at work>"

    @property
    def count(self) -> int:
        return self._width.count

    @count.setter
    def count(self, count: int) -> None:
        self._width.count = count

    @property
    def free(self) -> bool:
        """See `Width.free`."""
        return self.kept or self._width.free

    def take(self) -> None:
        """See `Width.take`."""
        self._running += 1
        if self.kept:
            self.kept = False
        else:
            self._width.take()

    def give(self) -> None:
        """See `Width.give`."""
        self._running -= 1
        if self._running:
            self._width.give()
        else:
            self.kept = True

    def heard_by(self, waker: Waker) -> AbstractContextManager[None]:
        """See `Width.heard_by`."""
        return self._width.heard_by(waker)
