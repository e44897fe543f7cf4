"""Shows a view on a terminal until closed, and does what the keys say.

A few frames a second at most, and none where nothing happened. They are written in a thread, so that a terminal that is
stopped holds up nobody.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import anyio

from swarm.cli.outlook import Watcher
from swarm.cli.own_end import own_end
from swarm.cli.screen.desk import Desk
from swarm.cli.screen.frame import frame, overview
from swarm.cli.screen.head import Traffic
from swarm.cli.screen.paint import Pen, Theme
from swarm.cli.screen.terminal import Terminal, keys
from swarm.cli.view import RunView

INTERVAL = 0.2
"""Seconds between two frames."""

IDLE_INTERVAL = 1.0
"""Seconds between two frames where only the clock moved."""

_PART = 0.02
"""The part of a core that making frames may take: with thousands of agents there are fewer."""

_STOP_S = 0.5
"""Seconds that a frame which is being written may hold up Ctrl-Z."""


class Screen:
    """The screen of a view. `traffic` tells what this process knows of the endpoints; `clock` gives Unix seconds."""

    def __init__(
        self,
        view: RunView,
        terminal: Terminal,
        theme: Theme,
        desk: Desk,
        traffic: Callable[[], Traffic | None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.desk = desk
        desk.listens = terminal.keyboard is not None
        self._view = view
        self._terminal = terminal
        self._theme = theme
        self._traffic = traffic
        self._clock = clock
        self._watcher = Watcher(view)
        self._interval = INTERVAL
        self._closed = anyio.Event()
        self._woken = anyio.Event()
        self._has_terminal = anyio.Lock()
        self._writing = anyio.Lock()

    def __repr__(self) -> str:
        return f"<Screen on {self._terminal!r}{', closed' if self._closed.is_set() else ''}>"

    @property
    def has_keys(self) -> bool:
        return self._terminal.keyboard is not None

    def aside(self) -> anyio.Lock:
        """An async context in which nothing is drawn: the terminal is somebody else's."""
        return self._has_terminal

    def close(self) -> None:
        """Leave a last frame and end `run`."""
        self._closed.set()
        self._woken.set()

    def release(self) -> None:
        """Give the terminal back at once, from any thread: the process ends."""
        self._terminal.give_back()

    async def run(self) -> None:
        """Draw until closed; nothing at all where nothing happened."""
        while not self._view.changes:
            if self._closed.is_set():
                return
            await self._pause()
        while not self._closed.is_set():
            async with self._has_terminal:
                await self._show()
        self.desk.selected = None
        pen, height = self._paper()
        lines = overview(self._view, self._watcher, self.desk, pen, height, self._clock(), last=True)
        await self._write("".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))

    async def _show(self) -> None:
        """Draw until closed, or until somebody else wants the terminal."""
        if self._terminal.ours:
            self._terminal.take()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._mind_signals)
                if self._terminal.keyboard is not None:
                    tasks.start_soon(self._listen, self._terminal.keyboard)
                await self._draw()
                tasks.cancel_scope.cancel()
        finally:
            self._terminal.give_back()

    async def _draw(self) -> None:
        drawn, at = -1, 0.0
        while not self._closed.is_set() and not self._has_terminal.statistics().tasks_waiting:
            now, woken = self._clock(), self._woken.is_set()
            if woken:
                self._woken = anyio.Event()
            if not self._terminal.taken:
                if self._terminal.ours:  # we were in the background
                    self._terminal.take()
                    continue
            elif woken or self._view.changes != drawn or abs(now - at) >= IDLE_INTERVAL:
                drawn, at = self._view.changes, now
                await self._draw_once(now)
            await self._pause()

    async def _draw_once(self, now: float) -> None:
        if self.desk.log is not None:
            await anyio.to_thread.run_sync(self.desk.log.read)
        size, began = self._terminal.size, time.thread_time()
        pen = Pen(size[0], self._theme)
        lines = frame(self._view, self._watcher, self.desk, pen, size[1], now, self._traffic())
        self._interval = min(IDLE_INTERVAL, max(INTERVAL, (time.thread_time() - began) / _PART))
        if data := self._terminal.frame(lines, size):
            await self._write(data)

    async def _write(self, data: bytes) -> None:
        async with self._writing:
            await anyio.to_thread.run_sync(self._terminal.write, data, abandon_on_cancel=True)

    async def _pause(self) -> None:
        with anyio.move_on_after(self._interval):
            await self._woken.wait()

    def _paper(self) -> tuple[Pen, int]:
        """For the last frame, which stays: as many lines as leave one for what comes after."""
        columns, lines = self._terminal.size
        return Pen(columns, self._theme), max(1, lines - 1)

    async def _listen(self, keyboard: int) -> None:
        """Take keys, as long as they come."""
        with own_end(keyboard, os.O_RDONLY) as own:
            while True:
                await anyio.wait_readable(own)
                if not self._terminal.taken:  # in the background, or stopped: they are another's
                    await anyio.sleep(INTERVAL)
                    continue
                try:
                    data = os.read(own, 4096)
                except BlockingIOError:  # they were another's
                    continue
                except OSError:
                    return
                if not data:
                    return
                for key in keys(data):
                    self.desk.press(key)
                self._woken.set()

    async def _mind_signals(self) -> None:
        """Ctrl-Z gives the terminal back before the process stops; another size, and going on, draw anew."""
        with anyio.open_signal_receiver(signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH) as received:
            async for number in received:
                if number == signal.SIGTSTP:
                    with anyio.move_on_after(_STOP_S):
                        async with self._writing:
                            pass
                    self._terminal.give_back()
                    _stop()
                if number != signal.SIGWINCH and self._terminal.ours:
                    self._terminal.give_back()  # whatever was done to it meanwhile
                    self._terminal.take()
                self._woken.set()


def _stop() -> None:
    """Stop as Ctrl-Z would without us: not at all where nobody is there to let us go on."""
    handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTSTP)
    signal.signal(signal.SIGTSTP, handler)
