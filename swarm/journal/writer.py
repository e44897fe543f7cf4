"""The one writer of a run's `events.jsonl`: whole lines, in order, given to the kernel at once, synced in groups.

What `emit` took survives the death of this process, at any moment; that of the machine, once it was synced: after 64
records or 200 ms, and whenever somebody waits in `flush` (the end of each agent and of the run). An event is shown to
subscribers only after it was masked.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from swarm.errors import JournalError
from swarm.events import Event
from swarm.journal.masking import mask
from swarm.journal.reader import Held
from swarm.journal.redaction import Redactor

GROUP_RECORDS = 64
GROUP_SECONDS = 0.2


class Journal:
    """Takes events and writes them; use `open_journal`. `first_seq` is the number of the next event."""

    def __init__(self, fd: int, path: Path, run_id: str, redactor: Redactor, first_seq: int = 0) -> None:
        self._fd = fd
        self._path = path
        self._run_id = run_id
        self._redactor = redactor
        self._subscribers: list[Callable[[Event], None]] = []
        self._next_seq = first_seq
        self._synced_seq = first_seq
        self._wake = anyio.Event()  # there is something to sync
        self._hurry = anyio.Event()  # sync it now: the group is full, or somebody waits
        self._synced = anyio.Event()  # a group is on disk
        self._closing = False
        self._failure: JournalError | None = None

    def __repr__(self) -> str:
        return f"<Journal {self._path.name}: {self._next_seq} events, {self._next_seq - self._synced_seq} unsynced>"

    def subscribe(self, subscriber: Callable[[Event], None]) -> None:
        """Show every further event to `subscriber`, in order, as it is emitted."""
        self._subscribers.append(subscriber)

    def emit(self, event: Event) -> None:
        """Take the event: it gets its number and the time, is written, and shown to subscribers.

        It never fails for what is in the event or for the disk: that is told by `flush`.
        """
        event.seq = self._next_seq
        event.run_id = self._run_id
        event.t = time.time()
        event.mono = time.monotonic()
        event, line = mask(event, self._redactor)
        self._next_seq += 1
        if self._failure is None:  # else `flush` tells; what can no longer be written is not kept
            self._write(line + b"\n")
        self._wake.set()
        if self._next_seq - self._synced_seq >= GROUP_RECORDS or self._failure is not None:
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

    async def sync_groups(self) -> None:
        """Sync until closed; the task of `open_journal`."""
        while not (self._closing and self._synced_seq == self._next_seq):
            await self._wake.wait()
            with anyio.move_on_after(GROUP_SECONDS):
                await self._hurry.wait()
            self._wake, self._hurry = anyio.Event(), anyio.Event()
            written = self._next_seq
            try:
                if self._failure is None:
                    await anyio.to_thread.run_sync(os.fdatasync, self._fd)
            except OSError as error:
                self._fail(error)
            if self._failure is not None:
                self._synced.set()  # whoever waits in flush is told
                raise self._failure
            self._synced_seq = written
            self._synced.set()
            self._synced = anyio.Event()
        self._failure = JournalError(f"{self._path} is closed")  # so that no late flush waits for ever

    def _write(self, line: bytes) -> None:
        """Give a line to the kernel. It goes to the page cache of a regular file, in microseconds, so that the event
        loop need not be spared it; a kernel that has too much unwritten slows down whoever writes, which is us."""
        left = memoryview(line)
        try:
            while left:
                left = left[os.write(self._fd, left) :]
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        self._failure = JournalError(f"{self._path} cannot be written: {error.strerror or error}")

    def close(self) -> None:
        """Let the writer write what is left and end."""
        self._closing = True
        self._wake.set()
        self._hurry.set()


@asynccontextmanager
async def open_journal(path: Path, run_id: str, redactor: Redactor, held: Held | None = None) -> AsyncIterator[Journal]:
    """A journal whose writer lives as long as the block; everything emitted is on disk when it is left. With `held` it
    goes on with one that is there, which stays held.

    Raises:
        JournalError: the file cannot be made; when it can no longer be written the block is cancelled.
    """
    fd = held.fd if held is not None else _make(path)
    journal = Journal(fd, path, run_id, redactor, held.next_seq if held is not None else 0)
    try:
        async with anyio.create_task_group() as writers:
            writers.start_soon(_sync_shielded, journal)
            try:
                yield journal
            finally:
                journal.close()
    finally:
        if held is None:
            os.close(fd)


def _make(path: Path) -> int:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalError(f"{path} cannot be made: {error.strerror or error}") from error
    fcntl.flock(fd, fcntl.LOCK_EX)  # nobody takes up a run that lives
    return fd


async def _sync_shielded(journal: Journal) -> None:
    with anyio.CancelScope(shield=True):  # what was emitted is synced, also when the run is cancelled
        await journal.sync_groups()
