"""Tools of MCP servers. They run where the servers run, not in a sandbox: whoever names a server trusts it.

Each server is one task: whatever breaks in its connection ends that task alone, and its tools then say that it is gone.
The package `mcp` is an extra, imported when a server is asked for.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskStatus

from swarm.errors import MachineError, UsageError
from swarm.models.wire.bounded import bound
from swarm.protocols import Sandbox, Tool
from swarm.stopping import companions
from swarm.tools.mcp_config import McpServer
from swarm.tools.mcp_stdio import Complaints, stdio_transport
from swarm.tools.output import clip, failed, printable
from swarm.types import JsonObject, ToolErrorKind, ToolResult, ToolStatus

if TYPE_CHECKING:
    import mcp
    import mcp.types

START_SECONDS = 30.0
CALL_SECONDS = 300.0
_MOST_TOOLS = 256
_NAME = 64
_LONGEST = 8_000
"""Characters of a tool's description that models are told."""

_LONGEST_SCHEMA = 32_000
"""Characters of its parameters, likewise."""

_ODD = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(slots=True)
class _Connection:
    """One server. `client` is None where it did not start, or is gone."""

    name: str
    server: McpServer
    notify: Callable[[str], None]
    client: mcp.Client | None = None
    tools: list[McpTool] = field(default_factory=list)

    def lost(self) -> None:
        """It is gone: told once."""
        if self.client is not None:
            self.client = None
            self.notify(f"the MCP server {self.name} is gone; its tools answer no more")


@dataclass(frozen=True, slots=True)
class McpTool:
    """A tool of a server, under the name `server__tool`."""

    name: str
    description: str
    parameters: JsonObject
    remote: str
    connection: _Connection

    async def call(self, arguments: JsonObject, sandbox: Sandbox) -> ToolResult:
        """The sandbox has no part in it."""
        from mcp import MCPError
        from mcp.types import CONNECTION_CLOSED, CallToolRequest, CallToolRequestParams, CallToolResult
        from pydantic import ValidationError

        # Not `client.call_tool`: that matches the answer with patterns of the server's choice, in this process.
        asked = CallToolRequest(params=CallToolRequestParams(name=self.remote, arguments=arguments))

        server, client = self.connection.name, self.connection.client
        if client is None:
            return failed(ToolErrorKind.UNAVAILABLE, f"the MCP server {server} is gone. Go on without its tools.")
        try:
            with anyio.fail_after(CALL_SECONDS):
                result = await client.session.send_request(asked, CallToolResult)
        except TimeoutError:
            return failed(ToolErrorKind.TIMED_OUT, f"the MCP server {server} gave no answer in {CALL_SECONDS:g} s.")
        except (anyio.ClosedResourceError, anyio.BrokenResourceError, RuntimeError):  # closed under the call
            self.connection.lost()
            return failed(ToolErrorKind.UNAVAILABLE, f"the MCP server {server} is gone. Go on without its tools.")
        except ValidationError:
            return failed(ToolErrorKind.RAISED, f"the MCP server {server} gave an answer that is none.")
        except MCPError as error:
            if error.error.code == CONNECTION_CLOSED:
                self.connection.lost()
                return failed(ToolErrorKind.UNAVAILABLE, f"the MCP server {server} is gone. Go on without its tools.")
            return failed(ToolErrorKind.RAISED, f"the MCP server {server}: {clip(error.error.message, 2000)}")
        text = _text(result)
        if result.is_error:
            return ToolResult(f"Error: {text}", status=ToolStatus.FAILED, error=ToolErrorKind.RAISED)
        return ToolResult(text)


@asynccontextmanager
async def open_servers(servers: Mapping[str, McpServer], notify: Callable[[str], None]) -> AsyncIterator[list[Tool]]:
    """Start or reach all servers at once, and give their tools; at the end of the block all are ended.

    `notify` is told of a server that broke meanwhile.

    Raises on entering:
        UsageError: the package `mcp` is not installed, or a server's program does not exist.
        MachineError: a server did not start, or did not answer in time.
    """
    try:
        import mcp  # noqa: F401 - whether it is there
    except ImportError:
        raise UsageError("MCP servers need the package mcp", remedy="pip install 'swarm[mcp]'") from None
    connections = [_Connection(name, server, notify) for name, server in servers.items()]
    with _quiet():
        async with companions() as group:
            try:
                async with anyio.create_task_group() as starting:
                    for connection in connections:
                        starting.start_soon(group.start, _serve, connection)
            except ExceptionGroup as failures:  # not `except*`: what that raises may come in a group again
                raise _first(failures) from None
            yield _named(connections)


async def _serve(connection: _Connection, *, task_status: TaskStatus[None]) -> None:
    """Hold the connection until it is cancelled or breaks. Before it is up a failure is raised, later it is noted."""
    complaints, started = Complaints(), False
    try:
        with anyio.CancelScope() as scope:
            scope.deadline = anyio.current_time() + START_SECONDS
            async with _client(connection.server, complaints) as client:
                connection.tools = await _tools(connection, client)
                connection.client = client
                scope.deadline = float("inf")
                started = True
                task_status.started()
                await anyio.sleep_forever()
        if not started:
            raise TimeoutError(f"no answer in {START_SECONDS:g} s")
    except Exception as error:  # noqa: BLE001 - a transport may raise anything, mostly in groups
        cause = _first(error)
        if not started:
            raise _start_failure(connection, cause, complaints) from None
        connection.lost()
    finally:
        connection.client = None


@asynccontextmanager
async def _client(server: McpServer, complaints: Complaints) -> AsyncIterator[mcp.Client]:
    import httpx2
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    if server.command:
        async with Client(stdio_transport(server, complaints)) as client:
            yield client
        return
    patience = httpx2.Timeout(START_SECONDS, read=CALL_SECONDS)
    async with (
        httpx2.AsyncClient(headers=server.headers, timeout=patience, event_hooks={"response": [bound]}) as http,
        Client(streamable_http_client(server.url, http_client=http)) as client,
    ):
        yield client


async def _tools(connection: _Connection, client: mcp.Client) -> list[McpTool]:
    found: list[McpTool] = []
    cursor: str | None = None
    while len(found) < _MOST_TOOLS:
        page = await client.list_tools(cursor=cursor)
        for each in page.tools:
            if connection.server.allows(each.name):
                found.append(
                    McpTool(
                        name=_name(connection.name, each.name),
                        description=clip(printable(each.description or each.title or each.name), _LONGEST),
                        parameters=_parameters(connection, each),
                        remote=each.name,
                        connection=connection,
                    )
                )
        cursor = page.next_cursor
        if not cursor:
            break
    return found


def _parameters(connection: _Connection, tool: mcp.types.Tool) -> JsonObject:
    """What models are told of its arguments. One that is too long for every prompt, or cannot be written, is not told:
    they can try what the description says."""
    parameters = {"type": "object", "properties": {}, **tool.input_schema}
    try:
        if len(json.dumps(parameters)) <= _LONGEST_SCHEMA:
            return parameters
    except (ValueError, RecursionError):
        pass
    name = clip(printable(tool.name), 64)
    connection.notify(f"the MCP server {connection.name} tells too much of the parameters of {name}: left out")
    return {"type": "object"}


def _name(server: str, tool: str) -> str:
    """`server__tool` in the letters and the length that endpoints take; where that changes it, with a mark."""
    plain = f"{server}__{_ODD.sub('_', tool)}"
    if plain == f"{server}__{tool}" and len(plain) <= _NAME:
        return plain
    return f"{plain[: _NAME - 9]}_{hashlib.sha256(tool.encode()).hexdigest()[:8]}"


def _named(connections: Sequence[_Connection]) -> list[Tool]:
    return [tool for connection in connections for tool in connection.tools]


def _text(result: mcp.types.CallToolResult) -> str:
    """What a model can read of a result; pictures and sound are named only."""
    from mcp.types import EmbeddedResource, ResourceLink, TextContent, TextResourceContents
    from pydantic_core import to_json

    parts = []
    for block in result.content:
        if isinstance(block, TextContent):
            parts.append(block.text)
        elif isinstance(block, EmbeddedResource) and isinstance(block.resource, TextResourceContents):
            parts.append(block.resource.text)
        elif isinstance(block, ResourceLink):
            parts.append(f"[{block.name}: {block.uri}]")
        else:
            parts.append(f"[{block.type}: not shown]")
    if not parts and result.structured_content is not None:
        parts.append(to_json(result.structured_content).decode())
    return printable("\n".join(parts)) or "[no output]"


def _start_failure(connection: _Connection, cause: Exception, complaints: Complaints) -> Exception:
    name, server = connection.name, connection.server
    if server.command and isinstance(cause, FileNotFoundError | PermissionError):
        return UsageError(
            f"MCP server {name}: {server.command!r} cannot be run", remedy="mend `command`, or install it"
        )
    told = clip(str(cause), 200) or type(cause).__name__
    if last := complaints.last():
        told += f" ({clip(printable(last), 200)})"
    for secret in server.secrets():
        told = told.replace(secret, "***")
    where = "run its command by hand" if server.command else "see that its address answers"
    return MachineError(f"MCP server {name} did not start: {told}", remedy=f"{where}, or leave it out of the file")


def _first(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without a handler of its own, the package's logger would write tracebacks over the screen."""
    handler, logger = logging.NullHandler(), logging.getLogger("mcp")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
