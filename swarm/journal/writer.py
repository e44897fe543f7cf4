"""The one writer of a run's `events.jsonl` and `tokens.jsonl`: whole lines, in order, given to the kernel at once,
synced in groups.

What `emit` took survives the death of this process, at any moment; that of the machine, once it was synced: after 64
records or 200 ms, and whenever somebody waits in `flush` (the end of each agent and of the run). An event is shown to
subscribers only after it was masked. A call's tokens are written before its record, so that none is without them.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
from pydantic_core import from_json

from swarm.calls import Tokens
from swarm.errors import JournalError
from swarm.events import AgentEnded, AgentStarted, CallFinished, CallSent, Event, Notice, RunEnded, RunResumed
from swarm.journal.lines import LineFile, cut_torn_line, stamped
from swarm.journal.masking import mask
from swarm.journal.open_calls import FOLLOWED, OpenCalls
from swarm.journal.reader import Held
from swarm.journal.redaction import Redactor
from swarm.journal.seal import SEALED
from swarm.journal.token_log import Stains, TokenLog
from swarm.journal.trails import Trails
from swarm.whole_file import let_go

GROUP_RECORDS = 64
GROUP_SECONDS = 0.2

_WITH_TOKENS = frozenset((AgentStarted, CallFinished, AgentEnded, RunEnded))


class Journal:
    """Takes events and writes them; use `open_journal`. `held` is what is in it already; without `tokens` those of
    calls are dropped. `seal`: see `open_journal`."""

    def __init__(
        self,
        file: LineFile,
        run_id: str,
        redactor: Redactor,
        held: Held | None = None,
        tokens: TokenLog | None = None,
        seal: Callable[[Event], str] | None = None,
    ) -> None:
        self._file = file
        self._seal = seal
        self._tokens = tokens
        self._run_id = run_id
        self._redactor = redactor
        self._subscribers: list[tuple[Callable[[Event], None], Collection[type]]] = []
        self._trails = held.past.trails if held is not None else Trails(())
        self._open = OpenCalls(self._trails.standing if held is not None else None)
        self._next_seq = self._synced_seq = held.next_seq if held is not None else 0
        self._shown: dict[type[Event], tuple[Callable[[Event], None], ...]] = {}  # to whom, by kind
        self._wake = anyio.Event()  # there is something to sync
        self._awake = self._hurried = False  # whether each was told
        self._hurry = anyio.Event()  # sync it now: the group is full, or somebody waits
        self._synced = anyio.Event()  # a group is on disk
        self._closing = False
        self._closed = False

    def __repr__(self) -> str:
        name, unsynced = self._file.path.name, self._next_seq - self._synced_seq
        return f"<Journal {name}: {self._next_seq} events, {unsynced} unsynced>"

    def subscribe(self, subscriber: Callable[[Event], None], unless: Collection[type] = ()) -> None:
        """Show every further event to `subscriber`, in order, as it is emitted, but for those of the kinds that it does
        not look at (`unless`): what is shown to nobody costs nothing."""
        self._subscribers.append((subscriber, unless))
        self._shown.clear()

    def emit(self, event: Event) -> None:
        """Take the event: it gets its number and the time, is written, and shown to subscribers. The end of an agent is
        preceded by those of the tool calls that it left.

        It never fails for what is in the event. Nor for the disk, which is told by `flush`; but no call is made that
        cannot be recorded.

        Raises:
            JournalError: the beginning of a call cannot be written.
        """
        kind = type(event)  # one look-up in place of many tests: whatever is done here, is done for each event
        if kind is RunResumed:
            self._open = OpenCalls(lambda name: self._trails.standing(name, event))
        elif kind is AgentEnded:
            assert isinstance(event, AgentEnded)
            for left in self._open.ended(event.trajectory_id):
                self._take(left)
        self._take(event)
        if kind is CallSent and self._failure is not None:
            raise self._failure  # else it would be made, and paid, and made again when the run goes on

    def _take(self, event: Event) -> None:
        fields = event.__dict__  # what pydantic does at each assignment would be a good part of a journal's cost
        fields["seq"], fields["run_id"], fields["crc"] = self._next_seq, self._run_id, ""
        fields["t"], fields["mono"] = time.time(), time.monotonic()
        kind, tokens, unsealed = type(event), None, ""
        if kind in _WITH_TOKENS:
            tokens = self._before(event)
        event, line = mask(event, self._redactor)
        if kind in SEALED and self._seal is not None:
            unsealed = self._seal(event)
        self._next_seq += 1
        if kind in _WITH_TOKENS and self._tokens is not None:
            self._tokens.take(event, tokens)
        failed = self._failure is not None
        if not failed:  # else `flush` tells; what can no longer be written is not kept
            event.__dict__["crc"], line = stamped(line)
            self._file.write(line)
        if kind in FOLLOWED:
            self._open.observe(event)
        if not self._awake:
            self._awake = True
            self._wake.set()
        if (self._next_seq - self._synced_seq >= GROUP_RECORDS or failed) and not self._hurried:
            self._hurried = True
            self._hurry.set()
        if (shown := self._shown.get(kind)) is None:
            shown = self._shown[kind] = tuple(show for show, unless in self._subscribers if kind not in unless)
        for subscriber in shown:
            subscriber(event)
        if unsealed:
            self._take(Notice(message=unsealed, level="warning"))

    def _before(self, event: Event) -> Tokens | None:
        """What is done to few events before they are masked; gives the tokens that go along."""
        tokens = event.take_tokens() if isinstance(event, CallFinished) else None
        if isinstance(event, RunEnded):
            event.log_sha256 = self._file.sha256
            event.tokens_sha256 = self._tokens.file.sha256 if self._tokens is not None else ""
        if self._tokens is not None:
            self._tokens.before(event)
        return tokens

    def hide(self, name: str, value: str) -> None:
        """Take a further secret out of what is written from now on; see `Redactor.also` for how long."""
        self._redactor = self._redactor.also(name, value)

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
            if not self._hurry.is_set():
                with anyio.move_on_after(GROUP_SECONDS):
                    await self._hurry.wait()
            self._wake, self._hurry = anyio.Event(), anyio.Event()
            self._awake = self._hurried = False
            written = self._next_seq
            if self._failure is None:
                try:
                    await anyio.to_thread.run_sync(self._sync)
                except RuntimeError:  # no thread can be started: it holds up all else, but whoever waits is told
                    self._sync()
            if self._failure is not None:
                self._synced.set()  # whoever waits in flush is told
                raise self._failure
            self._synced_seq = written
            self._synced.set()
            self._synced = anyio.Event()
        self._closed = True  # so that no late flush waits for ever

    def _sync(self) -> None:
        for file in self._files:  # tokens first: no call is on disk without them
            try:
                file.sync()
            except OSError as error:
                file.fail(error)

    @property
    def _files(self) -> tuple[LineFile, ...]:
        return (self._tokens.file, self._file) if self._tokens is not None else (self._file,)

    @property
    def _failure(self) -> JournalError | None:
        if self._closed:
            return JournalError(f"{self._file.path} is closed")
        tokens = self._tokens
        return self._file.failure or (tokens.file.failure if tokens is not None else None)

    def close(self) -> None:
        """Let the writer write what is left and end."""
        self._closing = self._awake = True
        self._wake.set()
        self._hurry.set()


@asynccontextmanager
async def open_journal(
    path: Path,
    run_id: str,
    redactor: Redactor,
    held: Held | None = None,
    seal: Callable[[Event], str] | None = None,
) -> AsyncIterator[Journal]:
    """A journal whose writer lives as long as the block, with `tokens.jsonl` beside it; everything emitted is on disk
    when it is left. With `held` it goes on with one that is there, which stays held. `seal` is shown the records that
    hold a configuration before they are written, and tells why it cannot seal one.

    Raises:
        JournalError: a file cannot be made; when it can no longer be written the block is cancelled.
    """
    events = LineFile(held.fd if held is not None else _make(path), path)
    fds = [events.fd] if held is None else []
    try:
        tokens = LineFile(_open_tokens(path.with_name(TOKENS_FILE)), path.with_name(TOKENS_FILE))
        fds.append(tokens.fd)
        stains = held.past.stains if held is not None else Stains()
        lines = await anyio.to_thread.run_sync(_read_in, events, tokens, stains) if held is not None else 0
        journal = Journal(events, run_id, redactor, held, TokenLog(tokens, run_id, stains, lines), seal)
        async with anyio.create_task_group() as writers:
            writers.start_soon(_sync_shielded, journal)
            try:
                yield journal
            finally:
                journal.close()
    finally:
        for fd in fds:
            let_go(fd)


TOKENS_FILE = "tokens.jsonl"


def _make(path: Path) -> int:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalError(f"{path} cannot be made: {error.strerror or error}") from error
    fcntl.flock(fd, fcntl.LOCK_EX)  # nobody takes up a run that lives
    return fd


def _open_tokens(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalError(f"{path} cannot be made: {error.strerror or error}") from error


def _read_in(events: LineFile, tokens: LineFile, stains: Stains) -> int:
    """Take in what is in both files; gives the number of lines of tokens. Those of calls whose own record was lost are
    cut off: they stand at the end, and the calls are made again. So is a last line that is torn."""
    cut_torn_line(events.fd)
    size = count = 0
    with tokens.path.open("rb") as lines:
        for line in lines:
            if not line.endswith(b"\n"):
                break
            try:
                call_id = from_json(line)["call_id"]
            except (ValueError, TypeError, LookupError) as error:
                raise JournalError(
                    f"{tokens.path}, line {count + 1}: no tokens: {error}", remedy="run it again"
                ) from None
            if call_id not in stains.tokens:
                break
            size += len(line)
            count += 1
    os.ftruncate(tokens.fd, size)
    events.read_in()
    tokens.read_in()
    return count


async def _sync_shielded(journal: Journal) -> None:
    with anyio.CancelScope(shield=True):  # what was emitted is synced, also when the run is cancelled
        await journal.sync_groups()
