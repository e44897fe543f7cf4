"""Leases: who holds one, what a dead one leaves, and what is never touched when it is cleared."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import docker
import pytest

from swarm.sandboxes.channel import sweep
from swarm.sandboxes.docker.leftovers import note_engine
from swarm.sandboxes.leases import clearing
from swarm.sandboxes.leases.lease import open_lease
from swarm.sandboxes.leases.leftover import VARIABLE
from swarm.sandboxes.leases.reaper import dead_leases, reap, remove
from tests.unit.test_removal import nest

pytestmark = pytest.mark.anyio
Require = Callable[[object, str], None]


@pytest.fixture
def dead(tmp_path: Path) -> Path:
    """The folder of a lease whose holder was killed."""
    folder = tmp_path.resolve() / "leases/dead"
    (folder / "ws-1/tree").mkdir(parents=True)
    (folder / "ws-1/tree").chmod(0)
    (folder / "lock").write_text('{"pid": 1, "program": "swarm", "since": "then"}\n')
    return folder


async def test_a_lease_is_gone_at_its_end_and_held_until_then(tmp_path: Path) -> None:
    async with open_lease(tmp_path, "one") as lease:
        (lease.folder / "file").touch()
        assert await reap(tmp_path) == ""
        assert (lease.folder / "file").exists()
    assert not lease.folder.exists()


async def test_a_dead_lease_is_shown_held_and_removed_once(tmp_path: Path, dead: Path) -> None:
    with dead_leases(tmp_path) as first:
        (shown,) = first.leases
        assert (shown.id, shown.holder.pid, shown.holder.since) == ("dead", 1, "then")
        assert [thing.kind for thing in shown.leftovers] == ["folder"]
        with dead_leases(tmp_path) as second:  # whoever shows it will remove it: nobody else does
            assert second.leases == ()
        assert dead.exists()
    assert "1 folder" in await reap(tmp_path)
    assert not dead.exists()
    assert await reap(tmp_path) == ""


@pytest.mark.parametrize("lock", [None, b"", b"{", b"[1]", b"\xff\xfe", b'{"pid": "x", "since": 3}'])
async def test_a_lock_that_says_nothing_is_as_good(tmp_path: Path, dead: Path, lock: bytes | None) -> None:
    (dead / "lock").unlink()
    if lock is not None:
        (dead / "lock").write_bytes(lock)
    assert "dead" in await reap(tmp_path)
    assert not dead.exists()


async def test_a_lease_is_remembered_while_its_engine_is_away(tmp_path: Path, dead: Path) -> None:
    note_engine(dead, f"unix://{tmp_path}/nothing")
    note_engine(dead, "tcp://127.0.0.1:1")
    assert await reap(tmp_path) == ""
    assert sorted(path.name for path in dead.iterdir()) == ["engines", "lock"]
    with dead_leases(tmp_path) as found:
        assert len(found.leases[0].unseen) == 2
        assert found.unseen == ()
        assert remove(found.leases[0], float("inf")) == []
    assert dead.exists()


async def test_what_is_mounted_in_a_lease_is_not_removed(tmp_path: Path, dead: Path, require: Require) -> None:
    place, source = dead / "a place", tmp_path / "source"
    place.mkdir()
    source.mkdir()
    (source / "precious").touch()
    mounted = await anyio.run_process(["mount", "--bind", source, place], check=False)
    require(mounted.returncode == 0, "nothing can be mounted here")
    assert "1 mount" in await reap(tmp_path)
    assert not dead.exists()
    assert (source / "precious").exists()


@pytest.mark.parametrize("odd", ["leases/dead/engines", "leases/dead/cgroups", "leases/odd/lock"])
async def test_what_cannot_be_looked_at_is_told_and_hinders_nobody(tmp_path: Path, dead: Path, odd: str) -> None:
    place = tmp_path / odd
    place.parent.mkdir(exist_ok=True)
    os.mkfifo(place)
    told = await reap(tmp_path)
    assert "not all could be" in told or "could not all be" in told
    assert "swarm gc" in told
    assert place.parent.exists()
    assert not (dead / "ws-1").exists()


async def test_a_failure_is_a_reason(tmp_path: Path, dead: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RecursionError("too deep")

    monkeypatch.setattr(clearing, "remove_tree", fail)
    with dead_leases(tmp_path) as found:
        (wrong,) = remove(found.leases[0], float("inf"))
    assert "too deep" in wrong
    monkeypatch.setattr(sweep, "find", fail)
    with dead_leases(tmp_path) as found:
        assert found.leases[0].unseen == ("too deep",)
    assert "swarm gc" in await reap(tmp_path)
    async with open_lease(tmp_path, "one") as lease:
        (lease.folder / "folder").mkdir()
    assert lease.folder.exists()
    monkeypatch.undo()
    assert "dead, one" in await reap(tmp_path)
    assert not lease.folder.exists()


async def test_a_lease_is_gone_at_its_end_however_deep(deep_path: Path) -> None:
    async with open_lease(deep_path, "one") as lease:
        (lease.folder / "ws").mkdir()
        nest(lease.folder / "ws", 1200)
    assert not lease.folder.exists()


async def test_no_time_is_no_reason_to_fail(tmp_path: Path, dead: Path) -> None:
    with dead_leases(tmp_path) as found:
        (wrong,) = remove(found.leases[0], 0.0)
    assert "no time" in wrong
    assert dead.exists()


@pytest.fixture
def containers(docker_box: str) -> Iterator[Callable[[Path], str]]:
    """Makes containers that bear a label, and tells their ids."""
    client = docker.APIClient(docker_box, version="auto")
    made: list[str] = []
    tag = secrets.token_hex(8)  # other tests use this engine
    client.import_image_from_data(b"\0" * 1024, repository="swarm-test", tag=tag)

    def make(lease: Path) -> str:
        made.append(client.create_container(f"swarm-test:{tag}", ["/none"], labels={"swarm.lease": str(lease)})["Id"])
        return made[-1]

    yield make
    for id in {one["Id"] for one in client.containers(all=True)} & set(made):
        client.remove_container(id)
    client.remove_image(f"swarm-test:{tag}")
    client.close()


async def test_containers_are_removed_by_the_lease_that_they_bear(
    containers: Callable[[Path], str], docker_box: str, tmp_path: Path, dead: Path
) -> None:
    home = tmp_path.resolve()
    note_engine(dead, docker_box)
    async with open_lease(home, "alive") as alive:
        of_the_dead, of_a_folder_that_is_gone = containers(dead), containers(home / "leases/gone")
        kept = {containers(alive.folder), containers(home / "elsewhere/leases/gone"), containers(home / "leases")}
        with dead_leases(home, [docker_box]) as found:
            assert [one.id for one in found.leases] == ["dead", "gone"]
            assert [remove(one, float("inf")) for one in found.leases] == [[], []]
        client = docker.APIClient(docker_box, version="auto")
        left = {one["Id"] for one in client.containers(all=True)}
        client.close()
        assert kept <= left
        assert not {of_the_dead, of_a_folder_that_is_gone} & left
    assert [path.name for path in (home / "leases").iterdir()] == [".lock"]


@pytest.fixture
def sweeps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many processes each sweep of the machine met."""
    met: list[int] = []
    find, send = sweep.find, sweep.send

    def found(belongs: Callable[[Path], bool]) -> list[Path]:
        met.append(len(processes := find(belongs)))
        return processes

    def sent(number: signal.Signals, belongs: Callable[[Path], bool]) -> int:
        met.append(send(number, belongs))
        return met[-1]

    monkeypatch.setattr(sweep, "find", found)
    monkeypatch.setattr(sweep, "send", sent)
    return met


async def test_the_machine_is_swept_once_where_nothing_is_left(tmp_path: Path, sweeps: list[int]) -> None:
    async with open_lease(tmp_path, "one") as lease:
        (lease.folder / "file").touch()
    assert sweeps == [0] and not lease.folder.exists()


async def test_a_process_that_is_left_is_ended_and_looked_for_again(tmp_path: Path, sweeps: list[int]) -> None:
    async with open_lease(tmp_path, "one") as lease:
        env = {VARIABLE: str(lease.folder)}
        left = await anyio.open_process([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=env)
    assert await left.wait() == -signal.SIGKILL
    assert sweeps == [1, 0] and not lease.folder.exists()
    await left.aclose()


async def test_of_a_dead_lease_who_may_start_something_is_looked_for_again(
    tmp_path: Path, dead: Path, sweeps: list[int]
) -> None:
    assert "1 folder" in await reap(tmp_path)
    assert sweeps == [0, 0] and not dead.exists()


async def test_a_process_whose_first_thread_has_ended_is_found(tmp_path: Path) -> None:
    """What can be seen of it is seen by the others."""
    code = "import ctypes, threading; threading.Thread(target=input).start(); ctypes.CDLL(None).pthread_exit(None)"
    async with open_lease(tmp_path, "one") as lease:
        env = {VARIABLE: str(lease.folder)}
        process = await anyio.open_process([sys.executable, "-c", code], stdin=subprocess.PIPE, env=env)
        stat = Path(f"/proc/{process.pid}/stat")
        with anyio.fail_after(20):
            while ") Z" not in stat.read_text():  # noqa: ASYNC110  nobody tells
                await anyio.sleep(0.01)
        (found,) = sweep.find(sweep.of_lease(lease.folder))
        assert found.parent.parent == stat.parent
    assert await process.wait() == -signal.SIGKILL
    await process.aclose()


def test_a_process_with_one_thread_that_does_not_belong_is_not_looked_at_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run sweeps all processes of the machine, and there may be many hundred."""
    looked: list[str] = []
    read = sweep._read

    def noted(process: Path, name: str) -> bytes:
        if int(process.parts[2]) == other.pid:
            looked.append(name)
        return read(process, name)

    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        monkeypatch.setattr(sweep, "_read", noted)
        assert sweep.find(sweep.of_lease(tmp_path)) == []
        other.kill()
    assert looked == ["environ", "cmdline"]
