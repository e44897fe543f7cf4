"""Reading a journal back, also one that is still being written or whose last line is torn."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from swarm.errors import JournalError, RunAtWork, UsageError
from swarm.events import Event
from swarm.journal.past import Past
from swarm.journal.records import Records, parse_line
from swarm.values import value
from swarm.whole_file import let_go, open_plain

_LOOKS, _LOOK_S = 4, 0.01


def read_events(path: Path) -> Iterator[Event]:
    """The events of a journal in order. A torn last line is left out.

    Raises:
        JournalError: the file cannot be read, or a whole line of it is no event; the message names the line.
    """
    try:
        with open_plain(path) as lines:
            for number, line in enumerate(lines, start=1):
                if not line.endswith(b"\n"):
                    return
                yield parse_line(line, f"{path}, line {number}")
    except JournalError:
        raise
    except OSError as error:
        raise JournalError(f"{path} cannot be read: {error.strerror or error}") from error


def past_of(path: Path) -> Past:
    """How far everything in a journal came; what was said in it can no longer be asked for.

    Raises:
        JournalError: it cannot be read, or a whole line of it is no event.
    """
    try:
        with open_plain(path) as file:
            return Past(Records(file.fileno(), path))
    except OSError as error:
        raise JournalError(f"{path} cannot be read: {error.strerror or error}") from error


class Recorded(Iterable[Event]):
    """The events of a journal, read each time that somebody goes through them. Raises as `read_events`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __repr__(self) -> str:
        return f"<Recorded {self._path}>"

    def __iter__(self) -> Iterator[Event]:
        return read_events(self._path)


@value(frozen=True, slots=True)
class Held:
    """A journal that nobody else may go on with, its events, and what they come to. `fd` is open for appending."""

    fd: int
    events: Records
    past: Past

    @property
    def torn(self) -> int:
        """Bytes of a last line that is not whole. It is cut off when the journal is gone on with."""
        return self.events.torn

    @property
    def next_seq(self) -> int:
        return self.events[-1].seq + 1


@contextmanager
def hold_journal(path: Path) -> Iterator[Held]:
    """Take up a journal that a run left, for the length of the block.

    Raises:
        RunAtWork: the run that writes it lives.
        UsageError: there is none, or nothing is in it.
        JournalError: it cannot be read, or a whole line of it is no event.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise UsageError(f"{path.parent.name} has no record", remedy="see `swarm runs`") from None
    except OSError as error:
        raise JournalError(f"{path} cannot be opened: {error.strerror or error}") from error
    try:
        if not _locked(fd):
            name = path.parent.name
            raise RunAtWork(f"{name} is at work already", remedy=f"follow it with `swarm watch {name}`")
        events = Records(fd, path)
        if not events:
            raise UsageError(f"{path.parent.name} was ended before anything was recorded", remedy="start it again")
        yield Held(fd, events, Past(events))
    finally:
        let_go(fd)


def _locked(fd: int) -> bool:
    """Lock a file, unless somebody holds it for longer than it takes to see whether it is held (`is_at_work`)."""
    for left in reversed(range(_LOOKS)):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if left:
                time.sleep(_LOOK_S)
        else:
            return True
    return False


def is_at_work(path: Path) -> bool:
    """Whether the run that writes a journal lives: it holds a lock on it, as `hold_journal` does."""
    try:
        with open_plain(path) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False
