"""Runs a recorded run again without network or key: answers and faults come from a cassette, in the recorded order.

A recorded event happens again only when all before it have: an answer is held until every request that had been made
before it came was made again, whoever's it is. So the scheduler takes the same way.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from pydantic_core import to_json

from swarm.calls import Ask, ModelReply, ModelRequest
from swarm.errors import EndpointError, EndpointFault
from swarm.journal.redaction import Redactor
from swarm.models.admission.bulletin import Tell
from swarm.models.tapes.cassette import (
    Done,
    End,
    Head,
    Key,
    Line,
    Reply,
    Sent,
    Told,
    Tools,
    fault_of,
    key_of,
    options_of,
    reply_of,
    sha256_of,
)
from swarm.models.tapes.volatile import difference, renamed, same, told
from swarm.protocols import Model
from swarm.types import JsonObject, Message

PATIENCE_S = 300.0
"""Seconds without any request, in which answers are held for one that does not come, until it is given up: the agent
that made it may have ended in another way."""


class ReplayError(EndpointError):
    """The run that is replayed is not the one that was recorded. `details` show where a prompt first differs."""

    exit_code = 2

    def __init__(self, message: str, diff: str = "", *, remedy: str = "") -> None:
        super().__init__(EndpointFault.NOT_RECORDED, message, remedy=remedy)
        self.details = diff


class Tape:
    """The recorded events and how far they have happened again."""

    def __init__(self, path: Path, head: Head, lines: Sequence[Line], redactor: Redactor) -> None:
        self.head = head
        self._path = path
        self._redactor = redactor
        self._whole = any(isinstance(line, End) for line in lines)
        self._events = [line for line in lines if isinstance(line, Sent | Done | Told)]
        self._tools = {line.sha256: line.tools for line in lines if isinstance(line, Tools)}
        self._sends: dict[Key, deque[tuple[int, Sent, list[Message]]]] = {}
        self._ends: dict[Key, deque[tuple[int, Done]]] = {}
        self._index()
        self._at = 0  # the first event that has not happened
        self._happened: set[int] = set()
        self._moved = anyio.Event()
        self._runs: dict[Tell | None, int] = {}
        self._skipped: set[Key] = set()
        self._checked: dict[tuple[int, str], list[bytes]] = {}  # the last request of each trajectory
        self._names: dict[tuple[int, str], dict[str, str]] = {}  # drawn at random: as recorded, and as they are now
        self.error: ReplayError | None = None
        """Why the replay ended early."""

    def __repr__(self) -> str:
        return f"<Tape {self._path.name}: {self._at} of {len(self._events)} events>"

    def _index(self) -> None:
        before: dict[tuple[int, str], list[Message]] = {}
        for number, event in enumerate(self._events):
            if isinstance(event, Sent):
                messages = [*before.get(event.key[:2], [])[: event.kept], *event.messages]
                before[event.key[:2]] = messages
                self._sends.setdefault(event.key, deque()).append((number, event, messages))
            elif isinstance(event, Done):
                self._ends.setdefault(event.key, deque()).append((number, event))

    @property
    def wants_tokens(self) -> bool:
        """Whether requests were recorded that ask for tokens."""
        return any(isinstance(event, Sent) and "tokens" in event.options for event in self._events)

    def run_of(self, tell: Tell | None) -> int:
        """The number of the run that is told so."""
        return self._runs.setdefault(tell, len(self._runs) + 1)

    def refusal(self, key: Key) -> tuple[int, Done] | None:
        """The recorded refusal of this call's admission, if it was refused."""
        ends = self._ends.get(key)
        if ends and not self._sends.get(key) and ends[0][1].fault is not None:
            return ends.popleft()
        return None

    def sent(self, key: Key, request: ModelRequest) -> tuple[int, Done]:
        """A request is made. Gives how it ended, and the number of that event.

        Raises:
            ReplayError: it was not recorded, or another one was.
        """
        if self.error is not None:
            raise ReplayError(self.error.message, self.error.details, remedy=self.error.remedy)
        sends, ends = self._sends.get(key), self._ends.get(key)
        where = f"{key[1]}, turn {key[2]}" + (f", attempt {key[3]}" if key[3] > 1 else "")
        if not sends or not ends:
            broken = "" if self._whole else " (the recording was broken off)"
            raise self._stop(ReplayError(f"replay of {self._path}: {where} is not in it{broken}"))
        number, recorded, messages = sends.popleft()
        if diff := self._compare(recorded, messages, request, where):
            text = f"replay of {self._path}: the prompt of {where} is not the one that was recorded"
            raise self._stop(ReplayError(text, diff, remedy="record it anew, or take back what was changed"))
        self._skipped.discard(key)
        self._happen(number)
        return ends.popleft()

    def _compare(self, recorded: Sent, messages: Sequence[Message], request: ModelRequest, where: str) -> str:
        """The first difference that matters, as a diff; "" where there is none."""
        encoded = list(request.encoded)
        if len(encoded) != len(request.messages):
            encoded = [to_json(message) for message in request.messages]
        tools = request.encoded_tools or (to_json(list(request.tools)) if request.tools else b"")
        options = options_of(request)
        if sha256_of([*encoded, tools, to_json(options)]) == recorded.sha256:
            return ""
        checked, self._checked[recorded.key[:2]] = self._checked.get(recorded.key[:2], []), encoded
        for number, (old, new) in enumerate(zip(messages, request.messages, strict=False)):
            seen = number < min(recorded.kept, len(checked)) and checked[number] == encoded[number]
            if seen or old == new:
                continue
            old_text, new_text = told(old), self._redactor.redact(told(new))[0]
            if not same(old_text, new_text):
                return difference(old_text, new_text, f"{where}, message {number + 1}")
            self._names.setdefault(recorded.key[:2], {}).update(renamed(old_text, new_text))
        if len(messages) != len(request.messages):
            shorter = min(len(messages), len(request.messages))
            old_text, new_text = ("\n".join(map(told, each[shorter:])) for each in (messages, request.messages))
            return difference(old_text, new_text, f"{where}, message {shorter + 1}")
        old_tools: Sequence[JsonObject] = self._tools.get(recorded.tools, [])
        old_rest = told({"tools": list(old_tools), "options": recorded.options})
        new_rest = told({"tools": list(request.tools), "options": options})
        if same(old_rest, self._redactor.redact(new_rest)[0]):
            return ""
        return difference(old_rest, new_rest, f"{where}, tools and options")

    def reply(self, done: Done, t_sent: float) -> ModelReply:
        """The recorded reply, with the names that are drawn at random as they are in this run."""
        assert done.reply is not None
        line = done.reply
        if names := self._names.get(done.key[:2]):
            text = line.model_dump_json()
            for old, new in names.items():
                text = text.replace(old, new)
            line = Reply.model_validate_json(text)
        return reply_of(line, t_sent, time.monotonic())

    async def wait_for(self, number: int) -> None:
        """Until an event's turn has come; then it has happened."""
        while self._at < number:
            moved, at = self._moved, self._at
            with anyio.move_on_after(PATIENCE_S) as patience:
                await moved.wait()
            if patience.cancelled_caught and self._at == at:
                self._skip()
        self._happen(number)

    def _skip(self) -> None:
        missing = self._events[self._at]
        if not isinstance(missing, Told):
            self._skipped.add(missing.key)
        self._happen(self._at)

    def _happen(self, number: int) -> None:
        self._happened.add(number)
        while self._at < len(self._events):
            event = self._events[self._at]
            if self._at in self._happened:
                self._happened.discard(self._at)
            elif isinstance(event, Done) and event.reply is None and event.fault is None:
                pass  # a call that was given up: nobody waits for it
            elif isinstance(event, Told):
                for tell, run in self._runs.items():
                    if run == event.run and tell is not None:
                        tell(event.text)
            else:
                break
            self._at += 1
        moved, self._moved = self._moved, anyio.Event()
        moved.set()

    def _stop(self, error: ReplayError) -> ReplayError:
        self.error = self.error or error
        return error

    def leftover(self) -> str:
        """What was recorded and not asked for, in a line; "" where nothing is left."""
        keys = sorted(self._skipped | {key for key, sends in self._sends.items() if sends})
        left = [f"{key[1]}, turn {key[2]}" for key in keys]
        if not left or self.error is not None:
            return ""
        names = "; ".join(left[:5]) + (" ..." if len(left) > 5 else "")
        return f"replay: {len(left)} recorded exchanges were not asked for: {names}"


class ReplayedService:
    """`swarm.protocols.ModelService` out of a tape. All that waits for admission waits for the tape."""

    def __init__(self, name: str, endpoint: str, tape: Tape) -> None:
        self.name = name
        self.endpoint = endpoint
        self._tape = tape

    def __repr__(self) -> str:
        return f"<ReplayedService {self.name}: {self._tape!r}>"

    async def gives_tokens(self) -> bool:
        """Whether they were asked for. A recording holds none, but the same is asked again."""
        return self._tape.wants_tokens

    @asynccontextmanager
    async def admit(self, ask: Ask) -> AsyncIterator[Model]:
        """See `swarm.protocols.ModelService.admit`."""
        key = key_of(ask, self._tape.run_of(ask.tell))
        refused = self._tape.refusal(key)
        if refused is not None:
            number, done = refused
            await self._tape.wait_for(number)
            assert done.fault is not None
            raise fault_of(done.fault)
        yield _ReplayedModel(self.name, self.endpoint, self._tape, key)


class _ReplayedModel:
    def __init__(self, name: str, endpoint: str, tape: Tape, key: Key) -> None:
        self.name = name
        self.endpoint = endpoint
        self._tape = tape
        self._key = key

    async def complete(self, request: ModelRequest) -> ModelReply:
        t_sent = time.monotonic()
        number, done = self._tape.sent(self._key, request)
        if done.reply is None and done.fault is None:
            await anyio.sleep_forever()  # the run gave it up, and will again
        await self._tape.wait_for(number)
        if done.fault is not None:
            raise fault_of(done.fault)
        return self._tape.reply(done, t_sent)
