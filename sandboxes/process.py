"""Sandboxes that are none: commands run as this user, in the workspace folder, with all that this user may do."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from swarm.errors import SandboxError, UsageError
from swarm.sandboxes.channel import sweep
from swarm.sandboxes.channel.agent import MARK, agent_command
from swarm.sandboxes.channel.channel import FIRST, Channel, How
from swarm.sandboxes.channel.slot import Slot
from swarm.sandboxes.folders import private_folder
from swarm.sandboxes.leases.leftover import VARIABLE
from swarm.sandboxes.limits import cgroups
from swarm.sandboxes.limits import known as known_limits
from swarm.sandboxes.limits.disk import DiskWatch
from swarm.sandboxes.proof import Expected, prove
from swarm.sandboxes.sandbox import ChannelSandbox
from swarm.sandboxes.shell import with_all_signals
from swarm.types import SandboxRequest

WARNING = "sandbox `process` isolates nothing: commands can read and change all that you can, and use the network"
WHOLE_NETWORK = "sandbox `process` has this machine's whole network: no list of hosts can be enforced there"

_STARTS_S = 30.0
_BOUND = 15.0
_STOPS = 3
_INIT_S = 0.02
_BACKLOG = 128


class ProcessSandbox(ChannelSandbox):
    """A folder of this machine. A process that changes its session, streams and environment outlives the sandbox."""

    async def listen(self) -> socket.socket:
        """See `swarm.hosting.Hosting.listen`: at this machine's own loopback."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.bind(("127.0.0.1", 0))
        listener.listen(_BACKLOG)
        return listener

    async def pause(self) -> None:
        """See `swarm.protocols.Pausable`."""
        self._channel.refuse(True)
        await _signal(signal.SIGSTOP, self.id)

    async def resume(self) -> None:
        """See `swarm.protocols.Pausable`."""
        await _signal(signal.SIGCONT, self.id)
        self._channel.refuse(False)


class ProcessBackend:
    """No isolation. `warning` says so, for whoever shows it to the user."""

    name = "process"
    warning = WARNING

    def __init__(self) -> None:
        self._places = cgroups.Places()

    @property
    def known_limits(self) -> Mapping[str, str]:
        """See `swarm.sandboxes.limits.known`; complete once it was checked."""
        return known_limits.process(self._places.held)

    @property
    def owner(self) -> None:
        """See `swarm.protocols.SandboxBackend.owner`."""
        return

    async def check(self, lease: Path) -> None:
        """See `swarm.protocols.SandboxBackend.check`."""
        if not (shutil.which("bash") or shutil.which("sh")):
            raise SandboxError("neither bash nor sh is on the PATH", remedy="install bash")
        await self._places.find(lease)

    @asynccontextmanager
    async def open(self, request: SandboxRequest) -> AsyncIterator[ProcessSandbox]:
        """See `swarm.protocols.SandboxBackend.open`. `workdir` and `toolchain` have no meaning here.

        Of the limits those hold that cgroups can hold, where they may be used, and that of disk.
        """
        if request.network:
            raise UsageError(WHOLE_NETWORK, remedy="leave out --network, or choose --sandbox bubblewrap")
        workspace = request.workspace.resolve()
        name = f"process-{secrets.token_hex(4)}"
        async with (
            private_folder(request.lease, "process") as private,
            cgroups.limited(self._places, request.lease, name, request.limits) as cgroup,
        ):
            for folder in ("home", "tmp"):
                (private / folder).mkdir()
            watch = DiskWatch([workspace, private / "home", private / "tmp"], request.limits.disk_bytes)
            clearer = partial(_clear, name, cgroup)
            first_words = cgroup.shell()  # no other shell is started to enter them
            channel = Channel(
                private / "control", name, limits=first_words, ender=_end, clearer=clearer, watch=watch.watch
            )
            try:
                command = agent_command(str(channel.folder), channel.mark)
                channel.prepare(FIRST)
                child = _start(request, workspace, private, channel.mark, command)
                try:
                    with anyio.move_on_after(_STARTS_S):
                        await channel.greet()
                    if not channel.open:
                        raise SandboxError(f"no command can be started in {workspace}: /bin/sh does not run")
                    sandbox = ProcessSandbox(channel, workspace, str(workspace))
                    await prove(sandbox.exec, Expected(workspace, sandbox.workdir, isolated=False))
                    async with watch.guarded(channel.clear):
                        yield sandbox
                finally:
                    child.kill()
                    child.wait()
                    with anyio.move_on_after(_BOUND, shield=True):
                        while await _signal(signal.SIGKILL, name):  # noqa: ASYNC110  nobody tells
                            await anyio.sleep(0.001)
            finally:
                channel.close()


def _start(
    request: SandboxRequest, workspace: Path, private: Path, mark: str, command: list[str]
) -> subprocess.Popen[bytes]:
    env = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(private / "home"),
        "TMPDIR": str(private / "tmp"),
        "LANG": "C.UTF-8",
        **request.env,
        MARK: f"{mark}.agent",
        VARIABLE: str(request.lease),
    }
    try:
        return subprocess.Popen(
            [*with_all_signals(), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=env,
            cwd=workspace,
            start_new_session=True,
        )
    except OSError as error:
        raise SandboxError(f"no command can be started in {workspace}: {error}") from error


async def _end(slot: Slot, how: How) -> int:
    """Here no agent is the first process of a namespace, and the whole machine's processes are to be looked at."""
    tests = [sweep.holding(*slot.streams)]
    if how == "all":
        if slot.leader:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(int(slot.leader), signal.SIGKILL)
        tests += [sweep.in_session(slot.leader), sweep.marked(slot.mark)]
    return await anyio.to_thread.run_sync(sweep.send, signal.SIGKILL, sweep.any_of(*tests))


async def _clear(name: str, cgroup: cgroups.Cgroup) -> None:
    """End all that runs in a sandbox, but for its agent."""
    ours, agent = sweep.marked(f"{name}."), sweep.marked(f"{name}.agent")

    async def send(number: signal.Signals) -> int:
        return await anyio.to_thread.run_sync(sweep.send, number, lambda one: ours(one) and not agent(one))

    with anyio.move_on_after(_BOUND):
        left = 1
        while left:
            # Stopped first: what multiplies would do so faster than it can be killed one by one.
            for _ in range(_STOPS):
                await send(signal.SIGSTOP)
            left = await send(signal.SIGKILL)
        while await anyio.to_thread.run_sync(cgroup.dead):  # noqa: ASYNC110  nobody tells
            await anyio.sleep(_INIT_S)


async def _signal(number: signal.Signals, name: str) -> int:
    return await anyio.to_thread.run_sync(sweep.send, number, sweep.marked(f"{name}."))
