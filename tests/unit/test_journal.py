"""The journal: every line whole and in order, secrets gone, torn ends tolerated, failures told."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from swarm.calls import Tokens
from swarm.errors import JournalError, RunAtWork
from swarm.events import AgentEnded, AgentStarted, CallFinished, CallSent, Event, Notice, ToolFinished
from swarm.journal.lines import LineFile
from swarm.journal.reader import hold_journal, read_events
from swarm.journal.redaction import Redactor
from swarm.journal.said import Unsaid
from swarm.journal.writer import GROUP_SECONDS, Journal, open_journal
from swarm.types import Outcome, ToolStatus

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
        journal = Journal(LineFile(full.fileno(), device), "r", NOTHING)
        with pytest.raises(ExceptionGroup) as caught:
            async with anyio.create_task_group() as group:
                group.start_soon(journal.sync_groups)
                journal.emit(Notice(message="x"))
                await journal.flush()
    assert caught.group_contains(JournalError, match="No space left")


async def test_after_a_failure_only_flush_raises_and_what_begins_a_call() -> None:
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
            with pytest.raises(JournalError, match="No space left"):  # else it would be paid, and made again later
                journal.emit(CallSent(trajectory_id="a", call_id="a/1", attempt=1))
    assert caught.group_contains(JournalError, match="No space left")
    assert [event.seq for event in seen] == [0, 1, 2]


@asynccontextmanager
async def open_full(device: Path, seen: list[Event]) -> AsyncIterator[Journal]:
    with device.open("wb") as full:
        journal = Journal(LineFile(full.fileno(), device), "r", NOTHING)
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


async def test_who_waits_for_the_disk_needs_no_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    real = anyio.move_on_after

    def timed(seconds: float) -> anyio.CancelScope:
        waits.append(seconds)
        return real(seconds)

    async with open_journal(tmp_path / "events.jsonl", "r", NOTHING) as journal:
        monkeypatch.setattr(anyio, "move_on_after", timed)
        for _ in range(3):
            journal.emit(Notice(message="x"))
            await journal.flush()
        assert waits == []
        journal.emit(Notice(message="nobody waits"))
        await anyio.wait_all_tasks_blocked()
        assert waits == [GROUP_SECONDS]


def learner(turn: int, **more: Any) -> CallFinished:
    """An accepted call of an agent that learns."""
    given = {"trajectory_id": "a", "call_id": f"a/{turn}", "turn": turn, "attempt": 1, "accepted": True, **more}
    return CallFinished(token_source="server_ids", token_exact=True, untrainable="", policy_version="v", **given)


def tokens_in(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "tokens.jsonl").read_text().splitlines()]


async def test_tokens_are_written_as_deltas_and_none_of_a_secret(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    async with open_journal(path, "r", Redactor({"MY_KEY": "a-secret-value"})) as journal:
        journal.emit(AgentStarted(trajectory_id="a", role="orchestrator", name="a", trainable=True))
        for turn, (prompt, before) in enumerate(((3, ""), (6, "a/1"), (9, "a/2"), (12, "a/3")), 1):
            said = [{"role": "user", "content": "a-secret-value" if turn == 3 else "x"}]
            call = learner(turn, prefix_call_id=before, prefix_messages=2 * turn - 2, new_messages=said)
            call.with_tokens(Tokens(tuple(range(prompt)), (prompt,), (-0.25,), prompt, 1))
            journal.emit(call)
    first, second = tokens_in(tmp_path)
    assert (first["prefix_len"], first["prompt_ids_tail"], first["prompt_len"]) == (0, [0, 1, 2], 3)
    assert (second["prefix_call_id"], second["prefix_len"], second["prompt_ids_tail"]) == ("a/1", 4, [4, 5])
    calls = [event for event in read_events(path) if isinstance(event, CallFinished)]
    assert [call.untrainable for call in calls] == ["", "", "redacted", "redacted"], "the last goes on from the secret"


async def test_tool_calls_that_an_agent_left_get_their_record(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    calls = [{"id": f"c{n}", "type": "function", "function": {"name": "bash", "arguments": "{}"}} for n in (1, 2)]
    async with open_journal(path, "r", NOTHING) as journal:
        journal.emit(AgentStarted(trajectory_id="a", role="subagent", name="a", trainable=False))
        journal.emit(learner(1, response={"role": "assistant", "content": None, "tool_calls": calls}))
        used = ToolFinished(trajectory_id="a", call_id="a/1", tool_call_id="c1", name="bash", arguments="{}",
                            t_start=0, t_end=1, status=ToolStatus.COMPLETED)  # fmt: skip
        journal.emit(used)
        journal.emit(
            AgentEnded(trajectory_id="a", outcome=Outcome.CANCELLED, stop="x", terminated=False, truncated=True)
        )
    tools = [event for event in read_events(path) if isinstance(event, ToolFinished)]
    assert [(tool.tool_call_id, tool.status) for tool in tools] == [("c1", "completed"), ("c2", "cancelled")]


async def test_tokens_whose_call_was_lost_are_cut_off_when_it_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    async with open_journal(path, "r", NOTHING) as journal:
        for turn in (1, 2):
            call = learner(turn)
            call.with_tokens(Tokens((1,), (2,), (-1.0,), 1, 1))
            journal.emit(call)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:1]) + b'{"torn')
    with hold_journal(path) as held:
        assert held.torn > 0
        async with open_journal(path, "r", NOTHING, held) as journal:
            call = learner(2)
            call.with_tokens(Tokens((1,), (3,), (-1.0,), 1, 1))
            journal.emit(call)
    assert [(line["seq"], line["completion_ids"]) for line in tokens_in(tmp_path)] == [(0, [2]), (1, [3])]
    assert [event.seq for event in read_events(path)] == [0, 1]


async def test_a_journal_can_be_taken_up_at_once_though_a_child_still_holds_its_file(tmp_path: Path) -> None:
    """Between fork and exec a child has all files of its parent, and with them their locks."""
    path = tmp_path / "events.jsonl"
    child: list[int] = []
    async with open_journal(path, "r", NOTHING) as journal:
        journal.emit(learner(1))
        child += [os.dup(fd) for fd in _descriptors(path)]
    with hold_journal(path):
        child += [os.dup(fd) for fd in _descriptors(path)]
    try:
        assert child
        with hold_journal(path), pytest.raises(RunAtWork, match="is at work already;"), hold_journal(path):
            pass
    finally:
        for fd in child:
            os.close(fd)


def _descriptors(path: Path) -> list[int]:
    """This process's own, of a file."""
    return [int(fd.name) for fd in Path("/proc/self/fd").iterdir() if fd.exists() and fd.samefile(path)]


async def test_damaged_tokens_are_told_by_their_place(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    async with open_journal(path, "r", NOTHING) as journal:
        journal.emit(learner(1))
    for damage in ("\0\0\n", "{}\n"):
        (tmp_path / "tokens.jsonl").write_text(damage)
        with hold_journal(path) as held, pytest.raises(JournalError, match=r"tokens\.jsonl, line 1: no tokens"):
            async with open_journal(path, "r", NOTHING, held):
                pass


async def test_a_long_journal_is_taken_up_without_holding_what_was_said(tmp_path: Path) -> None:
    """What a run goes on with is read again, one trajectory at a time."""
    path = tmp_path / "events.jsonl"
    async with open_journal(path, "r", NOTHING) as journal:
        for name in ("a", "b"):
            journal.emit(AgentStarted(trajectory_id=name, role="subagent", name=name, trainable=False))
            for turn in range(1, 101):
                journal.emit(CallSent(trajectory_id=name, call_id=f"{name}/{turn}", attempt=1))
                said = {"role": "user", "content": f"{turn} of {name}"}
                journal.emit(CallFinished(trajectory_id=name, call_id=f"{name}/{turn}", turn=turn, attempt=1,
                                          accepted=True, new_messages=[said]))  # fmt: skip

    def held_in_memory() -> int:
        gc.collect()
        return sum(type(each) is CallFinished for each in gc.get_objects())

    before = held_in_memory()
    with hold_journal(path) as held:
        async with open_journal(path, "r", NOTHING, held) as journal:
            unsaid = Unsaid(journal, held.past, NOTHING)
            unsaid.forget(held.past.reopened("2"))
            assert held_in_memory() == before, "it was read, and is kept"
            found = held.past.call("a/50")
            assert found is not None and found.new_messages == [{"role": "user", "content": "50 of a"}]
            assert held_in_memory() == before + 100, "one trajectory is"
            unsaid.emit(CallSent(trajectory_id="b", call_id="b/7", attempt=1))
            assert len(list(read_events(path))) == len(held.events), "it was said before"
            unsaid.emit(CallSent(trajectory_id="b", call_id="b/101", attempt=1))
            assert len(list(read_events(path))) == len(held.events) + 1
