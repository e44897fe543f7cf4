"""Processes of this machine that belong to a command, told by its mark, its session or its streams."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

from swarm.sandboxes.channel.agent import CONTROL, MARK
from swarm.sandboxes.leases.leftover import VARIABLE

_BLOCK = 1 << 16
_ONE_THREAD = 3
"""Links to a process's folder of threads where there is one of them."""


def send(signal_number: signal.Signals, belongs: Callable[[Path], bool]) -> int:
    """Send a signal to every process for which it holds; gives how many there were. Blocks."""
    found = 0
    for process in _processes():
        try:
            if _that(process, belongs):
                os.kill(pid_of(process), signal_number)
                found += 1
        except OSError:  # gone meanwhile, or another user's
            continue
    return found


def find(belongs: Callable[[Path], bool]) -> list[Path]:
    """Every process for which it holds, as its folder in /proc, or that of a thread which lives. Blocks."""
    return [found for process in _processes() if (found := _that(process, belongs))]


def pid_of(process: Path) -> int:
    """The id of a process that was found."""
    return int(process.parts[2])


def command_of(process: Path) -> str:
    """The start of a process's command line, or nothing."""
    try:
        return _read(process, "cmdline").replace(b"\0", b" ").decode(errors="replace")[:80].strip()
    except OSError:
        return ""


def of_lease(folder: Path) -> Callable[[Path], bool]:
    """Whether a process was made for a lease: it has its folder in the environment, holds a FIFO of one of its
    sandboxes, lives in one of them, or is a bubblewrap that starts one."""
    wanted = f"\0{VARIABLE}={folder}\0".encode()
    tests = [lambda process: wanted in b"\0" + _read(process, "environ"), _starts(folder)]
    controls = [path for path in folder.glob("*/control") if path.is_dir()]
    if controls:
        tests += [_holds_below(controls), _lives_over(controls)]
    return any_of(*tests)


def _starts(folder: Path) -> Callable[[Path], bool]:
    wanted = b"\0" + os.fsencode(folder) + b"/"

    def belongs(process: Path) -> bool:
        command = _read(process, "cmdline")
        return command.partition(b"\0")[0].endswith(b"/bwrap") and wanted in command

    return belongs


def _holds_below(folders: list[Path]) -> Callable[[Path], bool]:
    starts = tuple(f"{folder}/" for folder in folders)

    def belongs(process: Path) -> bool:
        return any(str(fd.readlink()).startswith(starts) for fd in (process / "fd").iterdir())

    return belongs


def _lives_over(folders: list[Path]) -> Callable[[Path], bool]:
    """Whether what a process sees as the control folder is one of these."""
    known = {(seen.st_dev, seen.st_ino) for seen in (folder.stat() for folder in folders)}

    def belongs(process: Path) -> bool:
        seen = (process / f"root{CONTROL}").stat()
        return (seen.st_dev, seen.st_ino) in known

    return belongs


def marked(mark: str) -> Callable[[Path], bool]:
    """Whether a process has a mark that begins so in the environment that it was started with."""
    wanted = f"\0{MARK}={mark}".encode()

    def belongs(process: Path) -> bool:
        return wanted in b"\0" + _read(process, "environ")

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


def _that(process: Path, belongs: Callable[[Path], bool]) -> Path | None:
    """Where a process can be looked at, if it lives and belongs. Its first thread may have ended, with all that can be
    seen of it, long before the others; whether it has is looked at last, for it may end at any time."""
    try:
        said = belongs(process)
    except OSError:
        said = False
    try:
        if not said and os.stat(f"{process}/task").st_nlink == _ONE_THREAD:  # noqa: PTH116  as in `_read`
            return None
        if not _read(process, "stat").rpartition(b")")[2].startswith(b" Z"):
            return process if said else None
        others = [thread for thread in (process / "task").iterdir() if thread.name != process.name]
        return others[-1] if others and (said or belongs(others[-1])) else None
    except OSError:  # gone meanwhile, or another user's
        return None


def _state(process: Path) -> list[str]:
    """State, parent, group, session and so on: what follows the name."""
    return _read(process, "stat").decode(errors="replace").rpartition(")")[2].split()


def _read(process: Path, name: str) -> bytes:
    """A file of a process. There may be many hundred processes, each looked at whenever a lease ends."""
    fd = os.open(f"{process}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = os.read(fd, _BLOCK)
        while found and not len(found) % _BLOCK and (more := os.read(fd, _BLOCK)):  # less than was asked for is all
            found += more
        return found
    finally:
        os.close(fd)
