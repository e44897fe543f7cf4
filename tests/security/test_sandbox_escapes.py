"""Ways out of a sandbox that programs inside try, in docker and in bubblewrap: each must lead nowhere.

What every sandbox must refuse stands in the conformance suite (`swarm.sandboxes.conformance`), too.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from swarm.errors import SandboxError
from swarm.protocols import Pausable, Sandbox
from swarm.sandboxes.catalog import open_backend
from swarm.sandboxes.sandbox import ChannelSandbox
from swarm.types import SandboxRequest
from tests.machine import until
from tests.security.conftest import SECRET, Host

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Prison:
    """A sandbox, and beside its workspace what is not its own."""

    kind: str
    sandbox: Sandbox
    workspace: Path
    host: Host

    async def tries(self, script: str) -> list[str]:
        """What a Python script inside says that it could do, a line each."""
        result = await self.sandbox.exec("python3 -", stdin=f"{_PRELUDE}\n{script}".encode(), timeout=60)
        assert result.exit_code == 0, result.stderr.decode()
        return result.stdout.decode(errors="replace").splitlines()


_PRELUDE = """
import ctypes, errno, fcntl, glob, os, socket, stat, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
def attempt(name, work, *arguments):
    try:
        if work(*arguments) is not False: print(name)
    except (OSError, ValueError, subprocess.SubprocessError):
        pass
def call(number, *arguments):
    ctypes.set_errno(0)
    if libc.syscall(number, *map(ctypes.c_void_p, arguments)) < 0:
        raise OSError(ctypes.get_errno(), "refused")
"""


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module", params=["docker", "bubblewrap"])
async def prison(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Prison]:
    request.getfixturevalue(f"{request.param}_box")
    lease = tmp_path_factory.mktemp("lease")
    workspace, host = lease / "ws-1/tree", Host(lease / "ws-2")
    for folder in (workspace, host.key.parent, host.written):
        folder.mkdir(parents=True)
    host.key.write_text(SECRET)
    host.key.chmod(0o644)
    host.written.chmod(0o777)
    for folder in (lease.parent, lease):
        folder.chmod(0o755)  # nothing but the sandbox itself is in the way
    wanted = SandboxRequest("run", "owner", lease, workspace, "/workspace")
    async with open_backend(request.param, lease) as backend, backend.open(wanted) as sandbox:
        yield Prison(request.param, sandbox, workspace, host)


async def test_no_file_of_the_host_is_read(prison: Prison) -> None:
    (prison.workspace / "link").symlink_to(prison.host.key)
    tried = await prison.tries(f"""
key = {str(prison.host.key)!r}
ways = [key, "link", "../ws-2/.ssh/id_rsa", "../../ws-2/.ssh/id_rsa", "/proc/1/root" + key, "/proc/self/root" + key]
ways += [f"/proc/{{pid}}/{{way}}" + key for pid in (1, 2, "self") for way in ("root", "cwd/../../../../..")]
ways += ["/etc/shadow", "/proc/kcore", "/proc/1/environ-of-the-host", "/dev/mem", "/dev/sda"]
ways += [os.path.expanduser("~root") + "/.bash_history"]
ways += ["/var/lib/docker", "/var/run/docker.sock", "/run/docker.sock", "/sys/firmware/efi/efivars", "/proc/keys"]
for way in ways:
    attempt(way, lambda: open(way, "rb").read(1) != b"" or os.listdir(way))
for folder, _, names in os.walk("/dev"):
    for name in names:
        if stat.S_ISBLK(os.lstat(os.path.join(folder, name)).st_mode): print(folder, name)
""")
    # What Docker hides is there and empty.
    assert [way for way in tried if way not in ("/proc/keys", "/proc/kcore")] == []


async def test_nothing_is_written_outside(prison: Prison) -> None:
    written = f"{prison.host.written}/x"
    places = [written, "/proc/1/root" + written, "/usr/bin/x", "/etc/x", "/.swarm/x", "/.swarm/agent", "/bin/sh", "/x"]
    places += ["/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/vm/overcommit_memory"]
    places += ["/proc/sysrq-trigger", "/sys/kernel/uevent_helper", "/sys/fs/cgroup/release_agent", "/dev/kmsg"]
    places += ["/sys/fs/cgroup/cgroup.procs", "/proc/1/oom_score_adj", "/proc/self/exe", "/dev/x"]
    tried = await prison.tries(f"""
for place in {places!r}:
    attempt(place, lambda: os.write(os.open(place, os.O_WRONLY | os.O_CREAT, 0o666), b"-1000"))
attempt("less likely to be killed", lambda: os.write(os.open("/proc/self/oom_score_adj", os.O_WRONLY), b"-1000"))
attempt("device", lambda: os.mknod("device", stat.S_IFBLK | 0o666, os.makedev(8, 0)))
attempt("link", lambda: os.link("/etc/passwd", "hard"))
attempt("owner", lambda: os.chown("/workspace", 0, 0))
attempt("hostname", lambda: socket.sethostname("x"))
attempt("core files", lambda: open("/proc/self/limits").read().split("Max core file size")[1].split()[1] != "0")
""")
    assert tried == []
    assert prison.host.untouched


async def test_no_rights_are_gained(prison: Prison) -> None:
    """By no program that belongs to root, and no namespace of one's own."""
    tried = await prison.tries("""
import shutil
shutil.copy("/bin/sh", "root-sh"); os.chmod("root-sh", 0o6755)
attempt("root", lambda: b"0" in subprocess.run(["./root-sh", "-c", "id -u"], capture_output=True).stdout.split())
for program in ("su", "sudo", "mount", "newgrp"):
    where = shutil.which(program)
    attempt(program, lambda: b"uid=0" in subprocess.run([where or "false", "-c", "id"], capture_output=True).stdout)
for name, flag in dict(user=0x10000000, mount=0x20000, pid=0x20000000, net=0x40000000, ipc=0x8000000).items():
    attempt(f"unshare {name}", lambda: libc.unshare(flag) == 0)
for space in os.listdir("/proc/1/ns"):
    attempt(f"setns {space}", lambda: libc.setns(os.open(f"/proc/1/ns/{space}", 0), 0) == 0)
for name in ("mount", "umount2", "pivot_root", "chroot"):
    attempt(name, lambda: getattr(libc, name)(b"/tmp", b"/workspace", 0, 4096, 0) == 0)
attempt("ids", lambda: os.setuid(0)); attempt("groups", lambda: os.setgroups([0]))
if os.uname().machine == "x86_64":
    for name, number in dict(io_uring=425, bpf=321, perf=298, keyctl=250, userfaultfd=323, by_handle=304).items():
        attempt(name, lambda: call(number, 1, 0, 0, 0, 0))
    attempt("clone3", lambda: call(435, 0, 0) or True)
""")
    assert tried == []


async def test_there_is_no_network_without_permission(prison: Prison, tmp_path: Path) -> None:
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("", 0)))]
        port = listeners[0].getsockname()[1]
        for name in (f"\0swarm-test-{port}", f"{prison.host.folder}/socket"):
            listeners.append(stack.enter_context(socket.socket(socket.AF_UNIX)))
            listeners[-1].bind(name)
            listeners[-1].listen()
        datagrams = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        datagrams.bind(("", port))
        ours = [line.split()[0].split("/")[0] for line in _addresses()]
        tried = await prison.tries(f"""
socket.setdefaulttimeout(2)
for address in {["127.0.0.1", "169.254.169.254", "192.0.2.1", *ours]!r}:
    attempt(address, lambda: socket.create_connection((address, {port})))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        if address != "127.0.0.1": attempt(f"udp {{address}}", lambda: udp.sendto(b"x", (address, {port})))
for address in ("::1", "fe80::1%lo", "2001:db8::1", "::ffff:127.0.0.1"):
    attempt(address, lambda: socket.create_connection((address, {port})))
for name in ("example.com", "host.docker.internal", "metadata.google.internal"):
    attempt(name, lambda: socket.getaddrinfo(name, 80))
for name in ("\\0swarm-test-{port}", {str(prison.host.folder)!r} + "/socket", "/run/dbus/system_bus_socket",
             "/tmp/.X11-unix/X0", "\\0/tmp/.X11-unix/X0", os.environ.get("SSH_AUTH_SOCK", "/nonexistent")):
    attempt(repr(name), lambda: socket.socket(socket.AF_UNIX).connect(name))
for family, kind in ((17, socket.SOCK_RAW), (socket.AF_INET, socket.SOCK_RAW), (40, socket.SOCK_STREAM), (38, 5)):
    attempt(f"family {{family}}", socket.socket, family, kind)
attempt("devices up", lambda: any(line.split(":")[0].strip() != "lo" and int(line.split(":")[1].split()[0])
                                 for line in open("/proc/net/dev").readlines()[2:]))
""")
        if prison.kind == "docker":  # which families there are is the engine's own filter's: 20.10 has these two
            tried = [way for way in tried if way not in ("family 38", "family 40")]
        assert tried == []
        for listener in (*listeners, datagrams):
            listener.setblocking(False)
            with pytest.raises(BlockingIOError):
                listener.recv(1) if listener is datagrams else listener.accept()


def _addresses() -> list[str]:
    """This machine's own, but for its loopback."""
    told = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=False)
    return [word for word in told.stdout.split() if ":" not in word]


async def test_no_descriptor_of_the_host_is_inherited(prison: Prison) -> None:
    found = await prison.tries("""
seen = set()
for fd in glob.glob("/proc/[0-9]*/fd/*"):
    attempt(fd, lambda: seen.add(os.readlink(fd)) or False)
print(*sorted(seen), sep="\\n")
""")
    known = ("/dev/null", "/.swarm/", "/proc/", "pipe:", "anon_inode:[eventpoll]", "/dev/pts", "/workspace")
    assert [target for target in found if not target.startswith(known)] == []


_ANSWERS_FOR_THE_AGENT = """
PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207
taken = libc.syscall(438, os.pidfd_open(1), 4, 0)
libc.ptrace(PTRACE_SEIZE, 1, 0, 0); libc.ptrace(PTRACE_INTERRUPT, 1, 0, 0)
if taken >= 0:
    fcntl.fcntl(taken, fcntl.F_SETFL, fcntl.fcntl(taken, fcntl.F_GETFL) | os.O_NONBLOCK)
open("ready", "w").close()
while True:
    open("ticks", "a").write("x")
    for number in range(40):
        attempt("", lambda: taken < 0 or os.write(taken, b"%d 0\\n" % number) and False)
"""


async def test_who_answers_for_the_agent_stands_still_all_the_same(bubblewrap_box: None, tmp_path: Path) -> None:
    """What is read of a paused sandbox is read as root, perhaps: nothing in it may go on, whatever it says. It is ended
    from outside as well, where a limit is passed."""
    ticks = tmp_path / "tree/ticks"
    ticks.parent.mkdir()
    (ticks.parent / "hostile.py").write_text(_PRELUDE + _ANSWERS_FOR_THE_AGENT)
    wanted = SandboxRequest("run", "owner", tmp_path, ticks.parent, "/workspace")
    async with open_backend("bubblewrap", tmp_path) as backend, backend.open(wanted) as sandbox:
        assert isinstance(sandbox, Pausable)
        begun = await sandbox.exec("python3 hostile.py >/dev/null 2>&1 & until [ -s ticks ]; do sleep 0.01; done")
        assert begun.exit_code == 0
        await sandbox.pause()
        before = ticks.stat().st_size
        for _ in range(20):
            await anyio.run_process(["true"])  # time in which it would write hundreds of times
        assert ticks.stat().st_size == before
        await sandbox.resume()
        await until(lambda: ticks.stat().st_size > before)
        assert isinstance(sandbox, ChannelSandbox)
        await sandbox._channel.clear()  # as the watch over its disk does
        before = ticks.stat().st_size
        for _ in range(20):
            await anyio.run_process(["true"])
        assert ticks.stat().st_size == before


_ITS_FIRST_THREAD_ENDS = """
import threading
def tick():
    while True:
        open("ticks", "a").write("x")
os.setsid()
threading.Thread(target=tick).start()
while not os.path.exists("ticks"): pass
libc.syscall(dict(x86_64=60).get(os.uname().machine, 93), 0)
"""


@pytest.mark.parametrize("kind", ["docker", "bubblewrap", "process"])
async def test_whose_first_thread_has_ended_is_stopped_and_ended(
    request: pytest.FixtureRequest, kind: str, tmp_path: Path
) -> None:
    """It looks as if it had ended itself, with its files and its environment, and goes on."""
    if kind != "process":
        request.getfixturevalue(f"{kind}_box")
    ticks = tmp_path / "tree/ticks"
    ticks.parent.mkdir()
    (ticks.parent / "hostile.py").write_text(_PRELUDE + _ITS_FIRST_THREAD_ENDS)
    wanted = SandboxRequest("run", "owner", tmp_path, ticks.parent, "/workspace")
    in_background = "python3 hostile.py >/dev/null 2>&1 & until grep -q '^State:.Z' /proc/$!/status; do :; done"
    async with open_backend(kind, tmp_path) as backend, backend.open(wanted) as sandbox:
        assert isinstance(sandbox, Pausable)
        assert isinstance(sandbox, ChannelSandbox)

        async def stands_still() -> bool:
            before = ticks.stat().st_size
            for _ in range(10):
                await anyio.run_process(["true"])  # time in which it would write hundreds of times
            return ticks.stat().st_size == before

        assert (await sandbox.exec(in_background)).exit_code == 0
        await sandbox.pause()
        assert await stands_still()
        await sandbox.resume()
        paused = ticks.stat().st_size
        await until(lambda: ticks.stat().st_size > paused)
        await sandbox._channel.clear()  # as the watch over its disk does
        assert await stands_still()
        ended = await sandbox.exec(f"{in_background}; sleep 600", timeout=0.5)
        assert ended.timed_out
        assert await stands_still()


async def test_who_waits_for_a_program_to_start_is_stopped(bubblewrap_box: None, tmp_path: Path) -> None:
    """By vfork a shell waits for its child in a way that no signal ends: where that was stopped first, for ever."""
    (tmp_path / "tree").mkdir()
    starts = "import os, time\nif os.fork(): os._exit(0)\nwhile True: os.posix_spawn('/bin/true', ['true'], {})"
    (tmp_path / "tree/starts.py").write_text(starts)
    wanted = SandboxRequest("run", "owner", tmp_path, tmp_path / "tree", "/workspace")
    async with open_backend("bubblewrap", tmp_path) as backend, backend.open(wanted) as sandbox:
        assert isinstance(sandbox, Pausable)
        await sandbox.exec("python3 starts.py >/dev/null 2>&1 &")
        for _ in range(20):
            await sandbox.pause()
            await sandbox.resume()


async def test_what_is_set_inside_is_not_set_for_what_starts_it(
    bubblewrap_box: None, tmp_path: Path, host: Host
) -> None:
    """Variables by which a loader runs code count inside alone. A repository's swarm.toml may name some."""
    tree = tmp_path / "tree"
    tree.mkdir()
    trace = {"LD_DEBUG": "libs", "LD_DEBUG_OUTPUT": f"{host.written}/trace", "IFS": "x", "UID": "0", "SAID": "it's $x"}
    wanted = SandboxRequest("run", "owner", tmp_path, tree, "/workspace", env=trace)
    async with open_backend("bubblewrap", tmp_path) as backend, backend.open(wanted) as sandbox:
        told = await sandbox.exec("unset LD_DEBUG; set | grep -E '^(LD_DEBUG_OUTPUT|SAID)='; /usr/bin/printenv SAID")
    assert f"LD_DEBUG_OUTPUT={host.written}/trace" in told.stdout.decode().replace("'", ""), "they count inside"
    assert b"\nit's $x\n" in told.stdout
    assert host.untouched


async def test_names_that_are_no_variables_are_refused(bubblewrap_box: None, tmp_path: Path) -> None:
    """A shell would take a function out of them."""
    for name in ("BASH_FUNC_echo%%", "a b", "x=y", ""):
        wanted = SandboxRequest("run", "owner", tmp_path, tmp_path / "tree", "/workspace", env={name: "() { id; }"})
        (tmp_path / "tree").mkdir(exist_ok=True)
        async with open_backend("bubblewrap", tmp_path) as backend:
            with pytest.raises(SandboxError, match="cannot be set in a sandbox"):
                async with backend.open(wanted):
                    pass
