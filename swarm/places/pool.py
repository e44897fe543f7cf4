"""Places to work that are opened ahead: a working copy with a sandbox over it, ready before an agent asks for it.

Every place is a task of the pool's own group, which opens it, waits until it is given back, and closes it: nobody
waits for a container to start at steady state, nor for one to be removed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import anyio
from anyio.abc import TaskGroup

from swarm.errors import MachineError, SandboxError
from swarm.places.workshop import Workshop
from swarm.protocols import Sandbox, WorkingCopy
from swarm.shortage import remedy_for, told
from swarm.stopping import companions

MOST_AHEAD = 16

AT_ONCE = 16
"""Places that are being opened at once: more would only be in each other's way, until some are given up as too slow."""


class PoolStatistics(NamedTuple):
    """Places that are open or being opened for nobody yet, places in use, and how many takers found one ready."""

    ahead: int
    in_use: int
    found_ready: int


class Place:
    """A working copy of a commit and the sandbox over it, for one attempt."""

    def __init__(self, commit: str | None) -> None:
        self.commit = commit
        self.ready = anyio.Event()
        self.closed = anyio.Event()
        self.error: MachineError | None = None
        self._leave_sandbox = anyio.Event()
        self._leave = anyio.Event()
        self._copy: WorkingCopy | None = None
        self._sandbox: Sandbox | None = None

    @property
    def copy(self) -> WorkingCopy:
        assert self._copy is not None
        return self._copy

    @property
    def sandbox(self) -> Sandbox:
        assert self._sandbox is not None
        return self._sandbox

    async def close_sandbox(self) -> None:
        """Close the sandbox and keep the copy: nothing writes to it any more.

        Raises:
            SandboxError: it could not be closed.
        """
        self._leave_sandbox.set()
        await self.closed.wait()
        if self.error is not None:
            raise self.error

    def leave(self) -> None:
        """Give it back; it is closed by the pool."""
        self._leave_sandbox.set()
        self._leave.set()

    async def keep(self, workshop: Workshop, owner: str, opening: anyio.CapacityLimiter) -> None:
        """Hold it open from now on until it is given back."""
        try:
            async with AsyncExitStack() as stack:
                async with AsyncExitStack() as inner:
                    async with opening:
                        self._copy = await stack.enter_async_context(workshop.copy(self.commit))
                        self._sandbox = await inner.enter_async_context(workshop.sandbox(owner, self._copy))
                    self.ready.set()
                    await self._leave_sandbox.wait()
                self.closed.set()
                await self._leave.wait()
        except (MachineError, OSError) as error:  # told to whoever waits for it, not to the other places
            self.error = error if isinstance(error, MachineError) else _not_opened(error)
        finally:
            self.ready.set()
            self.closed.set()


def _not_opened(error: OSError) -> SandboxError:
    return SandboxError(f"no place to work can be opened: {told(error)}", remedy=remedy_for(error))


class Pool:
    """The one way to a place to work, for sub-agents and gates. Use it as an async context manager.

    `ahead`: how many are opened before they are asked for, at most.
    """

    def __init__(self, workshop: Workshop, ahead: int) -> None:
        self.workshop = workshop
        self._most = ahead
        self._ahead: deque[Place] = deque()
        self._commit: str | None = None
        self._expected = 0
        self._sure = True
        self._in_use = 0
        self._found_ready = 0
        self._opened = 0
        self._opening = anyio.CapacityLimiter(AT_ONCE)
        self._places: TaskGroup | None = None

    def __repr__(self) -> str:
        s = self.statistics()
        return f"<Pool {s.ahead} ahead, {s.in_use} in use, {s.found_ready} found ready>"

    def statistics(self) -> PoolStatistics:
        return PoolStatistics(len(self._ahead), self._in_use, self._found_ready)

    def open_in(self, places: TaskGroup) -> None:
        """Let places be opened by tasks of this group."""
        self._places = places

    def expect(self, count: int, commit: str | None, *, sure: bool = True) -> None:
        """Prepare for so many takers altogether, most of whom will want the tree of `commit`. Where it is not `sure`
        that they come, none is opened before the first does."""
        self._commit, self._expected, self._sure = commit, count, sure
        while len(self._ahead) > count:
            self._ahead.pop().leave()
        self._fill()

    async def filled(self) -> None:
        """Wait until whatever is being opened ahead is ready."""
        for place in tuple(self._ahead):
            await place.ready.wait()

    @asynccontextmanager
    async def take(self, owner: str, commit: str | None, *, expected: bool = True) -> AsyncIterator[Place]:
        """A place with the tree of `commit`, given back at the end of the block. A taker who is not `expected` is none
        of those that were prepared for: what is opened ahead is left to them.

        Raises on entering:
            SandboxError: it could not be opened, or is not as closed as it should be.
        """
        if expected:
            self._expected = max(0, self._expected - 1)
            self._sure = True
        self._in_use += 1
        try:
            # Those that are there now: each may turn out to have failed, and is made up for meanwhile.
            ahead = [place for place in self._ahead if expected and (place.commit is None) == (commit is None)]
            for place in ahead:
                if place not in self._ahead:
                    continue  # another taker was quicker
                self._ahead.remove(place)
                was_ready = place.ready.is_set()
                async with self._taken(place):
                    if place.error is None:
                        self._found_ready += was_ready
                        if commit is not None and commit != place.commit:
                            await place.copy.move_to(commit)
                        yield place
                        return
            async with self._taken(self._open(owner, commit)) as place:
                if place.error is not None:
                    raise place.error
                yield place
        finally:
            self._in_use -= 1

    @asynccontextmanager
    async def _taken(self, place: Place) -> AsyncIterator[Place]:
        try:
            self._fill()
            await place.ready.wait()
            yield place
        finally:
            place.leave()

    def _fill(self) -> None:
        most = self._most if self._sure else 0
        while len(self._ahead) < min(most, self._expected):
            self._opened += 1
            self._ahead.append(self._open(f"ahead-{self._opened}", self._commit))

    def _open(self, owner: str, commit: str | None) -> Place:
        if self._places is None:
            raise SandboxError(f"{self!r} is not open")
        place = Place(commit)
        self._places.start_soon(place.keep, self.workshop, owner, self._opening)
        return place


@asynccontextmanager
async def open_pool(workshop: Workshop, concurrency: int) -> AsyncIterator[Pool]:
    """A pool for so many agents at once; all its places are closed at the end of the block."""
    pool = Pool(workshop, min(MOST_AHEAD, concurrency))
    async with companions() as places:
        pool.open_in(places)
        places.start_soon(workshop.shown.ahead)  # while the task is planned
        yield pool
