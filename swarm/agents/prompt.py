"""A growing prompt as bytes: each message is encoded, hashed and measured once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

from pydantic_core import to_json

from swarm.calls import Definitions, Encoded
from swarm.models.fitting.text_tools import MARKS
from swarm.types import JsonObject, Message

_SHARED = 256 << 10
"""Bytes of what is kept for others: prompts of somebody else's agents may have any length."""


@lru_cache(maxsize=64)
def _kept(data: bytes) -> bytes:
    return data


def _shared(data: bytes) -> bytes:
    """The same bytes, once for all siblings: their system prompts and tools are equal, and thousands are kept."""
    return _kept(data) if len(data) <= _SHARED else data


def _name(first: bytes, tools: bytes) -> str:
    return hashlib.sha256(b"\n".join((first, tools))).hexdigest()[:16]


_named = lru_cache(maxsize=64)(_name)


class Prompt(Encoded):
    """The messages of a conversation as JSON, with the tools that go along."""

    __slots__ = ("_hash", "_prefix", "_tools")

    def __init__(self) -> None:
        super().__init__()
        self._hash = hashlib.sha256()
        self._prefix = ""
        self._tools: tuple[Sequence[JsonObject], bytes] = ((), b"")

    @property
    def sha256(self) -> str:
        """Of all messages, each followed by a line end."""
        return self._hash.hexdigest()

    @property
    def shared_prefix(self) -> str:
        """Names what siblings share: the system prompt and the tools."""
        if not self._prefix:
            tools = self._tools[1]
            name = _named if len(self.first) + len(tools) <= _SHARED else _name
            self._prefix = name(self.first, tools)
        return self._prefix

    def take(self, messages: Sequence[Message]) -> None:
        """Take in what was added to the messages since the last time."""
        for message in messages[self.count :]:
            data = to_json(message)
            if not self.count:
                data = _shared(data)
            self.add(data, MARKS.intersection(message))
            self._hash.update(data)
            self._hash.update(b"\n")

    def tools(self, tools: Sequence[JsonObject]) -> bytes:
        """The tools as JSON, made anew only where they are others."""
        if tools and tools is not self._tools[0]:
            encoded = tools.encoded if isinstance(tools, Definitions) else _shared(to_json(list(tools)))
            self._tools = (tools, encoded)
            self._prefix = ""
        return self._tools[1] if tools else b""
