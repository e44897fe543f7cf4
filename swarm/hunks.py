"""A patch in git's form, taken apart: files, hunks, lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_HUNK = re.compile(rb"@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@(.*)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)", re.DOTALL)


@dataclass(slots=True)
class Line:
    """A line of a hunk: `kind` is a blank, `+`, `-` or `\\`; `author` the sub-task that wrote it or took it away."""

    kind: str
    text: str
    author: str = ""


@dataclass(slots=True)
class Hunk:
    """`old` and `new` are the first line numbers there and here; `heading` is what git found to stand above it."""

    old: int
    new: int
    heading: str
    lines: list[Line] = field(default_factory=list)


@dataclass(slots=True)
class FilePatch:
    """`change`: `added`, `removed`, `changed`, `mode` or `binary`. What is no UTF-8 in names, lines: surrogates."""

    name: str
    change: str = "changed"
    binary: bool = False
    hunks: list[Hunk] = field(default_factory=list)

    def count(self, kind: str) -> int:
        return sum(line.kind == kind for hunk in self.hunks for line in hunk.lines)


def parse(patch: bytes) -> list[FilePatch]:
    """The files of a patch; what is none of git's is left out."""
    files: list[FilePatch] = []
    lines = iter(patch.split(b"\n"))
    for line in lines:
        if line.startswith(b"diff --git "):
            files.append(FilePatch(_name(line[len(b"diff --git ") :])))
        elif not files:
            continue
        elif match := _HUNK.match(line):
            files[-1].hunks.append(_hunk(match, lines))
        elif line.startswith(b"\\") and files[-1].hunks:
            files[-1].hunks[-1].lines.append(Line("\\", line[1:].decode("utf-8", "surrogateescape")))
        else:
            _header(files[-1], line)
    return files


def _header(file: FilePatch, line: bytes) -> None:
    if line.startswith(b"new file"):
        file.change = "added"
    elif line.startswith(b"deleted file"):
        file.change = "removed"
    elif line.startswith(b"new mode") and file.change == "changed":
        file.change = "mode"
    elif line.startswith((b"GIT binary patch", b"Binary files")):
        file.binary = True
    elif line.startswith((b"--- ", b"+++ ")) and not line.endswith(b"/dev/null"):
        if (name := _unquoted(line[4:].rstrip(b"\t"))).startswith(("a/", "b/")):
            file.name = name[2:]
        if file.change == "mode":
            file.change = "changed"


def _hunk(match: re.Match[bytes], lines: Iterator[bytes]) -> Hunk:
    hunk = Hunk(int(match[1]), int(match[3]), match[5].decode("utf-8", "surrogateescape").strip())
    old, new = int(match[2] or 1), int(match[4] or 1)
    while old > 0 or new > 0:
        line = next(lines, None)
        if line is None:
            break
        kind = line[:1].decode("latin-1") or " "
        hunk.lines.append(Line(kind, line[1:].decode("utf-8", "surrogateescape")))
        old -= kind in " -"
        new -= kind in " +"
    return hunk


def _name(both: bytes) -> str:
    """The name out of `a/NAME b/NAME`; the lines that follow say it better where there are any."""
    if both.startswith(b'"'):
        return _unquoted(both[: both.find(b'" ') + 1] or both)[2:]
    return both[2 : (len(both) - 1) // 2].decode("utf-8", "surrogateescape")


def _unquoted(name: bytes) -> str:
    if name.startswith(b'"') and name.endswith(b'"'):

        def plain(match: re.Match[bytes]) -> bytes:
            said = match[1]
            return bytes([int(said, 8) & 0xFF]) if len(said) == 3 else _ESCAPES.get(said.decode("latin-1"), "").encode()

        name = _ESCAPE.sub(plain, name[1:-1])
    return name.decode("utf-8", "surrogateescape")
