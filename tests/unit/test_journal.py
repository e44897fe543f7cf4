"""The journal: every line whole and in order, secrets gone, torn ends tolerated, failures told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from swarm.errors import JournalError
from swarm.events import CallFinished, Event, Notice
from swarm.journal.reader import read_events
from swarm.journal.redaction import Redactor
from swarm.journal.writer import Journal, open_journal

pytestmark = pytest.mark.anyio
NOTHING = Redactor({})


async def test_events_come_back_in_order_with_a_dense_seq(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    seen: list[Event] = []
    async with open_journal(path, "r1", NOTHING) as journal:
        journal.subscribe(seen.append)
        for n in range(500):
            journal.emit(Notice(message=f"n{n}"))
        await journal.flush()
        assert "0 unsynced" in repr(journal)
        assert len(list(read_events(path))) == 500
        journal.emit(Notice(message="last"))
    events = list(read_events(path))
    assert [event.seq for event in events] == list(range(501))
    assert all(event.run_id == "r1" for event in events)
    assert events == seen


async def test_what_was_emitted_before_a_cancellation_is_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with anyio.CancelScope() as scope:
        async with open_journal(path, "r", NOTHING) as journal:
            journal.emit(Notice(message="kept"))
            scope.cancel()
            await anyio.sleep_forever()
    assert [event.type for event in read_events(path)] == ["notice"]


async def test_a_secret_reaches_neither_file_nor_subscriber_and_marks_its_call(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    secret = 'k"ey\\with-quotes-123'
    seen: list[Event] = []
    async with open_journal(path, "r", Redactor({"MY_KEY": secret})) as journal:
        journal.subscribe(seen.append)
        call = {"role": "user", "content": f"the key is {secret} and sk-abcdefghijklmnopqrstuvwx"}
        journal.emit(
            CallFinished(trajectory_id="a", call_id="c", turn=1, attempt=1, accepted=True, new_messages=[call])
        )
        journal.emit(Notice(message="harmless"))
    text = path.read_text()
    assert json.dumps(secret)[1:-1] not in text
    assert "sk-abc" not in text
    assert "[redacted:MY_KEY]" in text
    assert "[redacted:openai-key]" in text
    first = seen[0]
    assert isinstance(first, CallFinished)
    assert first.redacted
    assert secret not in str(first)
    assert list(read_events(path)) == seen


def test_a_torn_last_line_is_left_out_and_a_broken_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    good = Notice(message="x", seq=0).model_dump_json()
    path.write_text(good + "\n" + good[: len(good) // 2])
    assert len(list(read_events(path))) == 1
    path.write_text(good + "\n" + good[:10] + "\n" + good + "\n")
    with pytest.raises(JournalError, match="line 2"):
        list(read_events(path))


async def test_a_full_disk_ends_the_block_with_a_journal_error() -> None:
    device = Path("/dev/full")
    if not device.exists():
        pytest.skip("no /dev/full here")
    with device.open("wb") as full:  # noqa: ASYNC230 (a device)
        journal = Journal(full.fileno(), device, "r", NOTHING)
        with pytest.raises(ExceptionGroup) as caught:
            async with anyio.create_task_group() as group:
                group.start_soon(journal.sync_groups)
                journal.emit(Notice(message="x"))
                await journal.flush()
    assert caught.group_contains(JournalError, match="No space left")


async def test_after_a_failure_only_flush_raises() -> None:
    device = Path("/dev/full")
    if not device.exists():
        pytest.skip("no /dev/full here")
    seen: list[Event] = []
    with pytest.raises(ExceptionGroup) as caught:
        async with open_full(device, seen) as journal:
            journal.emit(Notice(message="x"))
            with pytest.raises(JournalError, match="No space left"):
                await journal.flush()
            journal.emit(Notice(message="late"))
            with pytest.raises(JournalError, match="No space left"):
                await journal.flush()
    assert caught.group_contains(JournalError, match="No space left")
    assert [event.seq for event in seen] == [0, 1]


@asynccontextmanager
async def open_full(device: Path, seen: list[Event]) -> AsyncIterator[Journal]:
    with device.open("wb") as full:
        journal = Journal(full.fileno(), device, "r", NOTHING)
        journal.subscribe(seen.append)
        async with anyio.create_task_group() as group:
            group.start_soon(journal.sync_groups)
            with anyio.CancelScope(shield=True):
                yield journal


async def test_a_closed_journal_takes_events_and_refuses_to_flush_them(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "events.jsonl", "r", NOTHING) as journal:
        journal.emit(Notice(message="x"))
    await journal.flush()
    journal.emit(Notice(message="late"))
    with pytest.raises(JournalError, match="closed"):
        await journal.flush()
    assert len(list(read_events(tmp_path / "events.jsonl"))) == 1
