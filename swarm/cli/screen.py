"""The live screen: a few frames a second at most, drawn in a thread so that a stuck terminal holds up nobody."""

from __future__ import annotations

import time
from collections.abc import Callable

import anyio
from rich.console import Console
from rich.live import Live

from swarm.cli.render import render
from swarm.cli.view import RunView

INTERVAL = 0.2  # seconds between two frames
IDLE_INTERVAL = 1.0  # seconds between two frames where only the clock moved


class Screen:
    """Shows a view until closed. `clock` gives Unix seconds."""

    def __init__(self, view: RunView, console: Console, clock: Callable[[], float] = time.time) -> None:
        self._view = view
        self._console = console
        self._clock = clock
        self._closed = anyio.Event()
        self._drawing = anyio.Lock()

    def aside(self) -> anyio.Lock:
        """An async context in which nothing is drawn: the terminal is somebody else's."""
        return self._drawing

    def close(self) -> None:
        """Draw a last frame and end `run`."""
        self._closed.set()

    async def run(self) -> None:
        """Draw until closed; nothing at all where nothing happened."""
        while not self._view.changes:
            if self._closed.is_set():
                return
            await self._pause()
        while not self._closed.is_set():
            async with self._drawing:
                await self._show()

    async def _show(self) -> None:
        """Draw until closed, or until somebody else wants the terminal: then leave a last frame, and free lines."""
        with Live(console=self._console, auto_refresh=False, redirect_stdout=False) as live:
            drawn, at = -1, 0.0
            while not self._closed.is_set() and not self._drawing.statistics().tasks_waiting:
                now = self._clock()
                if self._view.changes != drawn or abs(now - at) >= IDLE_INTERVAL:
                    drawn, at = self._view.changes, now
                    await self._draw(live, now)
                await self._pause()
            await self._draw(live, self._clock())

    async def _pause(self) -> None:
        with anyio.move_on_after(INTERVAL):
            await self._closed.wait()

    async def _draw(self, live: Live, now: float) -> None:
        width, height = self._console.size
        frame = render(self._view, now, width, max(1, height - 1))
        await anyio.to_thread.run_sync(lambda: live.update(frame, refresh=True))
