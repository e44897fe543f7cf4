"""`swarm watch`: shows a run that another process makes, or made."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    import anyio
    from anyio.abc import TaskStatus

    from swarm.cli.display import Display, ScreenDisplay
    from swarm.cli.follow import Told
    from swarm.cli.view import RunView

CRASHED = 3
_LOOK = 0.2  # seconds


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Declare the command and its options."""
    from swarm.cli.runs import RUN_HELP

    parser = commands.add_parser(
        "watch",
        help="follow a run that another process makes",
        description="Show a run that another process makes, as it goes on; it cannot be steered from here. At the end "
        "of the run its summary is told. The exit code is 0 whatever became of the run, 3 where it crashed.",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", nargs="?", default="last", help=f"{RUN_HELP} (default: the newest)")
    parser.add_argument("--exit-status", action="store_true", help="exit with the run's exit code")
    parser.add_argument("--json", action="store_true", help="its events as they come, one JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Watch the run to its end, or until the user leaves.

    Raises:
        SwarmError: no such run, or its record cannot be read.
    """
    import anyio

    from swarm.cli.history import find_run
    from swarm.cli.stdio import complain
    from swarm.config import home

    folder = find_run(home(os.environ) / "runs", args.run)
    view, code = anyio.run(_Watching(folder, args.json).watch)
    if code is not None:
        if not view.status:
            complain(f"the run goes on; watch it again: swarm watch {folder.name}")
        return code
    return _tell_end(folder, view, json=args.json, exit_status=args.exit_status)


class _Watching:
    """One run that is watched."""

    def __init__(self, folder: Path, json: bool) -> None:
        self._folder = folder
        self._record = folder / "events.jsonl"
        self._json = json
        self._code: int | None = None

    async def watch(self) -> tuple[RunView, int | None]:
        """Watch until its end, which is still to be told; or give an exit code, where the user left before."""
        import anyio

        left = anyio.Event()
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._mind_signals, left)
            view = await (self._print(left) if self._json else self._show(left))
            tasks.cancel_scope.cancel()
        if self._code is None and left.is_set() and not view.status:
            self._code = 0
        return view, self._code

    async def _mind_signals(self, left: anyio.Event, *, task_status: TaskStatus[None]) -> None:
        import signal

        import anyio

        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as received:
            task_status.started()
            async for number in received:
                self._code = 128 + number
                left.set()

    async def _print(self, left: anyio.Event) -> RunView:
        """Its events as they are."""
        import anyio

        from swarm.cli.outlet import Outlet
        from swarm.cli.stdio import discard_output
        from swarm.cli.view import RunView
        from swarm.legible import json_line

        def broken(error: OSError) -> None:
            discard_output()
            left.set()

        def take(told: Told) -> None:
            outlet.put(json_line(told.line.decode("utf-8", "replace").replace("\r", " ")) + "\n")
            if told.event is not None:
                view.apply(told.event)

        outlet, view = Outlet(sys.stdout.fileno(), broken), RunView()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(outlet.run)
            try:
                async for _ in self._follow(view, take, left):
                    pass
            finally:
                outlet.close()
        return view

    async def _show(self, left: anyio.Event) -> RunView:
        """On the screen, else in plain lines. What there was already is not played."""
        import anyio

        from swarm.cli.display import PlainDisplay, ScreenDisplay, shows_screen

        screen = ScreenDisplay(self._record, left.set) if shows_screen() else None
        display: Display = screen or PlainDisplay()

        def take(told: Told) -> None:
            if told.event is not None:
                display.on_event(told.event)

        looks = 0
        async with anyio.create_task_group() as tasks:
            try:
                async for _ in self._follow(display.view, take, left):
                    if not looks:
                        tasks.start_soon(display.run)
                    looks += 1
                if screen is not None and display.view.status:
                    await _linger(screen, left, browsing=looks <= 1)
            finally:
                display.close()
        return display.view

    async def _follow(self, view: RunView, take: Callable[[Told], None], left: anyio.Event) -> AsyncIterator[None]:
        """Take what comes; tells whenever there is nothing more for now. Ends with the run."""
        from contextlib import aclosing

        from swarm.cli.follow import follow

        async with aclosing(follow(self._record)) as blocks:
            async for block in blocks:
                for told in block:
                    take(told)
                if left.is_set():
                    return
                if not block:
                    yield
                    if view.status:
                        return


async def _linger(screen: ScreenDisplay, left: anyio.Event, *, browsing: bool) -> None:
    """Stay while the user reads. `browsing`: the run had ended before, and is looked at until the user leaves."""
    import anyio

    while screen.has_keys and (browsing or screen.reading) and not left.is_set():
        with anyio.move_on_after(_LOOK):
            await left.wait()


def _tell_end(folder: Path, view: RunView, *, json: bool, exit_status: bool) -> int:
    from pydantic import ValidationError

    from swarm.cli.stdio import complain, tell
    from swarm.cli.summary import answer_text, summary_lines
    from swarm.result import RunResult

    if not view.status:
        way = f"see `swarm show {folder.name}`; go on with it: swarm resume {folder.name}"
        complain(f"swarm: the run crashed: its process is gone and left no end; {way}")
        return CRASHED
    if view.error:
        complain(f"swarm: {view.error}")
    try:
        result = RunResult.model_validate(view.result)
    except ValidationError:  # a record that was made by hand
        return 0
    if not json:
        if text := answer_text(result):
            tell(text)
        complain("\n".join(summary_lines(result, view)))
    return result.exit_code if exit_status else 0
