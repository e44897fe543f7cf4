"""What a repair takes away: lines that others merged, and tests that were red.

Told from diffs alone: a line that went from one place to another is not gone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from swarm.hunks import parse

_WORD = re.compile(r"\w")


@dataclass(slots=True)
class FileLines:
    """What a diff puts into a file and takes out of it, by line, without those that hold no word."""

    added: Counter[str] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)
    back: bool = False
    """The file is new."""

    gone: bool = False
    """The file is deleted."""


def lines_of(diff: bytes) -> dict[str, FileLines]:
    """A diff of git by file."""
    found: dict[str, FileLines] = {}
    for file in parse(diff):
        lines = found[file.name] = FileLines(back=file.change == "added", gone=file.change == "removed")
        for line in (line for hunk in file.hunks for line in hunk.lines if _WORD.search(line.text)):
            if line.kind == "+":
                lines.added[line.text.strip()] += 1
            elif line.kind == "-":
                lines.removed[line.text.strip()] += 1
    return found


def undone(mine: Mapping[str, FileLines], theirs: Mapping[str, FileLines]) -> dict[str, tuple[int, int]]:
    """How many of the lines that one diff changes another, made on top of it, changes again or takes back: of each
    file such a number, above 0, and how many the first changes. A deleted file that is back counts as all of them."""
    added = sum((lines.added for lines in mine.values()), Counter[str]())
    removed = sum((lines.removed for lines in mine.values()), Counter[str]())
    found = {}
    for name, other in theirs.items():
        own = mine.get(name)
        if own is None:
            continue
        total = other.added.total() + other.removed.total()
        if other.gone and own.back:
            found[name] = (max(1, total), max(1, total))
            continue
        taken = other.added & (own.removed - added)
        back = other.removed & (own.added - removed)
        if count := taken.total() + back.total():
            found[name] = (count, total)
    return found


def told(whose: str, files: Mapping[str, tuple[int, int]]) -> str:
    """The same in words."""
    parts = [f"{count} of the {total} lines that {whose} changed in {name}" for name, (count, total) in files.items()]
    return f"changed again or took back {', '.join(parts)}"


def tests_gone(mine: Mapping[str, FileLines], tests: Iterable[str]) -> Sequence[str]:
    """Those of some Python tests, by pytest's names, whose definition a diff takes away and puts nowhere else."""
    added = [line for lines in mine.values() for line in lines.added]
    found = []
    for test in tests:
        name, function = place_of(test)
        head = re.compile(rf"\bdef\s+{function}\b")
        lost = any(head.search(line) for path, lines in mine.items() if same_file(path, name) for line in lines.removed)
        if function and lost and not any(head.search(line) for line in added):
            found.append(test)
    return found


def place_of(test: str) -> tuple[str, str]:
    """The file of a test and its function, by pytest's name of it; no function where it is no such name."""
    path, _, inner = test.partition("::")
    function = inner.rpartition("::")[2].partition("[")[0]
    return path, function if function.isidentifier() else ""


def same_file(one: str, other: str) -> bool:
    """Whether two paths are of the same file, where one may begin in a folder of the other's."""
    return one == other or one.endswith(f"/{other}") or other.endswith(f"/{one}")
