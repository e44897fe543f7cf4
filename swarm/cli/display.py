"""The three ways to follow a run: JSON lines, plain lines, a live screen. All take events and never hold up a run."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import anyio.lowlevel

from swarm.cli.outlet import Outlet
from swarm.cli.plain import PlainLines
from swarm.cli.stdio import complain
from swarm.cli.view import RunView
from swarm.events import Event


class Display(Protocol):
    """Follows a run. `run` is its task, which ends after `close`."""

    @property
    def view(self) -> RunView: ...

    def on_event(self, event: Event) -> None: ...

    def say(self, message: str) -> None:
        """Tell the user something about the command itself."""
        ...

    def aside(self) -> AbstractAsyncContextManager[None]:
        """While the block lasts the terminal is somebody else's."""
        ...

    async def run(self) -> None: ...

    def close(self) -> None: ...


@asynccontextmanager
async def _nothing_to_hold() -> AsyncIterator[None]:
    """For displays that write lines: they stand beside anything."""
    await anyio.lowlevel.checkpoint()
    yield


class JsonDisplay:
    """Every event as one JSON line on standard output."""

    def __init__(self, broken: Callable[[OSError], None]) -> None:
        self.view = RunView()
        self._outlet = Outlet(sys.stdout.fileno(), broken)

    def on_event(self, event: Event) -> None:
        self.view.apply(event)
        self._outlet.put(event.model_dump_json() + "\n")

    def say(self, message: str) -> None:
        complain(f"swarm: {message}")

    def aside(self) -> AbstractAsyncContextManager[None]:
        return _nothing_to_hold()

    async def run(self) -> None:
        await self._outlet.run()

    def close(self) -> None:
        self._outlet.close()


class PlainDisplay:
    """One line on standard error for each change that matters."""

    def __init__(self) -> None:
        self.view = RunView()
        self._plain = PlainLines(self.view)
        self._outlet = Outlet(sys.stderr.fileno(), lambda error: None)

    def on_event(self, event: Event) -> None:
        self.view.apply(event)
        for text in self._plain.lines(event):
            self._outlet.put(text + "\n")

    def say(self, message: str) -> None:
        self._outlet.put(f"swarm: {message}\n")

    def aside(self) -> AbstractAsyncContextManager[None]:
        return _nothing_to_hold()

    async def run(self) -> None:
        await self._outlet.run()

    def close(self) -> None:
        self._outlet.close()


class ScreenDisplay:
    """The live screen, on standard error so that standard output holds the answer alone."""

    def __init__(self) -> None:
        from rich.console import Console

        from swarm.cli.screen import Screen

        self.view = RunView()
        self._screen = Screen(self.view, Console(stderr=True, highlight=False, markup=False, emoji=False))

    def on_event(self, event: Event) -> None:
        self.view.apply(event)

    def say(self, message: str) -> None:
        self.view.say(message)

    def aside(self) -> AbstractAsyncContextManager[None]:
        return self._screen.aside()

    async def run(self) -> None:
        await self._screen.run()

    def close(self) -> None:
        self._screen.close()


def open_display(*, json: bool, broken: Callable[[OSError], None]) -> Display:
    """The display that fits; `broken` is called when the JSON lines can no longer be written."""
    if json:
        return JsonDisplay(broken)
    if sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return ScreenDisplay()
    return PlainDisplay()
