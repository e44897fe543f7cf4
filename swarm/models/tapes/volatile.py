"""What differs in a prompt from run to run though nothing has changed: times, addresses, names drawn at random.

Tools run again when a run is replayed, and their output tells how long they took and where.
"""

from __future__ import annotations

import json
import re
from difflib import unified_diff

from swarm.types import Message

_NAME = re.compile(r"(?<=/tmp/)[\w.-]*\w|(?<=/)(?:tmp[.-]?|ws-|pip-)\w{6,12}\b|\b\d{8}-\d{6}-[0-9a-f]{6,10}\b")
"""A name that was drawn at random, of a temporary file or a run: it may be used later on."""

_VOLATILE = (
    (_NAME, "<name>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?([.,]\d+)?(Z|[+-]\d\d:?\d\d)?"), "<time>"),
    (re.compile(r"\b\d\d?:\d\d:\d\d(\.\d+)?\b"), "<time>"),
    (re.compile(r"\b\d+(\.\d+)? ?(?:ns|us|µs|ms|s|secs?|seconds?|minutes?)\b"), "<seconds>"),
    (re.compile(r"((?:_m?s|seconds|elapsed|duration|time)\\?[\"']?\s?[:=]\s?)\d+(?:\.\d+)?\b"), r"\1<seconds>"),
    (re.compile(r"\b0x[0-9a-f]{6,16}\b"), "<address>"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "<uuid>"),
    (re.compile(r"\bpytest-\d+\b"), "<pytest>"),
    (re.compile(r"(?i)\b(pid|process|seed)([ =:#]{1,2})\d+\b"), r"\1\2<number>"),
)
_HIDDEN = re.compile(r"\[redacted:[^\]\s]{1,80}\]")


def steady(text: str) -> str:
    """The text with all that may differ replaced."""
    for pattern, name in _VOLATILE:
        text = pattern.sub(name, text)
    return text


def same(recorded: str, text: str) -> bool:
    """Whether two texts differ only in what may differ, a secret that was taken out of the recorded one included."""
    if recorded == text:
        return True
    recorded, text = steady(recorded), steady(text)
    if recorded == text:
        return True
    parts = _HIDDEN.split(recorded)
    if len(parts) == 1:
        return False
    return re.fullmatch(r"[^\n]{0,16384}?".join(map(re.escape, parts)), text) is not None


def renamed(recorded: str, text: str) -> dict[str, str]:
    """What the names drawn at random in the recorded one of two texts that are the `same` are in the other."""
    old, new = _NAME.findall(recorded), _NAME.findall(text)
    return {a: b for a, b in zip(old, new, strict=True) if a != b} if len(old) == len(new) else {}


def told(message: Message) -> str:
    """A message as lines, for comparison and for a diff."""
    rest = {name: value for name, value in message.items() if name not in ("role", "content") and value is not None}
    lines = [f"role: {message.get('role', '')}"]
    content = message.get("content")
    lines += [content] if isinstance(content, str) else [] if content is None else [_json(content)]
    lines += [f"{name}: {value if isinstance(value, str) else _json(value)}" for name, value in sorted(rest.items())]
    return "\n".join(lines)


def difference(recorded: str, text: str, where: str, lines: int = 60) -> str:
    """A unified diff, at most so many lines of it."""
    both = (recorded.splitlines(), text.splitlines())
    diff = list(unified_diff(*both, f"recorded: {where}", f"now: {where}", lineterm="", n=2))
    more = [f"[... {len(diff) - lines} lines left out ...]"] if len(diff) > lines else []
    return "\n".join([*diff[:lines], *more])


def _json(value: object) -> str:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)
