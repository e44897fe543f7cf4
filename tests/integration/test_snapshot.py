"""The user's repository as a run takes it: all of it, and nothing of it touched."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from swarm.errors import UsageError
from swarm.sandboxes.git.workspace import find_repository, reopen, snapshot
from tests.integration.checkouts import (
    ODD_NAMES,
    git,
    make_repository,
    put,
    state,
    tree,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_configuration")]


async def test_a_snapshot_holds_the_dirty_tree_and_touches_nothing(tmp_path: Path, fresh: Callable[[], Path]) -> None:
    repo = make_repository(
        tmp_path / "repo",
        {
            "kept.txt": b"same\n",
            "staged.txt": b"old\n",
            "unstaged.txt": b"old\n",
            "gone.txt": b"x\n",
            "staged-gone.txt": b"x\n",
            ".gitignore": b"*.log\nsecret/\n",
            "deep/er/file.py": b"print()\n",
            "script.sh": b"#!/bin/sh\n",
            "crlf.txt": b"a\r\nb\r\n",
        },
    )
    hook = repo / ".git/hooks/post-index-change"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/hook-ran\n")
    hook.chmod(0o755)
    put(repo, {"staged.txt": b"new\n", "unstaged.txt": b"new\n", "binary.bin": bytes(range(256)) * 40})
    git(repo, "add", "staged.txt")
    git(repo, "rm", "-q", "staged-gone.txt")
    (repo / "gone.txt").unlink()
    (repo / "script.sh").chmod(0o755)
    (repo / "link").symlink_to("kept.txt")
    (repo / "link-out").symlink_to("/etc/hostname")
    (repo / "empty-folder").mkdir()
    put(repo, {name: os.fsencode(name) for name in ODD_NAMES})
    put(repo, {"ignored.log": b"no", "secret/key": b"no", "__pycache__/x.pyc": b"no"})
    (tmp_path / "hook-ran").unlink()
    before, index = state(repo), (repo / ".git/index").stat().st_mtime_ns

    store = await snapshot(repo, tmp_path / "store")

    assert state(repo) == before
    assert (repo / ".git/index").stat().st_mtime_ns == index
    assert not (tmp_path / "hook-ran").exists()
    assert store.dirty and store.head == git(repo, "rev-parse", "HEAD")
    copy = fresh()
    await store.checkout(store.base, copy)
    wanted = {
        name: what
        for name, what in tree(repo).items()
        if not name.startswith(("ignored.log", "secret/", "__pycache__/"))
    }
    assert tree(copy) == wanted
    assert state(repo) == before


async def test_a_clean_tree_is_the_users_own_commit(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo", {"a": b"1"})
    store = await snapshot(repo, tmp_path / "store")
    assert not store.dirty
    assert store.base == store.head == git(repo, "rev-parse", "HEAD")
    assert await reopen(tmp_path / "store") == store


async def test_commits_depend_on_content_alone(tmp_path: Path, fresh: Callable[[], Path]) -> None:
    repo = make_repository(tmp_path / "repo", {"a": b"1"})
    put(repo, {"b": b"2"})
    commits = set()
    for name in ("one", "two"):
        store = await snapshot(repo, tmp_path / name)
        copy = fresh()
        await store.checkout(store.base, copy)
        put(copy, {"c": b"3"})
        commits.add((await store.capture(copy, store.base, author="t1", message="work")).commit)
    assert len(commits) == 1


async def test_repositories_that_cannot_be_used(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init", "-q")
    bare = tmp_path / "bare.git"
    git(tmp_path, "init", "-q", "--bare", str(bare))
    plain = tmp_path / "plain"
    plain.mkdir()
    conflict = make_repository(tmp_path / "conflict", {"a": b"1\n"})
    git(conflict, "checkout", "-q", "-b", "other")
    put(conflict, {"a": b"2\n"})
    git(conflict, "commit", "-qam", "2")
    git(conflict, "checkout", "-q", "main")
    put(conflict, {"a": b"3\n"})
    git(conflict, "commit", "-qam", "3")
    git(conflict, "merge", "other", code=1)
    for folder, words in (
        (plain, "not in a git repository"),
        (empty, "no commit yet"),
        (bare, "bare"),
        (conflict, "unresolved conflicts: a"),
        (tmp_path / "missing", "not a folder"),
    ):
        with pytest.raises(UsageError, match=words) as raised:
            await find_repository(folder)
        assert raised.value.remedy
    inside = make_repository(tmp_path / "good", {"x/y": b""})
    assert await find_repository(inside / "x") == inside


async def test_worktrees_and_an_environment_that_names_a_repository(
    tmp_path: Path, fresh: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = make_repository(tmp_path / "repo", {"a": b"1\n"})
    git(repo, "worktree", "add", "-q", str(tmp_path / "tree"), "-b", "side")
    put(tmp_path / "tree", {"a": b"side\n"})
    monkeypatch.setenv("GIT_DIR", str(repo / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "nowhere"))
    assert await find_repository(tmp_path / "tree") == tmp_path / "tree"
    store = await snapshot(tmp_path / "tree", tmp_path / "store")
    copy = fresh()
    await store.checkout(store.base, copy)
    assert (copy / "a").read_bytes() == b"side\n"


async def test_a_long_listing_says_what_it_leaves_out(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo", {f"f{n}": b"" for n in range(5)} | {"new\nline": b""})
    store = await snapshot(repo, tmp_path / "store")
    assert (await store.listing(store.base, 3)).splitlines() == ["f0", "f1", "f2", "(3 more files are not listed)"]
    assert (await store.listing(store.base, 9)).splitlines()[-1] == repr("new\nline")
