"""The journal: every line whole and in order, secrets gone, torn ends tolerated, failures told."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import JournalError
from swarm.events import CallFinished, Event, Notice
from swarm.journal.reader import read_events
from swarm.journal.redaction import Redactor, secrets_of
from swarm.journal.writer import open_journal

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


def test_only_variables_that_sound_secret_are_taken() -> None:
    env = {
        "OPENAI_API_KEY": "abcdefghijkl",
        "SSH_KEY_FILE": "/home/me/key",
        "PATH": "/usr/bin",
        "DB_PASSWORD": "hunter22",
    }
    assert set(secrets_of(env)) == {"OPENAI_API_KEY", "DB_PASSWORD"}


@given(st.text(min_size=8).filter(str.strip), st.text(), st.text())
def test_redaction_finds_a_value_wherever_it_stands_in_json(secret: str, before: str, after: str) -> None:
    line = json.dumps({"x": before + secret + after}, ensure_ascii=False)
    redacted, _ = Redactor({"S": secret}).redact(line)
    assert json.dumps(secret, ensure_ascii=False)[1:-1] not in redacted.replace("[redacted:S]", "")


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
    from swarm.journal.writer import Journal

    with device.open("wb") as full:  # noqa: ASYNC230 (a device)
        journal = Journal(full.fileno(), device, "r", NOTHING)
        with pytest.raises(ExceptionGroup) as caught:
            async with anyio.create_task_group() as group:
                group.start_soon(journal.write_groups)
                journal.emit(Notice(message="x"))
                await journal.flush()
    assert caught.group_contains(JournalError, match="No space left")
