"""What an agent of the Agent Client Protocol tells of its work, as records of its trajectory."""

from __future__ import annotations

from typing import Any

from acp import schema
from pydantic import TypeAdapter, ValidationError

from swarm.legible import clean
from swarm.workers.telling import PIECE, Telling

_SAID = 64_000
"""Characters of its last words that are kept."""

_ANY: TypeAdapter[schema.SessionNotification] = TypeAdapter(schema.SessionNotification)


class Updates:
    """`said` is what it said after its last use of a tool; where that is nothing, what it said before."""

    def __init__(self, telling: Telling) -> None:
        self._telling = telling
        self._text: dict[str, str] = {"message": "", "thought": ""}
        self._before = ""
        self._titles: dict[str, str] = {}

    @property
    def said(self) -> str:
        self._flush()
        return self._before.strip()

    def take(self, update: Any) -> None:
        """Take in one; of what is none nothing is told."""
        try:
            found = _ANY.validate_python({"sessionId": "", "update": update}).update
        except ValidationError:
            return
        match found:
            case schema.AgentMessageChunk(content=schema.TextContentBlock(text=text)):
                self._add("message", text)
            case schema.AgentThoughtChunk(content=schema.TextContentBlock(text=text)):
                self._add("thought", text)
            case schema.ToolCallStart():
                self._flush()
                if len(self._titles) < 1_000:
                    self._titles[found.tool_call_id[:PIECE]] = found.title[:PIECE]
                self._telling.tell("tool", found.title, found.tool_call_id, found.status or "pending")
            case schema.ToolCallProgress(status=str(status)):
                self._flush()
                title = found.title or self._titles.get(found.tool_call_id[:PIECE], "")
                self._telling.tell("tool", title, found.tool_call_id, status)
            case schema.AgentPlanUpdate():
                self._flush()
                lines = [f"[{entry.status}] {entry.content}" for entry in found.entries]
                self._telling.tell("plan", "\n".join(lines))
            case _:
                pass

    def _add(self, kind: str, text: str) -> None:
        """Pieces of one message come one by one; a record is made of all of them."""
        other = "thought" if kind == "message" else "message"
        if self._text[other]:
            self._flush()
        self._text[kind] = (self._text[kind] + text)[-_SAID:]

    def _flush(self) -> None:
        message, thought = self._text["message"], self._text["thought"]
        if thought.strip():
            self._telling.tell("thought", thought)
        if message.strip():
            self._before = clean(message)
            self._telling.tell("message", message)
        self._text = {"message": "", "thought": ""}
