"""What an index says of its whole tree, in the states in which users leave theirs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from swarm.sandboxes.git.command import Finished, Git
from swarm.sandboxes.git.index import whole_tree
from swarm.sandboxes.git.workspace import find_repository, snapshot
from tests.integration.checkouts import git, make_repository, put

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_configuration")]

FILES = {"a.txt": b"one\n", "pkg/TREE\\0": b"two\n", "pkg/deep/er": b"three\n"}


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "repo", FILES)


def noted(repo: Path) -> str | None:
    return whole_tree(repo / ".git/index")


def tree_of(repo: Path) -> str:
    return git(repo, "rev-parse", "HEAD^{tree}").strip()


@pytest.mark.parametrize("form", ["2", "4"])
def test_a_clean_index_tells_its_tree(repo: Path, form: str) -> None:
    git(repo, "update-index", "--index-version", form)
    git(repo, "reset", "-q", "--hard")
    assert noted(repo) == tree_of(repo)
    put(repo, {"a.txt": b"changed\n"})
    assert noted(repo) == tree_of(repo)  # of the index, not of the files
    git(repo, "add", "a.txt")
    assert noted(repo) is None
    git(repo, "write-tree")
    git(repo, "reset", "-q", "--hard")
    assert noted(repo) == tree_of(repo)


def test_an_index_of_longer_names_tells_its_tree(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    git(tmp_path, "init", "-q", "--object-format=sha256", str(repo))
    put(repo, {"a.txt": b"one\n"})
    git(repo, "add", ".")
    git(repo, "-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "first")
    assert noted(repo) == tree_of(repo) and len(tree_of(repo)) == 64


@pytest.mark.parametrize("how", [("stash", "pop"), ("merge", "other"), ("cherry-pick", "other")])
def test_an_index_in_conflict_tells_none(repo: Path, how: tuple[str, ...]) -> None:
    who = ("-c", "user.name=x", "-c", "user.email=x@x")
    git(repo, "branch", "other")
    put(repo, {"a.txt": b"stashed\n"})
    git(repo, *who, "stash")
    put(repo, {"a.txt": b"mine\n"})
    git(repo, *who, "commit", "-qam", "mine")
    git(repo, "worktree", "add", "-q", str(repo.with_name("else")), "other")
    put(repo.with_name("else"), {"a.txt": b"theirs\n"})
    git(repo.with_name("else"), *who, "commit", "-qam", "theirs")
    assert noted(repo) == tree_of(repo)
    assert subprocess.run(["git", "-C", repo, *who, *how], capture_output=True, check=False).returncode != 0
    assert git(repo, "ls-files", "--unmerged") and noted(repo) is None


def test_what_is_no_whole_index_tells_none(repo: Path) -> None:
    index = repo / ".git/index"
    data = index.read_bytes()
    for broken in (b"", data[:-1], data[: data.rfind(b"TREE")], data[: data.rfind(b"TREE") + 9], data + b"x" * 9):
        index.write_bytes(broken)
        assert noted(repo) is None
    index.unlink()
    assert noted(repo) is None
    index.mkdir()  # or whatever else cannot be read
    assert noted(repo) is None


async def test_of_a_clean_checkout_git_is_not_asked_what_its_index_tells(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    attempt = Git.attempt

    def listened(self: Git, *args: str, **options: Any) -> Finished:
        asked.append(str(args[0]))
        return attempt(self, *args, **options)

    for name in FILES:  # not written in the second in which the index was: git would look into them
        os.utime(repo / name, (10**9, 10**9))
    git(repo, "update-index", "--refresh")
    monkeypatch.setattr(Git, "attempt", listened)
    assert await find_repository(repo) == repo
    store = await snapshot(repo, tmp_path / "store")
    assert store.base == git(repo, "rev-parse", "HEAD").strip()
    assert not {"ls-files", "write-tree"} & set(asked), asked
    put(repo, {"new": b"new\n"})
    asked.clear()
    changed = await snapshot(repo, tmp_path / "other")
    assert asked.count("write-tree") == 1
    assert await changed.changed_files(store.base, changed.base) == ["new"]
