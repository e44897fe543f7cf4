"""What one can do inside a sandbox whose commands go through a channel: the same for every backend of ours."""

from __future__ import annotations

import math
from pathlib import Path

from swarm.hosting import Talk
from swarm.sandboxes.channel.channel import Channel
from swarm.sandboxes.channel.feed import Feed
from swarm.sandboxes.channel.output import HeadTail, Told
from swarm.sandboxes.files import WorkspaceFiles
from swarm.sandboxes.host_side import as_sandbox_error
from swarm.sandboxes.shell import absolute
from swarm.stopping import companions
from swarm.types import ExecResult

_KEPT = 1 << 16
"""Bytes of each stream of a command that is talked to, in its result."""


class ChannelSandbox:
    """See `swarm.protocols.Sandbox`. `workspace` is the folder of the host that is `workdir` inside;
    `mounts` hide what the workspace has there; `owner` is who new files belong to (None: this process's user)."""

    def __init__(
        self,
        channel: Channel,
        workspace: Path,
        workdir: str,
        mounts: tuple[Path, ...] = (),
        owner: tuple[int, int] | None = None,
    ) -> None:
        self.id = channel.mark
        self.workdir = workdir
        self._channel = channel
        files = WorkspaceFiles(workspace, workdir, self.exec, mounts=mounts, owner=owner)
        self._files = files
        self.list_folder = files.list

    def __repr__(self) -> str:
        return f"<sandbox {self.id} at {self.workdir}>"

    async def exec(
        self,
        command: str,
        *,
        timeout: float = 120.0,
        cwd: str | None = None,
        stdin: bytes = b"",
        max_output: int = 1 << 20,
    ) -> ExecResult:
        """See `swarm.protocols.Sandbox.exec`."""
        folder = absolute(cwd or "", self.workdir)
        kept = HeadTail(max_output), HeadTail(max_output)
        with as_sandbox_error(self.id):
            return await self._channel.exec(command, folder=folder, stdin=stdin, timeout=timeout, kept=kept)

    async def converse(self, command: str, talk: Talk, *, cwd: str | None = None) -> ExecResult:
        """See `swarm.hosting.Hosting.converse`."""
        folder = absolute(cwd or "", self.workdir)
        kept = Told(_KEPT, talk.out), Told(_KEPT, talk.err)
        stdin = talk.words if isinstance(talk.words, bytes) else Feed(talk.words)
        try:
            with as_sandbox_error(self.id):
                async with companions() as group:
                    if isinstance(stdin, Feed):
                        group.start_soon(stdin.pour)
                    return await self._channel.exec(command, folder=folder, stdin=stdin, timeout=math.inf, kept=kept)
        finally:
            if isinstance(stdin, Feed):
                stdin.close()

    async def read_file(self, path: str, *, most: int | None = None) -> bytes:
        """See `swarm.protocols.Sandbox.read_file`."""
        with as_sandbox_error(self.id, only_shortages=True):
            return await self._files.read(path, most=most)

    async def write_file(self, path: str, data: bytes) -> None:
        """See `swarm.protocols.Sandbox.write_file`."""
        with as_sandbox_error(self.id, only_shortages=True):
            await self._files.write(path, data)
