"""The past runs of a home, as later previews need them: `history.jsonl`, an index that the runs' journals can rebuild.

    {"history":1}                 the first line: the form of the others
    {"run":"...","samples":...}   one line a run, oldest first

It is written whole, under a lock of its own, and put in place at once: a reader needs no lock. It holds the newest
runs only, and none whose folder is gone.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from swarm.errors import JournalError
from swarm.events import RunEnded, RunResumed
from swarm.forecast.measured import Measured
from swarm.forecast.rows import Row
from swarm.journal.reader import read_events
from swarm.result import RunResult

FILE, LOCK = "history.jsonl", "history.lock"
MOST_RUNS = 200
MOST_READ = 64 << 20
"""Bytes of journals that are read at most to rebuild it, newest first."""

_HEAD = b'{"history":1}'
_LOCK_S, _TRY_S = 20.0, 0.05
_IN_TURN = threading.Lock()
"""Runs of one process wait for each other here, and not by trying again and again."""


@dataclass(frozen=True, slots=True)
class History:
    """The past runs, oldest first; `notice` is for the user, empty where all is well."""

    rows: tuple[Row, ...]
    notice: str = ""


def read_history(home: Path) -> History:
    """The past runs; rebuilt where the file is missing or damaged. Blocks.

    Raises:
        OSError: it cannot be read or rebuilt.
    """
    rows = _rows(home)
    if rows is not None:
        return History(_kept(home, rows))
    with _locked(home):
        rows = _rows(home)  # somebody else may have been faster
        return History(_kept(home, rows)) if rows is not None else _rebuild(home)


def add_run(home: Path, row: Row) -> str:
    """Add a run, or put it in place of what was known of it. Blocks. Gives what the user should be told, if anything.

    Raises:
        OSError: the file cannot be written.
    """
    with _locked(home):
        known = _rows(home)
        notice = ""
        if known is None:
            rebuilt = _rebuild(home)
            known, notice = rebuilt.rows, rebuilt.notice
        _write(home, _kept(home, [*(other for other in known if other.run != row.run), row]))
        return notice


def _rows(home: Path) -> tuple[Row, ...] | None:
    """What the file says; None where it is not there or not whole."""
    try:
        head, *lines = (home / FILE).read_bytes().split(b"\n")
    except FileNotFoundError:
        return None
    if head != _HEAD or not lines or lines.pop() != b"":
        return None
    try:
        return tuple(Row.model_validate_json(line) for line in lines)
    except ValidationError:
        return None


def _kept(home: Path, rows: Sequence[Row]) -> tuple[Row, ...]:
    """The newest of those that are still there, oldest first."""
    try:
        there = {entry.name for entry in os.scandir(home / "runs")}
    except FileNotFoundError:
        there = set()
    found = sorted((row for row in rows if row.run in there), key=lambda row: (row.started, row.run))
    return tuple(found[-MOST_RUNS:])


def _rebuild(home: Path) -> History:
    """All over again, out of the journals. In `_locked`."""
    damaged = (home / FILE).exists()
    rows = _kept(home, list(_measured(home / "runs")))
    _write(home, rows)
    notice = f"{home / FILE} was damaged: rebuilt from the journals of {len(rows)} past runs" if damaged else ""
    return History(rows, notice)


def _measured(runs: Path) -> Iterator[Row]:
    """The rows of the newest runs that came to their end."""
    journals: list[tuple[float, int, Path]] = []
    for folder in runs.iterdir() if runs.is_dir() else ():
        try:
            about = (folder / "events.jsonl").stat()
        except OSError:
            continue
        journals.append((about.st_mtime, about.st_size, folder / "events.jsonl"))
    room, found = MOST_READ, 0
    for _, size, journal in sorted(journals, reverse=True):
        room -= size
        if room < 0 or found >= MOST_RUNS:
            return
        row = _row_of(journal)
        if row is not None:
            found += 1
            yield row


def _row_of(journal: Path) -> Row | None:
    """A past run; None for one that is under way, was killed, or cannot be read."""
    measured = Measured()
    result: RunResult | None = None
    try:
        for event in read_events(journal):
            if isinstance(event, RunEnded):
                result = RunResult.model_validate(event.result)
            elif isinstance(event, RunResumed):
                result = None
            measured.observe(event)
    except (JournalError, ValidationError):
        return None
    return measured.row(result) if result is not None else None


def _write(home: Path, rows: Sequence[Row]) -> None:
    data = b"".join(line + b"\n" for line in (_HEAD, *(row.model_dump_json().encode() for row in rows)))
    partly = home / f"{FILE}.tmp"
    with partly.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partly.replace(home / FILE)


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    """While nobody else changes the file. What is done in it is short; a holder that was stopped is not waited for."""
    if not _IN_TURN.acquire(timeout=_LOCK_S):
        raise TimeoutError(f"{home / LOCK} is held by another run of this process")
    try:
        with _file_locked(home):
            yield
    finally:
        _IN_TURN.release()


@contextmanager
def _file_locked(home: Path) -> Iterator[None]:
    fd = os.open(home / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        until = time.monotonic() + _LOCK_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise TimeoutError(f"{home / LOCK} is held by another process") from None
                time.sleep(_TRY_S)
        yield
    finally:
        os.close(fd)
