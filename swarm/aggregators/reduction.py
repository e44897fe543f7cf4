"""How many texts become one where not all of them fit into one call: the pure part."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from swarm.values import value

_SOURCES = re.compile(r"^[\W_]*sources?[\W_]*:(.*)$", re.IGNORECASE)
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]*")


@value(frozen=True, slots=True)
class Part:
    """A text and the sources that it stands for. A source is a sub-task, or a piece of a long result (`ID/NUMBER`)."""

    heading: str
    text: str
    sources: tuple[str, ...]


def pieces(source: str, title: str, text: str, room: int) -> list[Part]:
    """A result as one part, or as several of at most `room` characters, cut at line ends where there are any."""
    if len(text) <= room:
        return [Part(f"{source} ({title})", text, (source,))]
    cuts = [0]
    while len(text) - cuts[-1] > room:
        line_end = text.rfind("\n", cuts[-1] + room // 2, cuts[-1] + room)
        cuts.append(line_end + 1 if line_end > 0 else cuts[-1] + room)
    ends = [*cuts[1:], len(text)]
    return [
        Part(f"{source}/{n} ({title}, part {n} of {len(cuts)})", text[start:end], (f"{source}/{n}",))
        for n, (start, end) in enumerate(zip(cuts, ends, strict=True), 1)
    ]


def groups(parts: Sequence[Part], room: int) -> list[list[Part]]:
    """Neighbours that go into one call each: at most `room` characters together, but never one alone that has a next.

    Two or more parts always become fewer groups, so that reduction comes to an end.
    """
    found: list[list[Part]] = []
    size = 0
    for part in parts:
        if found and (len(found[-1]) < 2 or size + len(part.text) <= room):
            found[-1].append(part)
            size += len(part.text)
        else:
            found.append([part])
            size = len(part.text)
    return found


def read_answer(text: str, held: Iterable[str]) -> tuple[str, tuple[str, ...]]:
    """The text without its last line `Sources: ...`, and which of the sources that it was given it names there."""
    lines = text.strip().splitlines()
    for at in range(len(lines) - 1, max(-1, len(lines) - 4), -1):
        if match := _SOURCES.match(lines[at]):
            named = {label.rstrip(".") for label in _LABEL.findall(match[1])}
            rest = "\n".join(lines[:at] + lines[at + 1 :]).strip()
            return rest, tuple(source for source in held if source in named)
    return text.strip(), ()


def side_by_side(parts: Iterable[Part]) -> str:
    """Texts as they are, under headings."""
    return "\n\n".join(f"## {part.heading}\n\n{part.text}" for part in parts)
