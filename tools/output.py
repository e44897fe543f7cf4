"""What a model sees of a tool: plain text of bounded length."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from swarm.types import ToolErrorKind, ToolResult, ToolStatus

LIMIT = 16_000
"""Characters of one result that a model sees, marker and footer included."""

NOTE_ROOM = 160
"""Characters of it that are kept for a word on what was left out."""

# Each alternative stops at the next escape or after 4096 characters, so that hostile output costs linear time.
_ESCAPES = re.compile(
    r"\x1b\[[0-?]{0,256}[ -/]{0,16}[@-~]?"  # CSI: colours, cursor, erase
    r"|\x1b[\]PX^_][^\x07\x1b\n]{0,4096}(?:\x07|\x1b\\)?"  # OSC, DCS and their like: titles, links
    r"|\x1b[ -/]{0,16}[0-~]?"  # all other escapes
    r"|\x9b[0-?]{0,256}[ -/]{0,16}[@-~]?"  # CSI as one character
)
_STATUS = {ToolErrorKind.DENIED: ToolStatus.DENIED, ToolErrorKind.TIMED_OUT: ToolStatus.TIMEOUT}
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """The text without escape sequences and control characters; tabs and newlines stay."""
    if "\x1b" in text or "\x9b" in text:
        text = _ESCAPES.sub("", text)
    return _CONTROLS.sub("", text)


def readable(data: bytes) -> str:
    """A command's output as a terminal would have left it: overwritten text gone, invalid UTF-8 replaced."""
    text = data.decode("utf-8", "replace")
    if "\r" in text or "\b" in text:
        text = "\n".join(_overwritten(line) for line in text.split("\n"))
    return printable(text)


def _overwritten(line: str) -> str:
    if "\r" in line:
        drawn = [part for part in line.split("\r") if part]
        line = drawn[-1] if drawn else ""
    if "\b" in line:
        kept: list[str] = []
        for character in line:
            if character != "\b":
                kept.append(character)
            elif kept:
                kept.pop()
        line = "".join(kept)
    return line


def shorten(text: str, limit: int = LIMIT, *, lost: bool = False, where: str = "") -> str:
    """At most `limit` (80 and the length of `where`, or more) characters: head and tail, and between them how much is
    missing.

    `lost` says that the middle of `text` already misses an unknown amount, `where` where the whole text is.
    """
    if len(text) <= limit:
        return text
    keep = limit - len(_marker(len(text), lost, where))
    head = keep // 2
    tail = keep - head
    return text[:head] + _marker(len(text) - keep, lost, where) + text[len(text) - tail :]


def _marker(missing: int, lost: bool, where: str) -> str:
    return f"\n[... {'more than ' if lost else ''}{missing} characters left out{where and '; '}{where} ...]\n"


def clip(text: str, width: int) -> str:
    """One line of at most `width` characters, for a quotation inside a message."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 3] + "..."


def failed(kind: ToolErrorKind, message: str) -> ToolResult:
    """The result of a use that could not be carried out; `message` says what to do instead."""
    status = _STATUS.get(kind, ToolStatus.FAILED)
    return ToolResult(shorten(f"Error: {message}"), status=status, error=kind)


def bounded(result: ToolResult) -> ToolResult:
    """The same result, fit to be sent: not too long, and encodable as UTF-8."""
    content = result.content.encode("utf-8", "replace").decode("utf-8")
    if len(content) <= LIMIT:
        return result if content == result.content else replace(result, content=content)
    return replace(result, content=shorten(content), truncated=True)


def numbered(lines: Sequence[str], first: int, last: int, shown: Callable[[str], str]) -> ToolResult:
    """Lines with their numbers, from `first` (1 is the first of all) to `last` or as many as fit. `shown`: a line as it
    is to be shown."""
    page: list[str] = []
    used, number = 0, first - 1
    while number < last:
        line = f"{number + 1:>6}\t{shown(lines[number])}"
        if page and used + len(line) + 1 > LIMIT - NOTE_ROOM:
            break
        page.append(line)
        used += len(line) + 1
        number += 1
    if number < len(lines):
        page.append(f"[lines {number + 1}-{len(lines)} of {len(lines)} left out; go on with offset={number + 1}]")
    return ToolResult("\n".join(page), truncated=number < last)
