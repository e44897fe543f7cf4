"""Unified diffs: what they say, and the text after them. Pure.

A hunk is applied where its lines stand exactly, without fuzz: at the line that its header names, else at the one place
where they are. Counts in headers are not trusted, since models miscount; the lines themselves decide.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from swarm.tools.output import clip

_HUNK = re.compile(r"@@(?: -(\d{1,9})(?:,\d+)? \+\d+(?:,\d+)?)? ?@@")
_MOVED = re.compile(r"rename (from|to) (.+)")
_MODE = re.compile(r"(?:new file mode|new mode) (\d+)")
_NOWHERE = "/dev/null"
_MOST_PLACES = 10
_MOST_LOOKS = 20_000
"""Lines that are compared to say where a hunk nearly fits."""


class PatchProblem(ValueError):
    """The patch cannot be read or applied; the message names the file and the hunk."""


@dataclass(slots=True)
class Hunk:
    """One change. `start` is the old line (from 1) that its header names, None without one.

    `bare_end` says that no newline ends the last new line, None where the patch says nothing of it.
    """

    number: int
    start: int | None
    old: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    bare_end: bool | None = None


@dataclass(slots=True)
class FilePatch:
    """What happens to one file. `old` is None for a new file, `new` for one that goes; `mode` is the new one, octal."""

    old: str | None
    new: str | None
    hunks: list[Hunk] = field(default_factory=list)
    mode: str = ""

    @property
    def name(self) -> str:
        return self.new or self.old or ""


def parse_patch(text: str) -> list[FilePatch]:
    """Read a unified diff, as `diff -u` or git write it.

    Raises:
        PatchProblem: it is none, or says something that cannot be done here (binary changes, links, copies).
    """
    if text.count("\r\n") == text.count("\n"):
        text = text.replace("\r\n", "\n")
    lines = text.split("\n")
    patches: list[FilePatch] = []
    current: FilePatch | None = None
    at = 0
    while at < len(lines):
        line = lines[at].rstrip("\r")
        if line.startswith("diff --git "):
            current = _begun(line)
            patches.append(current)
        elif _is_header(lines, at):
            old, new = _path(line[4:]), _path(lines[at + 1].rstrip("\r")[4:])
            if current is None or current.hunks:
                current = FilePatch(None, None)
                patches.append(current)
            current.old, current.new = _stripped(old, new)
            at += 1
        elif line.startswith(("GIT binary patch", "Binary files ")):
            raise PatchProblem("binary changes cannot be applied. Change the file with bash.")
        elif line.startswith("copy from "):
            raise PatchProblem("copies cannot be applied. Copy the file with bash.")
        elif current is not None and (moved := _MOVED.fullmatch(line)):
            current.old, current.new = (
                (_unquoted(moved[2]), current.new) if moved[1] == "from" else (current.old, _unquoted(moved[2]))
            )
        elif current is not None and (mode := _MODE.fullmatch(line)):
            if mode[1] not in ("100644", "100755"):
                raise PatchProblem(f"{current.name}: mode {mode[1]} (a link or a submodule) cannot be applied.")
            current.mode = mode[1][3:]
            current.old = None if line.startswith("new file") else current.old
        elif current is not None and line.startswith("deleted file mode"):
            current.new = None
        elif line.startswith("@@"):
            if current is None:
                raise PatchProblem(f"line {at + 1}: a hunk before any `--- FILE` and `+++ FILE` lines.")
            at = _hunk(lines, at, current)
            continue
        at += 1
    if not patches:
        raise PatchProblem("it is no unified diff: give `--- a/FILE`, `+++ b/FILE` and hunks that begin with `@@`.")
    for patch in patches:
        if not patch.name:
            raise PatchProblem("a file of it has no name.")
        if not patch.hunks and patch.old == patch.new and not patch.mode:
            raise PatchProblem(f"{patch.name}: no hunk. Each begins with `@@ -LINE,COUNT +LINE,COUNT @@`.")
    return patches


def patched(text: str, patch: FilePatch) -> str:
    """The text of a file after its patch. Where all of its lines end in CRLF, so do the patch's.

    Raises:
        PatchProblem: a hunk's lines are not there, or at several places.
    """
    crlf = "\r\n" in text and text.count("\r\n") == text.count("\n")
    lines = (text.replace("\r\n", "\n") if crlf else text).split("\n")
    ends = lines[-1] == ""  # whether the last line has its newline
    if ends:
        lines.pop()
    made: list[str] = []
    done = 0
    for hunk in patch.hunks:
        old, new = (([line.removesuffix("\r") for line in part] if crlf else part) for part in (hunk.old, hunk.new))
        at = _place(lines, old, hunk, done, patch.name)
        made += lines[done:at] + new
        done = at + len(old)
        if hunk.bare_end is not None and done == len(lines):
            ends = not hunk.bare_end
    made += lines[done:]
    joined = "\n".join(made) + ("\n" if ends and made else "")
    return joined.replace("\n", "\r\n") if crlf else joined


def _place(lines: list[str], old: list[str], hunk: Hunk, done: int, name: str) -> int:
    """Where a hunk begins, counted from 0, after the `done` lines that earlier hunks have used."""
    where = f"{name}, hunk {hunk.number}" + (f" (@@ -{hunk.start})" if hunk.start is not None else "")
    if not old:
        if lines and hunk.start is None:
            raise PatchProblem(f"{where}: it only adds lines and says not where. Give a line around them as context.")
        at = hunk.start or 0
        if not done <= at <= len(lines):
            raise PatchProblem(f"{where}: line {at} is not in the file, which has {len(lines)} lines.")
        return at
    size = len(old)
    at = (hunk.start or 0) - 1
    if done <= at <= len(lines) - size and lines[at : at + size] == old:
        return at
    found = _places(lines, old, done)
    if len(found) == 1:
        return found[0]
    if found:
        told = ", ".join(str(at + 1) for at in found[:_MOST_PLACES])
        raise PatchProblem(f"{where}: its lines are at several places, on lines {told}. Give more context.")
    raise PatchProblem(f"{where}: its lines are not in the file{_nearest(lines, old, done)}. Read it and try again.")


def _places(lines: Sequence[str], old: Sequence[str], done: int) -> list[int]:
    """Where these lines stand after the first `done`: the first few places, found in one text, which takes its time in
    proportion however often a line is repeated."""
    text, wanted = "\n".join(["", *lines[done:], ""]), "\n".join(["", *old, ""])
    found: list[int] = []
    number, before, at = done, 0, text.find(wanted)
    while at >= 0 and len(found) <= _MOST_PLACES:
        number += text.count("\n", before, at)
        found.append(number)
        before, at = at, text.find(wanted, at + 1)
    return found


def _nearest(lines: Sequence[str], old: Sequence[str], done: int) -> str:
    """The first line that does not fit at the place where most of the hunk's first lines do."""
    best, at_best, looks = 0, -1, 0
    for at in range(done, len(lines)):
        fit = 0
        while fit < len(old) and at + fit < len(lines) and lines[at + fit] == old[fit]:
            fit += 1
        looks += 1 + fit
        if looks > _MOST_LOOKS and best:
            break
        if fit > best:
            best, at_best = fit, at
    if at_best < 0:
        return f": the first one, {clip(old[0], 80)!r}, is nowhere after line {done}" if done else ""
    there = at_best + best
    is_there = repr(clip(lines[there], 80)) if there < len(lines) else "the end of the file"
    return f": from line {at_best + 1} on {best} fit, then line {there + 1} is {is_there}, not {clip(old[best], 80)!r}"


def _hunk(lines: Sequence[str], at: int, patch: FilePatch) -> int:
    """Read the hunk whose header stands at `at`; the index of the line after it."""
    header = _HUNK.match(lines[at])
    number = len(patch.hunks) + 1
    if header is None:
        head = clip(lines[at], 60)
        raise PatchProblem(f"{patch.name}, hunk {number}: the header {head!r} is not `@@ -LINE,COUNT +LINE,COUNT @@`.")
    hunk = Hunk(number, int(header[1]) if header[1] else None)
    at += 1
    while (after := _after_blank(lines, at)) < len(lines) and _is_body(lines, after):
        for part in (hunk.old, hunk.new):  # an empty line is context that lost its space, where more follows
            part += [""] * (after - at)
        kind, line = lines[after][0], lines[after][1:]
        if kind == "\\":
            _no_newline(hunk, lines[after - 1][:1])
        if kind in "- ":
            hunk.old.append(line)
        if kind in "+ ":
            hunk.new.append(line)
        at = after + 1
    if not hunk.old and not hunk.new:
        raise PatchProblem(f"{patch.name}, hunk {number}: it is empty.")
    patch.hunks.append(hunk)
    return at


def _is_body(lines: Sequence[str], at: int) -> bool:
    """Whether a line, which is not empty, belongs to the hunk before it."""
    return lines[at][0] in "+- \\" and not _is_header(lines, at)


def _after_blank(lines: Sequence[str], at: int) -> int:
    while at < len(lines) and lines[at] in ("", "\r"):
        at += 1
    return at


def _no_newline(hunk: Hunk, before: str) -> None:
    """`\\ No newline at end of file` speaks of the line before it; the new text decides."""
    if before == "-":
        hunk.bare_end = bool(hunk.bare_end)
    else:
        hunk.bare_end = True


def _is_header(lines: Sequence[str], at: int) -> bool:
    """Whether a file's part begins. Inside a hunk a removed `-- x` and an added `++ y` look much like it."""
    starts = ("--- ", "+++ ", "@@")
    return len(lines) > at + 2 and all(lines[at + after].startswith(start) for after, start in enumerate(starts))


def _begun(line: str) -> FilePatch:
    """`diff --git a/X b/X`: the names count only where no other line gives them (a mode, an empty file)."""
    names = line.removeprefix("diff --git ")
    half = len(names) // 2
    old, new = names[:half], names[half + 1 :]
    if old.removeprefix("a/") == new.removeprefix("b/"):
        return FilePatch(*_stripped(old, new))
    return FilePatch(None, None)


def _path(text: str) -> str:
    return _unquoted(text.split("\t")[0].rstrip())


def _unquoted(text: str) -> str:
    """git quotes odd names as C does."""
    if not (len(text) > 1 and text.startswith('"') and text.endswith('"')):
        return text
    try:
        value: bytes = ast.literal_eval("b" + text)
        return value.decode()
    except (SyntaxError, ValueError):
        raise PatchProblem(f"the file name {clip(text, 80)} cannot be read.") from None


def _stripped(old: str, new: str) -> tuple[str | None, str | None]:
    """Without git's a/ and b/, and None for what is not there."""
    if (old == _NOWHERE or old.startswith("a/")) and (new == _NOWHERE or new.startswith("b/")):
        old = old if old == _NOWHERE else old[2:]
        new = new if new == _NOWHERE else new[2:]
    return (None if old == _NOWHERE else old), (None if new == _NOWHERE else new)
