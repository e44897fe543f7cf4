"""The proxy of one sandbox: HTTP requests and CONNECT, to the hosts of its allow-list and to nothing else.

It resolves names itself, and connects to the very address that it has judged. Each connection carries one request.
What passes through a tunnel it does not see: whoever may reach one host of a content network may, by naming another one
inside TLS, reach what else is served from the same addresses.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, ByteStream, SocketListener, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from swarm.sandboxes.network.allowed import LOOPBACK, Address, AllowList, Host, entry_for, joined, simple
from swarm.sandboxes.network.body import PIECE, carry
from swarm.sandboxes.network.request import LONGEST, BadRequest, ProxyRequest, read_head

CONNECTIONS = 32
"""Connections of one sandbox at once; more of them wait. Each takes two of this process's file descriptors."""

HEAD_S = 30.0
"""Seconds in which a request's head is there."""

IDLE_S = 300.0
"""Seconds after which a connection on which nothing moves is closed."""

_RESOLVE_S = 15.0
_CONNECT_S = 15.0
_TRIED = 4
_TOLD = 1000
_DRAIN_S = 2.0
_DRAINED = 1 << 20
_PAUSE_S = 0.1

_GONE = (
    OSError,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
    anyio.IncompleteRead,
    anyio.DelimiterNotFound,
)
"""What a connection raises whose other end is gone, or says nothing that can be read."""

Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]


async def resolve(name: str, port: int) -> Sequence[Address]:
    """The addresses of a name, as this machine knows it.

    Raises:
        OSError: it has none.
    """
    found = await anyio.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(simple(ipaddress.ip_address(address[0])) for *_, address in found))


class _Refused(Exception):
    """A request that is answered by us: with a status, and a line that says why."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status


class _Deaf(Exception):
    """The server takes no more."""


class Proxy:
    """Serves what comes out of one sandbox. `refused` is told of each host that was not allowed, once."""

    def __init__(
        self, allowed: AllowList, *, refused: Callable[[str], None] | None = None, resolve: Resolve = resolve
    ) -> None:
        self._allowed = allowed
        self._refused = refused
        self._resolve = resolve
        self._told: set[str] = set()
        self._slots = anyio.Semaphore(CONNECTIONS)

    def __repr__(self) -> str:
        return f"Proxy({CONNECTIONS - self._slots.value} open, {len(self._told)} hosts refused, {self._allowed!r})"

    async def serve(self, listener: SocketListener) -> None:
        """Answer connections until cancelled; then all of them are closed."""
        async with anyio.create_task_group() as group:
            while True:
                await self._slots.acquire()
                try:
                    stream = await listener.accept()
                except OSError:  # it is gone already, or this process has no file descriptor left
                    self._slots.release()
                    await anyio.sleep(_PAUSE_S)
                    continue
                group.start_soon(self._answer, stream)

    async def _answer(self, stream: SocketStream) -> None:
        try:
            async with stream:
                await self._one(stream)
        except _GONE:
            return
        finally:
            self._slots.release()

    async def _one(self, client: SocketStream) -> None:
        source = BufferedByteReceiveStream(client)
        try:
            request = await _request(source)
            server = await self._connect(request.host, request.port)
        except _Refused as answer:
            await _tell(client, answer.status, str(answer))
            return
        async with server:
            if request.tunnel:
                await client.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
                if source.buffer:
                    await server.send(source.buffer)
                await _join(client, server)
            else:
                await server.send(request.head())
                await _exchange(client, source, server, request.length)

    async def _connect(self, host: Host, port: int) -> SocketStream:
        for address in await self._addresses(host, port):
            with anyio.move_on_after(_CONNECT_S):
                try:
                    return await anyio.connect_tcp(str(address), port)
                except OSError:
                    continue
        raise _Refused(502, f"{joined(host, port)} cannot be reached")

    async def _addresses(self, host: Host, port: int) -> Sequence[Address]:
        """Where to connect: addresses that were judged, and are not looked up again."""
        if not self._allowed.permits(host, port):
            raise self._denied(
                host, port, f"{joined(host, port)} is not among the hosts that this sandbox may reach", host
            )
        if not isinstance(host, str):
            return (host,)
        if host == "localhost":
            return LOOPBACK
        try:
            with anyio.fail_after(_RESOLVE_S):
                found = await self._resolve(host, port)
        except (OSError, UnicodeError):  # TimeoutError is one of them
            raise _Refused(502, f"the host {host} is not known") from None
        usable = self._allowed.reachable(found, port)
        if found and not usable:
            reason = f"{host} is at {found[0]}, which is not a public address"
            raise self._denied(host, port, reason, found[0])
        return usable[:_TRIED]

    def _denied(self, host: Host, port: int, reason: str, missing: Host) -> _Refused:
        entry = entry_for(missing, port)
        if self._refused is not None and str(host) not in self._told and len(self._told) < _TOLD:
            self._told.add(str(host))
            self._refused(f"{reason}; `--network {entry}` would allow it")
        return _Refused(403, f"{reason}; go on without it, or have the user add `--network {entry}`")


async def _request(source: BufferedByteReceiveStream) -> ProxyRequest:
    try:
        with anyio.fail_after(HEAD_S):
            return read_head(await source.receive_until(b"\r\n\r\n", LONGEST))
    except BadRequest as error:
        raise _Refused(400, str(error)) from None
    except anyio.DelimiterNotFound:
        raise _Refused(431, f"the request's head is longer than {LONGEST} bytes") from None
    except TimeoutError:
        raise _Refused(408, f"the request's head did not come in {HEAD_S:.0f} s") from None


async def _tell(client: SocketStream, status: int, line: str) -> None:
    """Answer by ourselves. The line stands in the head too, as of a refused CONNECT most clients show nothing else."""
    text = f"{line}\n".encode()
    head = f"HTTP/1.1 {status} {line}\r\nContent-Type: text/plain\r\nContent-Length: {len(text)}\r\nConnection: close"
    await client.send(f"{head}\r\n\r\n".encode() + text)
    await client.send_eof()
    with anyio.move_on_after(_DRAIN_S):  # closed with something unread, the answer would be lost
        left = _DRAINED
        while left > 0:
            left -= len(await client.receive(PIECE))


async def _exchange(
    client: SocketStream, source: BufferedByteReceiveStream, server: SocketStream, length: int | None
) -> None:
    """The body to the server, and its answer back until it ends; what the client sends after the body goes nowhere."""
    async with anyio.create_task_group() as group:
        scope = group.cancel_scope

        async def send(piece: bytes) -> None:
            scope.deadline = anyio.current_time() + IDLE_S
            try:
                await server.send(piece)
            except _GONE:
                raise _Deaf from None

        async def upload() -> None:
            try:
                await carry(source, length, send)
            except _Deaf:  # it may have answered already
                return
            except (BadRequest, *_GONE):  # half a body: the server must not act on it
                scope.cancel()

        group.start_soon(upload)
        await _copy(server, client, scope)
        scope.cancel()


async def _join(client: ByteStream, server: ByteStream) -> None:
    """Carry bytes both ways until both ends have ended, one is gone, or nothing moves any more."""
    async with anyio.create_task_group() as group:
        scope = group.cancel_scope

        async def one_way(source: ByteStream, target: ByteStream) -> None:
            if not await _copy(source, target, scope):
                scope.cancel()
                return
            try:
                await target.send_eof()
            except _GONE:
                scope.cancel()

        group.start_soon(one_way, client, server)
        await one_way(server, client)


async def _copy(source: ByteReceiveStream, target: ByteSendStream, scope: anyio.CancelScope) -> bool:
    """Carry bytes to the end of `source`; False where an end is gone. Each moves the deadline of `scope`."""
    try:
        while True:
            scope.deadline = anyio.current_time() + IDLE_S
            try:
                piece = await source.receive(PIECE)
            except anyio.EndOfStream:
                return True
            scope.deadline = anyio.current_time() + IDLE_S
            await target.send(piece)
    except _GONE:
        return False
