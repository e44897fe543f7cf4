"""Whether a run's log is whole and says what it says: every invariant of docs/trajectories.md, line by line.

Reads the files once, in order; memory grows with the number of calls and messages, not with their size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from pydantic import ValidationError
from pydantic_core import from_json

from swarm.errors import JournalError
from swarm.events import ANY_EVENT, Event, RewardGiven
from swarm.events.base import EventBase
from swarm.events.tokens import TOKENS, TokensTaken
from swarm.journal.check_calls import Calls, Tools
from swarm.journal.check_runs import Agents, Ends
from swarm.journal.check_tokens import TokenLines
from swarm.journal.late_rewards import REWARD, REWARDS_FILE

EVENTS, TOKENS_FILE, RESULT = "events.jsonl", "tokens.jsonl", "result.json"

VERSION = 1
"""The version of records that is known."""

Record = TypeVar("Record", bound=EventBase)


class Problem(NamedTuple):
    """Something that does not hold; line 0 is the file as a whole."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}" if self.line else f"{self.file}: {self.text}"


def validate(folder: Path) -> Iterator[Problem]:
    """What is wrong with the log of a run, in the order in which it is found.

    Raises:
        JournalError: a file cannot be read.
    """
    calls, tools, agents, ends, tokens = Calls(), Tools(), Agents(), Ends(), TokenLines()
    lines: _Lines[Event] = _Lines(folder / EVENTS, ANY_EVENT.validate_python)
    for line, event, before in lines:
        if event is None:
            yield from (Problem(EVENTS, line, text) for text in lines.wrong)
            continue
        yield from (Problem(EVENTS, line, text) for text in lines.wrong)
        tokens.call(event, line)
        for check in (agents, calls, tools):
            yield from (Problem(EVENTS, at, text) for at, text in check.see(event, line))
        yield from (Problem(EVENTS, at, text) for at, text in ends.see(event, line, before))
    if not ends.started:
        yield Problem(EVENTS, 0, "the run has no start")
    if ends.ended is None and (folder / RESULT).exists():
        yield Problem(EVENTS, 0, f"the run has a {RESULT}, and its record has no end")
    records: _Lines[TokensTaken] = _Lines(folder / TOKENS_FILE, TOKENS.validate_python, lines.run_id)
    for line, record, _ in records:
        yield from (Problem(TOKENS_FILE, line, text) for text in records.wrong)
        if record is not None:
            yield from (Problem(TOKENS_FILE, at, text) for at, text in tokens.see(record, line))
    if ends.ended is not None:
        yield from (Problem(TOKENS_FILE, at, text) for at, text in tokens.orphans())
    yield from (Problem(EVENTS, at, text) for at, text in tokens.end())
    if ends.ended is not None and records.sha256 != ends.ended.tokens_sha256:
        yield Problem(TOKENS_FILE, 0, "it has another hash than the run's end tells")
    if (folder / REWARDS_FILE).exists():
        late: _Lines[RewardGiven] = _Lines(folder / REWARDS_FILE, REWARD.validate_python, lines.run_id)
        for line, reward, _ in late:
            yield from (Problem(REWARDS_FILE, line, text) for text in late.wrong)
            if reward is not None:
                yield from (Problem(REWARDS_FILE, at, text) for at, text in agents.see(reward, line))


def has_ended(folder: Path) -> bool:
    """Whether a run that is valid came to its end."""
    return (folder / RESULT).exists()


class _Lines(Generic[Record]):
    """The records of a file, each with its line and the hash of all before it; None for one that cannot be read.
    `wrong` is what is wrong with the last one by itself, or with its place."""

    def __init__(self, path: Path, read: Callable[[object], Record], run_id: str = "") -> None:
        self.run_id = run_id
        self.wrong: list[str] = []
        self._path = path
        self._read = read
        self._digest = hashlib.sha256()
        self._seq = -1
        self._mono = 0.0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def __iter__(self) -> Iterator[tuple[int, Record | None, str]]:
        try:
            with self._path.open("rb") as lines:
                for number, line in enumerate(lines, start=1):
                    before = self.sha256
                    self._digest.update(line)
                    self.wrong = []
                    yield number, self._record(line), before
        except OSError as error:
            raise JournalError(f"{self._path} cannot be read: {error.strerror or error}") from error

    def _record(self, line: bytes) -> Record | None:
        if not line.endswith(b"\n"):
            self.wrong.append("the line is not whole")
            return None
        try:
            raw = from_json(line, allow_inf_nan=False)
            record = self._read(raw)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            self.wrong.append(f"{'.'.join(map(str, first['loc'])) or 'the line'}: {first['msg']}")
            return None
        except ValueError as error:
            self.wrong.append(f"no JSON: {error}")
            return None
        missing = type(record).model_fields.keys() - raw.keys()
        if missing:
            self.wrong.append(f"without {', '.join(sorted(missing))}")
        self.wrong += self._place(record)
        return record

    def _place(self, record: Record) -> Iterator[str]:
        if record.v != VERSION:
            yield f"version {record.v}, known is {VERSION}"
        if record.seq != self._seq + 1:
            yield f"seq {record.seq} after {self._seq}"
        self._seq = record.seq
        self.run_id = self.run_id or record.run_id
        if record.run_id != self.run_id:
            yield f"of the run {record.run_id!r}, not {self.run_id!r}"
        # another process may have begun there
        again = getattr(record, "type", "") in ("run_resume", "gap", "tokens", "reward")
        if record.mono < self._mono and not again:
            yield f"its monotonic time {record.mono} is before {self._mono}"
        self._mono = record.mono
