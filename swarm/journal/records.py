"""The events of a journal that is taken up, read anew from its file whenever they are asked for: of a journal of a
gigabyte nothing stays in memory but where its lines begin."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

from pydantic import ValidationError

from swarm.errors import JournalError
from swarm.events import ANY_EVENT, Event

_BLOCK = 1 << 20


class Records(Sequence[Event]):
    """The whole lines that a file holds now, as events; what is written to it later is not among them. `fd` is not
    closed here. Reading raises JournalError where a line is no event, or the file cannot be read."""

    def __init__(self, fd: int, path: Path) -> None:
        self._fd = fd
        self._path = path
        self._starts = array("q", [0])  # of each line, and the end of the last
        at = 0
        while block := self._read(_BLOCK, at):
            found = block.find(b"\n")
            while found >= 0:
                self._starts.append(at + found + 1)
                found = block.find(b"\n", found + 1)
            at += len(block)
        self.torn = at - self._starts[-1]
        """Bytes of a last line that is not whole."""

    def __repr__(self) -> str:
        return f"<Records {self._path.name}: {len(self)} events>"

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __iter__(self) -> Iterator[Event]:
        starts, number = self._starts, 0
        while number < len(self):
            first, last = number, number + 1
            while last < len(self) and starts[last + 1] - starts[first] <= _BLOCK:
                last += 1
            block = self._read(starts[last] - starts[first], starts[first])
            for number in range(first, last):
                line = block[starts[number] - starts[first] : starts[number + 1] - starts[first]]
                yield self._parsed(line, number)
            number = last

    @overload
    def __getitem__(self, place: int) -> Event: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Event]: ...
    def __getitem__(self, place: int | slice) -> Event | Sequence[Event]:
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(len(self)))]
        number = range(len(self))[place]
        at, end = self._starts[number], self._starts[number + 1]
        return self._parsed(self._read(end - at, at), number)

    def _parsed(self, line: bytes, number: int) -> Event:
        return parse_line(line, f"{self._path}, line {number + 1}")

    def _read(self, size: int, at: int) -> bytes:
        try:
            found = os.pread(self._fd, size, at)
            while found and len(found) < size and (more := os.pread(self._fd, size - len(found), at + len(found))):
                found += more
            return found
        except OSError as error:
            raise JournalError(f"{self._path} cannot be read: {error.strerror or error}") from error


def parse_line(line: bytes, where: str) -> Event:
    """One line as an event; `where` names it in the error."""
    try:
        return ANY_EVENT.validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise JournalError(
            f"{where}: no event: {first['msg']}", remedy="the lines before it are whole: keep those, or run it again"
        ) from None
