"""The three ways to follow a run: JSON lines, plain lines, a live screen. All take events and never hold up a run."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import anyio.lowlevel

from swarm.cli.outlet import Outlet
from swarm.cli.plain import PlainLines
from swarm.cli.stdio import complain
from swarm.cli.text import line
from swarm.cli.view import RunView
from swarm.config import home
from swarm.events import Event
from swarm.legible import json_line
from swarm.scheduling.controls import Controls

if TYPE_CHECKING:
    from swarm.cli.screen.head import Traffic


class Display(Protocol):
    """Follows a run. `run` is its task, which ends after `close`."""

    @property
    def view(self) -> RunView: ...

    @property
    def controls(self) -> Controls | None:
        """What its keys steer the run with; None where it takes none."""
        ...

    def on_event(self, event: Event) -> None: ...

    def say(self, message: str) -> None:
        """Tell the user something about the command itself."""
        ...

    def aside(self) -> AbstractAsyncContextManager[None]:
        """While the block lasts the terminal is somebody else's."""
        ...

    async def run(self) -> None: ...

    def close(self) -> None: ...

    def release(self) -> None:
        """Give back the terminal at once, from any thread: the process is about to end."""
        ...


class _Lines:
    """A display that writes lines: they stand beside anything, and no keys are taken."""

    def __init__(self, fd: int, broken: Callable[[OSError], None]) -> None:
        self.view = RunView()
        self.controls: Controls | None = None
        self._outlet = Outlet(fd, broken)

    @asynccontextmanager
    async def aside(self) -> AsyncIterator[None]:
        await anyio.lowlevel.checkpoint()
        yield

    async def run(self) -> None:
        await self._outlet.run()

    def close(self) -> None:
        self._outlet.close()

    def release(self) -> None:
        """It holds no terminal."""


class JsonDisplay(_Lines):
    """Every event as one JSON line on standard output."""

    def __init__(self, broken: Callable[[OSError], None]) -> None:
        super().__init__(sys.stdout.fileno(), broken)

    def on_event(self, event: Event) -> None:
        self.view.apply(event)
        self._outlet.put(json_line(event.model_dump_json()) + "\n")

    def say(self, message: str) -> None:
        complain(f"swarm: {message}")


class PlainDisplay(_Lines):
    """One line on standard error for each change that matters."""

    def __init__(self) -> None:
        super().__init__(sys.stderr.fileno(), lambda error: None)
        self._plain = PlainLines(self.view)

    def on_event(self, event: Event) -> None:
        self.view.apply(event)
        for text in self._plain.lines(event):
            self._outlet.put(text + "\n")

    def say(self, message: str) -> None:
        self._outlet.put(f"swarm: {message}\n")


class ScreenDisplay:
    """The live screen, on standard error so that standard output holds the answer alone. `watched` is the record of a
    run that another process makes: then the keys only look, and `leave` ends the looking."""

    def __init__(self, watched: Path | None = None, leave: Callable[[], None] = lambda: None) -> None:
        from swarm.cli.screen.desk import Desk
        from swarm.cli.screen.screen import Screen
        from swarm.cli.screen.terminal import terminal_of, theme_of

        self.view = RunView()
        self.controls = Controls() if watched is None else None
        self._watched = watched
        desk = Desk(self.view, self.controls, self._record, leave)
        terminal, theme = terminal_of(sys.stderr, sys.stdin), theme_of(sys.stderr, os.environ)
        self._screen = Screen(self.view, terminal, theme, desk, _traffic if watched is None else lambda: None)

    @property
    def reading(self) -> bool:
        """Whether the user looks at something that should not vanish."""
        return self._screen.desk.log is not None or self._screen.desk.helps

    @property
    def has_keys(self) -> bool:
        return self._screen.has_keys

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

    def release(self) -> None:
        self._screen.release()

    def _record(self) -> Path | None:
        if self._watched is not None or not self.view.run_id:
            return self._watched
        return home(os.environ) / "runs" / self.view.run_id / "events.jsonl"


def _traffic() -> Traffic | None:
    """What the governors of this process tell, all together."""
    from swarm.cli.screen.head import Traffic
    from swarm.models.admission.governors import open_governors

    told = [governor.statistics() for governor in open_governors()]
    if not told:
        return None
    rates = [each.rate for each in told if each.rate is not None]
    return Traffic(
        sum(each.in_flight for each in told),
        sum(each.window for each in told),
        sum(each.waiting for each in told),
        sum(rates) if len(rates) == len(told) else None,
        next((line(each.parked) for each in told if each.parked), ""),
    )


def open_display(*, json: bool, broken: Callable[[OSError], None]) -> Display:
    """The display that fits; `broken` is called when the JSON lines can no longer be written."""
    if json:
        return JsonDisplay(broken)
    return ScreenDisplay() if shows_screen() else PlainDisplay()


def shows_screen() -> bool:
    """Whether standard error is a terminal that can show a screen, and that we may use."""
    if not sys.stderr.isatty() or os.environ.get("TERM", "dumb") in ("", "dumb", "unknown"):
        return False
    from swarm.cli.screen.terminal import Terminal

    return Terminal(sys.stderr.fileno(), None).ours
