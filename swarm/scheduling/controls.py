"""How a running swarm is steered from outside: paused, resumed, made wider or narrower, single agents stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import anyio

from swarm.values import value

Action = Literal["pause", "resume", "concurrency", "stop_agent", "budget"]


@value(frozen=True, slots=True)
class Command:
    """One use of the controls. `soft` asks an agent to finish with what it has; otherwise it is cancelled. `tokens` and
    `usd` are the whole budget from now on, None: as it was."""

    action: Action
    concurrency: int = 0
    agent: str = ""
    soft: bool = True
    tokens: int | None = None
    usd: float | None = None


Listener = Callable[[Command], None]


class Controls:
    """Hand one to `Swarm.run(..., controls=...)` and use it while the run goes on, from tasks of the same event loop
    (from another thread: `anyio.from_thread.run_sync`). Every use is in the run's record.

    A pause lets model calls and tools that are under way come to their end; then each agent stands still before its
    next call, its sandbox too where that can be. The time limit of the whole run goes on.
    """

    def __init__(self) -> None:
        self._go = anyio.Event()
        self._go.set()
        self._concurrency: int | None = None
        self._listeners: list[Listener] = []

    def __repr__(self) -> str:
        width = "as configured" if self._concurrency is None else str(self._concurrency)
        return f"<Controls {'paused' if self.paused else 'running'}, concurrency {width}>"

    @property
    def paused(self) -> bool:
        return not self._go.is_set()

    @property
    def concurrency(self) -> int | None:
        """Sub-agents at work at once; None: as the run was configured."""
        return self._concurrency

    def pause(self) -> None:
        """Let nothing new begin; nothing where it is paused."""
        if not self.paused:
            self._go = anyio.Event()
            self._say(Command("pause"))

    def resume(self) -> None:
        """Let it go on; nothing where it is not paused."""
        if self.paused:
            self._go.set()
            self._say(Command("resume"))

    def set_concurrency(self, count: int) -> None:
        """So many sub-agents at once from now on. Those at work beyond that come to their own end.

        Raises:
            ValueError: fewer than one.
        """
        if count < 1:
            raise ValueError(f"{count} sub-agents at once do no work; use pause()")
        self._concurrency = count
        self._say(Command("concurrency", concurrency=count))

    def stop_agent(self, agent: str, *, soft: bool = True) -> None:
        """End an attempt (by its trajectory's id), or a sub-task that waits for its turn; nothing where there is none.

        `soft`: it is told to finish with what it has. Otherwise, and before it has begun, it is cancelled, and so is
        its sub-task unless another attempt is at work on that.
        """
        self._say(Command("stop_agent", agent=agent, soft=soft))

    def set_budget(self, *, tokens: int | None = None, usd: float | None = None) -> None:
        """The whole run may use so many tokens and dollars from now on, those already used included; None: as it was.

        Calls in flight are not taken back, and agents that were told to finish are not told otherwise. Dollars are kept
        only where the prices of all models are known.

        Raises:
            ValueError: nothing is given, or less than nothing.
        """
        given = [amount for amount in (tokens, usd) if amount is not None]
        if not given or min(given) < 0:
            raise ValueError("give tokens or usd, of which a run may use 0 or more")
        self._say(Command("budget", tokens=tokens, usd=usd))

    async def running(self) -> None:
        """Wait until it is not paused."""
        while self.paused:
            await self._go.wait()

    @contextmanager
    def heard_by(self, listener: Listener) -> Iterator[None]:
        """Tell a listener of every use for the length of the block, and at once of what holds already."""
        if self.paused:
            listener(Command("pause"))
        if self._concurrency is not None:
            listener(Command("concurrency", concurrency=self._concurrency))
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    def _say(self, command: Command) -> None:
        for listener in tuple(self._listeners):
            listener(command)
