"""Following a journal that another process writes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio

from swarm.cli.history import is_written
from swarm.errors import JournalError
from swarm.events import Event
from swarm.journal.reader import parse_line

POLL = 0.2  # seconds; the writer syncs as often
CHECK = 10  # looks without news between two looks whether the writer lives
BLOCK = 1 << 20


async def follow(path: Path) -> AsyncIterator[Event]:
    """The events of a journal, those to come as well, until its writer is gone and nothing is left to read.

    Raises:
        JournalError: the file cannot be read, or a whole line of it is no event.
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
                for raw in whole:
                    number += 1
                    yield parse_line(raw, f"{path}, line {number}")
                continue
            if last_look:
                return
            if quiet % CHECK == 0:  # once more after the writer was seen gone: it may just have written
                last_look = not await anyio.to_thread.run_sync(is_written, path)
            quiet += 1
            if not last_look:
                await anyio.sleep(POLL)
