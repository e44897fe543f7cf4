"""From a backend's name to the backend: what can be used here, and what `auto` means."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel

from swarm.config import HOST_IMAGE
from swarm.errors import SandboxError, UsageError
from swarm.protocols import SandboxBackend
from swarm.sandboxes.docker.engine import BUBBLEWRAP, connect
from swarm.sandboxes.network.allowed import AllowList
from swarm.sandboxes.opening import prove_opening
from swarm.shortage import remedy_told
from swarm.stopping import Companion, companions

NAMES = ("docker", "bubblewrap", "process")

_ENGINE_ANSWERS_S = 2.0
_CHECK_S = 120.0
_INSTALL = (
    "run `sudo apt-get install bubblewrap`, start Docker with `sudo systemctl start docker`, "
    "or choose --sandbox process, which isolates nothing"
)


@asynccontextmanager
async def open_backend(
    name: str,
    lease: Path,
    *,
    image: str = HOST_IMAGE,
    network: Sequence[str] = (),
    beside: Companion = anyio.lowlevel.checkpoint,
) -> AsyncIterator[SandboxBackend]:
    """The backend of that name, proved to work here. `lease` and `network` as in `SandboxRequest`. `beside`: what is
    done while it is proved, and no longer.

    `auto` is docker where an engine answers within two seconds and a container can be opened, else bubblewrap; never
    `process`, which must be asked for. An image other than `host` can be had from docker alone.

    Raises:
        SandboxError: it cannot be used on this machine; the remedy says what to do.
        UsageError: there is no such backend, or it knows no images, or not this network.
    """
    if name not in (*NAMES, "auto"):
        raise UsageError(f"there is no sandbox {name!r}", remedy=f"choose one of {', '.join(NAMES)}")
    if name in ("bubblewrap", "process") and image != HOST_IMAGE:
        raise UsageError(f"sandbox `{name}` has no images", remedy="leave out --image, or choose --sandbox docker")
    AllowList(network)  # what is wrong with it is told before anything is opened
    async with AsyncExitStack() as stack:
        if name == "auto":
            yield await _first_that_works(stack, lease, image, network, beside)
        else:
            yield await _open(stack, name, lease, image, network, beside)


async def _open(
    stack: AsyncExitStack, name: str, lease: Path, image: str, network: Sequence[str], beside: Companion
) -> SandboxBackend:
    backend = await _make(stack, name, image)
    with anyio.move_on_after(_CHECK_S) as limit:
        async with companions() as others:
            others.start_soon(beside)
            await backend.check(lease)
        if network:
            await prove_opening(backend, lease, network)
    if limit.cancelled_caught:
        raise SandboxError(f"sandbox `{name}` could not be opened within {_CHECK_S:.0f} s")
    return backend


async def _make(stack: AsyncExitStack, name: str, image: str) -> SandboxBackend:
    if name == "docker":
        from swarm.sandboxes.docker.backend import DockerBackend

        other = BUBBLEWRAP if image == HOST_IMAGE else ""
        return DockerBackend(await stack.enter_async_context(connect(other=other)), image)
    if name == "bubblewrap":
        from swarm.sandboxes.bubblewrap.backend import BubblewrapBackend

        return BubblewrapBackend()
    from swarm.sandboxes.process import ProcessBackend

    return ProcessBackend()


async def _first_that_works(
    stack: AsyncExitStack, lease: Path, image: str, network: Sequence[str], beside: Companion
) -> SandboxBackend:
    found: list[str] = []
    for name in ("docker", "bubblewrap"):
        try:
            if name == "docker":
                await _knock()
            return await _open(stack, name, lease, image, network, beside)
        except SandboxError as error:
            if image != HOST_IMAGE:
                raise  # no other has images
            found.append(f"{name}: {error.message}")
    reasons = "; ".join(found)
    raise SandboxError(f"no sandbox works here ({reasons})", remedy=remedy_told(reasons) or _INSTALL)


async def _knock() -> None:
    """Find out quickly that no engine answers."""
    with anyio.move_on_after(_ENGINE_ANSWERS_S) as limit:
        async with connect():
            return
    if limit.cancelled_caught:
        raise SandboxError("the Docker Engine does not answer within 2 s", remedy="look at its log")
