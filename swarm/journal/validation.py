"""Whether a run's log is whole and says what it says: every invariant of docs/trajectories.md, line by line.

Reads the files once, in order; memory grows with the number of calls and messages, not with their size.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import from_json

from swarm.errors import JournalError
from swarm.events import ANY_EVENT, Event, RewardGiven, RunEnded
from swarm.events.base import EventBase
from swarm.events.tokens import TOKENS, TokensTaken
from swarm.journal.check_calls import Calls, Tools
from swarm.journal.check_links import Links
from swarm.journal.check_runs import Agents, Ends
from swarm.journal.check_tokens import TokenLines
from swarm.journal.late_rewards import REWARD, REWARDS_FILE
from swarm.journal.lines import is_intact
from swarm.whole_file import open_plain

EVENTS, TOKENS_FILE, RESULT = "events.jsonl", "tokens.jsonl", "result.json"

VERSION = 1
"""The version of records that is known."""

_SIGNED = ("exit_code", "seed")

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
    lines: _Lines[Event] = _Lines(folder / EVENTS, ANY_EVENT)
    calls, tools, links, agents, ends, tokens = Calls(lines.again), Tools(), Links(), Agents(), Ends(), TokenLines()
    for line, event, before in lines:
        if event is None:
            yield from (Problem(EVENTS, line, text) for text in lines.wrong)
            continue
        yield from (Problem(EVENTS, line, text) for text in lines.wrong)
        tokens.call(event, line)
        for check in (agents, calls, tools, links):
            yield from (Problem(EVENTS, at, text) for at, text in check.see(event, line))
        yield from (Problem(EVENTS, at, text) for at, text in ends.see(event, line, before))
    if not ends.started:
        yield Problem(EVENTS, 0, "the run has no start")
    yield from _result(folder / RESULT, ends.ended)
    records: _Lines[TokensTaken] = _Lines(folder / TOKENS_FILE, TOKENS, lines.run_id)
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
        late: _Lines[RewardGiven] = _Lines(folder / REWARDS_FILE, REWARD, lines.run_id)
        for line, reward, _ in late:
            yield from (Problem(REWARDS_FILE, line, text) for text in late.wrong)
            if reward is not None:
                yield from (Problem(REWARDS_FILE, at, text) for at, text in agents.see(reward, line))


def _result(path: Path, ended: RunEnded | None) -> Iterator[Problem]:
    """What its owner was told a run came to is what its end tells."""
    try:
        with open_plain(path) as file:
            told = from_json(file.read())
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        yield Problem(RESULT, 0, f"it cannot be read: {error}")
        return
    if ended is None:
        yield Problem(EVENTS, 0, f"the run has a {RESULT}, and its record has no end")
    elif told != ended.result and told != _undelivered(ended.result):
        yield Problem(RESULT, 0, "it is not what the run's end tells")


def _undelivered(result: Mapping[str, Any]) -> dict[str, Any]:
    """What its owner is told of a result whose patch could not be brought to where it was to go."""
    return {**result, "status": "partial", "exit_code": 1} if result.get("status") == "completed" else dict(result)


def has_ended(folder: Path) -> bool:
    """Whether a run that is valid came to its end."""
    return (folder / RESULT).exists()


class _Lines(Generic[Record]):
    """The records of a file, each with its line and the hash of all before it; None for one that cannot be read.
    `wrong` is what is wrong with the last one by itself, or with its place."""

    def __init__(self, path: Path, adapter: TypeAdapter[Record], run_id: str = "") -> None:
        self.run_id = run_id
        self.wrong: list[str] = []
        self._path = path
        self._adapter = adapter
        self._digest = hashlib.sha256()
        self._starts = array("q", [0])  # of each line, and the end of the last
        self._seq = -1
        self._mono = 0.0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def __iter__(self) -> Iterator[tuple[int, Record | None, str]]:
        try:
            with open_plain(self._path) as lines:
                for number, line in enumerate(lines, start=1):
                    before = self.sha256
                    self._digest.update(line)
                    self._starts.append(self._starts[-1] + len(line))
                    self.wrong = []
                    yield number, self._record(line), before
        except OSError as error:
            raise JournalError(f"{self._path} cannot be read: {error.strerror or error}") from error

    def again(self, number: int) -> Record:
        """The record of a line that was read before."""
        start, end = self._starts[number - 1 : number + 1]
        try:
            with open_plain(self._path) as lines:
                lines.seek(start)
                return self._adapter.validate_json(lines.read(end - start))
        except (OSError, ValidationError) as error:  # it is no longer what it was
            raise JournalError(f"{self._path} cannot be read: it was changed meanwhile ({error})") from error

    def _record(self, line: bytes) -> Record | None:
        if not line.endswith(b"\n"):
            self.wrong.append("the line is not whole")
            return None
        try:
            raw = from_json(line, allow_inf_nan=False)
            record = self._adapter.validate_json(line, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            self.wrong.append(f"{'.'.join(map(str, first['loc'])) or 'the line'}: {first['msg']}")
            return None
        except ValueError as error:
            self.wrong.append(f"no JSON: {error}")
            return None
        if missing := sorted(_missing(record, raw)):
            self.wrong.append(f"without {', '.join(missing)}")
        elif not is_intact(line, raw["crc"]):
            self.wrong.append("it is not as it was written: its checksum is another")
        self.wrong += self._place(record)
        return record

    def _place(self, record: Record) -> Iterator[str]:
        if below := [name for name in _counts(type(record)) if getattr(record, name) < 0]:
            yield f"{', '.join(below)} below 0"
        if record.v != VERSION:
            yield f"version {record.v}, known is {VERSION}"
        if record.seq != self._seq + 1:
            yield f"seq {record.seq} after {self._seq}"
        self._seq = record.seq
        self.run_id = self.run_id or record.run_id
        if record.run_id != self.run_id or not record.run_id:
            yield f"of the run {record.run_id!r}, not {self.run_id!r}"
        # another process may have begun there
        again = getattr(record, "type", "") in ("run_resume", "gap", "tokens", "reward")
        if record.mono < self._mono and not again:
            yield f"its monotonic time {record.mono} is before {self._mono}"
        self._mono = record.mono


def _missing(record: BaseModel, raw: Mapping[str, Any]) -> Iterator[str]:
    """The keys that a record's type has and its line lacks, also of the objects in it."""
    if not raw.keys() >= (names := _names(type(record))):
        yield from names - raw.keys()
    for name in _parts(type(record)):
        value, told = getattr(record, name), raw.get(name)
        inner, parts = (value, told) if isinstance(value, list | tuple) else ((value,), (told,))
        for each, part in zip(inner, parts or (), strict=False):
            if isinstance(each, BaseModel) and isinstance(part, dict):
                yield from (f"{name}.{key}" for key in _missing(each, part))


@cache
def _names(record: type[BaseModel]) -> frozenset[str]:
    return frozenset(record.model_fields)


@cache
def _counts(record: type[BaseModel]) -> tuple[str, ...]:
    """The fields of a record that count something."""
    fields = record.model_fields.items()
    return tuple(name for name, field in fields if field.annotation is int and name not in _SIGNED)


@cache
def _parts(record: type[BaseModel]) -> tuple[str, ...]:
    """The fields of a record that may hold records themselves."""
    plain = (str, int, float, bool, dict[str, Any], list[dict[str, Any]], list[str], list[int], list[float])
    return tuple(name for name, field in record.model_fields.items() if field.annotation not in plain)
