"""An MCP server as a program of this machine, over its standard streams: what it says is bounded, and it is ended.

The package's own transport takes a line however long it is, and its complaints fill a file for as long as it lives.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, ObjectReceiveStream, ObjectSendStream, Process

from swarm.tools.mcp_config import McpServer

if TYPE_CHECKING:
    from mcp.shared.message import SessionMessage

MAX_MESSAGE = 16 << 20
"""Bytes of one message of a server."""

_KEPT = 64 << 10
"""Bytes of its complaints that are kept: the last ones."""

_ENDS_S = 2.0
"""Seconds in which it ends by itself when its input does, and again when it is asked to."""

_REST_S = 0.2
"""Seconds in which what it started ends when it is asked to, where the server itself has."""

_GONE = (anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream, OSError)


class Complaints:
    """The end of what a server wrote to its standard error."""

    def __init__(self) -> None:
        self._data = bytearray()

    def __repr__(self) -> str:
        return f"<Complaints: {len(self._data)} bytes>"

    def add(self, data: bytes) -> None:
        self._data += data
        del self._data[:-_KEPT]

    def last(self) -> str:
        """The last line that says something."""
        lines = self._data.decode(errors="replace").splitlines()
        return next((line for line in reversed(lines) if line.strip()), "")


@asynccontextmanager
async def stdio_transport(
    server: McpServer, complaints: Complaints
) -> AsyncIterator[tuple[ObjectReceiveStream[SessionMessage | Exception], ObjectSendStream[SessionMessage]]]:
    """What an `mcp.Client` is given to talk to the program of a server, which is ended with the block.

    Raises:
        OSError: it cannot be started.
    """
    from mcp.client.stdio import get_default_environment

    process = await anyio.open_process(
        [server.command, *server.args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**get_default_environment(), **server.env},
        cwd=server.cwd,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    to_client, incoming = anyio.create_memory_object_stream["SessionMessage | Exception"](0)
    outgoing, from_client = anyio.create_memory_object_stream["SessionMessage"](0)
    heard, listening = anyio.Event(), anyio.CancelScope(shield=True)  # what it complained of is heard to its end
    async with anyio.create_task_group() as group:
        group.start_soon(_read, process.stdout, to_client)
        group.start_soon(_write, process.stdin, from_client, to_client)
        group.start_soon(_listen, process.stderr, complaints, heard, listening)
        try:
            yield incoming, outgoing
        finally:
            with anyio.CancelScope(shield=True):  # bounded in time
                await _end(process)
                with anyio.move_on_after(_ENDS_S):
                    await heard.wait()
                listening.cancel()
                with suppress(*_GONE), anyio.move_on_after(_ENDS_S):
                    await process.aclose()
                for stream in (incoming, outgoing, to_client, from_client):
                    await stream.aclose()
            group.cancel_scope.cancel()


async def _read(stream: ByteReceiveStream, to_client: ObjectSendStream[SessionMessage | Exception]) -> None:
    """Hand on its messages, a line each. It ends with the stream, or with a line that does not: then it is gone."""
    async with to_client:
        rest = bytearray()
        with suppress(*_GONE):
            while len(rest) <= MAX_MESSAGE:
                seen = len(rest)
                rest += await stream.receive()
                if rest.find(b"\n", seen) < 0:
                    continue
                *lines, rest = rest.split(b"\n")
                for line in lines:
                    await to_client.send(_parsed(bytes(line)))


def _parsed(line: bytes) -> SessionMessage | Exception:
    """A message, or what is wrong with the line."""
    from mcp.shared.message import SessionMessage
    from mcp.types import jsonrpc_message_adapter

    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except (ValueError, RecursionError) as error:
        return error


async def _write(
    stream: ByteSendStream,
    from_client: ObjectReceiveStream[SessionMessage],
    to_client: ObjectSendStream[SessionMessage | Exception],
) -> None:
    with suppress(*_GONE):
        async for message in from_client:
            text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
            await stream.send(text.encode() + b"\n")
    await to_client.aclose()  # nobody waits for what it was not asked


async def _listen(
    stream: ByteReceiveStream, complaints: Complaints, heard: anyio.Event, listening: anyio.CancelScope
) -> None:
    with listening, suppress(*_GONE):
        while True:
            complaints.add(await stream.receive())
    heard.set()


async def _end(process: Process) -> None:
    """Close its input; then end it and all that it started, first politely."""
    assert process.stdin is not None
    with suppress(*_GONE), anyio.move_on_after(_ENDS_S):
        await process.stdin.aclose()
    await _ended(process)
    if not _signal(process, signal.SIGTERM):  # sent also where it has ended: what it started may go on
        return
    await _ended(process)
    with anyio.move_on_after(_REST_S):
        while _signal(process, 0):  # noqa: ASYNC110  nobody tells when they have
            await anyio.sleep(0.01)
    _signal(process, signal.SIGKILL)
    await _ended(process)


async def _ended(process: Process) -> None:
    """Wait until it has, for a while."""
    with anyio.move_on_after(_ENDS_S):
        while process.returncode is None:  # noqa: ASYNC110  `wait` waits for its children's streams, too
            await anyio.sleep(0.01)


def _signal(process: Process, number: int) -> bool:
    """Send a signal to it and all that it started; gives whether there is anyone who can be sent one."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
