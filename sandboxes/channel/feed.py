"""Words for the standard input of a command that is already running."""

from __future__ import annotations

import os
import select
from pathlib import Path

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC
_LOOKS_S = (0.005, 0.2)
"""Seconds between looks whether the command has begun to listen, at first and at most."""


class Feed:
    """The writing end of a FIFO that a command reads. It is held open until the words end, or until `close`."""

    def __init__(self, words: MemoryObjectReceiveStream[bytes]) -> None:
        self._words = words
        self._opened = anyio.Event()
        self._fd = self._reader = -1

    def open_at(self, path: Path) -> None:
        """Make the FIFO, and open it before the command can."""
        os.mkfifo(path, 0o600)
        # A reader of our own, so that neither side waits for the other, and no word is lost before it is there.
        self._reader = os.open(path, os.O_RDWR | _FLAGS)
        self._fd = os.open(path, os.O_WRONLY | _FLAGS)
        path.chmod(0o444)  # only now: it is for us as well; read inside, never written
        self._opened.set()

    async def pour(self) -> None:
        """Write the words as the command takes them."""
        await self._opened.wait()
        async with self._words:
            async for words in self._words:
                left = memoryview(words)
                while left:
                    try:
                        left = left[os.write(self._fd, left) :]
                    except BlockingIOError:
                        await anyio.wait_writable(self._fd)
        os.close(self._reader)
        self._reader = -1
        pause = _LOOKS_S[0]
        while not self._is_read():  # else the words would go with our end, and who opens it then would wait for ever
            await anyio.sleep(pause)
            pause = min(_LOOKS_S[1], 2 * pause)
        self.close()

    def close(self) -> None:
        """Give up the FIFO. May be called twice."""
        for fd in (self._fd, self._reader):
            if fd >= 0:
                os.close(fd)
        self._fd = self._reader = -1

    def _is_read(self) -> bool:
        poll = select.poll()
        poll.register(self._fd, 0)
        return not poll.poll(0)  # an error, as long as nobody has it open to read
