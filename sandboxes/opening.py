"""What every backend of ours does before it opens a sandbox, and to prove that it can."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from swarm.errors import SandboxError
from swarm.protocols import SandboxBackend
from swarm.sandboxes.folders import private_folder
from swarm.sandboxes.host_side import as_sandbox_error
from swarm.types import SandboxRequest

_NEVER = ("/", "/bin", "/dev", "/etc", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/tmp", "/usr")
"""What is a sandbox's own and no place for a workspace."""


async def prove_opening(backend: SandboxBackend, lease: Path, network: Sequence[str] = ()) -> None:
    """Open a sandbox and close it again. `lease` and `network` as in `SandboxRequest`.

    Raises:
        SandboxError: it cannot be opened; the remedy names what to install or start.
        UsageError: not with this network.
    """
    with as_sandbox_error("no sandbox can be opened"):
        async with private_folder(lease, "check") as folder:
            request = SandboxRequest("check", "check", lease, folder, "/workspace", network=tuple(network))
            async with backend.open(request):
                pass


def workdir_of(request: SandboxRequest) -> Path:
    """Where the workspace lies inside.

    Raises:
        SandboxError: nothing may be laid over that place.
    """
    workdir = Path(request.workdir)
    if not workdir.is_absolute() or ".." in workdir.parts or str(workdir) in _NEVER:
        raise SandboxError(f"{request.workdir} cannot be the workspace's place in a sandbox")
    return workdir
