"""Sandboxes that are none: commands run as this user, in the workspace folder, with all that this user may do."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from swarm.errors import SandboxError
from swarm.sandboxes.child import ProcessGroup, run_child
from swarm.sandboxes.files import WorkspaceFiles
from swarm.sandboxes.folders import private_folder
from swarm.sandboxes.proof import Expected, prove
from swarm.sandboxes.shell import script
from swarm.types import ExecResult, SandboxRequest

WARNING = "sandbox `process` isolates nothing: commands can read and change all that you can, and use the network"


class ProcessSandbox:
    """A folder of this machine. A process that calls setsid() outlives its command."""

    def __init__(self, request: SandboxRequest, workspace: Path, private: Path, shell: str) -> None:
        self.id = f"process-{secrets.token_hex(4)}"
        self.workdir = str(workspace)
        self._workspace = workspace
        self._shell = shell
        self._env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(private / "home"),
            "TMPDIR": str(private / "tmp"),
            "LANG": "C.UTF-8",
            **request.env,
        }
        self._files = WorkspaceFiles(workspace, self.workdir, self.exec)
        self.read_file = self._files.read
        self.write_file = self._files.write

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
        try:
            return await run_child(
                [self._shell, "-c", script(command, cwd=cwd, workdir=self.workdir)],
                env=self._env,
                cwd=self._workspace,
                stdin=stdin,
                timeout=timeout,
                max_output=max_output,
                family=ProcessGroup(),
            )
        except OSError as error:
            raise SandboxError(f"no command can be started in {self.workdir}: {error}") from error


class ProcessBackend:
    """No isolation. `warning` says so, for whoever shows it to the user."""

    name = "process"
    warning = WARNING

    async def check(self) -> None:
        """See `swarm.protocols.SandboxBackend.check`."""
        _shell()

    @asynccontextmanager
    async def open(self, request: SandboxRequest) -> AsyncIterator[ProcessSandbox]:
        """See `swarm.protocols.SandboxBackend.open`. `workdir`, `toolchain` and `limits` have no meaning here."""
        workspace = request.workspace.resolve()
        async with private_folder("process") as private:
            for name in ("home", "tmp"):
                (private / name).mkdir()
            sandbox = ProcessSandbox(request, workspace, private, _shell())
            await prove(sandbox.exec, Expected(workspace, sandbox.workdir, isolated=False))
            yield sandbox


def _shell() -> str:
    shell = shutil.which("bash") or shutil.which("sh")
    if shell is None:
        raise SandboxError("neither bash nor sh is on the PATH", remedy="install bash")
    return shell
