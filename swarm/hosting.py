"""What some sandboxes can do beside running commands to their end: host a program that is talked to, and a server of
ours that is found at their loopback."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from anyio.streams.memory import MemoryObjectReceiveStream

from swarm.types import ExecResult
from swarm.values import value


@value(frozen=True, slots=True)
class Talk:
    """How a running command is talked to. `out` and `err` are given what it writes, piece by piece, as it comes; they
    must not block. `words` go to its standard input: all at once, or piece by piece, and it ends when they do."""

    out: Callable[[bytes], None]
    err: Callable[[bytes], None]
    words: MemoryObjectReceiveStream[bytes] | bytes = b""


@runtime_checkable
class Hosting(Protocol):
    """A sandbox that can host somebody else's agent."""

    async def converse(self, command: str, talk: Talk, *, cwd: str | None = None) -> ExecResult:
        """Run a command as `Sandbox.exec` does, to its end, however long that takes; of what it writes the result holds
        the beginning and the end. When cancelled, all of the command is killed.

        Raises:
            SandboxError: the sandbox itself is gone.
        """
        ...

    async def listen(self) -> socket.socket:
        """A listening socket, whose address is found inside as it tells it. The caller closes it.

        Raises:
            SandboxError: none can be made there.
        """
        ...
