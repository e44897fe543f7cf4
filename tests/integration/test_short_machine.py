"""A machine short of disk, open files, threads: its failure is told as such, never as the model's."""

from __future__ import annotations

import errno
import os
import re
import resource
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import anyio
import pytest

from swarm.cli import dispatch
from swarm.embedded.proxy_log import open_log
from swarm.errors import JournalError, MachineError, SandboxError
from swarm.events import Notice
from swarm.journal.artifacts import Artifacts
from swarm.journal.lines import LineFile
from swarm.journal.parquet import on_close
from swarm.journal.redaction import Redactor
from swarm.journal.writer import open_journal
from swarm.mishap import fault_of
from swarm.places.outbox import write_patch, write_unmerged
from swarm.sandboxes.catalog import open_backend
from swarm.sandboxes.git.repository import plain_store
from swarm.sandboxes.leases.lease import open_lease
from swarm.shortage import remedy_for
from swarm.types import SandboxRequest
from tests.integration.conftest import Cli, Files, Script, plan, submit, subtask, use

pytestmark = pytest.mark.anyio


@contextmanager
def limited(what: int, most: int) -> Iterator[None]:
    """This process has little of something."""
    before = resource.getrlimit(what)
    resource.setrlimit(what, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(what, before)


async def test_open_files_that_run_out_are_no_answer_to_a_tool(tmp_path: Path) -> None:
    async with open_lease(tmp_path, "short") as lease, open_backend("process", lease.folder) as backend:
        workspace = lease.folder / "ws"
        workspace.mkdir()
        request = SandboxRequest("short", "short", lease.folder, workspace, "/workspace")
        async with backend.open(request) as sandbox:
            await sandbox.write_file("a", b"a")
            lowest = os.dup(0)
            os.close(lowest)
            with limited(resource.RLIMIT_NOFILE, lowest):
                for use_it in (
                    lambda: sandbox.exec("true"),
                    lambda: sandbox.read_file("a"),
                    lambda: sandbox.write_file("b", b""),
                ):
                    with pytest.raises(SandboxError, match=r"Too many open files.*ulimit -n"):
                        await use_it()
            assert (await sandbox.exec("cat a")).stdout == b"a"
            with pytest.raises(FileNotFoundError):  # what belongs to what was asked for stays so
                await sandbox.read_file("missing")


async def test_a_lease_that_cannot_be_written_is_not_left_behind(tmp_path: Path) -> None:
    with limited(resource.RLIMIT_FSIZE, 0), pytest.raises(MachineError, match=r"File too large.*ulimit -f"):
        async with open_lease(tmp_path, "short"):
            pass
    assert [path.name for path in (tmp_path / "leases").iterdir()] == [".lock"]


def test_a_line_that_was_written_in_part_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    try:
        file = LineFile(fd, path)
        with limited(resource.RLIMIT_FSIZE, 25):
            for _ in range(4):
                file.write(b"123456789\n")
        file.write(b"later\n")  # there is room again: what came before is missing
    finally:
        os.close(fd)
    assert path.read_bytes() == b"123456789\n" * 2
    assert isinstance(file.failure, JournalError)
    assert "swarm resume" in str(file.failure)


async def test_a_journal_is_written_where_no_thread_can_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(self: threading.Thread) -> NoReturn:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none)
    with anyio.fail_after(300):
        async with open_journal(tmp_path / "events.jsonl", "r", Redactor({})) as journal:
            journal.emit(Notice(message="one"))
            await journal.flush()
    assert b'"one"' in (tmp_path / "events.jsonl").read_bytes()


async def test_a_run_ends_in_order_where_there_is_no_room_for_the_libraries_of_parquet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, require: Callable[[object, str], None]
) -> None:
    pytest.importorskip("pyarrow", reason="run by tests/interop/test_arrow.py")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    with limited(resource.RLIMIT_AS, pages * resource.getpagesize() + (128 << 20)):
        assert "Cannot allocate memory" in await on_close(tmp_path)
    start, room = threading.Thread.start, [1]

    def one(self: threading.Thread) -> None:
        if not room:
            raise RuntimeError("can't start new thread")
        room.pop()
        start(self)

    monkeypatch.setattr(threading.Thread, "start", one)
    assert "can't start new thread" in await on_close(tmp_path)


def test_a_shortage_is_no_defect_of_swarm(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(args: object) -> NoReturn:
        raise ExceptionGroup("tasks", [OSError(errno.ENOSPC, "No space left on device", "/there")])

    monkeypatch.setattr(dispatch, "_family", lambda name: SimpleNamespace(run=run, add_parser=lambda commands: None))
    monkeypatch.setattr(dispatch, "_parser", lambda first: SimpleNamespace(parse_known_args=_parsed))
    assert dispatch.dispatch(["gc"]) == 3
    told = capsys.readouterr().err
    assert told.startswith("swarm: /there: No space left on device; free some space")
    assert told.count("\n") == 1


def _parsed(given: object) -> tuple[SimpleNamespace, list[str]]:
    return SimpleNamespace(command="gc"), []


def test_a_shortage_is_told_without_a_traceback(tmp_path: Path) -> None:
    try:
        sqlite3.connect(tmp_path / "no/graph.sqlite")
    except sqlite3.Error as error:
        fault = fault_of(error, "the run's files")
    assert fault.message == "the run's files: unable to open database file"
    assert fault.remedy
    assert not fault.details
    assert remedy_for(MemoryError()) and remedy_for(RuntimeError("can't start new thread"))
    assert not remedy_for(RuntimeError("another")) and not remedy_for(FileNotFoundError(errno.ENOENT, "x"))
    full = sqlite3.OperationalError("disk I/O error")  # so too where there is no room for the index of its log
    full.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE
    assert "is full" in remedy_for(full) and "`df -h`" in remedy_for(full)
    assert "disk" in remedy_for(OSError(errno.EIO, "x", "/there"))
    assert not remedy_for(OSError(errno.EIO, "of a terminal that is gone"))


def test_processes_are_short_only_where_one_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*given: object) -> NoReturn:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    read, write = os.pipe()
    os.set_blocking(write, False)
    with open(read, "rb"), open(write, "wb", buffering=0) as pipe, pytest.raises(BlockingIOError) as full:
        while True:
            os.write(pipe.fileno(), b"x" * 4096)
    assert not remedy_for(full.value)
    monkeypatch.setattr(subprocess, "_fork_exec", none)
    with pytest.raises(BlockingIOError) as short:
        subprocess.run(["true"], check=True)
    assert "limit of processes" in remedy_for(short.value)


@pytest.fixture
def crowded_home(cli: Cli, require: Callable[[object, str], None]) -> Iterator[Callable[[], None]]:
    """A home of 200 KiB; call it for more."""
    cli.home.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "none", str(cli.home)]
    require(subprocess.run(mount, capture_output=True, check=False).returncode == 0, "no file system can be mounted")
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,size=100m", cli.home], check=True).check_returncode()
    finally:
        subprocess.run(["umount", cli.home], check=True)


def test_a_run_on_a_full_disk_says_so_and_goes_on_when_there_is_room(
    cli: Cli, script: Script, make_repo: Callable[[Files], Path], crowded_home: Callable[[], None]
) -> None:
    repo = make_repo({"a.txt": "a\n"})
    script.planner(plan(subtask("one")), plan())
    long = [use("bash", command=f"echo {n} >> one.txt; seq 9000") for n in range(6)]
    script.agent("one", *long, submit())
    full = cli.run("x", repo, "--model", script.model, "--sandbox", "process")
    assert full.code == 3, full.err
    words = "No space left on device", "database or disk is full"  # the log's, or those of the graph's checkpoint
    assert any(f"{each}; free some space" in full.err for each in words), full.err
    assert "Traceback" not in full.err
    run = cli.runs[-1].name
    assert (full.result["status"], full.result["run_id"]) == ("errored", run)
    assert full.result["usage"]["calls"] > 0
    assert cli("validate", run).code == 0
    crowded_home()
    done = cli("resume", run, "--json")
    if done.code == 3:  # that its attempts had failed was recorded, and no end of the run: this is its end
        done = cli("resume", run, "--json")
    assert done.code == 0, done.err
    patch = Path(done.result["patch_path"]).read_text()
    assert [line for line in patch.splitlines() if line.startswith("+") and "+++" not in line] == [
        f"+{n}" for n in range(6)
    ]


@pytest.mark.parametrize(("runs", "code"), [("/sys", 3), ("/dev/null", 2)])
def test_a_folder_of_runs_that_cannot_be_written_is_the_machines_failure(cli: Cli, runs: str, code: int) -> None:
    """In /sys not even root makes a folder. What is no folder is the caller's mistake."""
    cli.home.mkdir()
    (cli.home / "runs").symlink_to(runs)
    done = cli.run("x", None, "--model", "embedded")
    assert (done.code, done.result["exit_code"]) == (code, code), done.err
    assert re.fullmatch(r"swarm: \S+ cannot be made: .*SWARM_HOME.*\n", done.err)


async def test_a_gateway_tells_it_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    (tmp_path / "runs").symlink_to("/sys")
    with pytest.raises(MachineError, match="cannot be made"):
        async with open_log("host"):
            pass


def test_a_run_whose_machine_failed_every_subtask_says_what_broke_and_does_them_again_when_it_is_resumed(
    cli: Cli, script: Script, make_repo: Callable[[Files], Path]
) -> None:
    repo = make_repo({"a.txt": "a\n"})
    script.planner(plan(subtask("one"), subtask("two")), plan())
    for name in ("one", "two"):
        # Both attempts, and no more: where no checkpoint was due after it, it is used again by the run that goes on.
        first, second = (repo.parent / f"{name}{attempt}" for attempt in (1, 2))
        breaks = use("bash", command=f'{{ mkdir {first} || mkdir {second}; }} && rm -rf "$HOME/../control"')
        script.agent(name, breaks, use("bash", command=f"echo {name} > {name}.txt"), submit())
    broken = cli.run("x", repo, "--model", script.model, "--sandbox", "process")
    assert broken.code == 3, broken.err
    assert broken.result["outcomes"] == {"errored": 2}
    assert "swarm: 0 of 2 sub-tasks gave a useful result: process-" in broken.err
    run = cli.runs[-1].name
    done = cli("resume", run, "--json")
    assert done.code == 0, done.err
    assert done.result["coverage"] == {"asked": 2, "useful": 2, "missing": 0}
    assert cli("validate", run).code == 0


async def test_a_run_folder_that_was_moved_away_is_not_made_anew(tmp_path: Path) -> None:
    repository = plain_store(tmp_path / "repo.git")
    (tmp_path / "copy").mkdir()
    await repository.checkout(repository.base, tmp_path / "copy")
    (tmp_path / "copy/file").write_text("x")
    changed = await repository.capture(tmp_path / "copy", repository.base, author="one", message="x")
    assert changed.commit is not None
    gone = tmp_path / "runs/gone"
    with pytest.raises(MachineError, match=r"patch\.diff cannot be written"):
        await write_patch(repository, repository.base, gone / "patch.diff")
    with pytest.raises(MachineError, match="cannot be written"):
        await write_unmerged(gone, repository, {"one": changed.commit}, {"one": "a reason"})
    artifacts = Artifacts(gone / "artifacts", Redactor({}))
    with pytest.raises(JournalError, match="cannot be written"):
        await artifacts.keep(artifacts.of("result", "text"))
    assert not gone.exists()
