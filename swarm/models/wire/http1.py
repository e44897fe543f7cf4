"""HTTP/1.1 answers as they come from a socket: a parser without input or output of its own (RFC 9112)."""

from __future__ import annotations

from enum import Enum, auto

MAX_HEAD = 64 << 10
"""Bytes that the head of an answer, or its trailers, may have."""


_HEX = b"0123456789abcdefABCDEF"
_FRAMING = frozenset(map(len, (b"content-length", b"transfer-encoding", b"connection")))
"""How long the names of headers are that say where a body ends."""

_SIZE_LINE = 17
"""Bytes of the size of a chunk and its line end, without extensions."""


class BadAnswerError(ValueError):
    """What came is not an HTTP/1.1 answer."""


class _State(Enum):
    HEAD = auto()
    COUNTED = auto()
    CHUNK_SIZE = auto()
    CHUNK = auto()
    CHUNK_END = auto()
    TRAILERS = auto()
    UNTIL_CLOSE = auto()
    DONE = auto()


class AnswerParser:
    """One answer to one request that was not HEAD. Feed it what comes; take what it has found."""

    __slots__ = ("_buffer", "_left", "_parts", "_state", "headers", "keep_alive", "status", "unread")

    def __init__(self) -> None:
        self.status = 0
        """0 until the head is whole. Informational answers (1xx) are passed over."""
        self.headers: list[tuple[bytes, bytes]] = []
        self.keep_alive = False
        """Whether the connection may be used again once the answer is `done`."""
        self.unread = 0
        """Bytes of the body that were found and not taken yet."""
        self._buffer = b""
        self._parts: list[bytes] = []
        self._left = 0
        self._state = _State.HEAD

    @property
    def done(self) -> bool:
        return self._state is _State.DONE

    def take(self) -> bytes:
        """The part of the body that was found since the last time."""
        parts = self._parts
        if not parts:
            return b""
        self._parts, self.unread = [], 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def feed(self, data: bytes) -> None:
        """Raises: BadAnswerError."""
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        at = 0
        while at < len(data):
            if self._state is _State.CHUNK_SIZE:
                at = self._whole_chunks(data, at)
                if at == len(data):
                    return
            before, state = at, self._state
            at = self._step(data, at)
            if at == before and state is self._state:  # it needs more
                self._buffer = data[at:]
                return

    def end(self) -> None:
        """The connection has ended. Raises: BadAnswerError, where the answer has not."""
        if self._state is _State.UNTIL_CLOSE:
            self._state = _State.DONE
        elif self._state is not _State.DONE:
            raise BadAnswerError("the connection ended before the answer")

    def _whole_chunks(self, data: bytes, at: int) -> int:
        """Read on over chunks that have come as a whole, as most do that hold the events of a stream."""
        while True:
            begin = data.find(b"\r\n", at, at + _SIZE_LINE) + 2
            digits = data[at : begin - 2]
            if begin < 2 or not digits or digits.strip(_HEX):
                return at
            size = int(digits, 16)
            end = begin + size
            if not size or data[end : end + 2] != b"\r\n":
                return at
            self._parts.append(data[begin:end])
            self.unread += size
            at = end + 2

    def _step(self, data: bytes, at: int) -> int:
        """Read on from `at`; gives where it came to, `at` itself if it needs more."""
        match self._state:
            case _State.HEAD:
                return self._head(data, at)
            case _State.COUNTED | _State.CHUNK:
                end = min(len(data), at + self._left)
                self._found(data[at:end] if at or end < len(data) else data)
                self._left -= end - at
                if not self._left:
                    self._state = _State.DONE if self._state is _State.COUNTED else _State.CHUNK_END
                return end
            case _State.CHUNK_SIZE:
                line, end = _line(data, at)
                if line is not None:
                    self._left = _hexadecimal(line.partition(b";")[0].strip())
                    self._state = _State.CHUNK if self._left else _State.TRAILERS
                return end
            case _State.CHUNK_END:
                if len(data) - at < 2:
                    return at
                if data[at : at + 2] != b"\r\n":
                    raise BadAnswerError("a chunk is longer than it says")
                self._state = _State.CHUNK_SIZE
                return at + 2
            case _State.TRAILERS:
                line, end = _line(data, at)
                if line == b"":
                    self._state = _State.DONE
                return end
            case _State.UNTIL_CLOSE:
                self._found(data[at:])
                return len(data)
            case _State.DONE:
                self.keep_alive = False  # more than was asked for
                return len(data)

    def _found(self, part: bytes) -> None:
        self._parts.append(part)
        self.unread += len(part)

    def _head(self, data: bytes, at: int) -> int:
        end = data.find(b"\r\n\r\n", at, at + MAX_HEAD)
        if end < 0:
            if len(data) - at >= MAX_HEAD:
                raise BadAnswerError(f"the head is longer than {MAX_HEAD} bytes")
            if not b"HTTP/1.".startswith(data[at : at + 7]):
                raise BadAnswerError("this is not HTTP/1.1")
            return at
        first, *lines = data[at:end].split(b"\r\n")
        version, status = _status(first)
        if 100 <= status < 200:
            if status == 101:
                raise BadAnswerError("it changes the protocol, which was not asked for")
            return end + 4
        headers, framing = [], []
        for line in lines:
            name, colon, value = line.partition(b":")
            if not colon or not name or name != name.strip():
                raise BadAnswerError("a header cannot be read")
            header = name, value.strip(b" \t")
            headers.append(header)
            if len(name) in _FRAMING:
                framing.append(header)
        self._frame(version, status, framing)
        self.status, self.headers = status, headers
        return end + 4

    def _frame(self, version: bytes, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Find out how the body ends, and whether the connection goes on after it. `headers`: those that may say so."""
        lengths, encodings, options = set[bytes](), b"", b""
        for name, value in headers:
            match name.lower():
                case b"content-length":
                    lengths |= {each.strip() for each in value.split(b",")}
                case b"transfer-encoding":
                    encodings += b"," + value.lower()
                case b"connection":
                    options += b"," + value.lower()
        said = {option.strip() for option in options.split(b",")} if options else ()
        self.keep_alive = b"keep-alive" in said if version == b"HTTP/1.0" else b"close" not in said
        if status in (204, 304):
            self._state = _State.DONE
        elif encodings:
            chunked = [each.strip() for each in encodings.split(b",") if each.strip()] == [b"chunked"]
            if not chunked:
                raise BadAnswerError("its transfer encoding is not known here")
            self.keep_alive = self.keep_alive and not lengths  # with both, somebody may smuggle (RFC 9112, 6.1)
            self._state = _State.CHUNK_SIZE
        elif lengths:
            if len(lengths) > 1:
                raise BadAnswerError("it has two lengths")
            self._left = _decimal(lengths.pop())
            self._state = _State.COUNTED if self._left else _State.DONE
        else:
            self._state, self.keep_alive = _State.UNTIL_CLOSE, False


def _status(line: bytes) -> tuple[bytes, int]:
    version, _, rest = line.partition(b" ")
    code = rest[:3]
    if version not in (b"HTTP/1.1", b"HTTP/1.0") or not code.isdigit() or len(code) < 3 or rest[3:4].strip():
        raise BadAnswerError("this is not HTTP/1.1")
    return version, int(code)


def _line(data: bytes, at: int) -> tuple[bytes | None, int]:
    end = data.find(b"\r\n", at, at + MAX_HEAD)
    if end >= 0:
        return data[at:end], end + 2
    if len(data) - at >= MAX_HEAD:
        raise BadAnswerError("a line of the body's framing does not end")
    return None, at


def _hexadecimal(digits: bytes) -> int:
    if not 0 < len(digits) <= 15 or digits.strip(_HEX):
        raise BadAnswerError("the size of a chunk cannot be read")
    return int(digits, 16)


def _decimal(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > 18:
        raise BadAnswerError("its length cannot be read")
    return int(digits)
