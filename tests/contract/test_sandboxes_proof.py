"""Each thing that a sandbox proves from inside before its first use: where it does not hold, nothing is run."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from swarm.errors import SandboxError
from swarm.sandboxes import process
from swarm.sandboxes.bubblewrap import backend as bubblewrap
from swarm.sandboxes.bubblewrap.namespace import FILTER, namespace
from swarm.sandboxes.conformance import suite as conformance
from swarm.sandboxes.docker import backend as docker
from swarm.sandboxes.docker.engine import connect
from swarm.sandboxes.limits import cgroups
from swarm.sandboxes.limits import known as known_limits
from swarm.sandboxes.limits.known import LIMITS
from swarm.sandboxes.proof import Expected, prove
from swarm.types import ExecResult, SandboxLimits, SandboxRequest

pytestmark = pytest.mark.anyio

Require = Callable[[object, str], None]
Options = dict[str, Any]
MIB = 1 << 20


@pytest.fixture
def lease(tmp_path: Path) -> Path:
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o711)
    (tmp_path / "workspace").mkdir()
    (tmp_path / "lease").mkdir()
    return tmp_path / "lease"


def request(lease: Path) -> SandboxRequest:
    return SandboxRequest("proof", "test", lease, lease.parent / "workspace", "/workspace")


def _mounted(options: Options, target: str, source: str, *, read_only: bool = False) -> None:
    from docker.types import Mount

    options["mounts"] = [mount for mount in options["mounts"] if mount["Target"] != target]
    options["mounts"].append(Mount(target, source, type="bind", read_only=read_only))


def _control_writable(options: Options) -> None:
    control = next(mount for mount in options["mounts"] if mount["Target"] == "/.swarm")
    control["ReadOnly"] = False


def _a_socket(options: Options) -> None:
    socket = (os.environ.get("DOCKER_HOST") or docker.__name__).removeprefix("unix://")
    _mounted(options, "/run/docker.sock", socket, read_only=True)


DOCTORED: dict[str, tuple[Callable[[Options], object], str]] = {
    "workspace": (lambda options: _mounted(options, "/workspace", "/usr"), "is not the workspace"),
    "user": (lambda options: options.update(user="0:0"), "user is root"),
    "capabilities": (lambda options: options.update(cap_drop=[]), "capabilities"),
    "privileges": (lambda options: options.update(security_opt=[]), "NoNewPrivs"),
    "seccomp": (
        lambda options: options.update(security_opt=["no-new-privileges", "seccomp=unconfined"]),
        "system calls are not filtered",
    ),
    "network": (lambda options: options.update(network_mode="host"), "has a network"),
    "root": (lambda options: options.update(read_only=False), "/ is mounted writable"),
    "usr": (lambda options: _mounted(options, "/usr", "/usr"), "/usr is mounted writable"),
    "control": (_control_writable, r"/\.swarm is mounted writable"),
    "socket": (_a_socket, r"docker\.sock"),
    "memory": (lambda options: options.update(mem_limit=4 << 30, memswap_limit=4 << 30), "memory is 4294967296"),
    "swap": (lambda options: options.update(memswap_limit=-1), "swap is"),
    "pids": (lambda options: options.update(pids_limit=-1), "pids is max"),
    "cpu": (lambda options: options.update(nano_cpus=0), "cpu is"),
    "file size": (lambda options: options.update(ulimits=options["ulimits"][1:]), "Max file size"),
    "core": (lambda options: options.update(ulimits=options["ulimits"][:1]), "Max core file size"),
}


@pytest.mark.parametrize("what", DOCTORED)
async def test_docker(what: str, lease: Path, docker_box: str, monkeypatch: pytest.MonkeyPatch) -> None:
    doctor, said = DOCTORED[what]
    options = docker._options

    def doctored(*args: Any) -> Options:
        made = options(*args)
        doctor(made)
        return made

    monkeypatch.setattr(docker, "_options", doctored)
    async with connect() as engine:
        with pytest.raises(SandboxError, match=said):
            async with docker.DockerBackend(engine).open(request(lease)):
                pytest.fail("it was opened")


def _without(argv: list[str], *words: str) -> list[str]:
    """A command line without some words that stand together."""
    at = next(i for i in range(len(argv)) if tuple(argv[i : i + len(words)]) == words)
    return [*argv[:at], *argv[at + len(words) :]]


def _control_bound(argv: list[str]) -> list[str]:
    at = argv.index("/.swarm")
    return [*argv[: at - 2], "--bind", *argv[at - 1 :]]


def _before_the_end(argv: list[str], *words: str) -> list[str]:
    at = argv.index("--remount-ro", argv.index("/.swarm"))
    return [*argv[:at], *words, *argv[at:]]


NARROWED: dict[str, tuple[Callable[[list[str]], list[str]], str]] = {
    "network": (lambda argv: _without(argv, "--unshare-net"), "has a network"),
    "root": (lambda argv: _without(argv, "--remount-ro", "/"), "/ (is mounted writable|can be reached or written)"),
    "control": (_control_bound, r"/\.swarm"),
    "usr": (lambda argv: _before_the_end(argv, "--bind", "/usr", "/usr"), "/usr is mounted writable"),
    "workspace": (lambda argv: _before_the_end(argv, "--tmpfs", "/workspace"), "is not the workspace"),
    "seccomp": (lambda argv: _without(argv, FILTER), "system calls are not filtered"),
}
AS_ROOT: dict[str, tuple[Callable[[list[str]], list[str]], str]] = {
    "user": (lambda argv: [w.replace(argv[argv.index("--reuid") + 1], "0") for w in argv], "user is root"),
    "capabilities": (lambda argv: _without(argv, "--bounding-set=-all"), "capabilities"),
    "cgroups": (lambda argv: argv[next(i for i, w in enumerate(argv) if w.endswith("/bwrap")) :], "is not in /"),
}


@pytest.mark.parametrize("what", [*NARROWED, *AS_ROOT])
async def test_bubblewrap(
    what: str, lease: Path, bubblewrap_box: None, monkeypatch: pytest.MonkeyPatch, require: Require
) -> None:
    if what in AS_ROOT:
        require(os.geteuid() == 0, "a user has nothing to give up")
    if what == "cgroups":
        require(cgroups.usable(lease), "no cgroup may be used here")
    doctor, said = (NARROWED | AS_ROOT)[what]

    def doctored(argv: Sequence[str], *others: Any) -> AbstractAsyncContextManager[int]:
        return namespace(doctor(list(argv)), *others)

    monkeypatch.setattr(bubblewrap, "namespace", doctored)
    with pytest.raises(SandboxError, match=said):
        async with bubblewrap.BubblewrapBackend().open(request(lease)):
            pytest.fail("it was opened")
    assert cgroups.leftovers(lease) == []


async def test_the_keyring_is_not_shown(lease: Path, bubblewrap_box: None) -> None:
    async with bubblewrap.BubblewrapBackend().open(request(lease)) as sandbox:
        for name in bubblewrap.HIDDEN:
            shown = await sandbox.exec(f"cat {name}")
            assert (shown.exit_code != 0, shown.stdout) == (True, b"")


async def test_a_limit_that_was_taken_away(lease: Path, require: Require) -> None:
    """Read back from the kernel for a process that is in it."""
    places = cgroups.Places()
    require(await places.find(lease), "no cgroup may be used here")
    limits = SandboxLimits(memory_bytes=64 * MIB)
    async with cgroups.limited(places, lease, "mine", limits) as cgroup:
        assert "is not in" in cgroup.trouble(os.getpid(), limits)
        with subprocess.Popen(cgroup.enter(["cat"]), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: ASYNC220  a pipe is enough
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(b"\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"\n"
            assert cgroup.trouble(process.pid, limits) == ""
            other = SandboxLimits(memory_bytes=32 * MIB, pids=7)
            assert " is " in cgroup.trouble(process.pid, other)


def test_a_whole_run_ends_with_exit_3_and_says_which(
    tmp_path: Path, bubblewrap_box: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine whose bubblewrap does not do what it is told."""
    real = shutil.which("bwrap")
    shim = tmp_path / "bin/bwrap"
    shim.parent.mkdir()
    shim.write_text(
        f"#!{sys.executable}\nimport os, sys\nos.execv({real!r}, [w for w in sys.argv if w != '--unshare-net'])\n"
    )
    shim.chmod(shim.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{shim.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))
    words = ["run", "task", "--no-repo", "--model", "embedded", "--sandbox", "bubblewrap", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "swarm", *words], capture_output=True, text=True, cwd=tmp_path, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 3, done.stderr
    assert "the sandbox has a network" in done.stderr + done.stdout


async def test_the_folder_that_it_starts_in(lease: Path) -> None:
    async with process.ProcessBackend().open(request(lease)) as sandbox:
        expected = Expected(lease.parent / "workspace", "/elsewhere", isolated=False)
        with pytest.raises(SandboxError, match=r"starts in .*, not in '/elsewhere'"):
            await prove(sandbox.exec, expected)


async def test_a_full_disk_is_told_as_one(lease: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may still write on it, what runs in the sandbox may not."""
    none_left = os.statvfs_result((4096, 4096, 100, 5, 0, 100, 5, 5, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: none_left)

    async def exec(command: str, **given: Any) -> ExecResult:
        return ExecResult(0, b"", b"")

    (lease.parent / "workspace").mkdir(exist_ok=True)
    with pytest.raises(SandboxError, match=r"workspace: No space left on device; free some space"):
        await prove(exec, Expected(lease.parent / "workspace", "/workspace", isolated=False))


async def test_known_limits_bear_names_that_there_are(lease: Path) -> None:
    names = {check.name for check in conformance.CHECKS} | set(LIMITS)
    every = (known_limits.docker(), known_limits.bubblewrap(frozenset()), known_limits.process(frozenset()))
    for known in every:
        assert set(known) <= names
        assert all(known.values())
    meaningless = {check.name for check in conformance.CHECKS if check.isolation}
    assert set(known_limits.ISOLATION) == meaningless
