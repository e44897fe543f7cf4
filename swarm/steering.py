"""How a running attempt is reached from outside: what it is told, when it stands still, and how long it has worked."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol

import anyio

RESUME_S = 30.0
"""Seconds that a sandbox may take to go on, also when the attempt is being cancelled."""

NO_TIME = "stopped: the run has no more time for it"
"""Why an attempt was ended that met the end of the run's time."""


class Still(Protocol):
    """What can stand still while nobody uses it: `swarm.protocols.Pausable`."""

    async def pause(self) -> None: ...

    async def resume(self) -> None: ...


class WorkClock:
    """Seconds of work. It stands until it is started, and whenever the attempt waits for something not its own: for
    admission to the endpoint, or because the run is paused."""

    __slots__ = ("_end", "_ever", "_limit", "_scope", "_since", "_timer", "_worked")

    def __init__(self) -> None:
        self._worked = 0.0
        self._since: float | None = None
        self._ever = False
        self._limit = math.inf
        self._end = math.inf
        self._scope: anyio.CancelScope | None = None
        self._timer: asyncio.TimerHandle | None = None
        """Looks whether the block is to be cancelled. It stays as it is when the clock is stopped and started: it may
        look too early, but not too late."""

    def __repr__(self) -> str:
        return f"<WorkClock {self.seconds:.1f} s, {'running' if self.running else 'standing'}>"

    @property
    def running(self) -> bool:
        return self._since is not None

    @property
    def ever_started(self) -> bool:
        """Whether whoever makes the attempt keeps it at all."""
        return self._ever

    @property
    def seconds(self) -> float:
        return self._worked + (_now() - self._since if self._since is not None else 0.0)

    def read(self) -> float:
        """`seconds`, for who asks for them time and again."""
        return self.seconds

    @property
    def why(self) -> str:
        """Why the block of `limited` was cancelled, in words."""
        if self.seconds >= self._limit:
            return f"stopped after {self._limit:.0f} s of work"
        return NO_TIME

    def end_at(self, time: float) -> None:
        """Cancel the block of `limited` at this time of the loop's clock, whether it works or waits then."""
        self._end = time
        self._set_deadline()

    def start(self) -> None:
        """Go on; nothing where it is running."""
        if self._since is None:
            self._ever = True
            self._since = _now()
            self._set_deadline()

    def stop(self) -> None:
        """Stand still; nothing where it does."""
        if self._since is not None:
            self._worked, self._since = self.seconds, None

    def limited(self, seconds: float | None) -> AbstractContextManager[anyio.CancelScope, bool]:
        """Start the clock, and cancel the block when so many seconds of work are done (None: never)."""
        return _Limited(self, seconds)

    def enter(self, scope: anyio.CancelScope, seconds: float | None) -> None:
        """The block of `limited` begins."""
        self._limit = math.inf if seconds is None else self.seconds + seconds
        self._scope = scope
        self.start()
        self._set_deadline()

    def leave(self) -> None:
        """The block of `limited` ends."""
        self.stop()
        self._scope = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def _due(self) -> float:
        """When the block is cancelled, as it looks now."""
        own = math.inf if self._since is None else self._since + self._limit - self._worked
        return min(own, self._end)

    def _set_deadline(self) -> None:
        if self._scope is None:
            return
        due, timer = self._due, self._timer
        if due == math.inf or (timer is not None and timer.when() <= due):
            return
        if timer is not None:
            timer.cancel()
        if due <= _now():
            self._scope.cancel()
        else:
            self._timer = asyncio.get_running_loop().call_at(due, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._scope is not None and self._due <= _now():
            self._scope.cancel()
        else:
            self._set_deadline()


class _Limited:
    """See `WorkClock.limited`. Without a generator: every agent at work is in one."""

    __slots__ = ("_clock", "_scope", "_seconds")

    def __init__(self, clock: WorkClock, seconds: float | None) -> None:
        self._clock = clock
        self._seconds = seconds
        self._scope = anyio.CancelScope()

    def __enter__(self) -> anyio.CancelScope:
        self._scope.__enter__()
        self._clock.enter(self._scope, self._seconds)
        return self._scope

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._clock.leave()
        return bool(self._scope.__exit__(kind, error, trace))


def _now() -> float:
    """`anyio.current_time`, which looks for the kind of the event loop first."""
    return asyncio.get_running_loop().time()


class Steering:
    """One attempt's ear. Whoever makes the attempt asks it before each model call; the scheduler speaks into it.

    `sandbox` is what stands still while the attempt is held, where it can. `advice` is asked before each model call for
    what is to be said beside the texts that it is given. `forward` is told what is heard where the attempt is made
    elsewhere: a text, or whether it is held.
    """

    __slots__ = ("_go", "_texts", "advice", "clock", "forward", "sandbox")

    def __init__(self) -> None:
        self.clock = WorkClock()
        self.sandbox: Still | None = None
        self.advice: Callable[[Sequence[str]], str | None] | None = None
        self.forward: Callable[[str | None, bool | None], None] | None = None
        self._texts: list[str] = []
        self._go: anyio.Event | None = None  # set when it may go on; None while it is not held, as nearly always

    def __repr__(self) -> str:
        return f"<Steering {len(self._texts)} texts, {'held' if self.held else 'free'}, {self.clock!r}>"

    @property
    def held(self) -> bool:
        return self._go is not None

    def tell(self, text: str) -> None:
        """Give it a message of the user before its next model call."""
        if self.forward is not None:
            self.forward(text, None)
        else:
            self._texts.append(text)

    def take_texts(self) -> list[str]:
        """What it was told and has not heard: it hears that elsewhere."""
        texts, self._texts = self._texts, []
        return texts

    def hold(self) -> None:
        """Let it stand still before its next model call."""
        if not self.held:
            self._go = anyio.Event()
            if self.forward is not None:
                self.forward(None, True)

    def release(self) -> None:
        """Let it go on."""
        if self.held and self.forward is not None:
            self.forward(None, False)
        if self._go is not None:
            self._go.set()
            self._go = None

    async def before_call(self) -> list[str]:
        """Wait while it is held; then what it was told since the last call.

        Raises:
            SandboxError: the sandbox cannot stand still, or cannot go on.
        """
        if self.held:
            running = self.clock.running
            self.clock.stop()
            await self._stand_still()
            if running:
                self.clock.start()
        texts, self._texts = self._texts, []
        advice = self.advice(texts) if self.advice is not None else None
        return [*texts, advice] if advice else texts

    async def _stand_still(self) -> None:
        if self.sandbox is None:
            await self._released()
            return
        try:
            await self.sandbox.pause()
            await self._released()
        finally:  # also when cancelled: what stands still cannot be closed everywhere
            with anyio.move_on_after(RESUME_S, shield=True):
                await self.sandbox.resume()

    async def _released(self) -> None:
        while (go := self._go) is not None:  # it may be held again before this task had its turn
            await go.wait()
