"""Signals during a run: Ctrl-C ends it softly, a second one at once; SIGTERM and a closed terminal at once, in order.

However it ends, the envelope is written, and what the run made on this machine is removed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from pydantic import ValidationError

from swarm.cli.in_order import leave_terminal
from swarm.cli.stdio import tell
from swarm.legible import json_line
from swarm.result import RunResult, Spent
from swarm.types import RunStatus
from swarm.whole_file import write_whole

if TYPE_CHECKING:
    from swarm.cli.display import Display
    from swarm.cli.view import RunView

INTERRUPTED = 130
GRACE = 3.0  # seconds that a run has to end in order after the second Ctrl-C
ORDERLY = 10.0  # the same after SIGTERM and SIGHUP
CLEARS = 3.0  # seconds for removing what is left, where it did not

_SOFT = "stopping: what is there is merged and tested; once more to stop at once"


@dataclass
class Interrupts:
    """Turns signals into the end of a run. `stop` asks it to end, `scope` is around it."""

    stop: anyio.Event
    scope: anyio.CancelScope
    display: Display
    json: bool
    _timer: threading.Timer | None = None
    _ending: threading.Lock = field(default_factory=threading.Lock)
    _terminal: Terminal = field(default_factory=lambda: Terminal())

    async def watch(self, *, task_status: Any) -> None:
        """Until cancelled. SIGHUP stays ignored where it is (nohup)."""
        wanted = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            wanted.append(signal.SIGHUP)
        with anyio.open_signal_receiver(*wanted) as received:
            task_status.started()
            try:
                async for number in received:
                    self._take(number)
            finally:
                if self._timer is not None:
                    self._timer.cancel()
                self._ending.acquire()  # where the process is being ended already, that goes on to its end

    def _take(self, number: signal.Signals) -> None:
        if number is signal.SIGHUP:
            leave_terminal()
        if number is signal.SIGINT and not self.stop.is_set():
            self.stop.set()
            self.display.say(_SOFT)
            return
        self.stop.set()
        self.scope.cancel()
        if self._timer is not None:
            if number is not signal.SIGINT:
                return
            self._timer.cancel()  # a Ctrl-C after a SIGTERM: whoever sits there waits no longer
        seconds = GRACE if number is signal.SIGINT else ORDERLY
        self._timer = threading.Timer(seconds, self._end_process)  # a thread: the event loop may be what is stuck
        self._timer.daemon = True
        self._timer.start()

    def _end_process(self) -> None:
        """End at once, whatever hangs."""
        if not self._ending.acquire(blocking=False):
            return  # it ended in order in the last moment
        try:
            result = result_of(self.display)
            _within(CLEARS, _clear_up)
            self.display.release()
            self._terminal.restore()
            _write(2, f"{stopped_at_once(self.display)}\n")
            if self.json:
                _write(1, f"{envelope(result)}\n")
        finally:
            os._exit(INTERRUPTED)


class Terminal:
    """The terminal as it was: the live screen hides the cursor, and keys are read one by one."""

    def __init__(self) -> None:
        import termios

        self._settings: list[Any] | None = None
        with suppress(termios.error, OSError, ValueError):
            self._settings = termios.tcgetattr(0)

    def restore(self) -> None:
        import termios

        if self._settings is not None:
            with suppress(termios.error, OSError):
                termios.tcsetattr(0, termios.TCSANOW, self._settings)
        if sys.stderr.isatty():
            _write(2, "\x1b[?25h\n")


def envelope(result: RunResult) -> str:
    """The last line of `--json`."""
    return json_line(f'{{"type":"result",{result.model_dump_json()[1:]}')


def result_of(display: Display) -> RunResult:
    """The envelope of a run that was ended at once: its own, where it came so far; else what is known of it, which is
    written to its folder. Nothing is, where it had not begun."""
    view = display.view
    if view.result:
        return RunResult.model_validate(view.result)
    if not view.run_id:
        return RunResult(run_id="", status=RunStatus.CANCELLED, exit_code=INTERRUPTED, answer="", run_dir="")
    result = so_far(view, RunStatus.CANCELLED, INTERRUPTED)
    with suppress(OSError):
        write_whole(folder_of(view.run_id) / "result.json", result.model_dump_json(indent=2).encode())
    return result


def so_far(view: RunView, status: RunStatus, code: int, folder: Path | None = None) -> RunResult:
    """The envelope of a run that was begun and came to no end, from what was seen of it; of one that had come to an end
    before and could not be gone on with, that end is told, but for how it ends now. `folder`: where it is kept, if
    that is not where runs of this process are."""
    totals, folder = view.totals, folder or folder_of(view.run_id)
    with suppress(ValidationError):  # another may have written it
        if ended := view.result or view.before:
            now = {"status": status, "exit_code": code, "run_dir": str(folder)}
            return RunResult.model_validate({**ended, **now})
    return RunResult(
        run_id=view.run_id,
        status=status,
        exit_code=code,
        answer="",
        patch_path=None,
        coverage=totals.coverage,
        usage=Spent(**totals.usage.model_dump(include=set(Spent.model_fields))),
        cost_usd=totals.cost,
        wall_s=view.seconds(view.latest or time.time()),
        critical_steps=totals.critical_steps,
        total_steps=totals.total_steps,
        n_subagents=totals.n_subagents,
        peak_concurrency=totals.peak_concurrency,
        outcomes=dict(totals.outcomes),
        gate=None,
        run_dir=str(folder),
    )


def folder_of(run_id: str) -> Path:
    """Where a run of this process is kept."""
    from swarm.config import home

    return home(os.environ).absolute() / "runs" / run_id


def stopped_at_once(display: Display) -> str:
    """What is told of a run that did not end in order."""
    run_id = display.view.run_id
    kept = f"; the record so far: {folder_of(run_id)}; go on: swarm resume {run_id}" if run_id else ""
    return f"swarm: stopped at once{kept}"


def tell_envelope(result: RunResult) -> None:
    """The last line of `--json`, on standard output."""
    tell(envelope(result))


def _within(seconds: float, work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)


def _clear_up() -> None:
    """Remove what the runs of this process made on this machine, and end its children."""
    from swarm.config import home
    from swarm.sandboxes.leases.lease import clear_own

    _end_children()  # first: they may be writing what is removed
    with suppress(OSError):
        clear_own(home(os.environ), time.monotonic() + CLEARS)
    _end_children()


def _end_children() -> None:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            if int(stat.read_text(errors="replace").rpartition(")")[2].split()[1]) == os.getpid():
                os.kill(int(stat.parent.name), signal.SIGKILL)


def _write(fd: int, text: str) -> None:
    """Write where that can be done at once: a terminal that is stopped must not hold this up."""
    import select

    with suppress(OSError):
        if select.select([], [fd], [], 0)[1]:
            os.write(fd, text.encode(errors="replace"))
