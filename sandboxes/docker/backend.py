"""Sandboxes by Docker: one container each, closed by default, removed at the end whatever happens.

The container's first process is our agent, so that commands need neither the engine nor an init. The engine must run on
this machine: the way to the agent is a folder of it.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from swarm.errors import SandboxError
from swarm.sandboxes.channel.agent import CONTROL, agent_command
from swarm.sandboxes.channel.channel import Channel
from swarm.sandboxes.docker.engine import Engine
from swarm.sandboxes.docker.images import ensure_host, ensure_named
from swarm.sandboxes.docker.leftovers import note_engine
from swarm.sandboxes.docker.links import links_among, make_links
from swarm.sandboxes.folders import hand_over, private_folder
from swarm.sandboxes.host_root import HostRoot, find_host_root
from swarm.sandboxes.leases.leftover import LABEL
from swarm.sandboxes.limits import known as known_limits
from swarm.sandboxes.limits.disk import DiskWatch
from swarm.sandboxes.network.gateway import HOSTED, listen_inside, open_gateway, proxy_environment
from swarm.sandboxes.opening import prove_opening, workdir_of
from swarm.sandboxes.proof import Cgroups, Expected, Rlimits, prove
from swarm.sandboxes.sandbox import ChannelSandbox
from swarm.types import SandboxRequest

HOST_IMAGE = "host"
"""The image that is no image: this machine's own system folders, read-only."""

UID = 1000
_REMOVAL_S = 30.0
_GREETS_S = 30.0


class DockerSandbox(ChannelSandbox):
    """One running container."""

    def __init__(self, engine: Engine, request: SandboxRequest, channel: Channel, mounts: tuple[Path, ...]) -> None:
        super().__init__(channel, request.workspace, request.workdir, mounts, _user())
        self._engine = engine

    async def listen(self) -> socket.socket:
        """See `swarm.hosting.Hosting.listen`."""
        first = await self._engine.call(partial(first_process, self._engine, self.id))
        return await listen_inside(first, self.id, HOSTED)

    async def pause(self) -> None:
        """See `swarm.protocols.Pausable`."""
        self._channel.refuse(True)
        await self._engine.call(partial(self._engine.client.api.pause, self.id))

    async def resume(self) -> None:
        """See `swarm.protocols.Pausable`."""
        await self._engine.call(partial(self._engine.client.api.unpause, self.id))
        self._channel.refuse(False)


class DockerBackend:
    """Opens containers from one image. An image by name brings its own programs: no toolchain is shown there."""

    name = "docker"

    def __init__(self, engine: Engine, image: str = HOST_IMAGE) -> None:
        self.image = image
        self._engine = engine
        self._host = find_host_root() if image == HOST_IMAGE else None
        self._ready: str | None = None
        self._preparing = anyio.Lock()
        self._noted: set[Path] = set()

    @property
    def known_limits(self) -> Mapping[str, str]:
        """See `swarm.sandboxes.limits.known`."""
        return known_limits.docker()

    @property
    def owner(self) -> tuple[int, int] | None:
        """See `swarm.protocols.SandboxBackend.owner`."""
        return _user() if os.geteuid() == 0 else None

    async def check(self, lease: Path) -> None:
        """See `swarm.protocols.SandboxBackend.check`: opens a sandbox and closes it again."""
        await prove_opening(self, lease)

    @asynccontextmanager
    async def open(self, request: SandboxRequest) -> AsyncIterator[DockerSandbox]:
        """See `swarm.protocols.SandboxBackend.open`."""
        request = replace(request, workspace=request.workspace.resolve())
        workdir_of(request)
        image = await self._image()
        shown, links = await anyio.to_thread.run_sync(_shown, request, self._host)
        await anyio.to_thread.run_sync(hand_over, request.workspace, *_user())
        name = f"swarm-{secrets.token_hex(8)}"
        binds = (*(self._host.binds if self._host else ()), *shown)
        places = (*binds, Path(request.workdir), Path(CONTROL))
        if request.lease not in self._noted:
            await anyio.to_thread.run_sync(note_engine, request.lease, self._engine.address)
            self._noted.add(request.lease)
        async with private_folder(request.lease, "docker") as private:
            watch = DiskWatch([request.workspace], request.limits.disk_bytes)
            channel = Channel(private / "control", name, watch=watch.watch)
            try:
                folders = await anyio.to_thread.run_sync(make_links, links, places, private)
                options = _options(request, dict(zip(binds, binds, strict=True)) | folders, channel)
                await self._engine.call(partial(self._start, image, name, options))
                await _greeted(channel)
                first = await self._engine.call(partial(first_process, self._engine, name)) if request.network else 0
                async with (
                    open_gateway(request.network, first, name, refused=request.refused),
                    watch.guarded(channel.clear),
                ):
                    sandbox = DockerSandbox(self._engine, request, channel, shown)
                    await prove(sandbox.exec, _expected(request))
                    yield sandbox
            finally:
                with anyio.move_on_after(_REMOVAL_S, shield=True):
                    await self._engine.call(partial(self._remove, name), abandon=True)
                channel.close()

    async def _image(self) -> str:
        async with self._preparing:
            if self._ready is None:
                client = self._engine.client
                work = (
                    partial(ensure_named, client, self.image)
                    if self._host is None
                    else partial(ensure_host, client, self._host, *_user())
                )
                self._ready = await self._engine.call(work, abandon=True)
            return self._ready

    def _start(self, image: str, name: str, options: dict[str, Any]) -> None:
        self._engine.client.containers.create(image, name=name, **options).start()

    def _remove(self, name: str) -> None:
        import docker.errors

        try:
            self._engine.client.api.remove_container(name, force=True, v=True)
        except docker.errors.NotFound:
            return
        except docker.errors.APIError as error:
            if error.status_code != 409:  # 409: it is being removed already
                raise


def first_process(engine: Engine, name: str) -> int:
    """A container's first process, as this machine counts; blocks."""
    return int(engine.client.api.inspect_container(name)["State"]["Pid"])


async def _greeted(channel: Channel) -> None:
    with anyio.move_on_after(_GREETS_S):
        if await channel.greet():
            return
    raise SandboxError(
        "the container was started, but the agent in it does not answer",
        remedy="the engine must run on this machine and the image must hold /bin/sh, or choose --sandbox bubblewrap",
    )


def _user() -> tuple[int, int]:
    """Who runs commands: the invoking user, so that the workspace is theirs; never root."""
    if os.geteuid() == 0:
        return UID, UID
    return os.geteuid(), os.getegid()


def _shown(request: SandboxRequest, host: HostRoot | None) -> tuple[tuple[Path, ...], Mapping[Path, Path]]:
    """What of the toolchain is mounted, and what of it is made as links, with their targets."""
    if host is None:
        return (), {}
    shown = [path for path in request.toolchain if str(path) != request.workdir and not host.shows(path)]
    links = links_among(shown, host, (Path(request.workdir),))
    return tuple(path for path in shown if path not in links), links


def _environment(request: SandboxRequest) -> dict[str, str]:
    base = {"HOME": "/tmp/home", "TMPDIR": "/tmp", "LANG": "C.UTF-8"}
    return base | dict(request.env) | proxy_environment(request.network)


def _cpus(request: SandboxRequest) -> float:
    return min(request.limits.cpus, os.cpu_count() or 1)


def _expected(request: SandboxRequest) -> Expected:
    limits = request.limits
    return Expected(
        request.workspace,
        request.workdir,
        isolated=True,
        seccomp=True,
        rlimits=Rlimits(limits.file_bytes),
        cgroups=Cgroups(limits.memory_bytes, limits.pids, _cpus(request)),
    )


def _options(request: SandboxRequest, read_only: Mapping[Path, Path], channel: Channel) -> dict[str, Any]:
    from docker.types import Mount, Ulimit

    limits = request.limits
    uid, gid = _user()
    mounts = [Mount(str(path), str(source), type="bind", read_only=True) for path, source in read_only.items()]
    mounts.append(Mount(request.workdir, str(request.workspace), type="bind"))
    mounts.append(Mount(CONTROL, str(channel.folder), type="bind", read_only=True))
    return {
        "entrypoint": agent_command(CONTROL, channel.mark),
        "command": [],
        "user": f"{uid}:{gid}",
        "environment": _environment(request),
        "working_dir": request.workdir,
        "hostname": "sandbox",
        "network_mode": "none",
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "read_only": True,
        "tmpfs": {"/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={limits.tmp_bytes}"},
        "mounts": mounts,
        "mem_limit": limits.memory_bytes,
        "memswap_limit": limits.memory_bytes,
        "nano_cpus": int(_cpus(request) * 1e9),
        "pids_limit": limits.pids,
        "ulimits": [
            Ulimit(name="fsize", soft=limits.file_bytes, hard=limits.file_bytes),
            Ulimit(name="core", soft=0, hard=0),
        ],
        "labels": {"swarm.run": request.run_id, "swarm.owner": request.owner, LABEL: str(request.lease)},
    }
