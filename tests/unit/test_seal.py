"""The seal on a run's record: what it covers, and that its key is made once, heals, and is missed aloud."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from swarm.events import RunResumed, RunStarted
from swarm.journal.reader import read_events
from swarm.journal.redaction import Redactor
from swarm.journal.seal import is_sealed, sealer
from swarm.journal.writer import open_journal


def started(**changed: Any) -> RunStarted:
    said = {"task": "t", "task_sha256": "x", "mode": "plan", "swarm_version": "1", "config_sha256": "x", "repo": "/r"}
    return RunStarted(**{**said, "config": {"model": "m"}, "dry_run": True, "run_id": "a", **changed})


def test_all_that_counts_is_sealed(tmp_path: Path) -> None:
    keys = (tmp_path / "keys",)
    event, resumed = (
        started(),
        RunResumed(run_id="a", swarm_version="1", began_with="1", config={"base_url": "http://a/v1"}),
    )
    seal = sealer(tmp_path, keys)
    assert seal(event) == seal(resumed) == ""
    assert is_sealed(tmp_path, keys, [event, resumed])
    for changed in ({"repo": "/etc"}, {"task": "u"}, {"dry_run": False}, {"run_id": "b"}, {"config": {"model": "n"}}):
        assert not is_sealed(tmp_path, keys, [started(**changed), resumed]), changed
    assert not is_sealed(tmp_path, keys, [event, resumed.model_copy(update={"config": {"base_url": "http://b/v1"}})])
    assert not is_sealed(tmp_path, (tmp_path / "others",), [event])


@pytest.mark.parametrize("broken", [b"", b"half", bytes(32), b"x" * 40])
def test_a_key_that_is_none_is_made_anew(tmp_path: Path, broken: bytes) -> None:
    (tmp_path / "seal.key").write_bytes(broken)
    assert sealer(tmp_path, (tmp_path,))(started()) == ""
    assert is_sealed(tmp_path, (tmp_path,), [started()])
    assert (tmp_path / "seal.key").stat().st_mode & 0o777 == 0o600


def test_a_key_is_on_the_disk_and_needs_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    sync = os.fsync

    def fsync(fd: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
        assert not (tmp_path / "keys/seal.key").exists() or synced[-1].endswith("keys")
        sync(fd)

    def link(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    assert sealer(tmp_path, (tmp_path / "keys",))(started()) == ""
    assert is_sealed(tmp_path, (tmp_path / "keys",), [started()])
    assert len(synced) == 2 and synced[1] == str((tmp_path / "keys").resolve()), "the file, then its folder"


def test_of_many_at_once_all_have_one_key(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/seal.key").touch()
    folders = [tmp_path / str(number) for number in range(8)]

    def seal(folder: Path) -> None:
        folder.mkdir()
        sealer(folder, (tmp_path / "keys",))(started())

    threads = [threading.Thread(target=seal, args=(folder,)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(is_sealed(folder, (tmp_path / "keys",), [started()]) for folder in folders)


def test_who_makes_the_key_keeps_others_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process is at it: this one takes the key that it makes."""
    keys, key = (tmp_path / "keys",), bytes(range(32))
    keys[0].mkdir()
    waits, lock = threading.Event(), fcntl.flock

    def flock(fd: int, how: int) -> None:
        waits.set()
        lock(fd, how)

    def seal() -> None:
        sealer(tmp_path, keys)(started())
        waits.set()

    with (keys[0] / ".seal.key.lock").open("w") as file:
        lock(file, fcntl.LOCK_EX)
        monkeypatch.setattr(fcntl, "flock", flock)
        thread = threading.Thread(target=seal)
        thread.start()
        waits.wait()
        assert not (keys[0] / "seal.key").exists(), "it did not wait"
        (keys[0] / "seal.key").write_bytes(key)
        lock(file, fcntl.LOCK_UN)
    thread.join()
    assert (keys[0] / "seal.key").read_bytes() == key
    assert is_sealed(tmp_path, keys, [started()])


def test_nobody_else_has_a_hand_in_it(tmp_path: Path) -> None:
    """Who can open the lock can hold it for ever; a run's folder, and SWARM_HOME, may hold links."""
    keys, run = (tmp_path / "keys",), tmp_path / "run"
    run.mkdir()
    mask = os.umask(0)
    try:
        assert sealer(run, keys)(started()) == ""
    finally:
        os.umask(mask)
    assert keys[0].stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in (*keys[0].iterdir(), run / "seals")} == {
        "seal.key": 0o600,
        ".seal.key.lock": 0o600,
        "seals": 0o600,
    }
    victim = tmp_path / "victim"
    for link in (run / "seals", keys[0] / ".seal.key.lock"):
        (keys[0] / "seal.key").unlink(missing_ok=True)
        link.unlink()
        link.symlink_to(victim)
        assert "has no seal" in sealer(run, keys)(started())
        assert not victim.exists()
        link.unlink()


def test_of_a_file_of_seals_so_much_is_read(tmp_path: Path) -> None:
    keys = (tmp_path / "keys",)
    assert sealer(tmp_path, keys)(started()) == ""
    mark = (tmp_path / "seals").read_bytes()
    (tmp_path / "seals").write_bytes(b"\n" * (1 << 19) + mark)
    assert is_sealed(tmp_path, keys, [started()])
    (tmp_path / "seals").write_bytes(b"\n" * (1 << 20) + mark)
    assert not is_sealed(tmp_path, keys, [started()])


@pytest.mark.anyio
async def test_a_run_without_a_seal_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("no folder")
    path = tmp_path / "events.jsonl"
    async with open_journal(path, "a", Redactor({}), seal=sealer(tmp_path, (tmp_path / "keys",))) as journal:
        journal.emit(started())
    first, notice = read_events(path)
    assert (first.type, notice.type, notice.seq) == ("run_start", "notice", 1)
    assert "has no seal" in str(notice.model_dump()["message"]) and notice.model_dump()["level"] == "warning"
