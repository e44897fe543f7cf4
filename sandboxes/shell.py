"""The script that a sandbox's shell is given for one command: where to run it, and under which limits."""

from __future__ import annotations

import posixpath
import shlex

from swarm.types import SandboxLimits


def absolute(path: str, workdir: str) -> str:
    """A path inside, relative ones seen from `workdir`."""
    return posixpath.join(workdir, path)


def script(command: str, *, cwd: str | None = None, workdir: str = "/", limits: SandboxLimits | None = None) -> str:
    """One shell script that runs `command`.

    All that we add stands on the command's own first line, so that line numbers of its errors stay true.
    """
    before = ""
    if limits is not None:
        before += _ulimits(limits)
    if cwd is not None:
        before += f"cd -- {shlex.quote(absolute(cwd, workdir))} || exit 1; "
    return before + command


def _ulimits(limits: SandboxLimits) -> str:
    # Blocks are 512 bytes by POSIX, but 1024 in bash; `-u` is bash's name for what dash calls `-p`.
    return (
        "ulimit -c 0; "
        f'if [ -n "$BASH_VERSION" ]; then ulimit -f {limits.file_bytes // 1024} -u {limits.pids}; '
        f"else ulimit -f {limits.file_bytes // 512}; ulimit -p {limits.pids}; fi; "
    )
