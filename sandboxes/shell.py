"""What a sandbox's shell is told: where to run a command, and under which limits."""

from __future__ import annotations

import posixpath
import shlex

from swarm.types import SandboxLimits


def absolute(path: str, workdir: str) -> str:
    """A path inside, relative ones seen from `workdir`."""
    return posixpath.join(workdir, path)


def enter(folder: str) -> str:
    """Go to a folder, or end; on one line whatever its name is."""
    quoted = shlex.quote(folder)
    if "\n" in folder:
        octal = "".join(f"\\0{byte:03o}" for byte in folder.encode(errors="surrogateescape"))
        quoted = f'"$(printf %b {shlex.quote(octal)}; echo .)"'
        return f'REPLY={quoted}; cd -- "${{REPLY%.}}" || exit 1'
    return f"cd -- {quoted} || exit 1"


def ulimits(limits: SandboxLimits) -> str:
    """Limits on everything that a shell starts from here on."""
    # Blocks are 512 bytes by POSIX, but 1024 in bash; `-u` is bash's name for what dash calls `-p`.
    return (
        "ulimit -c 0; "
        f'if [ -n "$BASH_VERSION" ]; then ulimit -f {limits.file_bytes // 1024} -u {limits.pids}; '
        f"else ulimit -f {limits.file_bytes // 512}; ulimit -p {limits.pids}; fi; "
    )
