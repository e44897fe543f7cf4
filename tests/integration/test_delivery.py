"""What becomes of an answer in the user's checkout: wholly there or not at all, whatever was done meanwhile."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest

from swarm.cli.targets import check_targets
from swarm.errors import MachineError, SwarmError, UsageError
from swarm.sandboxes.git.applying import Applied, apply_answer
from swarm.sandboxes.git.branch import create_branch
from swarm.sandboxes.git.workspace import GitRepository, find_repository, snapshot
from tests.integration.checkouts import ODD_NAMES, git, make_repository, put, state, tree

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_configuration")]

LINES = b"".join(b"%d\n" % number for number in range(20))
FILES = {
    "text": LINES,
    "gone": b"1\n",
    "file": b"1\n",
    "folder/a": b"1\n",
    "folder/b/c": b"1\n",
    "run.sh": b"#!/bin/sh\n",
}


async def answer(store: GitRepository, copy: Path, change: Callable[[Path], None]) -> Path:
    await store.checkout(store.base, copy)
    change(copy)
    commit = (await store.capture(copy, store.base, author="t", message="the work")).commit
    assert commit is not None
    await store.set_answer(commit)
    return copy


def rebuild(copy: Path) -> None:
    """Files for folders, folders for files, links, modes, odd names."""
    (copy / "file").unlink()
    shutil.rmtree(copy / "folder")
    put(copy, {"file/now/a-folder": b"1\n", "folder": b"now a file\n", "text": LINES + b"end\n"})
    put(copy, dict.fromkeys(ODD_NAMES, os.urandom(5000)))
    (copy / "run.sh").chmod(0o755)
    (copy / "gone").unlink()
    (copy / "gone").symlink_to("../outside")


async def test_everything_is_applied(tmp_path: Path, fresh: Callable[[], Path]) -> None:
    repo = make_repository(tmp_path / "repo", FILES)
    store = await snapshot(repo, tmp_path / "store")
    copy = await answer(store, fresh(), rebuild)
    index = (repo / ".git/index").read_bytes()
    assert apply_answer(repo, store.store) == Applied()
    assert tree(repo) == tree(copy)
    assert (repo / ".git/index").read_bytes() == index
    assert not list((repo / ".git").glob("swarm-*"))
    assert apply_answer(repo, store.store) == Applied(there=True)
    assert tree(repo) == tree(copy)


_KILLED = """
import os, signal, sys
from pathlib import Path
from swarm.sandboxes.git.undo import all_or_nothing
folder = Path(sys.argv[1])
paths = [b"text", b"gone", b"file/now", b"file", b"folder/a", b"folder/b/c", b"folder", b"n\\xe9w/'it", b"run.sh"]
with all_or_nothing(folder, paths, folder / ".git"):
    for name in ("gone", "file", "folder/a", "folder/b/c"):
        (folder / name).unlink()
    for name in ("folder/b", "folder"):
        (folder / name).rmdir()
    new = folder / os.fsdecode(b"n\\xe9w")
    for name in (folder / "file", new):
        name.mkdir()
    (folder / "text").unlink()
    for name in (folder / "text", folder / "file/now", folder / "folder", new / "'it"):
        name.write_text("new")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def start(*words: str) -> None:
    subprocess.run(words, check=False)


async def test_what_was_cut_off_half_way_is_said_and_can_be_put_back(tmp_path: Path, fresh: Callable[[], Path]) -> None:
    repo = make_repository(tmp_path / "repo", FILES)
    store = await snapshot(repo, tmp_path / "store")
    await answer(store, fresh(), rebuild)
    (repo / "folder/b").chmod(0o750)
    before = state(repo)
    start(sys.executable, "-c", _KILLED, str(repo))
    assert "n\udce9w/'it" in state(repo)
    with pytest.raises(UsageError, match="was cut off"):
        await find_repository(repo)
    with pytest.raises(UsageError, match="was cut off") as raised:
        apply_answer(repo, store.store)
    command = (raised.value.remedy or "").removeprefix("put back what was there: ").partition(" (or ")[0]
    assert "put-back" in command
    start("sh", "-c", command)
    assert state(repo) == before
    assert stat.S_IMODE((repo / "folder/b").stat().st_mode) == 0o750
    assert not (repo / os.fsdecode(b"n\xe9w")).exists()
    assert await find_repository(repo) == repo
    assert apply_answer(repo, store.store) == Applied()


_KILLED_AT = """
import os, signal, sys
from pathlib import Path
from swarm.sandboxes.git import undo
from swarm.sandboxes.git.applying import apply_answer
setattr(undo, sys.argv[3], lambda *given: os.kill(os.getpid(), signal.SIGKILL))
apply_answer(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.parametrize(("point", "done"), [("_note", False), ("remove_tree", True)])
async def test_what_was_killed_before_it_changed_anything_or_after_all_leaves_nothing(
    point: str, done: bool, tmp_path: Path, fresh: Callable[[], Path]
) -> None:
    repo = make_repository(tmp_path / "repo", FILES)
    store = await snapshot(repo, tmp_path / "store")
    await answer(store, fresh(), rebuild)
    before = tree(repo)
    start(sys.executable, "-c", _KILLED_AT, str(repo), str(store.store), point)
    assert list((repo / ".git").glob("swarm-*"))
    assert (tree(repo) == before) is not done
    assert await find_repository(repo) == repo
    assert not list((repo / ".git").glob("swarm-*"))
    assert apply_answer(repo, store.store) == Applied(there=done)
    assert tree(repo) != before


async def test_a_full_disk_leaves_the_checkout_as_it_was(
    small_disk: Path, tmp_path: Path, fresh: Callable[[], Path]
) -> None:
    repo = make_repository(small_disk / "repo", FILES)
    store = await snapshot(repo, tmp_path / "store")

    def fill(copy: Path) -> None:
        rebuild(copy)
        put(copy, {"folder": b"x" * 60_000, "zz-large": os.urandom(1 << 20)})

    await answer(store, fresh(), fill)
    before = state(repo)
    with pytest.raises(MachineError, match=r"not applied.*No space left"):
        apply_answer(repo, store.store)
    assert state(repo) == before
    with pytest.raises(SwarmError, match=r"cannot be written.*No space left"):
        create_branch(repo, "answer", store.store)
    git(repo, "show-ref", "--verify", "refs/heads/answer", code=128)
    assert git(repo, "status", "--porcelain") == ""


async def test_what_was_changed_meanwhile_is_merged_or_stays(tmp_path: Path, fresh: Callable[[], Path]) -> None:
    repo = make_repository(tmp_path / "repo", {**FILES, "crlf": LINES.replace(b"\n", b"\r\n")})
    store = await snapshot(repo, tmp_path / "store")
    crlf = LINES.replace(b"\n", b"\r\n")

    def work(copy: Path) -> None:
        put(copy, {"text": LINES.replace(b"1\n2\n", b"one\ntwo\n", 1), "new": b"new\n", "crlf": crlf + b"end\r\n"})
        (copy / "gone").unlink()

    await answer(store, fresh(), work)
    put(repo, {"text": b"top\n" + LINES.replace(b"3\n4\n", b"3\n3.5\n4\n", 1) + b"end\n", "mine": b"mine\n"})
    git(repo, "add", "mine")
    git(repo, "commit", "-q", "-m", "meanwhile")
    put(repo, {"crlf": b"top\r\n" + crlf})
    assert apply_answer(repo, store.store) == Applied(merged=True, both=("crlf", "text"))
    merged = b"top\n" + LINES.replace(b"1\n2\n3\n4\n", b"one\ntwo\n3\n3.5\n4\n", 1) + b"end\n"
    assert (repo / "text").read_bytes() == merged
    assert (repo / "crlf").read_bytes() == b"top\r\n" + crlf + b"end\r\n"
    assert (repo / "mine").read_bytes() == b"mine\n"
    assert not (repo / "gone").exists()


@pytest.mark.parametrize("clash", ["edited", "deleted", "there"])
async def test_a_clash_is_named_and_nothing_is_changed(clash: str, tmp_path: Path, fresh: Callable[[], Path]) -> None:
    repo = make_repository(tmp_path / "repo", FILES)
    store = await snapshot(repo, tmp_path / "store")

    def work(copy: Path) -> None:
        put(copy, {"text": LINES + b"theirs\n", "new": b"theirs\n", "run.sh": b"theirs\n"})
        (copy / "gone").unlink()

    await answer(store, fresh(), work)
    if clash == "deleted":
        (repo / "text").unlink()
    put(repo, {"edited": {"gone": b"edited\n"}, "deleted": {}, "there": {"new": b"mine\n"}}[clash])
    before = state(repo)
    name = {"edited": "gone", "deleted": "text", "there": "new"}[clash]
    with pytest.raises(UsageError, match=f"does not apply to .*: {name} changed since the run began") as raised:
        apply_answer(repo, store.store)
    assert "--branch NAME" in (raised.value.remedy or "")
    assert state(repo) == before


async def test_a_branch_has_one_commit_a_sub_task(
    tmp_path: Path, fresh: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = make_repository(tmp_path / "repo", FILES)
    store = await snapshot(repo, tmp_path / "store")
    merged = store.base
    for name in ("one", "two", "three"):
        copy = fresh()
        await store.checkout(store.base, copy)
        put(copy, {name: b"1\n"})
        message = f"do {name}\n\nAll of it.\n\nSwarm-Subtask: {name}\n"
        commit = (await store.capture(copy, store.base, author=f"{name}.1", message=message)).commit
        merged = (await store.merge(merged, commit or "", message="Merge"))[0] or ""
    await store.set_answer(merged)
    git(repo, "config", "user.name", "Ada")
    git(repo, "config", "user.email", "ada@example.com")
    monkeypatch.setenv("GIT_COMMITTER_NAME", "The bot")
    create_branch(repo, "answer", store.store, run="r1")
    told = git(repo, "log", "--reverse", "--format=%an <%ae> %cn %P|%B", "main..answer")
    parents = git(repo, "log", "--reverse", "--format=%P", "main..answer").split()
    assert (
        told
        == "\n".join(
            f"Ada <ada@example.com> The bot {parent}|do {name}\n\nAll of it.\n\nSwarm-Subtask: {name}\nSwarm-Run: r1\n"
            for name, parent in zip(("one", "two", "three"), parents, strict=True)
        ).strip()
    )
    assert git(repo, "rev-parse", "answer^{tree}") == git(store.store, "rev-parse", f"{merged}^{{tree}}")


async def test_a_branch_is_the_runs_own_until_somebody_changes_it(tmp_path: Path, fresh: Callable[[], Path]) -> None:
    """What a run was killed over, or goes on with, is brought up to date; what its user made of it is left alone."""
    repo = make_repository(tmp_path / "repo", FILES)
    store, others = await snapshot(repo, tmp_path / "store"), await snapshot(repo, tmp_path / "others")
    for each in (store, others):
        await answer(each, fresh(), lambda copy: put(copy, {"one": b"1\n"}))
    create_branch(repo, "answer", store.store, run="r1")
    half = git(repo, "rev-parse", "answer").strip()
    create_branch(repo, "answer", store.store, run="r1")  # resumed: it was killed right after
    check_targets(Namespace(apply=False, branch="answer", patch=None), repo, store.store)
    assert git(repo, "rev-parse", "answer").strip() == half
    with pytest.raises(UsageError, match="exists"):
        create_branch(repo, "answer", others.store, run="r2")

    copy, before = fresh(), git(store.store, "rev-parse", "refs/heads/answer").strip()
    await store.checkout(before, copy)
    put(copy, {"two": b"2\n"})
    commit = (await store.capture(copy, before, author="t", message="do two")).commit
    await store.set_answer(commit or "")
    git(repo, "checkout", "-q", "answer")  # somebody works on it
    with pytest.raises(UsageError, match="exists"):
        create_branch(repo, "answer", store.store, run="r1")
    git(repo, "checkout", "-q", "main")
    create_branch(repo, "answer", store.store, run="r1")
    assert git(repo, "rev-parse", "answer~1").strip() == half
    assert git(repo, "show", "answer:two") == "2"

    git(repo, "checkout", "-q", "answer")
    git(repo, "commit", "-q", "--amend", "-m", "better said\n\nSwarm-Run: r1")
    git(repo, "checkout", "-q", "main")
    with pytest.raises(UsageError, match="exists"):
        check_targets(Namespace(apply=False, branch="answer", patch=None), repo, store.store)
    with pytest.raises(UsageError, match="exists"):
        create_branch(repo, "answer", store.store, run="r1")
    assert git(repo, "log", "-1", "--format=%s", "answer") == "better said"


async def test_a_checkout_that_cannot_be_written_is_known_before(small_disk: Path, tmp_path: Path) -> None:
    repo = make_repository(small_disk / "repo", FILES)
    remount(small_disk, "ro")
    try:
        store = await snapshot(repo, tmp_path / "store")
        assert store.base == git(repo, "rev-parse", "HEAD")
        for option in ({"apply": True}, {"branch": "new"}):
            with pytest.raises(UsageError, match="cannot be written") as raised:
                check_targets(Namespace(**({"apply": False, "branch": None, "patch": None} | option)), repo)
            assert "--patch FILE" in (raised.value.remedy or "")
    finally:
        remount(small_disk, "rw")


def remount(place: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", place], check=True)
