"""A bounded keeper of a stream's output: the first and the last half of what may be kept."""

from __future__ import annotations

from collections.abc import Callable


class HeadTail:
    """Keeps at most `limit` bytes of what is added: the first half, and the last half.

    Memory stays below twice the limit however much flows through. When something was left out,
    `value()` has exactly `limit` bytes and the gap is after `(limit + 1) // 2` of them.
    """

    def __init__(self, limit: int) -> None:
        if limit < 0:
            raise ValueError(f"a limit of output cannot be negative: {limit}")
        self._head_size = (limit + 1) // 2
        self._tail_size = limit // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._dropped = False

    def add(self, chunk: bytes) -> None:
        room = self._head_size - len(self._head)
        if room > 0:
            self._head += chunk[:room]
            chunk = chunk[room:]
        if not chunk:
            return
        self._tail += chunk
        if len(self._tail) > 2 * self._tail_size:
            self._trim()

    @property
    def truncated(self) -> bool:
        """Whether something was left out."""
        return self._dropped or len(self._tail) > self._tail_size

    def value(self) -> bytes:
        self._trim()
        return bytes(self._head + self._tail)

    def _trim(self) -> None:
        surplus = len(self._tail) - self._tail_size
        if surplus > 0:
            del self._tail[:surplus]
            self._dropped = True


class Told(HeadTail):
    """One that hands on what is added as well."""

    def __init__(self, limit: int, tell: Callable[[bytes], None]) -> None:
        super().__init__(limit)
        self._tell = tell

    def add(self, chunk: bytes) -> None:
        self._tell(chunk)
        super().add(chunk)
