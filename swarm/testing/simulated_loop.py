"""An event loop without a machine: its clock is a number, and whoever uses it says which of the callbacks that are due
is the next. So each run can be repeated, races too, and one in which nobody can go on ends at once.

    loop = SimulatedLoop(by_bytes(b"\\x02\\x00\\x01"))
    anyio.run(main, backend_options={"loop_factory": lambda: loop})      # from its beginning to its end

or step by step, from outside: see `Simulation`. There is nothing else in it: no thread, file, socket or process.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from itertools import count
from random import Random
from typing import Any, TypeVar

import anyio
from anyio.abc import TaskGroup

T = TypeVar("T")

Order = Callable[[int], int]
"""Chooses one of so many callbacks, which are in the order in which they came."""


FAIR = 12
"""So often the oldest callback may be passed over: some wait for others by coming back."""


class Stuck(AssertionError):
    """All tasks wait, and not for the time."""


def in_turn(count: int) -> int:
    """The order of every other event loop."""
    return 0


def by_seed(seed: int) -> Order:
    """Any order; 0 is in turn."""
    return Random(seed).randrange if seed else in_turn


def by_bytes(choices: bytes) -> Order:
    """An order that hypothesis can make simpler: the bytes choose, over and over again; none is in turn."""
    if not any(choices):
        return in_turn
    at = 0

    def choose(count: int) -> int:
        nonlocal at
        at += 1
        return choices[at % len(choices)] % count

    return choose


class SimulatedLoop(asyncio.BaseEventLoop):
    """The event loop. `errors` are what callbacks raised that nobody waited for; `watch` is called after each."""

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, order: Order = in_turn, start: float = 1000.0) -> None:
        super().__init__()
        self.errors: list[dict[str, Any]] = []
        self.watch: Callable[[], None] | None = None
        self._tasks_made = count()
        self.set_task_factory(self._number)
        self.set_exception_handler(lambda _, context: self.errors.append(context))
        self._order = order
        self._passed_over = 0
        self._now = start
        self._driven = False
        self._steps = -1
        self._until = start

    def time(self) -> float:
        """Seconds on its own clock."""
        return self._now

    def drive(self, seconds: float = 0.0, steps: int = -1) -> None:
        """Run from outside: all that is due until so many seconds from now, or so many callbacks of it."""
        self._driven, self._steps, self._until = True, steps, self._now + seconds
        try:
            self.run_forever()
        finally:
            self._driven = False
        if steps < 0:
            self._now = self._until

    def at_once(self, action: Callable[[], T]) -> T:
        """Do something in a task of its own, before all that is due."""

        async def act() -> T:
            return action()

        task = self.create_task(act())
        self._ready.rotate(1)
        order, self._order = self._order, in_turn
        try:
            self.drive(steps=1)
        finally:
            self._order = order
        return task.result()

    def _run_once(self) -> None:
        self._come_due()
        if self._driven and self._steps == 0:
            self.stop()
            return
        if not self._ready:
            if not self._scheduled or (self._driven and self._scheduled[0].when() > self._until):
                if not self._driven:
                    raise Stuck("all tasks wait for one another")
                self.stop()
                return
            self._now = max(self._now, self._scheduled[0].when())
            self._come_due()
        chosen = self._order(len(self._ready)) if self._passed_over < FAIR else 0
        self._passed_over = self._passed_over + 1 if chosen else 0
        self._ready.rotate(-chosen)
        handle = self._ready.popleft()
        self._ready.rotate(chosen)
        if not handle.cancelled():
            self._steps -= 1
            before = len(self._ready)
            handle._run()
            self._sort(before)
            if self.watch is not None:
                self.watch()

    def _sort(self, before: int) -> None:
        """Who became due in one callback comes in the order in which their tasks were made: cancelled ones come in that
        of a set of objects, which is another one each time."""
        if len(self._ready) > before + 1:
            new = deque[asyncio.Handle]()
            while len(self._ready) > before:
                new.appendleft(self._ready.pop())
            self._ready.extend(sorted(new, key=_number_of))

    @staticmethod
    def _number(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
        assert isinstance(loop, SimulatedLoop)
        task = _Task(coro, loop=loop, **options)
        task.number = next(loop._tasks_made)
        return task

    def _come_due(self) -> None:
        while self._scheduled and (self._scheduled[0].cancelled() or self._scheduled[0].when() <= self._now):
            timer = heapq.heappop(self._scheduled)
            if not timer.cancelled():
                self._ready.append(timer)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is left out when its time has come."""

    def _write_to_self(self) -> None:
        """Nobody sleeps who would have to be woken."""


class _Task(asyncio.Task[Any]):
    number = -1


def _number_of(handle: asyncio.Handle) -> int:
    waits = getattr(getattr(handle, "_callback", None), "__self__", None)  # the task that goes on
    return getattr(waits, "number", -1)


class Simulation:
    """A simulated loop that is driven from outside, with tasks in it: for state machines. Close it."""

    def __init__(self, order: Order = in_turn) -> None:
        self.loop = SimulatedLoop(order)
        self._root = self.loop.create_task(self._hold())
        self._group: TaskGroup | None = None
        self.settle()

    @property
    def now(self) -> float:
        return self.loop.time()

    def start(self, func: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> None:
        """A task, which begins when its turn comes. An exception in it ends all, and is raised on closing."""
        assert self._group is not None
        group = self._group
        self.do(lambda: group.start_soon(func, *args))

    def do(self, action: Callable[[], T]) -> T:
        """Do something in the loop, now."""
        return self.loop.at_once(action)

    def steps(self, count: int) -> None:
        """Let so many callbacks run, if as many are due."""
        self.loop.drive(steps=count)
        self._check()

    def settle(self, seconds: float = 0.0) -> None:
        """Let all run that is due until so many seconds from now."""
        self.loop.drive(seconds)
        self._check()

    def close(self) -> None:
        """Cancel what is left.

        Raises:
            Stuck: something does not end.
        """
        try:
            if not self._root.done():
                assert self._group is not None
                self.do(self._group.cancel_scope.cancel)
                self.loop.drive()
            if not self._root.done():
                raise Stuck("a task that was cancelled does not end")
            self._root.result()
            assert not self.loop.errors, self.loop.errors
        finally:
            self.loop.close()

    def abandon(self) -> None:
        """Let all end at once, as with its process: nobody asks what comes of it."""
        self.loop.watch = None
        try:
            self.close()
        except Exception:  # noqa: BLE001  of a process that is gone nothing is told
            self.loop.errors.clear()

    def _check(self) -> None:
        if self._root.done():
            self._root.result()
        assert not self.loop.errors, self.loop.errors

    async def _hold(self) -> None:
        async with anyio.create_task_group() as self._group:
            await anyio.sleep_forever()
