"""A real MCP server for the tests: `mcp_server.py stdio`, or `mcp_server.py http PORT`."""

from __future__ import annotations

import os
import sys

from mcp.server.mcpserver import MCPServer

server = MCPServer("calculator")


@server.tool()
def add(a: int, b: int) -> str:
    """Add two numbers."""
    return f"{a} + {b} = {a + b}"


@server.tool()
def environment(variable: str) -> str:
    """A variable of the server's environment."""
    return os.environ.get(variable, "not set")


@server.tool()
def fail() -> str:
    """Fails."""
    raise ValueError("no such luck")


@server.tool()
def die() -> str:
    """End the server in the middle of the call."""
    os._exit(3)


@server.tool(name="odd.name/" + "x" * 70)
def odd() -> str:
    """A tool with a long and odd name."""
    return "odd"


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        server.run("stdio")
    elif sys.argv[1] == "http":
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
    else:
        sys.stderr.write("token hunter2-secret is wrong\n")
        sys.exit(4)
