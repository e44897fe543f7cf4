"""The embedded endpoint as a running server: bound, announced, and gone when its block ends."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import anyio
import anyio.abc
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from swarm.embedded.app import build_app
from swarm.embedded.faults import Faults
from swarm.embedded.guard import Guard
from swarm.embedded.policy import Policy
from swarm.errors import UsageError

BACKLOG = 4096
"""Connections that wait to be accepted: a whole swarm may knock at once (the kernel caps it at somaxconn)."""

KEEP_ALIVE_S = 120
"""Longer than any client keeps an idle connection, so that it is never closed under a request being sent."""

STOP_S = 5.0
"""The longest that stopping may take."""


async def serve(
    app: ASGIApp,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    task_status: anyio.abc.TaskStatus[str] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `app` until cancelled; reports `http://HOST:PORT/v1` once connections are accepted.

    Port 0 takes any free one. Cancellation cuts open answers and leaves neither task nor socket.

    Raises:
        UsageError: the address cannot be listened on.
    """
    with await _bind(host, port) as listener:
        await serve_on(app, listener, _base_url(host, listener), task_status=task_status)


async def serve_on(
    app: ASGIApp,
    listener: socket.socket,
    base_url: str,
    *,
    task_status: anyio.abc.TaskStatus[str] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """As `serve`, at a socket that listens already and stays the caller's to close; reports `base_url`."""
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    server = _Server(config)
    async with anyio.create_task_group() as group:
        group.start_soon(server.run_on, listener)
        try:
            await server.ready.wait()
            task_status.started(base_url)
            await anyio.sleep_forever()
        finally:
            server.stop()


@asynccontextmanager
async def running_endpoint(
    policies: Mapping[str, Policy],
    *,
    faults: Faults | None = None,
    api_key: str | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
) -> AsyncIterator[str]:
    """The endpoint in this process, for the length of the block; gives its base URL, `http://HOST:PORT/v1`. With
    `api_key`, all but /health wants it as bearer token.

    Raises:
        UsageError: the address cannot be listened on.
    """
    async with running_app(build_app(policies, faults), host, port, api_key) as base_url:
        yield base_url


@asynccontextmanager
async def running_app(
    app: ASGIApp, host: str = "127.0.0.1", port: int = 0, api_key: str | None = None
) -> AsyncIterator[str]:
    """An application that is served for the length of the block, behind a `Guard`; else as `running_endpoint`."""
    with _ungrouped():
        async with anyio.create_task_group() as group:
            guard = await anyio.to_thread.run_sync(Guard, app, host, api_key)  # which may ask for the host's addresses
            yield await group.start(partial(serve, guard, host, port))
            group.cancel_scope.cancel()


@contextmanager
def _ungrouped() -> Iterator[None]:
    """Let a lone error of a task group through as itself: the block's caller knows of no group."""
    try:
        yield
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        error = group.exceptions[0]
        raise error from error.__cause__


async def _bind(host: str, port: int) -> socket.socket:
    try:
        if not 0 <= port < 1 << 16:
            raise OverflowError("no such port")  # the resolver would take it modulo 65536
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setblocking(False)
            listener.bind(address)
            listener.listen(BACKLOG)  # here, so that a port in use is found here
        except BaseException:
            listener.close()
            raise
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"cannot listen on {host}:{port}: {reason}", remedy="choose another --port, or 0 for any free one"
        ) from None
    return listener


def _base_url(host: str, listener: socket.socket) -> str:
    port = listener.getsockname()[1]
    return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"


class _Protocol(H11Protocol):
    """uvicorn's HTTP/1.1, with the connection in the request's state so that a fault can cut it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as its parent does
        self.app_state = {**self.app_state, "transport": transport}
        super().connection_made(transport)


class _Server(uvicorn.Server):
    """uvicorn inside our task group: no signals, ready and stopped without polling, nothing left behind."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = anyio.Event()
        self._stopping = anyio.Event()
        self._scope = anyio.CancelScope(shield=True)

    async def run_on(self, listener: socket.socket) -> None:
        """Serve until `stop`, whatever is cancelled around it: stopping is work, too."""
        with self._scope:
            await self.serve(sockets=[listener])

    def stop(self) -> None:
        self._scope.deadline = anyio.current_time() + STOP_S
        self.should_exit = True
        self._stopping.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to whoever runs the event loop."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def main_loop(self) -> None:
        while not await self.on_tick(0):  # keeps the Date header right
            with anyio.move_on_after(1.0):
                await self._stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Cut every connection; the application ends each request as if its client had left."""
        for server in self.servers:
            server.close()
        while self.server_state.connections or self.server_state.tasks:
            for connection in list(self.server_state.connections):
                connection.transport.abort()
            await anyio.sleep(0.001)
        for server in self.servers:
            await server.wait_closed()
