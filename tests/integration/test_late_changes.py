"""Whole runs whose checkout is changed by the user meanwhile, or whose patch finds no room."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from swarm.errors import MachineError
from swarm.places.outbox import write_patch, write_unmerged
from swarm.sandboxes.git.workspace import snapshot
from swarm.whole_file import write_whole
from tests.integration.checkouts import make_repository, put
from tests.integration.conftest import Cli, Files, Script, git, plan, submit, subtask, use

MakeRepo = Callable[[Files], Path]
FILES = {"a.txt": "".join(f"{number}\n" for number in range(9)), "b.txt": "b\n"}


@pytest.mark.parametrize("clash", [False, True])
def test_apply_past_changes_of_the_user(cli: Cli, script: Script, make_repo: MakeRepo, clash: bool) -> None:
    repo = make_repo(FILES)
    script.planner(plan(subtask("one")))
    # In this sandbox a command can do what a user would do meanwhile.
    meanwhile = f"sed -i {'s/^1$/mine/' if clash else 's/^4$/mine/'} {repo}/a.txt; echo mine > {repo}/mine.txt"
    script.agent("one", use("bash", command=f"sed -i 's/^1$/one/' a.txt; rm b.txt; {meanwhile}"), submit())
    box = ("--sandbox", "process")
    done = cli("run", "x", "--model", script.model, "--json", *box, "--apply", "--no-test", cwd=repo)
    lines = (repo / "a.txt").read_text().split()
    if clash:
        assert (done.code, done.result["status"]) == (1, "partial")
        assert "does not apply" in done.err
        assert "a.txt changed since the run began, in the same place" in done.err
        assert (lines[1], (repo / "b.txt").read_text()) == ("mine", "b\n")
        again = cli("resume", done.result["run_id"], "--branch", "late")
        assert again.code == 0, again.err
        assert git(repo, "show", "late:a.txt").split()[1] == "one"
        assert git(repo, "log", "-1", "--format=%B", "late").split()[-2:] == ["Swarm-Run:", done.result["run_id"]]
    else:
        assert done.code == 0, done.err
        assert "merged with what was changed there meanwhile: a.txt" in done.err
        assert (lines[1], lines[4]) == ("one", "mine")
        assert not (repo / "b.txt").exists()
    assert (repo / "mine.txt").read_text() == "mine\n"


@pytest.mark.anyio
async def test_no_half_patch_is_written(small_disk: Path, tmp_path: Path, fresh: Callable[[], Path]) -> None:
    store = await snapshot(make_repository(tmp_path / "repo", {"a": b"1\n"}), tmp_path / "store")
    copy = fresh()
    await store.checkout(store.base, copy)
    put(copy, {"large": os.urandom(2 << 20)})
    commit = (await store.capture(copy, store.base, author="t", message="m")).commit or ""
    put(small_disk, {"patch.diff": b"earlier\n", "unmerged/other.diff": b"earlier\n"})
    writes: dict[str, Callable[[], Awaitable[object]]] = {
        "base answer": lambda: write_patch(store, commit, small_disk / "patch.diff"),
        f"{commit}^ {commit}": lambda: write_unmerged(small_disk, store, {"t": commit}, {"t": "a reason"}),
    }
    for which, write in writes.items():
        with pytest.raises(MachineError, match="No space left") as raised:
            await write()
        assert raised.value.remedy.startswith("make room and run git")
        assert raised.value.remedy.endswith(f"diff --binary {which}")
    with pytest.raises(OSError, match="No space left"):
        write_whole(small_disk / "new", os.urandom(2 << 20))
    assert [path.name for path in small_disk.rglob("*") if path.is_file()] == ["patch.diff", "other.diff"]
    assert {path.read_bytes() for path in small_disk.rglob("*.diff")} == {b"earlier\n"}

    put(tmp_path, {"unmerged/other.diff": b"earlier\n"})
    await write_unmerged(tmp_path, store, {"t": commit}, {"t": "a\nreason", "u": "no patch"})
    (only,) = (tmp_path / "unmerged").iterdir()
    assert only.read_bytes().startswith(b"Sub-task t is not in the answer: a reason\n\ndiff --git a/large b/large\n")
    (tmp_path / "unmerged/odd.diff").mkdir()
    with pytest.raises(MachineError, match=r"odd\.diff cannot be removed"):
        await write_unmerged(tmp_path, store, {}, {})
    (tmp_path / "else").mkdir()
    (tmp_path / "else/unmerged").touch()
    with pytest.raises(MachineError, match=r"unmerged/t\.diff cannot be written") as raised:
        await write_unmerged(tmp_path / "else", store, {"t": commit}, {"t": "a reason"})
    assert "room" not in raised.value.remedy
