"""Text to a file descriptor without ever blocking the event loop: a slow reader must not hold up a swarm."""

from __future__ import annotations

import math
import os
from collections.abc import Callable

import anyio

from swarm.cli.own_end import own_end

CHUNK = 4096  # what a pipe that is ready takes in one write without blocking (PIPE_BUF)


class Outlet:
    """A queue of text and the task that writes it. `broken` is called once when it can no longer be written."""

    def __init__(self, fd: int, broken: Callable[[OSError], None]) -> None:
        self._fd = fd
        self._broken = broken
        self._sender, self._receiver = anyio.create_memory_object_stream[str](math.inf)

    def put(self, text: str) -> None:
        """Queue some text."""
        try:
            self._sender.send_nowait(text)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass  # `broken` was called

    def close(self) -> None:
        """No more text: `run` ends when what is queued was written."""
        self._sender.close()

    async def run(self) -> None:
        """Write until closed and empty, or until it cannot."""
        with self._receiver, own_end(self._fd, os.O_WRONLY) as own:
            try:
                async for text in self._receiver:
                    await self._write(text.encode("utf-8", "replace"), own)
            except OSError as error:
                self._broken(error)

    async def _write(self, data: bytes, own: int) -> None:
        left = memoryview(data)
        while left:
            try:
                await anyio.wait_writable(own)
            except PermissionError:  # a regular file is always ready, and epoll will not have it
                await anyio.lowlevel.checkpoint()
            left = left[os.write(self._fd, left[:CHUNK]) :]
