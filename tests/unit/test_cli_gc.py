"""`swarm gc` without any sandbox: what it tells, its exit codes, and folders that no run would leave so."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from swarm.cli.main import main
from swarm.sandboxes.docker import engine
from swarm.sandboxes.docker.leftovers import usual_engine
from tests.unit.test_removal import names, nest

Gc = Callable[..., tuple[int, str, str]]


@pytest.fixture
def leases(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "home/leases"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def dead(leases: Path) -> Path:
    """The folder of a lease whose holder was killed."""
    (leases / "dead").mkdir()
    (leases / "dead/lock").write_text('{"pid": 1, "program": "swarm", "since": "then"}\n')
    return leases / "dead"


@pytest.fixture
def gc(leases: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Gc:
    """Exit code, output, complaints."""
    monkeypatch.setenv("SWARM_HOME", str(leases.parent))
    monkeypatch.setenv("DOCKER_HOST", "ssh://none")  # no engine of ours

    def run(*args: str) -> tuple[int, str, str]:
        code = main(["gc", *args])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_nothing_is_said_to_be_left_only_where_all_was_seen(gc: Gc, leases: Path) -> None:
    assert gc() == (0, "nothing is left behind\n", "")
    (leases / "a/lock").mkdir(parents=True)
    for args in ((), ("--yes",), ("--json",)):
        code, out, err = gc(*args)
        assert code == 3
        assert "left behind" not in out
        assert f"{leases}/a cannot be looked at" in err
        assert len(err.splitlines()) == 1


def test_what_is_left_is_held_by_nobody(gc: Gc, dead: Path) -> None:
    assert gc()[1].splitlines()[0] == "dead  was held by swarm (1) since then"


def test_an_engine_that_is_away_is_told_by_the_exit_code(gc: Gc, dead: Path, tmp_path: Path) -> None:
    (dead / "engines").write_text(f"unix://{tmp_path}/none\n")
    code, _, err = gc()
    assert code == 3
    assert "start that engine" in err
    assert gc("--yes")[0] == 3
    assert names(dead) == ["engines", "lock"]


def test_an_engine_that_this_user_may_not_use_holds_nothing_of_theirs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = tmp_path / "docker.sock"
    place.touch(mode=0o600)
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(engine, "SOCKET", f"unix://{place}")
    assert usual_engine() == f"unix://{place}"
    me = os.geteuid()
    place.chmod(0)
    if me == 0:
        os.seteuid(54321)
    try:
        assert usual_engine() is None
    finally:
        os.seteuid(me)


def test_folders_in_folders_without_end(gc: Gc, dead: Path) -> None:
    nest(dead, 1200)
    code, out, err = gc("--yes")
    assert (code, err) == (0, "")
    assert "removed 1 thing of 1 run" in out
    assert not dead.exists()


@pytest.mark.parametrize("name", ["cgroups", "engines"])
def test_a_record_that_is_no_text_tells_nothing(gc: Gc, dead: Path, name: str) -> None:
    (dead / name).write_bytes(b"\xff\xfe/\x80\n\n")
    code, _, err = gc("--yes")
    assert "Traceback" not in err
    if name == "cgroups":
        assert (code, dead.exists()) == (0, False)
    else:  # it names an engine, if only we could read which
        assert (code, dead.exists()) == (3, True)
        assert "not looked at" in err


@pytest.mark.parametrize("name", ["cgroups", "engines", "lock"])
@pytest.mark.parametrize("kind", ["fifo", "folder", "link"])
def test_a_record_that_is_no_file_is_told(gc: Gc, dead: Path, name: str, kind: str) -> None:
    place = dead / name
    place.unlink(missing_ok=True)
    {
        "fifo": lambda: os.mkfifo(place),
        "folder": lambda: (place / "x").mkdir(parents=True),
        "link": lambda: place.symlink_to("/dev/null"),
    }[kind]()
    (dead.parent / "other").mkdir()
    (dead.parent / "other/lock").touch()
    code, out, err = gc("--json")
    assert code == 3
    listed = [json.loads(line)["id"] for line in out.splitlines()]
    assert listed == (["other"] if name == "lock" else ["dead", "other"])
    assert str(dead) in err
    assert "Traceback" not in err
    assert gc("--yes")[0] == 3
    assert not (dead.parent / "other").exists()
    assert dead.exists()


@pytest.mark.parametrize("lock", [b"[" * 4096, b'{"pid": ' + b"9" * 4000 + b"}", b'{"pid": 1, "program": "\\ud800"}'])
def test_a_lock_that_cannot_be_read_hinders_nobody(gc: Gc, dead: Path, lock: bytes) -> None:
    (dead / "lock").write_bytes(lock)
    assert gc("--yes")[0] == 0
    assert not dead.exists()


def test_a_lease_whose_name_is_no_text(gc: Gc, dead: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(dead.parent) + b"/\xff"))
    odd.mkdir()
    code, _, err = gc("--yes")
    assert "Traceback" not in err
    assert code in (0, 3)
    assert not dead.exists()


@pytest.mark.parametrize(
    "command", ["gc", "runs", "show last", "watch last", "doctor", "run x --no-repo --model embedded"]
)
def test_a_home_whose_path_is_no_text(
    command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWARM_HOME", f"{tmp_path}/h\udcff")
    with open(os.devnull, encoding="utf-8") as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert main(command.split()) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert f"{tmp_path}/h\\xff" in err
    assert "set SWARM_HOME" in err
    assert names(tmp_path) == []
