"""What the policy reads out of the messages: the command, the gate's output, the stages so far, the sub-task."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_COMMAND = re.compile(r"^Test command: `++(.*[^`\n])`++\s*$", re.MULTILINE)
_GATE = re.compile(r"^Output of the test command \((exit code (-?\d{1,9})|[^)]*)\):\s*$", re.MULTILINE)
_STAGE = re.compile(r"^## Stage (\d{1,9})\b.*$", re.MULTILINE)
_OUTCOMES = "completed|failed|errored|timed_out|cancelled|budget_exhausted|skipped"
_EARLIER = re.compile(rf"^- ([A-Za-z0-9][\w.-]*) \((.*)\): ({_OUTCOMES})\b(.*)$", re.MULTILINE)
_SUBTASK = re.compile(r"^(?:#+ )?Sub-task ([A-Za-z0-9][\w.-]*): (.*)$", re.MULTILINE)
_CONFLICT = re.compile(r"^These files are in conflict\..*\n((?:- `.+`(?:\n|\Z))+)", re.MULTILINE)
_ROOM = re.compile(r"^At most (\d{1,9}) sub-tasks may be asked for\b", re.MULTILINE)
_RESULT = re.compile(r"^# Result of (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Gate:
    """One run of the test command; `exit_code` is None where it was not told."""

    exit_code: int | None
    output: str


@dataclass(frozen=True, slots=True)
class Earlier:
    """A sub-task of an earlier stage, and how it ended."""

    id: str
    outcome: str
    text: str

    @property
    def succeeded(self) -> bool:
        return self.outcome == "completed"


def text_of(message: dict[str, Any]) -> str:
    """The text of a message, whether it came as a string or in parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return ""


def user_text(messages: Sequence[dict[str, Any]]) -> str:
    return "\n\n".join(text_of(m) for m in messages if m.get("role") == "user")


def test_command(text: str) -> str:
    found = _COMMAND.search(text)
    return found.group(1).strip() if found else ""


def room(text: str) -> int | None:
    """How many sub-tasks may still be asked for, as it was told last; None: nothing was told."""
    told = _ROOM.findall(text)
    return int(told[-1]) if told else None


def goes_on(text: str) -> bool:
    """Whether further stages may follow the one that was asked for last."""
    told = list(_ROOM.finditer(text))
    return bool(told) and text[told[-1].end() :].startswith(" from here on")


def gates(text: str) -> list[Gate]:
    """Every block of the gate's output, in order."""
    found = []
    for m in _GATE.finditer(text):
        rest = text[m.end() :].lstrip("\n")
        fence = re.match(r"(`{3,}+|~{3,}+)[^\n]*\n", rest)
        if fence is None:
            continue
        end = re.search(rf"^{fence.group(1)}\s*$", rest[fence.end() :], re.MULTILINE)
        body = rest[fence.end() :]
        found.append(Gate(int(m.group(2)) if m.group(2) else None, body[: end.start()] if end else body))
    return found


def stages(text: str) -> tuple[int, list[Earlier]]:
    """The number of stages behind us, and all sub-tasks that they held (the last word on each id)."""
    marks = list(_STAGE.finditer(text))
    if not marks:
        return 0, []
    known: dict[str, Earlier] = {}
    for n, mark in enumerate(marks):
        section = text[mark.end() : marks[n + 1].start() if n + 1 < len(marks) else len(text)]
        section = section.split("\nOutput of the test command", 1)[0]
        rows = list(_EARLIER.finditer(section))
        for i, row in enumerate(rows):
            end = rows[i + 1].start() if i + 1 < len(rows) else len(section)
            known[row.group(1)] = Earlier(row.group(1), row.group(3), section[row.start() : end])
    return len(marks), list(known.values())


def subtask(text: str) -> str | None:
    """The sub-task's own text, None where it is the whole task (mode `single`), with the gate's output or no tests."""
    marks = list(_SUBTASK.finditer(text))
    own = text[marks[-1].start() :] if marks else ""
    own = re.sub(r"^# Files of the repository\n\n.*?(?=\n\n|\Z)", "", own, flags=re.MULTILINE | re.DOTALL)
    return own if own and not _GATE.search(own) and node_ids(own) else None


def conflicts(text: str) -> list[str]:
    """The files in which a patch is to be brought together with another."""
    found = _CONFLICT.search(text)
    return [line[3:-1] for line in found.group(1).splitlines()] if found else []


def node_ids(text: str) -> list[str]:
    """Tests that a text names: whole lines first (parameters may hold anything), then words."""
    found: dict[str, None] = {}
    for raw in text.splitlines():
        line = re.sub(r"^(?:[-*]|\d+\.)\s+", "", raw.strip()).strip("`")
        whole = re.match(r"[^\s`:]+\.py::\S", line) and ("[" in line or " " not in line)
        if whole or ("test" in line[:-3] and re.fullmatch(r"[\w./-]++(?<=\.py)", line)):
            found[line] = None
        else:
            found.update(dict.fromkeys(re.findall(r"(?<![\w./-])[\w./-]+\.py::\w+(?:::\w+)*(?:\[[^\]\s`]*\])?", line)))
    return list(found)


def results(text: str) -> list[tuple[str, str]]:
    """Heading and text of each result that the aggregator is given."""
    marks = list(_RESULT.finditer(text))
    if not marks:
        return []
    ends = [*(m.start() for m in marks[1:]), len(text)]
    return [(m.group(1), text[m.end() : end].strip()) for m, end in zip(marks, ends, strict=True)]
