"""A request's body on its way to the server: exactly as long as it was said to be, never held."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from anyio.streams.buffered import BufferedByteReceiveStream

from swarm.sandboxes.network.request import LONGEST, BadRequest

PIECE = 1 << 16
"""Bytes that are passed on at once."""

_SIZE = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")
_SIZE_LINE = 1 << 12


async def carry(
    source: BufferedByteReceiveStream, length: int | None, send: Callable[[bytes], Awaitable[None]]
) -> None:
    """Send a body on, in chunks of our own where `length` is None.

    Raises:
        BadRequest: a chunk cannot be read.
        anyio.EndOfStream, anyio.IncompleteRead, anyio.DelimiterNotFound: it ends early, or a line does not.
    """
    if length is not None:
        await _exactly(source, length, send)
        return

    async def in_a_chunk(piece: bytes) -> None:
        await send(b"%x\r\n%b\r\n" % (len(piece), piece))

    while size := await _size(source):
        await _exactly(source, size, in_a_chunk)
        if await source.receive_exactly(2) != b"\r\n":
            raise BadRequest("a chunk is not as long as it says")
    left = LONGEST
    while line := await source.receive_until(b"\r\n", left):  # what follows the chunks is dropped
        left -= len(line)
        if left <= 0:
            raise BadRequest("too much follows the last chunk")
    await send(b"0\r\n\r\n")


async def _exactly(source: BufferedByteReceiveStream, length: int, send: Callable[[bytes], Awaitable[None]]) -> None:
    while length:
        piece = await source.receive(min(length, PIECE))
        length -= len(piece)
        await send(piece)


async def _size(source: BufferedByteReceiveStream) -> int:
    found = _SIZE.fullmatch(await source.receive_until(b"\r\n", _SIZE_LINE))
    if not found:
        raise BadRequest("a chunk's size cannot be read")
    return int(found[1], 16)
