"""What a sandbox's shell is told: where to run a command, and under which limits."""

from __future__ import annotations

import posixpath
import re
import shlex
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

from swarm.errors import SandboxError

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""A name by which a shell knows a variable."""


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


def ulimits(file_bytes: int, processes: int | None = None, memory_bytes: int | None = None) -> str:
    """Limits on everything that a shell starts from here on: a file's size, no core files.

    `processes`: how many this user may have, where that user is the sandbox's alone. `memory_bytes`: of each process,
    as the data that it may write for itself alone; address space that is only reserved does not count, as node and
    java reserve far more than they use.
    """
    # Blocks are 512 bytes by POSIX, but 1024 in bash; `-u` is bash's name for what dash calls `-p`.
    bash, other = [f"-f {file_bytes // 1024}"], [f"ulimit -f {file_bytes // 512}"]
    if processes is not None:
        bash.append(f"-u {processes}")
        other.append(f"ulimit -p {processes}")
    if memory_bytes is not None:
        bash.append(f"-d {memory_bytes // 1024}")
        other.append(f"ulimit -d {memory_bytes // 1024}")
    return f'ulimit -c 0; if [ -n "$BASH_VERSION" ]; then ulimit {" ".join(bash)}; else {"; ".join(other)}; fi; '


def exports(env: Mapping[str, str]) -> str:
    """Shell text that sets variables for everything that is started from here on.

    Raises:
        SandboxError: a name or value cannot be one.
    """
    for name, value in env.items():
        if not VARIABLE.fullmatch(name) or "\0" in value:
            raise SandboxError(f"{name!r} cannot be set in a sandbox", remedy="take it out of `sandbox_env`")
    # `command`: a name that this shell keeps for itself (UID) does not end it. IFS shells never take from outside.
    given = ((name, shlex.quote(value)) for name, value in env.items() if name != "IFS")
    return "".join(f"command export {name}={value}; " for name, value in given)


def with_all_signals(status: Path = Path("/proc/self/status")) -> list[str]:
    """What stands before a command line, so that no signal is ignored in what it starts.

    Signals that this process ignores (it was started by `nohup`, or by a script with `&`) stay ignored in all that it
    starts, and no shell can undo that; `env` of GNU coreutils can. Python itself sees to SIGPIPE and SIGXFSZ.
    """
    fields = dict(line.partition(":")[::2] for line in status.read_text().splitlines())
    ignored = int(fields.get("SigIgn", "0").strip(), 16)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        ignored &= ~(1 << (number - 1))
    env = shutil.which("env")
    return [env, "--default-signal"] if ignored and env and not Path(env).resolve().name.startswith("busybox") else []
