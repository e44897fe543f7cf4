"""Processes of this machine that belong to a command, told by its mark, its session or its streams."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

from swarm.sandboxes.agent import MARK


def send(signal_number: signal.Signals, belongs: Callable[[Path], bool]) -> int:
    """Send a signal to every process for which it holds; gives how many there were. Blocks."""
    found = 0
    for process in _processes():
        try:
            if belongs(process) and _state(process)[0] != "Z":
                os.kill(int(process.name), signal_number)
                found += 1
        except OSError:  # gone meanwhile, or another user's
            continue
    return found


def marked(mark: str) -> Callable[[Path], bool]:
    """Whether a process has a mark that begins so in the environment that it was started with."""
    wanted = f"\0{MARK}={mark}".encode()

    def belongs(process: Path) -> bool:
        return wanted in b"\0" + (process / "environ").read_bytes()

    return belongs


def in_session(leader: str) -> Callable[[Path], bool]:
    """Whether a process is in the session of that leader."""
    return lambda process: _state(process)[3] == leader


def holding(*paths: Path) -> Callable[[Path], bool]:
    """Whether a process has one of these files open."""
    names = {str(path) for path in paths}

    def belongs(process: Path) -> bool:
        return any(str(fd.readlink()) in names for fd in (process / "fd").iterdir())

    return belongs


def any_of(*tests: Callable[[Path], bool]) -> Callable[[Path], bool]:
    """Whether one of the tests holds; one that may not look says no."""

    def belongs(process: Path) -> bool:
        for test in tests:
            try:
                if test(process):
                    return True
            except OSError:
                continue
        return False

    return belongs


def _processes() -> Iterator[Path]:
    own = str(os.getpid())
    return (path for path in Path("/proc").iterdir() if path.name.isdigit() and path.name != own)


def _state(process: Path) -> list[str]:
    """State, parent, group, session and so on: what follows the name."""
    return (process / "stat").read_text(errors="replace").rpartition(")")[2].split()
