"""Bodies of answers that cannot fill the memory: bytes are counted as they come, and as they are decoded."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator

import anyio
import httpx2

MAX_ANSWER = 64 << 20
"""Bytes of an answer; a longer one is no answer to a chat."""

MAX_ERROR = 256 << 10
"""Bytes of an error that are read: what it says stands at its beginning."""

CLOSE_S = 2.0
"""Seconds that the end of an answer may take, however it ends."""

MAX_LIST = 4 << 20
"""Bytes of a list of models; the largest known is a tenth of it."""

_PIECE = 1 << 20
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_CODINGS = {"gzip": _GZIP_OR_ZLIB, "x-gzip": _GZIP_OR_ZLIB, "deflate": _GZIP_OR_ZLIB}


async def bound(response: httpx2.Response) -> None:
    """Bound the body of an answer that was not read yet. It is decoded here: the library's own decoder makes whatever
    size comes out of a small piece.

    Reading it raises httpx2.DecodingError where it is longer than `MAX_ANSWER`, or not of the coding that it names. An
    error's body ends instead: its status says enough.
    """
    coding = ""
    if any(name.lower() == b"content-encoding" for name, _ in response.headers.raw):
        coding = response.headers["content-encoding"].strip().lower()
        del response.headers["content-encoding"]
    coding = "" if coding == "identity" else coding
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    error = response.status_code >= 300
    if coding or error:
        response.stream = _Bounded(response.stream, coding, error=error)
    else:
        response.stream = Counted(response.stream)


class Counted(httpx2.AsyncByteStream):
    """What most answers are: neither coded nor an error. Without a generator, as each event of a stream passes here."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream
        self._parts = aiter(stream)
        self._left = MAX_ANSWER

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        part = await anext(self._parts)
        self._left -= len(part)
        if self._left < 0:
            raise _endless(MAX_ANSWER - self._left)
        return part

    async def aclose(self) -> None:
        await self._stream.aclose()


async def read_within(response: httpx2.Response, limit: int) -> bytes:
    """The body of a bounded answer that was not read yet, which is closed then.

    Raises: httpx2.DecodingError, where it has more than `limit` bytes.
    """
    body = bytearray()
    try:
        async for part in response.aiter_bytes():
            body += part
            if len(body) > limit:
                raise _endless(len(body))
    finally:
        with anyio.move_on_after(CLOSE_S, shield=True):
            await response.aclose()
    return bytes(body)


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, coding: str, *, error: bool) -> None:
        self._stream = stream
        self._coding = coding
        self._error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if not self._error:
            async for part in self._parts(MAX_ANSWER):
                yield part
            return
        try:
            async for part in self._parts(MAX_ERROR):
                yield part
        except (httpx2.DecodingError, httpx2.TransportError):
            return

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def _parts(self, limit: int) -> AsyncIterator[bytes]:
        came = size = 0
        decoder = _Decoder(self._coding) if self._coding else None
        async for raw in self._stream:
            came += len(raw)
            for part in (raw,) if decoder is None else decoder.parts(raw):
                size += len(part)
                if max(came, size) > limit:
                    yield part[: max(0, len(part) - (size - limit))]
                    raise _endless(max(came, size))
                yield part
        if decoder is not None and came:
            decoder.end()


def _endless(size: int) -> httpx2.DecodingError:
    return httpx2.DecodingError(f"it does not come to an end: {size} bytes so far")


class _Decoder:
    """Decodes in pieces of a bounded size."""

    def __init__(self, coding: str) -> None:
        if coding not in _CODINGS:
            raise httpx2.DecodingError("its content encoding was not asked for")
        self._zlib = zlib.decompressobj(_CODINGS[coding])

    def parts(self, raw: bytes) -> Iterator[bytes]:
        """Raises: httpx2.DecodingError."""
        part = b""
        while not self._zlib.eof and (raw or len(part) == _PIECE):
            try:
                part = self._zlib.decompress(raw, _PIECE)
            except zlib.error as error:
                raise httpx2.DecodingError("it is not of the content encoding that it names") from error
            raw = self._zlib.unconsumed_tail
            yield part

    def end(self) -> None:
        """Raises: httpx2.DecodingError."""
        if not self._zlib.eof:
            raise httpx2.DecodingError("it ends before its content encoding does")
