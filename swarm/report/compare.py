"""What the patches of two runs do differently, file by file."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

from swarm.hunks import FilePatch
from swarm.legible import visible
from swarm.report.blobs import Blobs
from swarm.report.model import Difference

_LINES = 3_000  # of both patches to a file, that are laid beside each other


def differences(first: Sequence[FilePatch], second: Sequence[FilePatch], blobs: Blobs) -> list[Difference]:
    """Each file that one of two runs changed. The blob holds pairs of lines, `["=", a, b]` where they are the same."""
    mine, theirs = ({file.name: file for file in files} for files in (first, second))
    found = []
    for name in sorted(mine.keys() | theirs.keys()):
        one, other = mine.get(name), theirs.get(name)
        shown = visible(name)
        if one is None or other is None:
            how = "second" if one is None else "first"
            found.append(Difference(name=shown, how=how, body=blobs.add(_alone(one or other, how))))
        elif _text(one) == _text(other) and (one.change, one.binary) == (other.change, other.binary):
            found.append(Difference(name=shown, how="same"))
        else:
            found.append(Difference(name=shown, how="differs", body=blobs.add(_beside(_text(one), _text(other)))))
    return found


def _text(file: FilePatch) -> list[str]:
    return [f"{line.kind}{line.text}" for hunk in file.hunks for line in hunk.lines]


def _alone(file: FilePatch | None, how: str) -> list[list[str]]:
    lines = [visible(line) for line in _text(file)[:_LINES]] if file else []
    return [["<", line, ""] if how == "first" else [">", "", line] for line in lines]


def _beside(one: list[str], other: list[str]) -> list[list[str]]:
    rows: list[list[str]] = []
    matcher = SequenceMatcher(None, one[:_LINES], other[:_LINES], autojunk=True)
    for tag, a, a_end, b, b_end in matcher.get_opcodes():
        left, right = one[a:a_end], other[b:b_end]
        for index in range(max(len(left), len(right))):
            row = [visible(side[index]) if index < len(side) else "" for side in (left, right)]
            rows.append(["=" if tag == "equal" else "!", *row])
    return rows
