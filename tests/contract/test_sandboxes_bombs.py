"""Commands that try to take all there is: each ends, the next one works, and the machine is unharmed."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from swarm.protocols import Sandbox, SandboxBackend
from swarm.sandboxes.catalog import open_backend
from swarm.sandboxes.leases.mounts import unmount
from swarm.sandboxes.limits import cgroups
from swarm.sandboxes.limits import known as known_limits
from swarm.sandboxes.limits.places import find as found_in
from swarm.types import SandboxLimits, SandboxRequest
from tests.machine import until

pytestmark = pytest.mark.anyio

MIB = 1 << 20
SMALL = SandboxLimits(memory_bytes=192 * MIB, pids=64, cpus=1.0, file_bytes=32 * MIB, disk_bytes=48 * MIB)
Require = Callable[[object, str], None]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def lease(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("lease")
    for path in (folder, *folder.parents[:2]):
        path.chmod(0o711)
    yield folder
    assert cgroups.leftovers(folder) == []


@pytest.fixture(scope="module", params=("docker", "bubblewrap", "process"))
async def backend(request: pytest.FixtureRequest, lease: Path) -> AsyncIterator[SandboxBackend]:
    if request.param != "process":
        request.getfixturevalue(f"{request.param}_box")
    async with open_backend(request.param, lease) as opened:
        yield opened


def held(backend: SandboxBackend, name: str, require: Require) -> None:
    """Go on where the backend limits that."""
    known = known_limits.of(backend)
    require(name not in known, f"{backend.name} does not limit {name} here: {known.get(name)}")


@asynccontextmanager
async def bombed(
    backend: SandboxBackend, lease: Path, workspace: Path, limits: SandboxLimits = SMALL
) -> AsyncIterator[Sandbox]:
    """A sandbox in which a command works before and after, and which leaves the machine as it was."""
    request = SandboxRequest(
        "bombs", "test", lease, workspace, "/workspace", {"PATH": "/usr/local/bin:/usr/bin:/bin"}, limits=limits
    )
    before = set(lease.glob(f"{backend.name}-*"))
    async with backend.open(request) as sandbox:
        yield sandbox
        well = await sandbox.exec("echo well", timeout=300)
        assert (well.exit_code, well.stdout) == (0, b"well\n"), well.stderr
    assert set(lease.glob(f"{backend.name}-*")) == before


async def test_a_fork_bomb(backend: SandboxBackend, lease: Path, tmp_path: Path, require: Require) -> None:
    held(backend, "pids", require)
    async with bombed(backend, lease, tmp_path) as sandbox:
        done = await sandbox.exec("b() { b | b & }; b 2>/dev/null; sleep 600", timeout=2.0)
        assert done.timed_out or done.exit_code != 0
        still = await sandbox.exec("(b() { b | b & }; b) >/dev/null 2>&1 </dev/null", timeout=2.0)
        assert still is not None


async def test_a_memory_bomb(backend: SandboxBackend, lease: Path, tmp_path: Path, require: Require) -> None:
    held(backend, "memory", require)
    async with bombed(backend, lease, tmp_path) as sandbox:
        done = await sandbox.exec("head -c 2G /dev/zero | tail", timeout=300)
        assert (done.exit_code, done.timed_out) == (137, False)
        # Many that are small together are as bad as one that is large.
        many = "for i in 1 2 3 4 5 6; do head -c 60M /dev/zero | tail >/dev/null & done; wait; exit 3"
        assert not (await sandbox.exec(many, timeout=300)).timed_out


async def test_temporary_files_leave_memory_to_run(backend: SandboxBackend, lease: Path, tmp_path: Path) -> None:
    if backend.name == "process":
        pytest.skip("its temporary files are the machine's")
    async with bombed(backend, lease, tmp_path) as sandbox:
        for folder in ("/tmp", "/dev/shm"):
            fill = f"i=0; while [ $i -lt 20 ] && head -c 20M /dev/zero >{folder}/$i; do i=$((i+1)); done"
            await sandbox.exec(fill, timeout=300)
        assert (await sandbox.exec("rm -f /tmp/[0-9]* /dev/shm/*; echo x >/tmp/x && cat /tmp/x")).stdout == b"x\n"


async def test_processors_are_shared(backend: SandboxBackend, lease: Path, tmp_path: Path, require: Require) -> None:
    held(backend, "cpu", require)
    limits = SandboxLimits(memory_bytes=192 * MIB, pids=64, cpus=0.2)
    async with bombed(backend, lease, tmp_path, limits) as sandbox:
        # Of its time limit it gets a share, by its own account: user and system time in ticks of 1/100 s.
        await sandbox.exec("while :; do read -r s </proc/self/stat; echo $s >>ticks; done", timeout=2.0)
        fields = (tmp_path / "ticks").read_text().splitlines()[-2].split(") ")[1].split()
        assert int(fields[11]) + int(fields[12]) < 100


def at_most(times: int, body: str) -> str:
    """Do it so often, and then stay: only the watch ends it. What it writes is bounded, as a filler whose test was
    killed goes on (a process of `--sandbox process` has nobody to end it)."""
    return f"i=0; while [ $i -lt {times} ]; do {body}; i=$((i+1)); done; sleep 300"


BIG = at_most(24, "head -c 8M /dev/zero >big-$i || exit")
GROWING = at_most(8, "head -c 24M /dev/zero >>f-$((i/2)) || :")
MANY = at_most(48_000, "echo x >small-$i")
"""Not more than 200 MB each."""


# Who watches is the same for all backends, who ends the commands is not.
@pytest.mark.parametrize(
    ("backend", "fill"),
    [("docker", MANY), ("process", MANY), ("bubblewrap", MANY), ("bubblewrap", BIG), ("bubblewrap", GROWING)],
    ids=["docker-many", "process-many", "bubblewrap-many", "bubblewrap-big", "bubblewrap-growing"],
    indirect=["backend"],
)
async def test_a_disk_filler(backend: SandboxBackend, lease: Path, tmp_path: Path, fill: str) -> None:
    async with bombed(backend, lease, tmp_path) as sandbox:
        done = await sandbox.exec(fill, timeout=300)
        assert (done.exit_code, done.timed_out) == (137, False)
        assert b"its limit is 48.0 MiB" in done.stderr
        # What was written can be looked at and removed, however long that takes.
        look = "ls | wc -l; rm -rf ./*; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"
        gone = await sandbox.exec(look, timeout=600)
        assert (gone.exit_code, gone.stderr) == (0, b"")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("backend", "depth"),
    [("docker", 200), ("process", 200), ("bubblewrap", 200), ("bubblewrap", 25)],
    indirect=["backend"],
)
async def test_a_disk_filler_out_of_sight(backend: SandboxBackend, lease: Path, deep_path: Path, depth: int) -> None:
    """In folders whose paths are longer than the kernel takes, or deeper than anybody counts."""
    name = "x" * 200
    async with bombed(backend, lease, deep_path) as sandbox:
        down = f"i=0; while [ $i -lt {depth} ]; do mkdir {name}; cd {name} || exit 9; i=$((i+1)); done"
        done = await sandbox.exec(f"{down}; {at_most(200, 'head -c 1M /dev/zero >big-$i')}", timeout=300)
        assert (done.exit_code, done.timed_out) == (137, False)
        assert b"its limit is 48.0 MiB" in done.stderr
        # What others write meanwhile counts as long as it cannot be counted: then a command is ended, and told why.
        with anyio.fail_after(300):
            while (removed := await sandbox.exec("rm -rf ./*")).stderr:
                assert b"its limit is 48.0 MiB" in removed.stderr
        assert (await sandbox.exec("sleep 1; echo well")).stdout == b"well\n"


async def test_a_filler_while_no_command_runs(backend: SandboxBackend, lease: Path, tmp_path: Path) -> None:
    async with bombed(backend, lease, tmp_path) as sandbox:
        fill = at_most(100, "head -c 2M /dev/zero >big-$i")
        await sandbox.exec(f"({fill}) >/dev/null 2>&1 </dev/null & echo $! >filler")
        living = f"kill -0 {int((tmp_path / 'filler').read_text())}"
        with anyio.fail_after(300):
            # Only asked, which takes less time than a command's own watch begins to look after.
            while (await sandbox.exec(living)).exit_code == 0:  # noqa: ASYNC110  nobody tells
                await anyio.sleep(0.2)
        assert (await sandbox.exec("rm -f ./*")).stderr == b""


async def test_a_command_beside_a_filler_is_done_or_told_why_not(
    backend: SandboxBackend, lease: Path, tmp_path: Path
) -> None:
    async with bombed(backend, lease, tmp_path) as sandbox:
        for _ in range(3 if backend.name == "process" else 12):  # where the machine's init clears up, in its own time
            fill = at_most(24, "head -c 8M /dev/zero >>big || exit")
            await sandbox.exec(f"({fill}) >/dev/null 2>&1 </dev/null & echo $! >filler")
            with anyio.fail_after(300):
                while (tmp_path / "filler").is_file():
                    done = await sandbox.exec("kill -0 $(cat filler) || rm -f filler big; echo well")
                    assert done.stdout == b"well\n" or b"its limit is" in done.stderr


async def test_a_filler_in_the_background_ends_too(backend: SandboxBackend, lease: Path, tmp_path: Path) -> None:
    async with bombed(backend, lease, tmp_path) as sandbox:
        fill = at_most(48, "head -c 4M /dev/zero >big-$i || exit")
        await sandbox.exec(f"({fill}) >/dev/null 2>&1 </dev/null &")
        done = await sandbox.exec("sleep 600", timeout=300)
        assert b"its limit is" in done.stderr
        same = await sandbox.exec("ls | wc -l; echo; ls | wc -l")
        first, _, second = same.stdout.decode().split("\n")[:3]
        assert first == second


async def test_a_full_disk(backend: SandboxBackend, lease: Path, tmp_path: Path, require: Require) -> None:
    require(os.geteuid() == 0, "only root can mount")
    tmp_path.chmod(0o755)
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "none", str(tmp_path)]
    mounted = await anyio.run_process(mount, check=False)
    require(mounted.returncode == 0, f"nothing can be mounted here: {mounted.stderr.decode()}")
    try:
        async with bombed(backend, lease, tmp_path) as sandbox:
            done = await sandbox.exec("i=0; while head -c 1M /dev/zero >f-$i; do i=$((i+1)); done; exit 4", timeout=300)
            assert done.exit_code in (4, 137)
            with pytest.raises(OSError, match="space"):
                await sandbox.write_file("more", b"x" * (40 * MIB))
            assert (await sandbox.exec("rm -f f-* more; echo x >x; cat x")).stdout == b"x\n"
    finally:
        assert unmount(tmp_path)


async def test_files_of_100_mb(backend: SandboxBackend, lease: Path, tmp_path: Path) -> None:
    data = os.urandom(MIB) * 100
    limits = SandboxLimits(memory_bytes=192 * MIB, pids=64)
    async with bombed(backend, lease, tmp_path, limits) as sandbox:
        await sandbox.write_file("big", data)
        assert (await sandbox.exec("wc -c <big; cp big other")).stdout.strip() == b"104857600"
        assert await sandbox.read_file("other") == data


async def test_no_descriptors_are_left(backend: SandboxBackend, lease: Path, tmp_path: Path) -> None:
    if shutil.which("bash") is None:
        pytest.skip("the shell cannot open a file by a number that is not written out")
    async with bombed(backend, lease, tmp_path) as sandbox:
        greedy = "ulimit -n 4000; while exec {fd}</dev/null; do :; done; exit 3"
        done = await sandbox.exec(f"{greedy}", timeout=300)
        assert (done.exit_code, done.timed_out) != (0, False)


async def test_a_file_cannot_be_larger_than_its_limit(backend: SandboxBackend, lease: Path, tmp_path: Path) -> None:
    if backend.name == "process":
        pytest.skip("limits of one process are this user's own there")
    async with bombed(backend, lease, tmp_path) as sandbox:
        done = await sandbox.exec("head -c 80M /dev/zero >/workspace/large", timeout=300)
        assert done.exit_code != 0
        assert (tmp_path / "large").stat().st_size == 32 * MIB


async def test_without_cgroups(
    lease: Path, tmp_path: Path, bubblewrap_box: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a process bears itself holds: processes of each sandbox for itself, and memory of each process."""
    monkeypatch.setattr(cgroups, "usable", lambda lease: ())
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    async with open_backend("bubblewrap", lease) as backend:
        assert backend.owner is None
        assert set(known_limits.of(backend)) == {"memory", "cpu", "disk"}
        async with bombed(backend, lease, one) as first, bombed(backend, lease, two) as second:
            for _ in range(50):
                await first.exec("sleep 600 >/dev/null 2>&1 </dev/null &")
            # The other one's processes are not counted here.
            many = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 600 & done"
            found = await second.exec(f"{many}; jobs -p | wc -l")
            assert (found.stdout.split(), found.stderr) == ([b"20"], b"")
            bomb = await second.exec("b() { b | b & }; b 2>/dev/null; sleep 600", timeout=2.0)
            assert bomb.timed_out or bomb.exit_code != 0
            assert (await first.exec("head -c 300M /dev/zero | tail | wc -c")).stdout.strip() == b"0"


async def test_what_was_killed_leaves_cgroups_that_can_be_removed(lease: Path, require: Require) -> None:
    places = cgroups.Places()
    require(await places.find(lease), "no cgroup may be used here")
    async with cgroups.limited(places, lease, "left", SMALL) as cgroup:
        async with await anyio.open_process(cgroup.enter(["sleep", "600"])) as left:
            with anyio.fail_after(300):
                await until(lambda: not cgroup.trouble(left.pid, SMALL))
            found = cgroups.leftovers(lease)
            assert len(found) == len(await places.find(lease))
            assert [cgroups.remove(path) for path in found] == [True] * len(found)
            assert await left.wait() == -9
        assert cgroups.leftovers(lease) == []


def test_a_record_removes_nothing_else(tmp_path: Path) -> None:
    (tmp_path / cgroups.RECORD).write_text("/sys/fs/cgroup/memory\n/\n/etc\n")
    assert cgroups.leftovers(tmp_path) == []


def machine(root: Path, *, own: str, mounts: str, given: dict[str, str]) -> list[tuple[int, str, tuple[str, ...]]]:
    """Where cgroups might be made on a machine of these files."""
    proc = root / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "self/cgroup").write_text(own)
    (proc / "self/mountinfo").write_text(mounts.replace("@", str(root)))
    for folder, controllers in given.items():
        place = root / folder
        place.mkdir(parents=True, exist_ok=True)
        (place / "cgroup.subtree_control").write_text(controllers)
    return [(one.version, str(one.parent)[len(str(root)) + 1 :], one.controllers) for one in found_in(proc)]


def test_version_2_under_systemd(tmp_path: Path) -> None:
    """A cgroup with processes hands nothing down; its parents do, those with most controllers first."""
    found = machine(
        tmp_path,
        own="0::/user.slice/user-0.slice/session-1.scope\n",
        mounts="30 20 0:26 / @/cg rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n",
        given={
            "cg": "cpuset cpu io memory pids",
            "cg/user.slice": "memory pids",
            "cg/user.slice/user-0.slice": "memory pids",
            "cg/user.slice/user-0.slice/session-1.scope": "",
        },
    )
    both = ("memory", "pids")
    assert found == [
        (2, "cg", ("memory", "pids", "cpu")),
        (2, "cg/user.slice/user-0.slice", both),
        (2, "cg/user.slice", both),
    ]


def test_versions_1_and_2_side_by_side(tmp_path: Path) -> None:
    found = machine(
        tmp_path,
        own="3:cpu,cpuacct:/\n2:memory:/docker/abc\n1:name=systemd:/\n0::/\n",
        mounts="1 0 0:1 / @/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
        "2 0 0:2 /docker/abc @/memory rw - cgroup cgroup rw,memory\n"
        "3 0 0:3 / @/unified rw - cgroup2 cgroup2 rw\n",
        given={"unified": ""},
    )
    assert found == [(1, "cpu", ("cpu",)), (1, "memory", ("memory",))]


def test_a_machine_without_cgroups(tmp_path: Path) -> None:
    assert machine(tmp_path, own="", mounts="1 0 0:1 / / rw - ext4 /dev/x rw\n", given={}) == []
    assert found_in(tmp_path / "nothing") == []
