"""The one door of a sandbox with a network: a socket inside it, behind which our proxy stands outside.

Nothing else leads out: the sandbox has no device but the loopback, as one without a network has.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio.abc import SocketListener

from swarm.errors import SandboxError
from swarm.sandboxes.network import enter
from swarm.sandboxes.network.allowed import LOOPBACK, AllowList
from swarm.sandboxes.network.proxy import Proxy
from swarm.stopping import companions

PORT = 3128
"""Where the proxy is found inside, at 127.0.0.1."""

HOSTED = 3129
"""Where a server of ours is found inside."""

_ENTERS_S = 30.0


def proxy_environment(network: Sequence[str]) -> dict[str, str]:
    """The variables by which programs inside find the proxy; none where there is no network.

    What is called `localhost` is the sandbox itself, and asked directly, unless the list of hosts names it.

    Raises:
        UsageError: an entry is no host.
    """
    if not network:
        return {}
    url = f"http://127.0.0.1:{PORT}"
    allowed = AllowList(network)
    direct = ",".join(str(host) for host in ("localhost", *LOOPBACK) if not allowed.mentions(host))
    both = {"http_proxy": url, "https_proxy": url, "no_proxy": direct}
    return both | {name.upper(): value for name, value in both.items()}


@asynccontextmanager
async def open_gateway(
    network: Sequence[str], pid: int, mark: str, *, refused: Callable[[str], None] | None = None
) -> AsyncIterator[None]:
    """Let a sandbox reach these hosts for the length of the block; do nothing where there are none.

    `pid`: the sandbox's first process, as this machine counts; `mark`: a word of its command line.

    Raises:
        UsageError: an entry is no host.
        SandboxError: the sandbox cannot be entered.
    """
    if not network:
        yield
        return
    proxy = Proxy(AllowList(network), refused=refused)
    own = await SocketListener.from_socket(await listen_inside(pid, mark))
    async with own as listener, companions() as group:
        group.start_soon(proxy.serve, listener)
        yield


async def listen_inside(pid: int, mark: str, port: int = PORT) -> socket.socket:
    """A socket that listens at a sandbox's loopback, and is served here. The caller closes it.

    Raises:
        SandboxError: the sandbox cannot be entered.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-I", "-S", str(Path(enter.__file__)), str(pid), mark, str(port)]
        with anyio.move_on_after(_ENTERS_S):
            try:
                done = await anyio.run_process(command, stdin=theirs.fileno(), env={}, check=False)
            except OSError as error:
                raise _closed(f"{sys.executable}: {error.strerror}") from error
            if done.returncode != 0:
                raise _closed(done.stderr.decode(errors="replace").strip().rpartition("\n")[2])
            ours.setblocking(False)
            _, handles, _, _ = socket.recv_fds(ours, 1, 1)
            return socket.socket(fileno=handles[0])
    raise _closed(f"no answer in {_ENTERS_S:.0f} s")


def _closed(reason: str) -> SandboxError:
    return SandboxError(
        f"the sandbox cannot be given a network: {reason}",
        remedy="with docker that takes root and an engine on this machine: choose --sandbox bubblewrap",
    )
