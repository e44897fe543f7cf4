"""One end of a conversation in JSON-RPC, a message a line, with a program that nobody here has written.

Whatever it says is bounded and looked at; what is no message is passed over. Its notifications are heard in order, its
requests are answered beside each other.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

LONGEST = 16 << 20
"""Bytes of one message."""

WAITING = 64 << 20
"""Bytes of its messages that may wait to be heard, and of ours that it may leave unread."""

AT_ONCE = 256
"""Requests of it that are answered at the same time: more than terminals that it may wait for."""

_LINE = 64
"""Bytes that a line that waits takes beside what stands in it."""

INVALID_PARAMS = -32602
NOT_FOUND = -32601
_INTERNAL = -32603


class PeerError(Exception):
    """An answer that is an error: `code` by JSON-RPC, or of the protocol above it."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class PeerGone(Exception):
    """It has ended, or says more than is heard."""


Request = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any] | None]]
"""Answers a request. Raises: PeerError."""

Notification = Callable[[str, dict[str, Any]], None]


class Lines:
    """Bytes as they come, made into lines."""

    def __init__(self) -> None:
        self.rest = b""
        """What has no end yet."""

    def add(self, chunk: bytes) -> list[bytes]:
        """The lines that are whole by now."""
        if b"\n" not in chunk:
            self.rest += chunk
            return []
        *lines, self.rest = (self.rest + chunk).split(b"\n")
        return lines


class Words:
    """What is said to it: `out` is where that is taken from."""

    def __init__(self) -> None:
        self._in, self.out = anyio.create_memory_object_stream[bytes](math.inf)
        self._sizes: deque[int] = deque()
        self._size = 0

    def __repr__(self) -> str:
        return f"<Words: {self._size} bytes in {len(self._sizes)}>"

    async def say(self, line: bytes) -> None:
        """Say something more.

        Raises:
            PeerGone: it listens to nothing, and is asking on.
            anyio.ClosedResourceError, anyio.BrokenResourceError: it can be told nothing any more.
        """
        for _ in range(len(self._sizes) - self._in.statistics().current_buffer_used):
            self._size -= self._sizes.popleft()
        if self._size > WAITING:
            raise PeerGone
        self._in.send_nowait(line)
        self._sizes.append(len(line) + _LINE)
        self._size += self._sizes[-1]

    def end(self) -> None:
        """There is no more to be said. May be called twice."""
        self._in.close()


class Peer:
    """`say` writes a line to it, or raises `PeerGone`; `asked` and `told` take its requests and notifications."""

    def __init__(self, say: Callable[[bytes], Awaitable[None]], asked: Request, told: Notification) -> None:
        self._say = say
        self._asked = asked
        self._told = told
        self._split = Lines()
        self._waiting = 0
        self._lines: deque[bytes] = deque()
        self._more = anyio.Event()
        self._answers: dict[int, dict[str, Any]] = {}
        self._events: dict[int, anyio.Event] = {}
        self._last = 0
        self.gone = anyio.Event()

    def __repr__(self) -> str:
        state = "gone" if self.gone.is_set() else "there"
        return f"<Peer {state}: {len(self._events)} asked, {self._waiting} bytes to hear>"

    def hear(self, chunk: bytes) -> None:
        """Take what it writes."""
        if self.gone.is_set():
            return
        lines = self._split.add(chunk)
        lines = [line for line in lines if line]
        self._waiting += sum(map(len, lines)) + _LINE * len(lines)
        if len(self._split.rest) > LONGEST or self._waiting > WAITING:
            self.leave()
            return
        self._lines += lines
        self._more.set()

    def ended(self) -> None:
        """It writes nothing more: hear what it said last, and leave."""
        while self._lines:
            message = _message(self._lines.popleft())
            if message is not None and not _is_request(message):  # nobody takes an answer
                self._take(message)
        self.leave()

    def leave(self) -> None:
        """It is heard no further, and nobody waits for it."""
        self.gone.set()
        self._more.set()
        for event in self._events.values():
            event.set()

    def close(self) -> None:
        """Give up what it holds. May be called twice."""
        self.leave()
        self._lines.clear()

    async def request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Ask it.

        Raises:
            PeerError: it answers with an error.
            PeerGone: it ended before it answered.
        """
        self._last += 1
        number, event = self._last, anyio.Event()
        self._events[number] = event
        try:
            if not self.gone.is_set():
                await self._send({"id": number, "method": method, "params": params})
                await event.wait()
            answer = self._answers.pop(number, None)
        finally:
            del self._events[number]
        if answer is None:
            raise PeerGone
        if isinstance(error := answer.get("error"), dict):
            code = error.get("code")
            raise PeerError(code if isinstance(code, int) else _INTERNAL, str(error.get("message"))[:2_000])
        result = answer.get("result")
        return result if isinstance(result, dict) else {}

    async def notify(self, method: str, params: dict[str, Any]) -> None:
        """Tell it something."""
        if not self.gone.is_set():
            await self._send({"method": method, "params": params})

    async def serve(self) -> None:
        """Hear it, until it has left."""
        limit = anyio.CapacityLimiter(AT_ONCE)
        async with anyio.create_task_group() as group:
            while self._lines or not self.gone.is_set():
                if not self._lines:
                    self._more = anyio.Event()
                    await self._more.wait()
                    continue
                line = self._lines.popleft()
                self._waiting -= len(line) + _LINE
                message = _message(line)
                if message is not None and _is_request(message):
                    await limit.acquire_on_behalf_of(place := object())
                    group.start_soon(self._serve, message, limit, place)
                elif message is not None:
                    self._take(message)
                await checkpoint()  # others work too
            group.cancel_scope.cancel()

    def _take(self, message: dict[str, Any]) -> None:
        method = message.get("method")
        if isinstance(method, str):
            self._told(method, _object(message.get("params")))
        else:
            self._answered(message)

    def _answered(self, message: dict[str, Any]) -> None:
        number = message.get("id")
        if isinstance(number, int) and number in self._events and number not in self._answers:
            self._answers[number] = message
            self._events[number].set()

    async def _serve(self, request: dict[str, Any], limit: anyio.CapacityLimiter, place: object) -> None:
        try:
            try:
                result = await self._asked(request["method"], _object(request.get("params")))
                answer: dict[str, Any] = {"result": result}
            except PeerError as error:
                answer = {"error": {"code": error.code, "message": str(error)}}
            await self._send({"id": request["id"], **answer})
        finally:
            limit.release_on_behalf_of(place)

    async def _send(self, message: dict[str, Any]) -> None:
        try:
            await self._say(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):
            return  # it has ended, or is told to
        except PeerGone:
            self.leave()


def _message(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _is_request(message: dict[str, Any]) -> bool:
    return isinstance(message.get("method"), str) and "id" in message


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
