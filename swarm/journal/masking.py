"""An event as it may be written: its texts without secrets, its identifiers as they were, always a valid event."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from pydantic_core import PydanticSerializationError

from swarm.events import ANY_EVENT, CallFinished, Event, ToolFinished
from swarm.journal.redaction import Finder, Redactor, redact_with
from swarm.journal.token_log import withhold

# Fields of events, plans and sub-tasks that hold a word or an identifier of ours, or a hash: never changed.
_OURS = frozenset(
    [
        "run_id",
        "type",
        "task_sha256",
        "mode",
        "swarm_version",
        "config_sha256",
        "git_head",
        "base_commit",
        "group_id",
        "trajectory_id",
        "role",
        "parent_trajectory_id",
        "system_prompt_sha256",
        "sandbox",
        "id",
        "depends_on",
        "replaces",
        "dropped",
        "call_id",
        "prefix_call_id",
        "prompt_sha256",
        "token_source",
        "status",
        "result_sha256",
        "child_trajectory_ids",
        "outcome",
        "stop",
        "commit",
        "subtask_id",
        "group",
        "action",
        "agent",
        "level",
        "scope",
        "target_id",
        "source",
        "again",
        "superseded",
        "began_with",
        "first_seen_by",
        "untrainable",
        "log_sha256",
        "tokens_sha256",
        "tokenizer_sha256",
        "chat_template_sha256",
    ]
)
# Words that a model or an endpoint wrote: changed only for what cannot be a word (`Finder.wordlike`).
_THEIRS = frozenset(
    {"name", "tool_call_id", "spawned_by_tool_call_id", "model", "finish_reason", "policy_version", "sandbox_id"}
)
_NONE: frozenset[str] = frozenset()
_MESSAGE = frozenset({"role", "type", "id", "name", "tool_call_id"})
# Fields that hold what others wrote: the keys of ours in them, and those of theirs.
_FREE = {
    "response": (_NONE, _MESSAGE),
    "new_messages": (_NONE, _MESSAGE),
    "tools": (_NONE, _MESSAGE),
    "result": (frozenset({"run_id", "status"}), _NONE),
    "submitted": (_NONE, _NONE),
    "config": (_NONE, _NONE),
    "sampling": (_NONE, _NONE),
    "models": (_NONE, _NONE),
    "endpoints": (_NONE, _NONE),
}
_TITLE = 200  # characters, the most that a title may have; a label can be longer than its secret
_WORD = re.compile(r"[^\s\"]{0,256}")
_SURROGATE = re.compile("[\ud800-\udfff]")


def mask(event: Event, redactor: Redactor) -> tuple[Event, bytes]:
    """The event as it may be shown, and its line of JSON. The event itself is never changed."""
    try:
        line = event.__pydantic_serializer__.to_json(event)
        finders = redactor.suspects(line)
    except PydanticSerializationError:  # a lone surrogate: a file name or an argument that is not UTF-8
        line, finders = b"", redactor.finders
    if line and not finders:
        return event, line
    masker = _Masker(finders)
    data = masker.fields(_dump(event))
    if line and not masker.found:
        return event, line
    event = ANY_EVENT.validate_python(data)
    if masker.found and isinstance(event, CallFinished):
        withhold(event)
    elif masker.found and isinstance(event, ToolFinished):
        event.redacted = True
    return event, event.__pydantic_serializer__.to_json(event)


def _dump(event: Event) -> dict[str, Any]:
    try:
        return event.model_dump(mode="json")
    except ValueError:  # a surrogate deep in free data
        return event.model_dump()


class _Masker:
    """Walks through the data of one event. `found` counts the secrets."""

    def __init__(self, finders: Sequence[Finder]) -> None:
        self._every = finders
        self._sure = [finder for finder in finders if not finder.wordlike]
        self.found = 0

    def fields(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of an event, each by its own rule."""
        return {key: self._walk(value, key, *_FREE.get(key, (_OURS, _THEIRS))) for key, value in event.items()}

    def _walk(self, value: Any, key: str, ours: frozenset[str], theirs: frozenset[str]) -> Any:
        if isinstance(value, Enum):
            return value
        if isinstance(value, str):
            return self._text(value, key, ours, theirs)
        if isinstance(value, Mapping):
            return {_encodable(str(k)): self._walk(v, str(k), ours, theirs) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self._walk(item, key, ours, theirs) for item in value]
        return value

    def _text(self, text: str, key: str, ours: frozenset[str], theirs: frozenset[str]) -> str:
        finders = self._every
        if (key in ours or key in theirs) and _WORD.fullmatch(text):
            finders = () if key in ours else self._sure
        masked, found = redact_with(finders, text)
        self.found += found
        masked = _encodable(masked)
        return masked[: max(_TITLE, len(text))] if key == "title" else masked


def _encodable(text: str) -> str:
    """Lone surrogates as the bytes that they stand for, `\\xff`, or else as their code, `\\ud800`."""
    return _SURROGATE.sub(_escape, text) if not text.isascii() else text


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"
