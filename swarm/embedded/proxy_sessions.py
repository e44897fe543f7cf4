"""Which calls of agents that nobody knows belong together: sessions, told by name or by how conversations go on.

A session is one trajectory. Calls of one that are in flight at once cannot follow each other: each further one is kept
as a trajectory of its own, `NAME~2` and so on.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from swarm.journal.open_calls import calls_in
from swarm.types import Message, ToolCall, Usage

SESSION_HEADER = "x-session-id"

IDLE_S = 3600.0
"""Seconds without a call after which a session has ended."""

_LONGEST_NAME = 120
_ODD = re.compile(r"[^\w.:@+=-]+")


@dataclass(slots=True)
class Strand:
    """One trajectory: its conversation as the record has it, and where it stands. `client` tells apart who may go on
    with one that has no name; it is a hash, and never written."""

    id: str
    client: str = ""
    messages: list[Message] = field(default_factory=list)
    failed: list[Message] | None = None
    """The prompt of the last attempt, where that failed."""
    call_id: str = ""
    turns: int = 0
    attempts: int = 0
    lineage: int = 0
    busy: bool = False
    trainable: bool = False
    usage: Usage = field(default_factory=Usage)
    open_calls: list[tuple[str, ToolCall]] = field(default_factory=list)
    tool_calls: int = 0
    tools: Sequence[Any] = ()
    last_error: str = ""
    seen: float = field(default_factory=time.monotonic)
    born: float = field(default_factory=time.monotonic)

    def shared(self, prompt: Sequence[Message]) -> int:
        """How many messages both begin with."""
        both = min(len(self.messages), len(prompt))
        return next((at for at in range(both) if not same(self.messages[at], prompt[at])), both)

    def fits(self, prompt: Sequence[Message]) -> int:
        """How well a prompt goes on from here: 0 not at all, else more for each message that both begin with."""
        if self.failed is not None and _all_same(self.failed, prompt):
            return len(prompt) + 1  # tried again
        shared = self.shared(prompt)
        said = any(message.get("role") == "assistant" for message in self.messages[:shared])
        return shared if said else 0

    def accept(self, kept: int, prompt: Sequence[Message], response: Message, call_id: str) -> None:
        """Take in an answered call, of whose prompt the first `kept` messages were here."""
        self.messages = [*self.messages[:kept], *prompt[kept:], response]
        self.call_id, self.failed, self.attempts = call_id, None, 0
        self.turns += 1
        self.open_calls += [(call_id, call) for call in calls_in(response)]


class Sessions:
    """All strands of a gateway."""

    def __init__(self) -> None:
        self._named: dict[str, list[Strand]] = {}
        self._nameless: dict[str, list[Strand]] = {}
        self._taken: dict[str, int] = {}
        self._count = 0

    def __repr__(self) -> str:
        return f"<Sessions: {sum(1 for _ in self.all())} open>"

    def all(self) -> Iterator[Strand]:
        for strands in (*self._named.values(), *self._nameless.values()):
            yield from strands

    def find(self, name: str, client: str, prompt: Sequence[Message]) -> Strand | None:
        """The strand that a call goes on with: of a named session the one that fits best, if only one that is idle;
        without a name one of the same client in whose conversation the prompt goes on."""
        if name:
            idle = [strand for strand in self._named.get(name, ()) if not strand.busy]
            return max(idle, key=lambda strand: strand.fits(prompt), default=None)
        idle = [strand for strand in self._nameless.get(client, ()) if not strand.busy and strand.fits(prompt)]
        return max(idle, key=lambda strand: (strand.fits(prompt), strand.seen), default=None)

    def begin(self, name: str, client: str) -> Strand:
        """A new strand."""
        if not name:
            self._count += 1
        own = name or f"session-{self._count}"
        self._taken[own] = self._taken.get(own, 0) + 1
        strand = Strand(own if self._taken[own] == 1 else f"{own}~{self._taken[own]}", client)
        (self._named.setdefault(name, []) if name else self._nameless.setdefault(client, [])).append(strand)
        return strand

    def expired(self, now: float) -> list[Strand]:
        """Take out those that nobody has called for long."""
        gone = [strand for strand in self.all() if not strand.busy and now - strand.seen > IDLE_S]
        for strands in (self._named, self._nameless):
            for key, kept in list(strands.items()):
                kept[:] = [strand for strand in kept if strand not in gone]
                if not kept:
                    del strands[key]
        return gone


def session_name(headers: Mapping[str, str], body: Mapping[str, Any]) -> str:
    """How a client names its session: by the header, else by `user`; empty where it does not."""
    told = headers.get(SESSION_HEADER) or body.get("user") or ""
    return _ODD.sub("-", told)[:_LONGEST_NAME].strip("-~") if isinstance(told, str) else ""


def same(one: Message, other: Message) -> bool:
    """Whether two messages are one: as they are but for what is null; of an assistant by its text and its tool calls,
    for clients send back no more than that of an answer."""
    if one.get("role") != other.get("role"):
        return False
    if one.get("role") != "assistant":
        return _without_null(one) == _without_null(other)
    return _text(one) == _text(other) and calls_in(one) == calls_in(other)


def _all_same(one: Sequence[Message], other: Sequence[Message]) -> bool:
    return len(one) == len(other) and all(map(same, one, other))


def _without_null(message: Message) -> Message:
    return {key: value for key, value in message.items() if value is not None}


def _text(message: Message) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return str(content or message.get("refusal") or "")
