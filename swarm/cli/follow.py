"""Following a journal that another process writes."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import NamedTuple

import anyio

from swarm.errors import JournalError
from swarm.events import Event
from swarm.journal.reader import is_at_work
from swarm.journal.records import parse_line

POLL = 0.2  # seconds; the writer syncs as often
CHECK = 10  # looks without news between two looks whether the writer lives
BLOCK = 1 << 20


class Told(NamedTuple):
    """A line of a journal. `event` is None where a newer version wrote what this one does not know."""

    line: bytes
    event: Event | None


async def follow(path: Path) -> AsyncGenerator[list[Told], None]:
    """What a journal holds and what comes to it, block by block, until its writer is gone and nothing is left to read.
    An empty block says, at every look, that for now there is nothing more.

    Raises:
        JournalError: the file cannot be read, or a whole line of it is no record.
    """
    try:
        file = await anyio.open_file(path, "rb")
    except OSError as error:
        raise JournalError(f"{path} cannot be read: {error.strerror or error}") from error
    async with file:
        held, number, quiet, last_look = b"", 0, 0, False
        while True:
            data = await file.read(BLOCK)
            if data:
                quiet, last_look = 0, False
                *whole, held = (held + data).split(b"\n")
                if whole:
                    yield [Told(raw, _read(raw, f"{path}, line {number + n}")) for n, raw in enumerate(whole, 1)]
                    number += len(whole)
                continue
            yield []
            if last_look:
                return
            if quiet % CHECK == 0:  # once more after the writer was seen gone: it may just have written
                last_look = not await anyio.to_thread.run_sync(is_at_work, path)
            quiet += 1
            if not last_look:
                await anyio.sleep(POLL)


def _read(raw: bytes, where: str) -> Event | None:
    try:
        return parse_line(raw, where)
    except JournalError:
        try:
            value = json.loads(raw)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict) and isinstance(value.get("type"), str):
            return None
        raise
