"""SIGTERM and SIGHUP outside of a run's event loop. Next to nothing is imported: this is entered first."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType


@contextmanager
def ends_in_order() -> Iterator[None]:
    """SIGTERM and SIGHUP are as Ctrl-C is, outside of the time in which a run watches for them itself."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            leave_terminal()
        raise KeyboardInterrupt

    changed = {}
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            changed[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, before in changed.items():
            signal.signal(number, before)


def leave_terminal() -> None:
    """The terminal is gone: what would be written to it goes nowhere, where that fails for nobody."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        with suppress(OSError):
            if os.isatty(fd):
                os.dup2(nowhere, fd)
    os.close(nowhere)
