"""The log of a run, one trajectory at a time: what a file holds is indexed first, then read where it is wanted, so that
memory grows with the largest trajectory and not with the log."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from swarm.errors import JournalError
from swarm.events import (
    ANY_EVENT,
    AgentEnded,
    AgentStarted,
    CallFinished,
    Event,
    RewardGiven,
    RunEnded,
    RunStarted,
    ToolFinished,
)
from swarm.events.tokens import TOKENS, TokensTaken
from swarm.journal.late_rewards import late_rewards
from swarm.journal.open_calls import calls_in, is_turn
from swarm.journal.reader import read_events
from swarm.journal.token_log import ids_sha256
from swarm.types import Message
from swarm.whole_file import open_plain

_READ = (b'"type":"agent_start"', b'"type":"call"', b'"type":"tool"', b'"type":"agent_end"', b'"type":"reward"')
_WHOLE = (b'"type":"run_start"', b'"type":"run_end"', b'"type":"run_resume"')
_CHECK = "check it with `swarm validate`"
_HEAD = 400
"""Bytes of a line in which its type stands."""

T = TypeVar("T")


class Ids(NamedTuple):
    """The tokens of a call: the ids of its whole prompt, and the record with those of its completion."""

    prompt: list[int]
    record: TokensTaken


@dataclass(slots=True)
class Trajectory:
    """One agent's part of a log. `calls` are the accepted ones, in order; `tokens` by call."""

    start: AgentStarted
    end: AgentEnded | None = None
    calls: list[CallFinished] = field(default_factory=list)
    tools: list[ToolFinished] = field(default_factory=list)
    tokens: dict[str, TokensTaken] = field(default_factory=dict)

    def walk(self) -> Iterator[tuple[CallFinished, list[Message], Ids | None]]:
        """Each call with all messages that it was made with, and its tokens where there are any; one at a time, for
        together the prompts are as long as the square of the conversation.

        Raises:
            JournalError: the tokens of a call are not those that it was made with.
        """
        trunk: list[Message] = []
        held: array[int] = array("q")
        for call in self.calls:
            prompt = [*trunk[: call.prefix_messages], *call.new_messages]
            record, ids = self.tokens.get(call.call_id), None
            if record is None:
                if call.token_source != "none":
                    raise self._damaged(call, "its tokens are not there")
            else:
                try:
                    start = held[: record.prefix_len] + array("q", record.prompt_ids_tail)
                    held = start + array("q", record.completion_ids)
                except OverflowError:
                    raise self._damaged(call, "an id that is too large for 64 bits") from None
                if len(start) != record.prompt_len or ids_sha256(start) != record.prompt_ids_sha256:
                    raise self._damaged(call, "the prompt that is rebuilt has another length or hash")
                if not call.untrainable and len(record.completion_ids) != len(record.completion_logprobs):
                    raise self._damaged(call, "ids and logprobs of different length")
                ids = Ids(start.tolist(), record)
            yield call, prompt, ids
            if is_turn(call):
                trunk = [*prompt, call.response]

    def _damaged(self, call: CallFinished, why: str) -> JournalError:
        return JournalError(f"{self.start.run_id}, {call.call_id}: {why}", remedy=_CHECK)


class RunLog:
    """A run's log. Raises JournalError, as `trajectory` does, where it cannot be read or is no log of a run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ended: RunEnded | None = None
        self.parents: dict[str, str] = {}
        """The parent of each trajectory, "" where it has none."""
        self._places: dict[str, array[int]] = {}
        self._tokens: dict[str, list[int]] = {}
        self._rewards: dict[tuple[str, str, str], RewardGiven] = {}
        started: RunStarted | None = None
        for at, line in _lines(folder / "events.jsonl"):
            head = line[:_HEAD]
            if any(mark in head for mark in _WHOLE):
                event = self._event(line)
                started = event if isinstance(event, RunStarted) else started
                self.ended = event if isinstance(event, RunEnded) else None
            elif any(mark in head for mark in _READ):
                if b'"type":"reward"' in head:
                    given = self._event(line)
                    if isinstance(given, RewardGiven):
                        self._rewards[given.scope, given.target_id, given.name] = given
                else:
                    kind, name, parent = self._head(line)
                    if kind == "agent_start":
                        self.parents.setdefault(name, parent)
                    self._places.setdefault(name, array("q")).append(at)
        for given in late_rewards(folder):
            self._rewards[given.scope, given.target_id, given.name] = given
        for at, line in _lines(folder / "tokens.jsonl"):
            self._tokens.setdefault(self._head(line)[1], []).append(at)
        if started is None:
            raise JournalError(f"{folder.name} has no start", remedy=_CHECK)
        self.started = started

    def __repr__(self) -> str:
        return f"<RunLog {self.folder.name}: {len(self._places)} trajectories>"

    @property
    def trajectories(self) -> list[str]:
        """Their names, in the order in which they began."""
        return list(self._places)

    def rewards(self, scope: str, target_id: str) -> list[RewardGiven]:
        """The components given to something; of several with one name the last."""
        return [given for key, given in self._rewards.items() if key[:2] == (scope, target_id)]

    def trajectory(self, name: str) -> Trajectory:
        """Read one."""
        found: Trajectory | None = None
        with open_plain(self.folder / "events.jsonl") as lines:
            for at in self._places[name]:
                event = self._event(_line(lines, at))
                if isinstance(event, AgentStarted):
                    found = found or Trajectory(event)
                elif found is None:
                    raise JournalError(f"{name} has no start", remedy=_CHECK)
                elif isinstance(event, CallFinished) and event.accepted:
                    found.calls.append(event)
                elif isinstance(event, ToolFinished):
                    found.tools.append(event)
                elif isinstance(event, AgentEnded):
                    found.end = event
        if found is None:
            raise JournalError(f"{name} has no start", remedy=_CHECK)
        found.tools = _standing(found)
        with open_plain(self.folder / "tokens.jsonl") as lines:
            for at in self._tokens.get(name, ()):
                record = self._checked(TOKENS, _line(lines, at))
                found.tokens[record.call_id] = record
        return found

    def _head(self, line: bytes) -> tuple[str, str, str]:
        """Type, trajectory and its parent of a record."""
        try:
            read = from_json(line)
            found = read["type"], read["trajectory_id"], read.get("parent_trajectory_id", "")
            if not all(isinstance(each, str) for each in found):
                raise ValueError("its type or its trajectory is no text")
            return found
        except (ValueError, TypeError, LookupError) as error:
            raise JournalError(f"{self.folder.name}: a line is no record: {error}", remedy=_CHECK) from None

    def _event(self, line: bytes) -> object:
        return self._checked(ANY_EVENT, line)

    def _checked(self, kind: TypeAdapter[T], line: bytes) -> T:
        try:
            return kind.validate_json(line)
        except ValidationError as error:
            why = error.errors(include_url=False, include_input=False)[0]["msg"]
            raise JournalError(f"{self.folder.name}: {why}", remedy=_CHECK) from None


def _standing(trajectory: Trajectory) -> list[ToolFinished]:
    """The uses of tools without those that a run which was resumed made again: of each call as many as it holds, the
    last."""
    left = Counter((call.call_id, each.id) for call in trajectory.calls for each in calls_in(call.response))
    kept: list[ToolFinished] = []
    for tool in reversed(trajectory.tools):
        if left[tool.call_id, tool.tool_call_id] > 0:
            left[tool.call_id, tool.tool_call_id] -= 1
            kept.append(tool)
    return kept[::-1]


def started_of(folder: Path) -> RunStarted:
    """The start of a run, without reading on.

    Raises:
        JournalError: it cannot be read, or has none.
    """
    for event in read_events(folder / "events.jsonl"):
        if isinstance(event, RunStarted):
            return event
    raise JournalError(f"{folder.name} has no start", remedy=_CHECK)


def events_of(folder: Path) -> Iterator[Event]:
    """All records of a run in order, and then the rewards that it was given after its end; for `read_episode`.

    Raises:
        JournalError: they cannot be read.
    """
    yield from read_events(folder / "events.jsonl")
    yield from late_rewards(folder)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The whole lines of a file with their places."""
    at = 0
    try:
        with open_plain(path) as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    yield at, line
                at += len(line)
    except OSError as error:
        raise JournalError(f"{path} cannot be read: {error.strerror or error}") from error


def _line(lines: BinaryIO, at: int) -> bytes:
    lines.seek(at)
    return lines.readline()
