"""The one writer of a run's `events.jsonl`: whole lines, in order, synced to disk in groups.

A group is synced after 64 records or 200 ms, and whenever somebody waits in `flush` (the end of each agent and of
the run). An event is shown to subscribers only after it was masked.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from swarm.errors import JournalError
from swarm.events import Event
from swarm.journal.masking import mask
from swarm.journal.redaction import Redactor

GROUP_RECORDS = 64
GROUP_SECONDS = 0.2


class Journal:
    """Takes events and writes them; use `open_journal`."""

    def __init__(self, fd: int, path: Path, run_id: str, redactor: Redactor) -> None:
        self._fd = fd
        self._path = path
        self._run_id = run_id
        self._redactor = redactor
        self._subscribers: list[Callable[[Event], None]] = []
        self._lines: list[bytes] = []
        self._next_seq = 0
        self._synced_seq = 0
        self._wake = anyio.Event()  # there is something to write
        self._hurry = anyio.Event()  # write it now: the group is full, or somebody waits
        self._synced = anyio.Event()  # a group is on disk
        self._closing = False
        self._failure: JournalError | None = None

    def __repr__(self) -> str:
        return f"<Journal {self._path.name}: {self._next_seq} events, {self._next_seq - self._synced_seq} unsynced>"

    def subscribe(self, subscriber: Callable[[Event], None]) -> None:
        """Show every further event to `subscriber`, in order, as it is emitted."""
        self._subscribers.append(subscriber)

    def emit(self, event: Event) -> None:
        """Take the event: it gets its number and the time, is shown to subscribers, and soon written.

        It never waits, and never fails for what is in the event or for the disk: that is told by `flush`.
        """
        event.seq = self._next_seq
        event.run_id = self._run_id
        event.t = time.time()
        event.mono = time.monotonic()
        event, line = mask(event, self._redactor)
        self._next_seq += 1
        if self._failure is None:  # else `flush` tells; what can no longer be written is not kept
            self._lines.append(line + b"\n")
        self._wake.set()
        if len(self._lines) >= GROUP_RECORDS:
            self._hurry.set()
        for subscriber in self._subscribers:
            subscriber(event)

    async def flush(self) -> None:
        """Wait until everything emitted so far is on disk.

        Raises:
            JournalError: it cannot be written, or the journal is closed.
        """
        target = self._next_seq
        while self._synced_seq < target:
            if self._failure is not None:
                raise self._failure
            synced = self._synced
            self._hurry.set()
            await synced.wait()

    async def write_groups(self) -> None:
        """Write until closed; the task of `open_journal`."""
        while not (self._closing and not self._lines):
            await self._wake.wait()
            with anyio.move_on_after(GROUP_SECONDS):
                await self._hurry.wait()
            self._wake, self._hurry = anyio.Event(), anyio.Event()
            lines, self._lines = self._lines, []
            try:
                await anyio.to_thread.run_sync(self._write, lines)
            except OSError as error:
                self._failure = JournalError(f"{self._path} cannot be written: {error.strerror or error}")
                self._synced.set()  # whoever waits in flush is told
                raise self._failure from error
            self._synced_seq += len(lines)
            self._synced.set()
            self._synced = anyio.Event()
        self._failure = JournalError(f"{self._path} is closed")  # so that no late flush waits for ever

    def _write(self, lines: Sequence[bytes]) -> None:
        left = memoryview(b"".join(lines))
        while left:
            left = left[os.write(self._fd, left) :]
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Let the writer write what is left and end."""
        self._closing = True
        self._wake.set()
        self._hurry.set()


@asynccontextmanager
async def open_journal(path: Path, run_id: str, redactor: Redactor) -> AsyncIterator[Journal]:
    """A journal whose writer lives as long as the block; everything emitted is on disk when it is left.

    Raises:
        JournalError: the file cannot be made; when it can no longer be written the block is cancelled.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalError(f"{path} cannot be made: {error.strerror or error}") from error
    journal = Journal(fd, path, run_id, redactor)
    try:
        async with anyio.create_task_group() as writers:
            writers.start_soon(_write_shielded, journal)
            try:
                yield journal
            finally:
                journal.close()
    finally:
        os.close(fd)


async def _write_shielded(journal: Journal) -> None:
    with anyio.CancelScope(shield=True):  # what was emitted is written, also when the run is cancelled
        await journal.write_groups()
