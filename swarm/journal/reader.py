"""Reading a journal back, also one that is still being written or whose last line is torn."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from swarm.errors import JournalError, RunAtWork, UsageError
from swarm.events import ANY_EVENT, Event
from swarm.journal.lines import cut_torn_line
from swarm.whole_file import open_plain


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


@dataclass(frozen=True, slots=True)
class Held:
    """A journal that nobody else may go on with, and the events in it. `fd` is open for appending."""

    fd: int
    events: tuple[Event, ...]
    torn: int = 0
    """Bytes of a last line that was not whole, and is gone."""

    @property
    def next_seq(self) -> int:
        return self.events[-1].seq + 1 if self.events else 0


@contextmanager
def hold_journal(path: Path) -> Iterator[Held]:
    """Take up a journal that a run left, for the length of the block; a torn last line is cut off.

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
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            name = path.parent.name
            raise RunAtWork(
                f"{name} is at work in another process", remedy=f"follow it with `swarm watch {name}`"
            ) from None
        events = tuple(read_events(path))
        if not events:
            raise UsageError(f"{path.parent.name} was ended before anything was recorded", remedy="start it again")
        yield Held(fd, events, cut_torn_line(fd))
    finally:
        os.close(fd)


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


def parse_line(line: bytes, where: str) -> Event:
    """One line as an event; `where` names it in the error."""
    try:
        return ANY_EVENT.validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise JournalError(
            f"{where}: no event: {first['msg']}", remedy="the lines before it are whole: keep those, or run it again"
        ) from None
