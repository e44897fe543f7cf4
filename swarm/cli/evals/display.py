"""The three ways to follow an evaluation: JSON lines, plain lines, a live block. None of them ever holds it up."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import anyio

from swarm.cli.evals import figures
from swarm.cli.outlet import Outlet
from swarm.cli.stdio import complain
from swarm.evals.records import TrialResult
from swarm.evals.runner.tally import Progress
from swarm.legible import json_line

if TYPE_CHECKING:
    from rich.console import Group

_EVERY_S = 0.5


class Display(Protocol):
    """Follows an evaluation. `run` is its task, which ends after `close`."""

    def observe(self, line: TrialResult | None, progress: Progress) -> None: ...

    def say(self, message: str) -> None: ...

    async def run(self) -> None: ...

    def close(self) -> None: ...


class JsonLines:
    """Each trial's line on standard output."""

    def __init__(self, broken: Callable[[OSError], None]) -> None:
        self._outlet = Outlet(sys.stdout.fileno(), broken)

    def observe(self, line: TrialResult | None, progress: Progress) -> None:
        """A trial has its line."""
        if line is not None:
            self._outlet.put(json_line(f'{{"type":"trial",{line.model_dump_json()[1:]}') + "\n")

    def say(self, message: str) -> None:
        """Tell the user something."""
        complain(f"swarm: {message}")

    async def run(self) -> None:
        """Write until closed."""
        await self._outlet.run()

    def close(self) -> None:
        """No more comes."""
        self._outlet.close()


class PlainLines:
    """A line on standard error for each trial, with how far all is."""

    def __init__(self) -> None:
        self._outlet = Outlet(sys.stderr.fileno(), lambda error: None)

    def observe(self, line: TrialResult | None, progress: Progress) -> None:
        """A trial has its line."""
        if line is not None:
            self._outlet.put(f"{figures.trial(line)}\n    {figures.head(progress, time.monotonic())}\n")

    def say(self, message: str) -> None:
        """Tell the user something."""
        self._outlet.put(f"swarm: {message}\n")

    async def run(self) -> None:
        """Write until closed."""
        await self._outlet.run()

    def close(self) -> None:
        """No more comes."""
        self._outlet.close()


class LiveBlock:
    """A block at the foot of the terminal, and above it a line for each trial."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._above: list[str] = []
        self._closing = anyio.Event()

    def observe(self, line: TrialResult | None, progress: Progress) -> None:
        """Something has changed."""
        self._progress = progress
        if line is not None:
            self._above.append(figures.trial(line))

    def say(self, message: str) -> None:
        """Tell the user something."""
        self._above.append(f"swarm: {message}")

    async def run(self) -> None:
        """Draw until closed."""
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True, highlight=False)
        with Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
            while True:
                last = self._closing.is_set()
                above, self._above = self._above, []
                for text in above:
                    console.print(text, markup=False, soft_wrap=True)
                live.update(self._block(console.width), refresh=True)
                if last:
                    return
                with anyio.move_on_after(_EVERY_S):
                    await self._closing.wait()

    def close(self) -> None:
        """Draw once more, and end."""
        self._closing.set()

    def _block(self, width: int) -> Group:
        from rich.console import Group
        from rich.text import Text

        progress = self._progress
        if progress is None:
            return Group(Text("setting up", style="dim"))
        counted = progress.count()
        cells = min(width, 80)
        done = cells * (counted.graded + counted.errored) // max(1, counted.asked)
        why = figures.why_not(progress)
        return Group(
            Text.assemble(("━" * done, "green"), ("━" * (cells - done), "dim")),
            Text(figures.head(progress, time.monotonic()), style="bold", overflow="fold"),
            Text(figures.at_work(progress), style="dim", overflow="ellipsis", no_wrap=True),
            *([Text(f"not resolved: {why}", style="dim", overflow="ellipsis", no_wrap=True)] if why else []),
        )


def open_display(*, json: bool, broken: Callable[[OSError], None]) -> Display:
    """The display that fits; `broken` is called when the JSON lines can no longer be written."""
    from swarm.cli.display import shows_screen

    if json:
        return JsonLines(broken)
    return LiveBlock() if shows_screen() else PlainLines()
