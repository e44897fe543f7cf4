"""A transport for the HTTP library of the `openai` package: HTTP/1.1 straight on asyncio's own connections.

The library's pool looks through all connections for each request; this one takes the last that was given back. It
never lets a call wait for a place: admission is the governor's. What it does not do (proxies, HTTP/2) the library's own
transport does: see `swarm.models.wire.client.open_client`.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextvars import Context
from typing import NamedTuple, cast

import anyio
import httpx2

from swarm.models.wire.apart import apart
from swarm.models.wire.http1 import AnswerParser, BadAnswerError
from swarm.models.wire.outgoing import Origin, connect_limit, head_of, is_near, origin_of

CONNECTS_AT_ONCE = 64
"""Connections that are being made at once: more would only wait in each other's way, on the clock."""

KEEP_S = 50.0
"""Seconds that an unused connection is kept: less than the minute after which most servers close theirs."""

RACE_S = (0.1, 1.0)
"""A kept connection that ends within about a round trip of a request, without an answer, was closed before it came; in
seconds at least and at most. One that ends later may have been at work on it: the request is not sent again here."""

_AHEAD = 1 << 20
"""Bytes of an answer that may wait to be read."""

_CLOSE_S = 2.0


class PoolStatistics(NamedTuple):
    """Connections with a call on them, and those that are kept for the next."""

    active: int
    idle: int


class _Connection(asyncio.Protocol):
    """One connection, for one exchange after the other."""

    __slots__ = (
        "_closed", "_fault", "_parser", "_paused", "_transport", "_waiter", "answered", "connect_s", "idle_since",
        "used",
    )  # fmt: skip

    def __init__(self, closed: Callable[[_Connection], None]) -> None:
        self._closed = closed
        self._parser = AnswerParser()
        self._waiter: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._fault: Exception | None = None
        self._paused = False
        self.idle_since = 0.0
        self.connect_s = 0.0
        """Seconds that it took to be made."""
        self.used = False
        """Whether an exchange was made on it before the present one."""
        self.answered = False
        """Whether any byte of the present answer has come."""

    @property
    def usable(self) -> bool:
        return self._fault is None and self._transport is not None and not self._transport.is_closing()

    @property
    def over(self) -> bool:
        """Whether the answer has come to its end, and all of it was taken."""
        return self._parser.done and not self._parser.unread

    @property
    def status(self) -> int:
        """Of the answer; 0 as long as its head has not come."""
        return self._parser.status

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return self._parser.headers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # other loops' transports are of no class of asyncio's

    def connection_lost(self, exc: Exception | None) -> None:
        if self._fault is None:
            if exc is not None:
                self._fault = httpx2.ReadError(str(exc) or type(exc).__name__)
            else:
                self._end()
        self._closed(self)
        self._wake()

    def eof_received(self) -> bool:
        self._end()
        self._wake()
        return False

    def data_received(self, data: bytes) -> None:
        if self._parser.done:
            self._fail(httpx2.RemoteProtocolError("an answer that was not asked for"))
        self.answered = True
        try:
            self._parser.feed(data)
        except BadAnswerError as error:
            self._fail(httpx2.RemoteProtocolError(str(error)))
        if self._parser.unread > _AHEAD and self._transport is not None and not self._paused:
            self._transport.pause_reading()
            self._paused = True
        self._wake()

    def send(self, data: Sequence[bytes], sent: Callable[[], None] | None) -> None:
        self._parser, self.answered = AnswerParser(), False
        assert self._transport is not None
        if sent is not None:
            sent()
        self._transport.write(b"".join(data))  # put together late: nobody keeps it while the answer is awaited

    def more(self) -> asyncio.Future[None]:
        """Done when more of the answer has come, or nothing more will. Raises: httpx2.TransportError, where that is
        known already."""
        if self._fault is not None:
            raise self._fault
        self._waiter = waiter = asyncio.get_running_loop().create_future()
        return waiter

    def take(self) -> bytes:
        """What has come of the body since the last time."""
        part = self._parser.take()
        if self._paused and self._transport is not None and self.usable:
            self._paused = False
            Context().run(self._transport.resume_reading)  # see `apart`
        return part

    def release(self) -> bool:
        """The exchange is over; gives whether the connection can be used again, and ends it otherwise."""
        self.used = True
        if self.usable and self._parser.done and self._parser.keep_alive and not self._parser.unread:
            return True
        self.abort()
        return False

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _end(self) -> None:
        try:
            self._parser.end()
        except BadAnswerError as error:
            self._fail(httpx2.RemoteProtocolError(str(error)))

    def _fail(self, fault: Exception) -> None:
        self._fault = self._fault or fault
        self.abort()


class Body(httpx2.AsyncByteStream):
    """The body of an answer, with its connection until it is closed."""

    def __init__(
        self, connection: _Connection, give_back: Callable[[Origin, _Connection], None], origin: Origin
    ) -> None:
        self._connection: _Connection | None = connection
        self._give_back = give_back
        self._origin = origin

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while (connection := self._connection) is not None and not connection.over:
            if part := connection.take():
                return part
            await connection.more()
        raise StopAsyncIteration

    def ended(self) -> bool:
        """Whether all of it has come and was taken."""
        return self._connection is None or self._connection.over

    def close(self) -> None:
        """Let the connection go; the next exchange takes it where this answer came to its end."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            self._give_back(self._origin, connection)

    async def aclose(self) -> None:
        self.close()


class DirectTransport(httpx2.AsyncBaseTransport):
    """Connections to the hosts of requests, kept for the next. Use as an async context manager.

    Of the time limits of a request it keeps the one for connecting; the others are the caller's. `reached` is told the
    seconds that each connection took to be made, without TLS to this machine or into a private network: what a server
    of models refuses there, it refuses at once. Behind somebody else's edge or gateway a refusal takes much longer than
    a connection, which tells nothing then.
    """

    def __init__(self, tls: ssl.SSLContext | None = None, reached: Callable[[float], None] | None = None) -> None:
        self._reached = reached
        self._tls = tls
        self._idle: dict[Origin, deque[_Connection]] = {}
        self._open: set[_Connection] = set()
        self._connects = anyio.CapacityLimiter(CONNECTS_AT_ONCE)
        self._no_way: dict[Origin, float] = {}
        """When no connection was made in time, where none has been since."""
        self._all_closed: anyio.Event | None = None

    def __repr__(self) -> str:
        s = self.statistics()
        return f"<DirectTransport {s.active} active, {s.idle} idle>"

    def statistics(self) -> PoolStatistics:
        idle = sum(connection.usable for kept in self._idle.values() for connection in kept)
        return PoolStatistics(sum(connection.usable for connection in self._open) - idle, idle)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """See `httpx2.AsyncBaseTransport`. Raises: httpx2.TransportError."""
        data = [head_of(request), b"\r\n", await request.aread()]
        return response_of(*await self.exchange(origin_of(request), data, connect_limit(request), None))

    async def exchange(
        self, origin: Origin, data: Sequence[bytes], limit: float | None, sent: Callable[[], None] | None
    ) -> tuple[int, list[tuple[bytes, bytes]], Body]:
        """Send a request, given in parts: status and headers of the answer, and its body, to be closed. A connection
        may take `limit` seconds; `sent` is called when the request is handed to one. Raises: httpx2.TransportError."""
        connection = self._kept(origin) or await self._connect(origin, limit)
        began = time.monotonic()
        while True:
            try:
                connection.send(data, sent)
                while not connection.status:
                    await connection.more()
                return connection.status, connection.headers, Body(connection, self._give_back, origin)
            except BaseException as error:
                connection.abort()
                race = min(max(RACE_S[0], 2 * connection.connect_s), RACE_S[1])
                raced = connection.used and not connection.answered and time.monotonic() - began <= race
                if not raced or not isinstance(error, httpx2.TransportError):
                    raise
            connection = await self._connect(origin, limit)

    async def aclose(self) -> None:
        self._idle.clear()
        if not self._open:
            return
        self._all_closed = anyio.Event()
        for connection in list(self._open):
            connection.abort()
        with anyio.move_on_after(_CLOSE_S, shield=True):
            await self._all_closed.wait()

    def _kept(self, origin: Origin) -> _Connection | None:
        """The connection that was given back last, and is still good."""
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if connection.usable and time.monotonic() - connection.idle_since < KEEP_S:
                return connection
            connection.abort()
        return None

    def _give_back(self, origin: Origin, connection: _Connection) -> None:
        if self._all_closed is not None:
            connection.abort()
        elif connection.release():
            connection.idle_since = time.monotonic()
            idle = self._idle.setdefault(origin, deque())
            idle.append(connection)
            for _ in range(2):  # what a burst left behind goes, a little each time
                if not idle[0].usable or connection.idle_since - idle[0].idle_since >= KEEP_S:
                    idle.popleft().abort()

    async def _connect(self, origin: Origin, limit: float | None) -> _Connection:
        """Raises: httpx2.ConnectTimeout, httpx2.ConnectError."""
        asked = time.monotonic()
        async with self._connects:
            began = time.monotonic()
            if self._no_way.get(origin, asked) > asked:  # others tried it meanwhile: else a crowd would do so in turn
                raise httpx2.ConnectTimeout(f"no connection within {limit:g} s")
            try:
                with anyio.fail_after(limit):
                    connection = await apart(self._open_connection(origin))
                connection.connect_s = time.monotonic() - began
                if self._reached is not None and origin[0] == "http" and is_near(connection._transport):
                    self._reached(connection.connect_s)
                self._no_way.pop(origin, None)
                return connection
            except TimeoutError as error:
                self._no_way[origin] = time.monotonic()
                raise httpx2.ConnectTimeout(f"no connection within {limit:g} s") from error
            except (OSError, UnicodeError) as error:
                raise httpx2.ConnectError(str(error)) from error

    async def _open_connection(self, origin: Origin) -> _Connection:
        scheme, host, port = origin
        loop = asyncio.get_running_loop()
        # No race between addresses: asyncio's loses a socket where it is cancelled at the wrong moment.
        transport, connection = await loop.create_connection(lambda: _Connection(self._gone), host, port)
        self._open.add(connection)
        _keep_alive(transport.get_extra_info("socket"))
        if scheme == "https":
            try:
                over = await loop.start_tls(transport, connection, self._tls_context(), server_hostname=host)
                assert over is not None
                connection.connection_made(over)
            except BaseException:
                transport.abort()  # asyncio would leave it open until the other side speaks
                self._gone(connection)
                raise
        return connection

    def _gone(self, connection: _Connection) -> None:
        self._open.discard(connection)
        if self._all_closed is not None and not self._open:
            self._all_closed.set()

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = httpx2.create_ssl_context()
        return self._tls


def response_of(status: int, headers: list[tuple[bytes, bytes]], body: Body) -> httpx2.Response:
    """An answer as the library has it."""
    response = httpx2.Response(status, headers=headers, stream=body, extensions={"http_version": b"HTTP/1.1"})
    response.headers.encoding = "iso-8859-1"  # which the library would look for in every header
    return response


def _keep_alive(sock: socket.socket) -> None:
    """Let the kernel find out when the other side is gone, as nobody else does while an answer is awaited."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
