"""Reading a journal back, also one that is still being written or whose last line is torn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from swarm.errors import JournalError
from swarm.events import ANY_EVENT, Event


def read_events(path: Path) -> Iterator[Event]:
    """The events of a journal in order. A torn last line is left out.

    Raises:
        JournalError: the file cannot be read, or a whole line of it is no event; the message names the line.
    """
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.endswith(b"\n"):
                    return
                yield parse_line(line, f"{path}, line {number}")
    except OSError as error:
        raise JournalError(f"{path} cannot be read: {error.strerror or error}") from error


def parse_line(line: bytes, where: str) -> Event:
    """One line as an event; `where` names it in the error."""
    try:
        return ANY_EVENT.validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise JournalError(f"{where}: no event: {first['msg']}") from None
