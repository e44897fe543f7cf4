"""Sandboxes by bubblewrap: namespaces of the kernel around each command, on the machine's own programs.

Each command is a bubblewrap of its own (about 10 ms) over the same workspace and the same private /tmp: no network,
no capabilities, a read-only root, its own process table which dies with it.

As an ordinary user that takes a user namespace. As root it must not: there the user inside would still be the real
root to the kernel, and could write what belongs to root in /proc/sys. So root starts without one, and
`setpriv` inside turns into a user that nobody else has, which also makes the limit of processes count for this
sandbox alone.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.to_thread

from swarm.errors import SandboxError
from swarm.sandboxes.child import run_child
from swarm.sandboxes.files import WorkspaceFiles
from swarm.sandboxes.folders import hand_over, private_folder
from swarm.sandboxes.host_root import HostRoot, find_host_root, made_files
from swarm.sandboxes.proof import Expected, prove
from swarm.sandboxes.shell import script
from swarm.sandboxes.toolchain import SYSTEM_PATH
from swarm.types import ExecResult, SandboxRequest

UID = 1000
_TELLS_S = 2.0
"""Seconds in which a bubblewrap that was started has told its first process."""

_NEVER = ("/", "/bin", "/dev", "/etc", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/tmp", "/usr")
_REMEDY = "install it with `sudo apt-get install bubblewrap`, or choose --sandbox docker"


class Namespace:
    """The processes of one bubblewrap, followed through its status pipe: killing its first kills them all.

    A process file descriptor of that first process turns readable only when the kernel has ended the others too.
    """

    def __init__(self) -> None:
        self._read, self.status_fd = os.pipe()
        os.set_blocking(self._read, False)
        self._status = b""
        self._first: int | None = None

    def close(self) -> None:
        for fd in (self._read, self.status_fd, self._first):
            if fd is not None and fd >= 0:
                os.close(fd)

    def started(self) -> None:
        """The child has its end of the pipe."""
        if self.status_fd >= 0:
            os.close(self.status_fd)
            self.status_fd = -1

    async def watch(self) -> None:
        self.started()
        while self._first is None and self._more() is not None:
            if self._find_first() is None:
                await anyio.wait_readable(self._read)

    async def end(self, leader: int) -> None:
        self.started()
        # Killed before it has told its first process, bubblewrap might leave that one behind.
        with anyio.move_on_after(_TELLS_S):
            while self._more() is not None and self._find_first() is None:  # noqa: ASYNC110  watch() may hold the pipe
                await anyio.sleep(0.001)
        first = self._find_first()
        if first is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(first, signal.SIGKILL)
            await anyio.wait_readable(first)
        os.kill(leader, signal.SIGKILL)  # unreaped, so the id is still its own

    def ran(self) -> bool:
        """Whether the command itself was run, so that the exit code is its own."""
        self._more()
        return b'"exit-code"' in self._status

    def _more(self) -> bytes | None:
        try:
            chunk = os.read(self._read, 1 << 12)
        except BlockingIOError:
            return b""
        self._status += chunk
        return chunk or None

    def _find_first(self) -> int | None:
        line, newline, _ = self._status.partition(b"\n")
        if self._first is None and newline:
            try:
                self._first = os.pidfd_open(json.loads(line)["child-pid"])
            except ProcessLookupError:
                return None
        return self._first


class BubblewrapSandbox:
    """One workspace and one private /tmp; see the module."""

    def __init__(self, request: SandboxRequest, argv: list[str], shell: str, owner: tuple[int, int]) -> None:
        self.id = f"bubblewrap-{secrets.token_hex(4)}"
        self.workdir = request.workdir
        self._argv = argv
        self._shell = shell
        self._limits = request.limits
        self._env = {
            "PATH": ":".join(SYSTEM_PATH),
            "HOME": "/tmp/home",
            "TMPDIR": "/tmp",
            "LANG": "C.UTF-8",
            **request.env,
        }
        files = WorkspaceFiles(request.workspace, request.workdir, self.exec, mounts=request.toolchain, owner=owner)
        self.read_file = files.read
        self.write_file = files.write

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
        text = script(command, cwd=cwd or self.workdir, workdir=self.workdir, limits=self._limits)
        namespace = Namespace()
        try:
            result = await run_child(
                [self._argv[0], "--json-status-fd", str(namespace.status_fd), *self._argv[1:], self._shell, "-c", text],
                env=self._env,
                cwd=None,
                stdin=stdin,
                timeout=timeout,
                max_output=max_output,
                family=namespace,
                pass_fds=(namespace.status_fd,),
            )
            if not result.timed_out and not namespace.ran():
                reason = result.stderr.decode(errors="replace").strip() or f"exit code {result.exit_code}"
                raise SandboxError(f"bubblewrap could not start a command: {reason}", remedy=_REMEDY)
            return result
        except OSError as error:
            if isinstance(error, SandboxError):
                raise
            raise SandboxError(f"bubblewrap could not be started: {error}", remedy=_REMEDY) from error
        finally:
            namespace.close()


class BubblewrapBackend:
    """Opens sandboxes by bubblewrap."""

    name = "bubblewrap"

    async def check(self) -> None:
        """See `swarm.protocols.SandboxBackend.check`: opens a sandbox and closes it again."""
        async with private_folder("check") as folder:
            request = SandboxRequest(run_id="check", owner="check", workspace=folder, workdir="/workspace")
            async with self.open(request):
                pass

    @asynccontextmanager
    async def open(self, request: SandboxRequest) -> AsyncIterator[BubblewrapSandbox]:
        """See `swarm.protocols.SandboxBackend.open`."""
        request = replace(request, workspace=request.workspace.resolve())
        root = os.geteuid() == 0
        uid = 20000 + secrets.randbelow(40000) if root else UID
        argv = [_program("bwrap", "bubblewrap"), *(_AS_ROOT if root else _AS_USER)]
        after = [*_setpriv(uid)] if root else []
        host = find_host_root()
        shell = "/bin/bash" if shutil.which("bash", path=":".join(SYSTEM_PATH)) else "/bin/sh"
        async with private_folder("bubblewrap") as private:
            made = await anyio.to_thread.run_sync(_prepare, private, request.workspace, uid)
            argv += [*_base(host, made, private / "tmp"), *_mounts(request, host), "--"]
            sandbox = BubblewrapSandbox(request, argv + after, shell, (uid, uid))
            await prove(sandbox.exec, Expected(request.workspace, request.workdir, isolated=True))
            yield sandbox


_COMMON = (
    *("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
    *("--hostname", "sandbox", "--die-with-parent", "--new-session", "--cap-drop", "ALL"),
)
_AS_USER = (*_COMMON, "--unshare-user", "--uid", str(UID), "--gid", str(UID))
_AS_ROOT = (*_COMMON, "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP")


def _setpriv(uid: int) -> list[str]:
    return [
        _program("setpriv", "util-linux"),
        *("--reuid", str(uid), "--regid", str(uid), "--clear-groups"),
        *("--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"),
    ]


def _program(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise SandboxError(
            f"{name} is not installed", remedy=f"run `sudo apt-get install {package}`, or choose --sandbox docker"
        )
    return found


def _prepare(private: Path, workspace: Path, uid: int) -> Mapping[str, Path]:
    """Lay out the private folder; gives the made files of /etc by their path inside."""
    (private / "tmp").mkdir()
    (private / "tmp/home").mkdir()
    made: dict[str, Path] = {}
    for path, content in made_files(uid, uid).items():
        made[path] = private / Path(path).name
        made[path].write_bytes(content)
    hand_over(private / "tmp/home", uid, uid)
    (private / "tmp").chmod(0o1777)
    hand_over(workspace, uid, uid)
    return made


def _base(host: HostRoot, made: Mapping[str, Path], tmp: Path) -> list[str]:
    argv: list[str] = []
    inside = {Path(path): file for path, file in made.items()}
    for folder in dict.fromkeys(path.parent for path in (*host.binds, *inside)):
        argv += _folders(folder)
    for path in host.binds:
        argv += ["--ro-bind", str(path), str(path)]
    for link, target in host.links.items():
        argv += ["--symlink", target, link]
    for path, file in inside.items():
        argv += ["--ro-bind", str(file), str(path)]
    argv += ["--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev", "--perms", "1777", "--tmpfs", "/dev/shm"]
    return [*argv, "--bind", str(tmp), "/tmp"]


def _mounts(request: SandboxRequest, host: HostRoot) -> list[str]:
    """The workspace and the toolchain, outer ones first so that each inner one lies on top."""
    workdir = Path(request.workdir)
    if not workdir.is_absolute() or ".." in workdir.parts or str(workdir) in _NEVER:
        raise SandboxError(f"{request.workdir} cannot be the workspace's place in a sandbox")
    binds = [(path, "--ro-bind", path) for path in request.toolchain if path != workdir and not host.shows(path)]
    binds.append((workdir, "--bind", request.workspace))
    argv: list[str] = []
    for path, how, source in sorted(binds, key=lambda bind: len(bind[0].parts)):
        if workdir not in path.parents:
            argv += _folders(path.parent)
        argv += [how, str(source), str(path)]
    return [*argv, "--remount-ro", "/"]


def _folders(folder: Path) -> list[str]:
    """Make a folder and those above it so that everyone may pass: bubblewrap's own are for their owner alone."""
    return [
        word for path in (*reversed(folder.parents), folder)[1:] for word in ("--perms", "0755", "--dir", str(path))
    ]
