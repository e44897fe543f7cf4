"""The journal beside a list: events are emitted, synced and read; the process dies, and the file is cut, at any byte;
another goes on with it."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pydantic_core import from_json, to_json

from swarm.calls import Tokens
from swarm.errors import RunAtWork, UsageError
from swarm.events import AgentStarted, CallFinished, Event, Notice
from swarm.journal.lines import is_intact
from swarm.journal.past import Past
from swarm.journal.reader import hold_journal, is_at_work, read_events
from swarm.journal.redaction import Redactor
from swarm.journal.writer import Journal, open_journal
from tests.effort import examples

SECRET = 'se"cret\\value'
texts = (
    st.text(max_size=20)
    | st.just(f"the key is {SECRET}")
    | st.sampled_from(['"crc":""', "\u2028\x85\r", "\x00", "🐝" * 30])
)


class Journals(RuleBasedStateMachine):
    """`said` is what was emitted in all, `safe` how much of it was acknowledged by `flush`. Each process is a task that
    has the journal open, and is left without being closed when it dies."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "events.jsonl"
        self.runner = asyncio.Runner()
        self.patch = pytest.MonkeyPatch()
        self.synced: dict[int, int] = {}  # by file: the bytes that are on the disk
        self.patch.setattr(os, "fdatasync", self._synced)
        self.said: list[Event] = []
        self.calls: dict[str, tuple[int, ...]] = {}
        self.safe = self.safe_bytes = self.turn = self.chains = 0
        self.journal: Journal | None = None
        self._open()

    def _synced(self, fd: int) -> None:
        stat = os.fstat(fd)
        self.synced[stat.st_ino] = stat.st_size

    # processes

    def _open(self) -> None:
        """A process takes the journal up, or makes it: also where nothing whole was left of it."""
        if not self.said and self.path.exists():
            with pytest.raises(UsageError, match="before anything"), hold_journal(self.path):
                pass
            self.path.unlink()
            self.path.with_name("tokens.jsonl").unlink()
        self.written: list[tuple[bool, int]] = []  # each write of this process: whether of tokens, and the bytes
        self.seen: list[Event] = []
        self.go, self.opened = None, None
        self.process = self.runner.get_loop().create_task(self._live())
        self.runner.run(self._until_open())

    async def _until_open(self) -> None:
        while self.journal is None and not self.process.done():
            await anyio.wait_all_tasks_blocked()
        if self.process.done():
            self.process.result()

    async def _live(self) -> None:
        self.over = anyio.Event()
        if not self.path.exists():
            async with open_journal(self.path, "r", Redactor({"K": SECRET})) as self.journal:
                self.journal.subscribe(self.seen.append)
                await self.over.wait()
            return
        with hold_journal(self.path) as held:
            assert [event.seq for event in held.events] == list(range(len(self.said)))
            async with open_journal(self.path, "r", Redactor({"K": SECRET}), held) as self.journal:
                self.journal.subscribe(self.seen.append)
                await self.over.wait()

    def _do(self, action: Callable[[], Awaitable[Any] | Any]) -> None:
        async def work() -> None:
            done = action()
            if isinstance(done, Awaitable):
                await done

        self.runner.run(work())

    def _die(self) -> tuple[bytes, bytes]:
        """What is in both files; the process ends after that, and what it says then is not seen."""
        tokens = self.path.with_name("tokens.jsonl")
        left = self.path.read_bytes(), tokens.read_bytes()

        async def end() -> None:
            self.over.set()
            await asyncio.wait([self.process])
            self.process.result()

        self.runner.run(end())
        self.journal = None
        return left

    # rules

    @rule(text=texts, count=st.sampled_from([1, 1, 2, 70]))
    def emit(self, text: str, count: int) -> None:
        for _ in range(count):
            self._emit(Notice(message=text))

    @rule(text=texts, learns=st.booleans(), again=st.booleans())
    def call(self, text: str, learns: bool, again: bool) -> None:
        """A call of an agent whose prompts grow, or begin anew."""
        self.turn += 1
        if not again or not self.chains:
            self.chains += 1
            self._emit(AgentStarted(trajectory_id=f"a{self.chains}", role="subagent", name="a", trainable=learns))
            self.turn = 1
        name = f"a{self.chains}"
        call = CallFinished(trajectory_id=name, call_id=f"{name}/{self.turn}", turn=self.turn, attempt=1, accepted=True,
                            new_messages=[{"role": "user", "content": text}], token_source="server_ids",
                            token_exact=True, untrainable="", policy_version="v")  # fmt: skip
        call.with_tokens(Tokens((1, 2, 3), (self.turn,), (-0.5,), 3, 1))
        self._emit(call)

    def _emit(self, event: Event) -> None:
        journal = self.journal
        assert journal is not None
        self._do(lambda: journal.emit(event))
        self.said.append(self.seen[-1])

    @rule()
    def flush(self) -> None:
        assert self.journal is not None
        self._do(self.journal.flush)
        if not self.seen:
            return  # of what another process said nothing is promised
        for file in (self.path, self.path.with_name("tokens.jsonl")):
            stat = file.stat()
            assert self.synced.get(stat.st_ino, 0) == stat.st_size, "it is acknowledged, and not on the disk"
        self.safe, self.safe_bytes = len(self.said), self.path.stat().st_size

    @rule()
    def nobody_else_takes_it_up(self) -> None:
        assert is_at_work(self.path)
        with pytest.raises(RunAtWork), hold_journal(self.path):
            pass

    @rule()
    def the_process_is_killed(self) -> None:
        """What it said is there: the kernel has it."""
        self._die()
        self._open()

    @precondition(lambda self: self.said)
    @rule(part=st.floats(0, 1))
    def it_is_killed_in_a_write(self, part: float) -> None:
        """Only a part of the last line was taken: the disk was full, and it died."""
        events, tokens = self._die()
        start = max(self.safe_bytes, events.rstrip(b"\n").rfind(b"\n") + 1)
        self._cut(events[: start + int(part * (len(events) - start))], tokens)

    @precondition(lambda self: self.said)
    @rule(part=st.floats(0, 1))
    def the_machine_dies(self, part: float) -> None:
        """Any part of the events is there that reaches beyond what was synced; tokens reach the disk before them."""
        events, tokens = self._die()
        self._cut(events[: self.safe_bytes + int(part * (len(events) - self.safe_bytes))], tokens)

    def _cut(self, events: bytes, tokens: bytes) -> None:
        whole = events.count(b"\n")
        assert whole >= self.safe
        self.path.write_bytes(events)
        self.path.with_name("tokens.jsonl").write_bytes(tokens)
        assert list(read_events(self.path)) == self.said[:whole]
        self.said = self.said[:whole]
        self._open()

    @precondition(lambda self: self.said)
    @rule(at=st.integers(0, 10_000), to=st.sampled_from(b"05a"))
    def a_byte_is_changed(self, at: int, to: int) -> None:
        """In a copy of it: whoever reads sees that a line is not as it was written."""
        lines = self.path.read_bytes()
        places = [n for n, byte in enumerate(lines) if bytes([byte]).isalnum() and byte != to]
        place = places[at % len(places)]
        number = lines[:place].count(b"\n")
        spoilt = (lines[:place] + bytes([to]) + lines[place + 1 :]).split(b"\n")[number] + b"\n"
        try:
            read = from_json(spoilt)
        except ValueError:
            return
        assert not (isinstance(read, dict) and is_intact(spoilt, read.get("crc")))

    @invariant()
    def what_was_said_is_read(self) -> None:
        if self.journal is None:
            return
        found = list(read_events(self.path))
        assert found == self.said
        assert [event.seq for event in found] == list(range(len(found)))
        raw = self.path.read_bytes()
        assert to_json(SECRET)[1:-1] not in raw
        assert raw.count(b"\n") == len(found)
        tokens = [from_json(line) for line in self.path.with_name("tokens.jsonl").read_bytes().split(b"\n") if line]
        wanted = [call.call_id for call in found if isinstance(call, CallFinished) and call.token_source != "none"]
        assert [each["call_id"] for each in tokens] == wanted

    def teardown(self) -> None:
        if not hasattr(self, "runner"):
            return
        self.patch.undo()
        self._die()
        assert repr(Past(read_events(self.path)))
        self.runner.close()
        self.folder.cleanup()


Journals.TestCase.settings = settings(max_examples=examples(15), stateful_step_count=20)
TestJournals = Journals.TestCase
