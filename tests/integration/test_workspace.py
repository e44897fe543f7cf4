"""The run's store over real git repositories: what goes in comes out again, merged or as a conflict."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swarm.errors import MachineError, UsageError
from swarm.sandboxes.git.branch import create_branch
from swarm.sandboxes.git.workspace import GitRepository, snapshot
from tests.integration.checkouts import (
    ODD_NAMES,
    git,
    make_repository,
    put,
    state,
    tree,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_configuration")]


async def test_capture_diff_and_checkout_give_the_folder_back(tmp_path: Path, fresh: Callable[[], Path]) -> None:
    files = {"a.txt": b"1\n", "b.bin": b"\0\1", "folder/c": b"3\n", "tracked.log": b"t\n", ".gitignore": b""}
    repo = make_repository(tmp_path / "repo", files)
    put(repo, {".gitignore": b"*.log\nbuild/\n"})
    store = await snapshot(repo, tmp_path / "store")
    copy = fresh()
    await store.checkout(store.base, copy)
    assert (await store.capture(copy, store.base, author="t", message="nothing")).commit is None

    put(copy, {"a.txt": b"changed\n", "b.bin": bytes(range(255, -1, -1)), "tracked.log": b"kept\n"})
    put(copy, dict.fromkeys(ODD_NAMES, b"odd") | {"new.log": b"no", "build/x": b"no", "m/__pycache__/m.pyc": b"no"})
    shutil.rmtree(copy / "folder")
    (copy / "folder").symlink_to("/etc")
    (copy / "run.sh").write_bytes(b"#!/bin/sh\n")
    (copy / "run.sh").chmod(0o755)
    os.mkfifo(copy / "fifo")
    commit = (await store.capture(copy, store.base, author="t <evil>\n", message="work")).commit
    assert commit is not None

    changed = set(await store.changed_files(store.base, commit))
    assert changed == {"a.txt", "b.bin", "tracked.log", "folder", "folder/c", "run.sh", *ODD_NAMES}
    again = fresh()
    await store.checkout(commit, again)
    (copy / "fifo").unlink()
    kept = {name: what for name, what in tree(copy).items() if not name.startswith(("new.log", "build/", "m/"))}
    assert tree(again) == kept

    by_patch = make_repository(tmp_path / "plain", {})
    await store.checkout(store.base, fresh_base := fresh())
    shutil.copytree(fresh_base, by_patch, dirs_exist_ok=True, symlinks=True, ignore=shutil.ignore_patterns(".git"))
    git(by_patch, "apply", "-", stdin=await store.diff(store.base, commit))
    assert tree(by_patch) == kept
    assert (await store.capture(again, commit, author="t", message="nothing new")).commit is None


async def test_a_parent_other_than_the_checkout_is_respected(tmp_path: Path, fresh: Callable[[], Path]) -> None:
    repo = make_repository(tmp_path / "repo", {"a": b"1", "b": b"1"})
    store = await snapshot(repo, tmp_path / "store")
    first, second = fresh(), fresh()
    await store.checkout(store.base, first)
    put(first, {"a": b"2"})
    one = (await store.capture(first, store.base, author="t", message="1")).commit
    assert one is not None
    put(first, {"b": b"2"})
    two = (await store.capture(first, one, author="t", message="2")).commit
    assert two is not None
    assert await store.changed_files(one, two) == ["b"]
    await store.checkout(two, second)
    assert tree(second) == tree(first)


async def test_a_merge_in_a_store_whose_objects_are_gone_is_the_machines_fault(
    tmp_path: Path, fresh: Callable[[], Path]
) -> None:
    """git tells it with the exit code of a conflict."""
    repo = make_repository(tmp_path / "repo", {"a": b"1", "b": b"1"})
    store = await snapshot(repo, tmp_path / "store")
    copy = fresh()
    await store.checkout(store.base, copy)
    put(copy, {"a": b"2"})
    work = (await store.capture(copy, store.base, author="t", message="work")).commit or ""
    repo.rename(tmp_path / "moved")
    with pytest.raises(MachineError):
        await store.merge(store.base, work, message="both")


async def test_merges_and_conflicts(tmp_path: Path, fresh: Callable[[], Path]) -> None:
    lines = b"".join(b"%d\n" % n for n in range(20))
    repo = make_repository(tmp_path / "repo", {"f": lines, "g": b"g\n"})
    store = await snapshot(repo, tmp_path / "store")

    async def change(name: str, content: bytes) -> str:
        copy = fresh()
        await store.checkout(store.base, copy)
        put(copy, {name: content})
        commit = (await store.capture(copy, store.base, author="t", message=name)).commit
        assert commit is not None
        return commit

    top = await change("f", b"top\n" + lines)
    bottom = await change("f", lines + b"bottom\n")
    other = await change("f", b"other\n" + lines)
    merged, why = await store.merge(top, bottom, message="both")
    assert merged is not None and why == ""
    folder = fresh()
    await store.checkout(merged, folder)
    assert (folder / "f").read_bytes() == b"top\n" + lines + b"bottom\n"
    assert await store.merge(merged, top, message="again") == (merged, "")
    assert await store.merge(merged, other, message="no") == (None, "f")
    assert git(repo, "status", "--porcelain") == ""


async def test_nested_repositories_run_nothing_and_lose_nothing(tmp_path: Path, fresh: Callable[[], Path]) -> None:
    library = make_repository(tmp_path / "library", {"l": b"1"})
    repo = make_repository(tmp_path / "repo", {"a": b"1", "pkg/m.py": b"1"})
    git(repo, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(library), "sub")
    git(repo, "commit", "-q", "-m", "submodule")
    git(repo, "submodule", "deinit", "-q", "-f", "sub")
    store = await snapshot(repo, tmp_path / "store")
    copy = fresh()
    await store.checkout(store.base, copy)
    assert (copy / "sub").is_dir()
    evil = tmp_path / "evil.sh"
    evil.write_text(f"#!/bin/sh\ntouch {tmp_path}/evil-ran\n")
    evil.chmod(0o755)
    for name in ("sub", "pkg", "made", "unborn"):
        inside = copy / name
        inside.mkdir(exist_ok=True)
        git(inside, "init", "-q")
        put(inside, {"new.py": b"2", ".gitattributes": b"* filter=evil\n"})
        if name != "unborn":
            git(inside, "add", "-A")
            git(inside, "commit", "-q", "-m", "x")
        git(inside, "config", "core.fsmonitor", str(evil))
        git(inside, "config", "filter.evil.clean", str(evil))
    # As if the submodule stood where it was recorded: then git asks git itself, in there, whether it is clean.
    (copy / "sub/.git/HEAD").write_text(git(library, "rev-parse", "HEAD") + "\n")
    (tmp_path / "evil-ran").unlink(missing_ok=True)
    commit = (await store.capture(copy, store.base, author="t", message="m")).commit
    assert commit is not None
    assert not (tmp_path / "evil-ran").exists()
    assert set(await store.changed_files(store.base, commit)) == {
        f"{folder}/{name}" for folder in ("pkg", "made", "unborn") for name in ("new.py", ".gitattributes")
    }
    assert git(store.store, "ls-tree", commit, "sub") == git(repo, "ls-tree", "HEAD", "sub")


async def test_a_checkout_has_a_working_git_of_its_own(tmp_path: Path, fresh: Callable[[], Path]) -> None:
    repo = make_repository(tmp_path / "repo", {"a": b"1\n"})
    put(repo, {"secret": b"old secret"})
    git(repo, "add", "-A")
    git(repo, "commit", "-q", "-m", "a secret")
    git(repo, "rm", "-q", "secret")
    git(repo, "commit", "-q", "-m", "removed")
    store = await snapshot(repo, tmp_path / "store")
    copy = fresh()
    await store.checkout(store.base, copy)
    shutil.rmtree(repo)
    assert git(copy, "status", "--porcelain") == ""
    assert git(copy, "log", "--format=%s") == "start"
    assert git(copy, "fsck", "--full") == ""
    assert "secret" not in git(copy, "cat-file", "--batch-all-objects", "--batch")
    put(copy, {"a": b"2\n"})
    assert "+2" in git(copy, "diff")
    git(copy, "stash")
    assert (copy / "a").read_bytes() == b"1\n"


async def test_the_answer_comes_back(tmp_path: Path, fresh: Callable[[], Path]) -> None:
    repo = make_repository(tmp_path / "repo", {"a": b"1\n"})
    put(repo, {"a": b"dirty\n"})
    store = await snapshot(repo, tmp_path / "store")
    copy = fresh()
    await store.checkout(store.base, copy)
    put(copy, {"a": b"done\n", "b": b"\0new"})
    commit = (await store.capture(copy, store.base, author="t", message="the work")).commit
    assert commit is not None
    await store.set_answer(commit)
    before = state(repo)["a"]

    def branch() -> None:
        create_branch(repo, "answer/one", store.store)

    branch()
    assert state(repo)["a"] == before and git(repo, "status", "--porcelain") == "M a"
    assert git(repo, "log", "--format=%s", "answer/one").splitlines() == [
        "the work",
        "uncommitted changes at the start",
        "first",
    ]
    assert git(repo, "fsck", "--full", "--no-dangling") == ""
    branch()  # the same again, as by a run that is gone on with, changes nothing
    git(repo, "branch", "taken", "HEAD")
    for name in ("taken", "answer", "no..good", "-x"):
        with pytest.raises(UsageError):
            create_branch(repo, name, store.store)


EDITS = st.dictionaries(st.integers(0, 11), st.sampled_from([b"x\n", b"y\nz\n", b""]), max_size=6)


@pytest.fixture(scope="module")
def ten_blocks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GitRepository, Path]]:
    """A file of twelve blocks, far enough apart that edits of different blocks cannot touch."""
    folder = tmp_path_factory.mktemp("blocks")
    repo = make_repository(folder / "repo", {"f": b"".join(block(n) for n in range(12))})
    yield anyio.run(snapshot, repo, folder / "store"), folder


def block(number: int, edit: bytes = b"0\n") -> bytes:
    return b"".join(b"%d-%d\n" % (number, line) for line in range(8)) + edit


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EDITS, EDITS)
def test_disjoint_edits_merge_to_the_sequential_result(
    ten_blocks: tuple[GitRepository, Path], first: dict[int, bytes], second: dict[int, bytes]
) -> None:
    store, folder = ten_blocks
    second = {number: edit for number, edit in second.items() if number not in first}

    async def commit(edits: dict[int, bytes], work: Path) -> str:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        await store.checkout(store.base, work)
        (work / "f").write_bytes(b"".join(block(n, edits.get(n, b"0\n")) for n in range(12)))
        return (await store.capture(work, store.base, author="t", message="m")).commit or store.base

    async def both() -> None:
        ours = await commit(first, folder / "one")
        theirs = await commit(second, folder / "two")
        sequential = await commit(first | second, folder / "three")
        merged, why = await store.merge(ours, theirs, message="m")
        assert merged is not None, why
        assert await store.diff(sequential, merged) == b""

    anyio.run(both)
