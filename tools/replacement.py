"""One exact replacement in a text, and what to tell where it is not possible. Pure."""

from __future__ import annotations

import difflib
import re

from swarm.tools.output import clip

_NUMBERED = re.compile(r"\s*\d+\t")
_SHOWN_LINES = 12
_COUNTED = 1_000
_COMPARED_LINES = 5_000
_COMPARED_WIDTH = 300


class NoReplacement(ValueError):
    """The old text is not there exactly once; the message says what is there instead."""


def replace_once(text: str, old: str, new: str) -> tuple[str, int]:
    """The text with its one `old` replaced, and the line (from 1) where that begins.

    Where all lines of the text end in CRLF, `old` and `new` may have plain newlines. All else stays as it is.

    Raises:
        NoReplacement: `old` is empty, equals `new`, or is found never or several times.
    """
    if not old:
        raise NoReplacement("old_string is empty. Give the exact text to replace; use write to make a new file.")
    if old == new:
        raise NoReplacement("old_string and new_string are the same, so there is nothing to change.")
    if "\r\n" in text and text.count("\r\n") == text.count("\n"):
        old, new = (part if "\r\n" in part else part.replace("\n", "\r\n") for part in (old, new))
    starts = _starts(text, old)
    if len(starts) == 1:
        start = starts[0]
        return text[:start] + new + text[start + len(old) :], _line(text, start)
    if starts:
        lines = [str(_line(text, start)) for start in starts[:20]]
        more = " and more" if len(starts) > 20 else ""
        many = f"{len(starts)} times" if len(starts) < _COUNTED else f"{_COUNTED} times or more"
        raise NoReplacement(
            f"old_string is there {many}, on lines {', '.join(lines)}{more}. Add surrounding lines until it is unique."
        )
    raise NoReplacement(_absence(text, old))


def _starts(text: str, old: str) -> list[int]:
    """Where `old` begins; overlapping finds count too, as each could be meant."""
    starts: list[int] = []
    at = text.find(old)
    while at >= 0 and len(starts) < _COUNTED:
        starts.append(at)
        at = text.find(old, at + 1)
    return starts


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _absence(text: str, old: str) -> str:
    lines = text.split("\n")
    wanted = old.rstrip("\r\n").split("\n")
    if all(_NUMBERED.match(line) for line in wanted):
        return "old_string is not there. Leave out the line numbers and tabs that read puts before each line."
    bare = [line.strip() for line in wanted]
    stripped = [line.strip() for line in lines]
    if any(bare) and (found := _window(stripped, bare)) is not None:
        shown = _numbered(lines, found, min(len(bare), _SHOWN_LINES))
        return f"old_string is not there as written: the whitespace differs. The file has\n{shown}"
    near = _nearest(lines, wanted)
    if not near:
        return "old_string is not there, nor anything like it. Read the file again."
    shown = "\n".join(_numbered(lines, at, 1) for at in near)
    return f"old_string is not there. It must match exactly, whitespace too. The most similar lines are\n{shown}"


def _window(lines: list[str], wanted: list[str]) -> int | None:
    """Where the lines `wanted` stand in a row."""
    at = -1
    while True:
        try:
            at = lines.index(wanted[0], at + 1)
        except ValueError:
            return None
        if lines[at : at + len(wanted)] == wanted:
            return at


def _nearest(lines: list[str], wanted: list[str]) -> list[int]:
    """Up to three lines most like the first telling line that was wanted."""
    key = next((line.strip() for line in wanted if len(line.strip()) > 3), wanted[0].strip())
    if not key:
        return []
    key = key[:_COMPARED_WIDTH]
    places: dict[str, int] = {}
    for at, line in enumerate(lines):
        if line.strip() and len(line) <= 2 * len(key) + 20:
            places.setdefault(line.strip()[:_COMPARED_WIDTH], at)
    if key in places:
        return [places[key]]
    close = difflib.get_close_matches(key, list(places)[:_COMPARED_LINES], n=3, cutoff=0.6)
    return sorted(places[line] for line in close)


def _numbered(lines: list[str], at: int, count: int) -> str:
    return "\n".join(
        f"{number:>6}\t{line.rstrip() if len(line) <= _COMPARED_WIDTH else clip(line, _COMPARED_WIDTH)}"
        for number, line in enumerate(lines[at : at + count], at + 1)
    )
