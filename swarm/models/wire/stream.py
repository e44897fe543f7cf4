"""A streamed answer: server-sent events taken apart as they come, and their deltas put together to one message."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import from_json, to_json

from swarm.types import JsonObject, Message

DONE = b"[DONE]"

_BYTES_PER_TOKEN = 4


class EventParser:
    """The `data` of each event in a stream of server-sent events, in the order in which they are whole."""

    __slots__ = ("_data", "_old_ends", "_partial", "heartbeats")

    def __init__(self) -> None:
        self.heartbeats = 0
        """Comments, which servers send to keep the connection alive."""
        self._partial: list[bytes] = []
        self._data: list[bytes] = []
        self._old_ends: bool | None = None  # whether lines end with CR alone; None until the first has ended

    def feed(self, chunk: bytes) -> list[bytes]:
        if self._old_ends is not False:
            chunk = self._with_ends(chunk)
        lines = chunk.split(b"\n")
        if len(lines) == 1:
            self._partial.append(chunk)
            return []
        if self._partial:
            lines[0] = b"".join(self._partial) + lines[0]
            self._partial = []
        last = lines.pop()
        if last:
            self._partial.append(last)
        found = []
        for line in lines:
            if line[-1:] == b"\r":
                line = line[:-1]
            if line[:5] == b"data:":
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
            elif not line:
                if self._data:
                    found.append(self._data[0] if len(self._data) == 1 else b"\n".join(self._data))
                    self._data = []
            elif line[:1] == b":":
                self.heartbeats += 1
        return found

    def _with_ends(self, chunk: bytes) -> bytes:
        """The chunk, with line feeds in place of carriage returns where these alone end the lines."""
        if self._old_ends is None:
            before = self._partial[-1][-1:] if self._partial else b""
            line, end, rest = (before + chunk).partition(b"\r")
            if b"\n" in line or rest[:1] == b"\n":
                self._old_ends = False
            elif end and rest:
                self._old_ends = True
                self._partial, chunk = [], b"".join([*self._partial, chunk])
        return chunk.replace(b"\r", b"\n") if self._old_ends else chunk

    def end(self) -> list[bytes]:
        """What is left when the stream has ended: some servers end without an empty line, or without a line end. A line
        that is not whole is left out, with its event."""
        last = b"".join(self._partial).removeprefix(b"data:").strip()
        if last and last != DONE:
            try:
                chunk_of(last)
            except ValueError:
                self._partial, self._data = [], []
        return self.feed(b"\n\n")


class _Call:
    """A tool call as far as it has come."""

    __slots__ = ("_told_again", "arguments", "extra", "id", "index", "name")

    def __init__(self, index: int | None) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []
        self.extra: JsonObject = {}
        self._told_again = False

    def is_over(self, piece: JsonObject) -> bool:
        """Whether a piece begins another call: it names a tool, and the arguments of this call are whole. Asked only
        where no id tells calls apart."""
        function = piece.get("function")
        if not isinstance(function, dict) or not function.get("name") or not self.arguments or self._told_again:
            return False
        try:
            chunk_of("".join(self.arguments).encode("utf-8", "surrogatepass"))
        except ValueError:
            self._told_again = True  # the name comes with every piece
            return False
        return True

    def add(self, piece: JsonObject) -> None:
        for key, value in piece.items():
            if key == "function":
                self._add_function(value)
            elif key == "id":
                self.id = self.id or str(value or "")
            elif key not in ("index", "type") and value is not None:
                self.extra[key] = value

    def _add_function(self, function: Any) -> None:
        if not isinstance(function, dict):
            return
        name, arguments = function.get("name"), function.get("arguments")
        if isinstance(name, str) and name != self.name:  # in pieces; or the whole of it again with every piece
            self.name += name
        if isinstance(arguments, str):
            self.arguments.append(arguments)
        elif arguments is not None:  # some servers parse what the model wrote
            self.arguments.append(to_json(arguments).decode())

    def whole(self) -> JsonObject:
        function = {"name": _healed(self.name), "arguments": _healed("".join(self.arguments))}
        return {"id": self.id or None, "type": "function", "function": function, **self.extra}


class Assembly:
    """The answer that a stream's chunks add up to."""

    __slots__ = ("_calls", "_others", "_role", "_texts", "events", "finish_reason", "model", "usage")

    def __init__(self) -> None:
        self.events = 0
        """Chunks that held a part of the answer."""
        self.finish_reason: str | None = None
        self.model: str | None = None
        self.usage: JsonObject | None = None
        self._role = "assistant"
        self._texts: dict[str, list[str]] = {}
        self._calls: list[_Call] = []
        self._others: JsonObject = {}

    def add(self, chunk: JsonObject) -> None:
        """Add one chunk. Members that are not as they should be are passed over.

        Events without choices are passed over as well: pings, and what a provider adds.
        """
        usage = chunk.get("usage")
        if usage:
            self.usage = usage
        choices = chunk.get("choices")
        if not choices:
            return
        choice = choices[0]
        if choice.get("index"):
            return
        self.model = self.model or chunk.get("model")
        if choice.get("finish_reason"):
            self.finish_reason = choice["finish_reason"]
            self.usage = choice.get("usage") or self.usage
        delta = choice.get("delta")
        if not delta and not self.events:
            delta = choice.get("message")  # a whole answer may come as one event
        if delta:
            self._add_delta(delta)

    def message(self) -> Message:
        """The assistant's message, in the form of an answer that is not streamed."""
        message: Message = {"role": self._role, "content": None}
        for key, pieces in self._texts.items():
            message[key] = _healed("".join(pieces))
        message |= self._others
        if self._calls:
            message["tool_calls"] = [call.whole() for call in self._calls]
        return message

    def completion_tokens(self) -> int:
        """How many tokens have come, estimated from their text."""
        pieces = [piece for texts in self._texts.values() for piece in texts]
        pieces += [piece for call in self._calls for piece in (call.name, *call.arguments)]
        size = sum(len(piece.encode("utf-8", "surrogatepass")) for piece in pieces)
        return max(min(1, size), size // _BYTES_PER_TOKEN)

    def _add_delta(self, delta: JsonObject) -> None:
        told = False
        for key, value in delta.items():
            if value is None or value == "" or value == []:
                if value == "" and key == "content":
                    self._texts.setdefault("content", [])
                continue
            if key == "role":
                self._role = str(value)
                continue
            told = True
            if key == "tool_calls":
                for piece in value:
                    self._call_of(piece).add(piece)
            elif isinstance(value, str):
                texts = self._texts.get(key)
                if texts is None:
                    texts = self._texts[key] = []
                texts.append(value)
            elif isinstance(value, list) and isinstance(self._others.get(key), list):
                self._others[key] = self._others[key] + value
            else:
                self._others[key] = value
        self.events += told

    def _call_of(self, piece: JsonObject) -> _Call:
        """The call that a piece belongs to. Servers leave out the index, leave gaps, or say 0 for all of several calls
        that have ids or names of their own."""
        index, its_id = piece.get("index"), piece.get("id")
        for call in reversed(self._calls):
            other = its_id and call.id and its_id != call.id
            same = call.index == index and not other and (index is not None or not its_id or its_id == call.id)
            if same or (index is None and not its_id):
                if not its_id and not call.id and call.is_over(piece):
                    break
                return call
        call = _Call(index)
        self._calls.append(call)
        return call


def chunk_of(data: bytes) -> JsonObject:
    """The JSON object in an event. Raises: ValueError."""
    try:
        chunk = from_json(data, cache_strings="keys")
    except ValueError:
        try:
            chunk = json.loads(data)  # takes the half of a character that was cut in two, see `_healed`
        except RecursionError:
            raise ValueError("an event that is nested too deep") from None
    if not isinstance(chunk, dict):
        raise ValueError("an event that is no object")
    return chunk


def _healed(text: str) -> str:
    """Put together the halves of characters that came in two chunks, each half of a UTF-16 pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
