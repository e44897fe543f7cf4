"""The Docker Engine: connecting to it, calling it off the event loop, and what its errors mean."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.to_thread
from anyio.abc import ByteStream

from swarm.errors import SandboxError
from swarm.shortage import is_shortage, remedy_for
from swarm.values import value

if TYPE_CHECKING:
    from docker import DockerClient

T = TypeVar("T")

SOCKET = "unix:///var/run/docker.sock"
_CALL_S = 60.0
"""Seconds that one call may take, unless the caller knows better."""

_IN_FLIGHT = 8
"""Containers that are made or removed at once: more does not go faster."""

_COMMANDS = 32

BUBBLEWRAP = "or choose --sandbox bubblewrap"
"""What else can be done where no image of its own is needed."""


@value(frozen=True, slots=True)
class Engine:
    """A connection to an engine. `address` as in DOCKER_HOST; `other` as in `connect`."""

    client: DockerClient
    address: str
    lifecycle: anyio.CapacityLimiter
    commands: anyio.CapacityLimiter
    other: str = ""

    async def call(self, work: Callable[[], T], *, command: bool = False, abandon: bool = False) -> T:
        """Do blocking work with the client in a thread. `abandon`: a cancelled caller need not wait for it.

        Raises:
            SandboxError: the engine refused or is gone.
        """
        import docker.errors
        import requests

        try:
            return await anyio.to_thread.run_sync(
                work, limiter=self.commands if command else self.lifecycle, abandon_on_cancel=abandon
            )
        except (docker.errors.DockerException, requests.RequestException) as error:
            raise engine_error(error, self.other) from error

    async def has_image(self, name: str) -> bool:
        """Whether the engine has an image of that name. Raises as `call`."""
        import docker.errors

        def look() -> bool:
            try:
                self.client.images.get(name)
            except docker.errors.ImageNotFound:
                return False
            return True

        return await self.call(look)


@asynccontextmanager
async def connect(*, timeout: float = _CALL_S, other: str = "") -> AsyncIterator[Engine]:
    """Connect to the engine that DOCKER_HOST names, else to this machine's own. `timeout`: seconds for one call;
    `other`: what the user can do in place of mending it, as the end of a remedy.

    Raises:
        SandboxError: none answers, or not to this user; the remedy says what to do.
    """
    address = os.environ.get("DOCKER_HOST") or SOCKET
    if not address.startswith(("unix://", "tcp://")) or os.environ.get("DOCKER_TLS_VERIFY"):
        raise SandboxError(
            f"the Docker Engine at {address} cannot be used: it must be reachable by a unix or plain tcp address",
            remedy="unset DOCKER_HOST and DOCKER_TLS_VERIFY to use this machine's own engine",
        )
    # Asked by ourselves first: quick, and the docker package leaks a socket where nobody answers.
    await anyio.aclose_forcefully(await dial(address, other))
    client = await anyio.to_thread.run_sync(_client, address, timeout, other, abandon_on_cancel=True)
    try:
        yield Engine(client, address, anyio.CapacityLimiter(_IN_FLIGHT), anyio.CapacityLimiter(_COMMANDS), other)
    finally:
        client.close()


def _client(address: str, timeout: float, other: str) -> DockerClient:
    import docker
    import docker.errors
    import requests

    try:
        # Asks the engine for its version, so that a wrong address is found out here.
        return docker.DockerClient(address, timeout=int(timeout), max_pool_size=_COMMANDS)
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise engine_error(error, other) from error


async def dial(address: str, other: str = "") -> ByteStream:
    """A bare connection to the engine. `other` as in `connect`.

    Raises:
        SandboxError: it is not running, or not for this user.
    """
    try:
        if address.startswith("unix://"):
            return await anyio.connect_unix(address.removeprefix("unix://"))
        host, _, port = address.removeprefix("tcp://").rstrip("/").rpartition(":")
        return await anyio.connect_tcp(host or "localhost", int(port))
    except PermissionError as error:
        raise SandboxError(
            f"this user may not use the Docker Engine at {address}",
            remedy=_either("join its group with `sudo usermod -aG docker $USER` and log in again", other),
        ) from error
    except (OSError, ValueError) as error:
        if is_shortage(error):
            raise SandboxError(
                f"the Docker Engine at {address} cannot be reached: {error}", remedy=remedy_for(error)
            ) from error
        raise SandboxError(
            f"the Docker Engine is not running at {address}",
            remedy=_either("start it with `sudo systemctl start docker`", other),
        ) from error


def engine_error(error: Exception, other: str = "") -> SandboxError:
    """What an error of the docker package means to the user: the one place where they are mapped."""
    text = str(getattr(error, "explanation", None) or error).strip()
    return SandboxError(f"the Docker Engine says: {text}", remedy=_either("look at its log", other))


def _either(remedy: str, other: str) -> str:
    return f"{remedy}, {other}" if other else remedy
