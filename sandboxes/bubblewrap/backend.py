"""Sandboxes by bubblewrap: namespaces of the kernel, on the machine's own programs.

One bubblewrap for each sandbox, whose first process is our agent: no network, no capabilities, a read-only root, and
its own process table, which dies with the agent.

As an ordinary user that takes a user namespace. As root it must not: there the user inside would still be the real
root to the kernel, and could write what belongs to root in /proc/sys. So root starts without one, and
`setpriv` inside turns into a user that nobody else has.

Memory, processes and CPU are limited by cgroups where they may be used (`swarm.sandboxes.limits.cgroups`). Where not,
by what a process can be given: a number of processes for its user, who is then this sandbox's alone, and memory for
each, and all of them watched together.

System calls that lead out of the namespaces are refused (`swarm.sandboxes.bubblewrap.seccomp`).
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import anyio.to_thread

from swarm.errors import SandboxError
from swarm.sandboxes.bubblewrap import seccomp
from swarm.sandboxes.bubblewrap.family import Family
from swarm.sandboxes.bubblewrap.namespace import CONTENT, FILTER, HOME, STATUS, Contents, namespace
from swarm.sandboxes.channel.agent import CONTROL, agent_command
from swarm.sandboxes.channel.channel import FIRST, Channel
from swarm.sandboxes.folders import hand_over, private_folder
from swarm.sandboxes.host_root import HostRoot, find_host_root, linked, made_files
from swarm.sandboxes.limits import cgroups
from swarm.sandboxes.limits import known as known_limits
from swarm.sandboxes.limits.disk import DiskWatch
from swarm.sandboxes.limits.memory import MemoryWatch
from swarm.sandboxes.network.gateway import HOSTED, listen_inside, open_gateway, proxy_environment
from swarm.sandboxes.opening import prove_opening, workdir_of
from swarm.sandboxes.proof import Expected, Rlimits, prove
from swarm.sandboxes.sandbox import ChannelSandbox
from swarm.sandboxes.shell import exports
from swarm.sandboxes.toolchain import SYSTEM_PATH
from swarm.types import SandboxLimits, SandboxRequest

UID = 1000
_SHM_BYTES = 64 << 20
_SMALL = 1 << 14
"""Bytes of a file of this machine's /etc that each sandbox gets as a copy of its own, in memory."""


class BubblewrapSandbox(ChannelSandbox):
    """One running bubblewrap."""

    def __init__(self, channel: Channel, family: Family, request: SandboxRequest, uid: int, first: int) -> None:
        super().__init__(channel, request.workspace, request.workdir, request.toolchain, (uid, uid))
        self._family = family
        self._first = first

    async def listen(self) -> socket.socket:
        """See `swarm.hosting.Hosting.listen`."""
        return await listen_inside(self._first, self.id, HOSTED)

    async def pause(self) -> None:
        """See `swarm.protocols.Pausable`."""
        self._channel.refuse(True)
        await anyio.to_thread.run_sync(self._family.stop)

    async def resume(self) -> None:
        """See `swarm.protocols.Pausable`."""
        await anyio.to_thread.run_sync(self._family.go_on)
        self._channel.refuse(False)


class BubblewrapBackend:
    """Opens sandboxes by bubblewrap."""

    name = "bubblewrap"

    def __init__(self) -> None:
        self._uid = _some_uid()
        self._places = cgroups.Places()
        self._nested: list[str] | None = None

    @property
    def owner(self) -> tuple[int, int] | None:
        """See `swarm.protocols.SandboxBackend.owner`; known once it was checked.

        None too where each sandbox has a user of its own, because processes can only be counted by user.
        """
        return (self._uid, self._uid) if os.geteuid() == 0 and "pids" in self._places.held else None

    @property
    def known_limits(self) -> Mapping[str, str]:
        """See `swarm.sandboxes.limits.known`; complete once it was checked."""
        return known_limits.bubblewrap(self._places.held, filtered=seccomp.machine() is not None)

    async def check(self, lease: Path) -> None:
        """See `swarm.protocols.SandboxBackend.check`: opens a sandbox and closes it again."""
        await prove_opening(self, lease)

    @asynccontextmanager
    async def open(self, request: SandboxRequest) -> AsyncIterator[BubblewrapSandbox]:
        """See `swarm.protocols.SandboxBackend.open`."""
        request = replace(request, workspace=request.workspace.resolve())
        root = os.geteuid() == 0
        bwrap = _program("bwrap", "bubblewrap")
        if self._nested is None:
            self._nested = [] if root else await _no_nested(bwrap)
        argv = [bwrap, STATUS, *([FILTER] if seccomp.machine() else []), *(_AS_ROOT if root else _AS_USER)]
        argv += self._nested
        host = find_host_root()
        name = f"bubblewrap-{secrets.token_hex(4)}"
        async with (
            private_folder(request.lease, "bubblewrap") as private,
            cgroups.limited(self._places, request.lease, name, request.limits) as cgroup,
        ):
            uid = self._uid if self.owner or not root else _some_uid()
            after = [*_setpriv(uid)] if root else []
            await anyio.to_thread.run_sync(hand_over, request.workspace, uid, uid)
            disk = DiskWatch([request.workspace], request.limits.disk_bytes)
            rlimits = Rlimits.beside(cgroup.holds(), request.limits)
            first_words = exports(_environment(request)) + rlimits.shell()
            channel = Channel(private / "control", name, limits=first_words, watch=disk.watch)
            try:
                contents = _contents(host, uid)
                argv += [*_base(host, contents, request.limits), *_mounts(request, host)]
                argv += ["--ro-bind", str(channel.folder), CONTROL, "--remount-ro", "/", "--"]
                command = cgroup.enter([*argv, *after, *agent_command(CONTROL, channel.mark)])
                channel.prepare(FIRST)
                async with (
                    namespace(command, OUTSIDE, channel, contents, uid) as first,
                    open_gateway(request.network, first, name, refused=request.refused),
                    _family(first, channel) as family,
                    disk.guarded(channel.clear),
                    _memory(first, cgroup, request.limits),
                ):
                    sandbox = BubblewrapSandbox(channel, family, request, uid, first)
                    if trouble := cgroup.trouble(first, request.limits):  # read while the shell for the proof starts
                        raise SandboxError(f"a limit of the sandbox does not hold: {trouble}")
                    await prove(sandbox.exec, _expected(request, rlimits))
                    yield sandbox
            finally:
                channel.close()


@asynccontextmanager
async def _family(first: int, channel: Channel) -> AsyncIterator[Family]:
    with Family.of(first, channel.mark) as family:
        channel.clear_by(family.clear)
        yield family


def _memory(first: int, cgroup: cgroups.Cgroup, limits: SandboxLimits) -> AbstractAsyncContextManager[object]:
    """Watches the memory where no cgroup limits it."""
    return nullcontext() if "memory" in cgroup.holds() else MemoryWatch.opened(first, limits.memory_bytes)


def _expected(request: SandboxRequest, rlimits: Rlimits) -> Expected:
    filtered = seccomp.machine() is not None
    return Expected(request.workspace, request.workdir, isolated=True, seccomp=filtered, rlimits=rlimits)


async def _no_nested(bwrap: str) -> list[str]:
    """The option by which no user namespace can be made inside another, where bubblewrap has it and it works."""
    option = ["--unshare-user", "--disable-userns"]
    try:
        done = await anyio.run_process([bwrap, "--ro-bind", "/", "/", *option, "true"], check=False)
    except OSError:
        return []
    return option if done.returncode == 0 else []


def _some_uid() -> int:
    return 20000 + secrets.randbelow(40000) if os.geteuid() == 0 else UID


OUTSIDE = {"PATH": ":".join(SYSTEM_PATH), "LANG": "C.UTF-8"}
"""The environment of what starts a sandbox. What is asked for inside (LD_PRELOAD) must not have a say there: that runs
on this machine, and first of all as root."""


def _environment(request: SandboxRequest) -> dict[str, str]:
    return {
        "PATH": ":".join(SYSTEM_PATH),
        "HOME": HOME,
        "TMPDIR": "/tmp",
        "LANG": "C.UTF-8",
        **request.env,
        **proxy_environment(request.network),
    }


HIDDEN = ("/proc/keys", "/proc/key-users")
"""Files of /proc that tell of the host's keyring."""

_COMMON = (
    *("--unshare-pid", "--as-pid-1", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
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


def _contents(host: HostRoot, uid: int) -> Contents:
    """The files of the root that are made anew in each sandbox, by their paths inside: those that are not the machine's
    and its own small ones, since bubblewrap takes longer to mount a file than to copy it.

    A copy can be read by all inside: what not all may read here is mounted, and so is what we cannot read."""
    found = made_files(uid, uid)
    for path in host.binds:
        with suppress(OSError):
            about = path.stat()
            if stat.S_ISREG(about.st_mode) and about.st_mode & stat.S_IROTH and about.st_size <= _SMALL:
                found[str(path)] = path.read_bytes()
    return found


def _base(host: HostRoot, contents: Contents, limits: SandboxLimits) -> list[str]:
    argv: list[str] = []
    binds = [path for path in map(str, host.binds) if path not in contents]
    above = dict.fromkeys(path.rpartition("/")[0] for path in (*binds, *contents))
    for folder in dict.fromkeys(folder for each in above for folder in _down_to(each)):
        argv += _folder(folder)
    for path in binds:
        argv += ["--ro-bind", path, path]
    for link, target in host.links.items():
        argv += ["--symlink", target, link]
    for inside in contents:
        argv += ["--perms", "0644", "--file", CONTENT + inside, inside]
    argv += ["--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev"]
    for hidden in filter(os.path.exists, HIDDEN):
        argv += ["--ro-bind", "/dev/null", hidden]
    for place, size in (("/dev/shm", _SHM_BYTES), ("/tmp", limits.tmp_bytes)):
        argv += ["--perms", "1777", "--size", str(size), "--tmpfs", place]
    return argv


def _mounts(request: SandboxRequest, host: HostRoot) -> list[str]:
    """The workspace and the toolchain, outer ones first so that each inner one lies on top."""
    workdir = workdir_of(request)
    binds = [(path, "--ro-bind", path) for path in request.toolchain if path != workdir and not host.shows(path)]
    binds.append((workdir, "--bind", request.workspace))
    argv: list[str] = []
    for path, how, source in sorted(binds, key=lambda bind: len(bind[0].parts)):
        if workdir not in path.parents:
            argv += _folders(path.parent)
        if how == "--ro-bind" and (target := linked(path, [place for place, _, _ in binds])) is not None:
            argv += ["--symlink", str(target), str(path)]
        else:
            argv += [how, str(source), str(path)]
    return argv


def _folders(folder: Path) -> list[str]:
    """Make a folder and those above it."""
    return [word for path in _down_to(str(folder)) for word in _folder(path)]


def _down_to(folder: str) -> list[str]:
    """A folder after those above it, without the root."""
    parts = folder.split("/")
    return ["/".join(parts[: n + 1]) for n in range(1, len(parts)) if parts[n]]


def _folder(path: str) -> list[str]:
    """Make a folder so that everyone may pass: bubblewrap's own are for their owner alone."""
    return ["--perms", "0755", "--dir", path]
