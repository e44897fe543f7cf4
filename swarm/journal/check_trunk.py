"""What the calls of a trajectory go on from: the hash after each message of its conversation. A few of these hashes are
kept; another is made again from the calls, which are read once more."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Container, Iterator
from sys import intern
from typing import Any

from pydantic_core import to_json

from swarm.events import CallFinished
from swarm.types import Message

FIRST, LAST = 4, 32
"""How many hashes are kept, of the beginning and of the end of a conversation: what a shortened one goes on from."""

Recall = Callable[[int], object]
"""The record of a line, read once more."""


class Ids(Container[str]):
    """Names of calls, or others of the form OWNER/REST, each kept as its rest: many owners have the same."""

    def __init__(self) -> None:
        self._of: dict[str, dict[str, int]] = {}

    def __contains__(self, name: object) -> bool:
        owner, _, rest = str(name).rpartition("/")
        return rest in self._of.get(owner, ())

    def get(self, name: str) -> int:
        """What was kept with it; 0 where it is not known."""
        owner, _, rest = name.rpartition("/")
        return self._of.get(owner, {}).get(rest, 0)

    def add(self, name: str, value: int = 0) -> None:
        """Keep it, with a number."""
        owner, _, rest = name.rpartition("/")
        self._of.setdefault(owner, {})[intern(rest)] = value


class Trunk:
    """A trajectory's conversation, as far as its last turn. `recall` reads a line of the log."""

    __slots__ = ("_last", "_recall", "_states", "_turns", "call_id", "lineage", "messages", "stained", "turns")

    def __init__(self, recall: Recall) -> None:
        self.call_id = ""
        self.lineage = 0
        self.turns = 0
        self.stained = False
        self.messages = 0
        self._recall = recall
        self._turns = array("q")  # the lines of its turns
        self._states: dict[int, Any] = {0: hashlib.sha256()}  # by the number of messages

    def __repr__(self) -> str:
        return f"<Trunk {self.call_id}: {self.messages} messages>"

    def grown(self, kept: int, messages: list[Message]) -> str:
        """The hash of the first `kept` messages with others behind them."""
        state = self._state(kept).copy()
        for message in messages:
            state.update(to_json(message) + b"\n")
        digest: str = state.hexdigest()
        return digest

    def take(self, call: CallFinished, line: int) -> None:
        """A turn: what it was asked and answered is the conversation now."""
        state = self._state(call.prefix_messages)
        for number in [each for each in self._states if each > call.prefix_messages]:
            del self._states[number]
        self.messages = call.prefix_messages
        for message in (*call.new_messages, call.response):
            state = state.copy()
            state.update(to_json(message) + b"\n")
            self.messages += 1
            self._states[self.messages] = state
            self._states.pop(self.messages - LAST if self.messages - LAST > FIRST else -1, None)
        self.call_id, self.lineage, self.turns = call.call_id, call.lineage_id, call.turn
        self._turns.append(line)

    def rest(self) -> None:
        """It has ended: it may go on from its last message, seldom from another."""
        self._states = {self.messages: self._state(self.messages)}

    def _state(self, count: int) -> Any:
        if (state := self._states.get(count)) is None:
            state = hashlib.sha256()
            for message in self._again()[:count]:
                state.update(to_json(message) + b"\n")
        return state

    def _again(self) -> list[Message]:
        messages: list[Message] = []
        for call in self._calls():
            messages = [*messages[: call.prefix_messages], *call.new_messages, call.response]
        return messages

    def _calls(self) -> Iterator[CallFinished]:
        for line in self._turns:
            if isinstance(call := self._recall(line), CallFinished):
                yield call
