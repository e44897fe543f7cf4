"""Repositories that are not as one expects: each is worked on, or refused in one line; nothing of it is touched."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from swarm.errors import UsageError
from swarm.sandboxes.git.applying import apply_answer
from swarm.sandboxes.git.branch import create_branch
from swarm.sandboxes.git.workspace import GitRepository, find_repository, snapshot
from tests.integration.checkouts import git, make_repository, put, state, tree

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_configuration")]

ALLOW = ("-c", "protocol.file.allow=always")
FILES = {"a": b"1\n", "gone": b"1\n", "sub/b": b"1\n"}


def detached(where: Path) -> Path:
    repo = make_repository(where / "repo", FILES)
    git(repo, "checkout", "-q", "--detach")
    return repo


def shallow(where: Path) -> Path:
    origin = make_repository(where / "origin", {"old": b"1\n"})
    put(origin, FILES)
    git(origin, "add", "-A")
    git(origin, "commit", "-q", "-m", "second")
    git(where, *ALLOW, "clone", "-q", "--depth=1", origin.as_uri(), "repo")
    assert git(where / "repo", "rev-list", "--count", "HEAD") == "1"
    return where / "repo"


def worktree_of_a_worktree(where: Path) -> Path:
    main = make_repository(where / "main", FILES)
    git(main, "worktree", "add", "-q", "one", "-b", "one")
    git(main / "one", "worktree", "add", "-q", "two", "-b", "two")
    return main / "one/two"


def borrowing(where: Path) -> Path:
    make_repository(where / 'a, "b', FILES)
    git(where, "clone", "-q", "--shared", 'a, "b', "middle")
    git(where, "clone", "-q", "--shared", "middle", "repo")
    return where / "repo"


def locked(where: Path) -> Path:
    repo = make_repository(where / "repo", FILES)
    put(repo, {".git/index.lock": b"", ".git/HEAD.lock": b""})
    return repo


def rebasing(where: Path) -> Path:
    repo = make_repository(where / "repo", FILES)
    put(repo, {"a": b"2\n"})
    git(repo, "commit", "-qam", "second")
    git(repo, "-c", "sequence.editor=sed -i s/pick/edit/", "rebase", "-q", "-i", "HEAD~1")
    assert (repo / ".git/rebase-merge").is_dir()
    return repo


def split_index(where: Path) -> Path:
    repo = make_repository(where / "repo", FILES)
    git(repo, "update-index", "--split-index")
    git(repo, "update-index", "--index-version", "4")
    return repo


def sha256(where: Path) -> Path:
    git(where, "init", "-q", "--object-format=sha256", "repo")
    return make_repository(where / "repo", FILES)


def intended(where: Path) -> Path:
    repo = make_repository(where / "repo", FILES)
    put(repo, {"intended": b"new\n"})
    git(repo, "add", "-N", "intended")
    return repo


async def worked_on(repo: Path, store: GitRepository, copy: Path) -> str:
    await store.checkout(store.base, copy)
    put(copy, {"a": b"done\n", "new/file": b"new\n"})
    (copy / "gone").unlink()
    commit = (await store.capture(copy, store.base, author="t", message="the work")).commit
    assert commit is not None
    await store.set_answer(commit)
    return commit


@pytest.mark.parametrize(
    "make",
    [detached, shallow, worktree_of_a_worktree, borrowing, locked, rebasing, split_index, sha256, intended],
    ids=lambda make: make.__name__,
)
async def test_there_and_back(make: Callable[[Path], Path], tmp_path: Path, fresh: Callable[[], Path]) -> None:
    (there := tmp_path / "there").mkdir()
    repo = make(there)
    put(repo, {"sub/b": b"uncommitted\n", "untracked": b"u\n"})
    before = state(there)
    top = await find_repository(repo / "sub")
    assert top == repo
    store = await snapshot(top, tmp_path / "store")
    assert state(there) == before
    copy = fresh()
    await worked_on(repo, store, copy)
    wanted = {name: what for name, what in tree(copy).items() if not name.startswith(".git")}
    create_branch(repo, "answer", store.store)
    apply_answer(repo, store.store)
    assert {name: what for name, what in tree(repo).items() if not name.startswith(".git")} == wanted
    assert git(repo, "log", "--format=%s", "HEAD..answer").splitlines()[0] == "the work"
    git(repo, "fsck", "--no-dangling")
    assert git(repo, "diff", "--no-index", "--name-only", str(copy / "a"), str(repo / "a")) == ""


async def test_those_that_are_refused(tmp_path: Path) -> None:
    make_repository(tmp_path / "elsewhere", FILES)
    git(tmp_path / "elsewhere", "config", "core.worktree", str(tmp_path / "files"))
    (tmp_path / "files").mkdir()
    with pytest.raises(UsageError, match=r"its files are in .*files") as raised:
        await find_repository(tmp_path / "elsewhere")
    assert raised.value.remedy
    make_repository(tmp_path / "not\udcff", FILES)
    with pytest.raises(UsageError, match=r"the path of .*not\\xff is not UTF-8") as raised:
        await find_repository(tmp_path / "not\udcff")
    assert raised.value.remedy
    if os.geteuid() == 0:
        others = make_repository(tmp_path / "others", FILES)
        for path in (others, *others.rglob("*")):
            os.chown(path, 12345, 12345)
        with pytest.raises(UsageError, match="belongs to another user") as raised:
            await find_repository(others)
        assert "safe.directory" in (raised.value.remedy or "")


async def test_what_the_user_told_git_not_to_look_at(tmp_path: Path, fresh: Callable[[], Path]) -> None:
    repo = make_repository(tmp_path / "repo", FILES)
    git(repo, "update-index", "--assume-unchanged", "a")
    git(repo, "update-index", "--skip-worktree", "gone")
    put(repo, {"a": b"mine\n", "gone": b"mine\n"})
    store = await snapshot(repo, tmp_path / "store")
    copy = fresh()
    await store.checkout(store.base, copy)
    assert ((copy / "a").read_bytes(), (copy / "gone").read_bytes()) == (b"1\n", b"1\n")
    await worked_on(repo, store, fresh())
    with pytest.raises(UsageError, match=r"told to pass over here .*: a, gone"):
        apply_answer(repo, store.store)
    assert ((repo / "a").read_bytes(), (repo / "gone").read_bytes()) == (b"mine\n", b"mine\n")


@pytest.mark.parametrize("index", ["plain", "sparse"])
async def test_sparse_checkouts(index: str, tmp_path: Path, fresh: Callable[[], Path]) -> None:
    repo = make_repository(tmp_path / "repo", {**FILES, "out/side": b"1\n"})
    git(repo, "sparse-checkout", "set", "--cone", *(["--sparse-index"] if index == "sparse" else []), "sub")
    put(repo, {"sub/b": b"2\n"})
    before = state(repo)
    store = await snapshot(repo, tmp_path / "store")
    assert state(repo) == before
    copy = fresh()
    await store.checkout(store.base, copy)
    assert ((copy / "sub/b").read_bytes(), (copy / "out/side").read_bytes()) == (b"2\n", b"1\n")
    await worked_on(repo, store, fresh())
    apply_answer(repo, store.store)
    assert (repo / "a").read_bytes() == b"done\n"
    put(copy, {"out/side": b"2\n"})
    commit = (await store.capture(copy, store.base, author="t", message="m")).commit
    await store.set_answer(commit or "")
    with pytest.raises(UsageError, match=r"told to pass over here \(sparse, skip-worktree\): out/side"):
        apply_answer(repo, store.store)
    create_branch(repo, "answer", store.store)
    assert git(repo, "show", "answer:out/side") == "2"


@pytest.mark.parametrize("form", ["sha1", "sha256"])
async def test_a_partial_clone_fetches_nothing(form: str, tmp_path: Path, fresh: Callable[[], Path]) -> None:
    (tmp_path / "origin").mkdir()
    git(tmp_path / "origin", "init", "-q", f"--object-format={form}")
    origin = make_repository(tmp_path / "origin", {**FILES, "out/large": b"large\n", "out/other": b"other\n"})
    git(origin, "config", "uploadpack.allowFilter", "true")
    git(tmp_path, *ALLOW, "clone", "-q", "--filter=blob:none", "--sparse", origin.as_uri(), "repo")
    repo = tmp_path / "repo"
    git(repo, *ALLOW, "sparse-checkout", "set", "sub")
    put(repo, {"sub/b": b"2\n"})
    before = state(repo)
    store = await snapshot(repo, tmp_path / "store")
    assert state(repo) == before
    assert store.notes == ("2 files that this partial clone never fetched are not in the copies",)
    copy = fresh()
    await store.checkout(store.base, copy)
    assert not (copy / "out").exists()
    await worked_on(repo, store, fresh())
    create_branch(repo, "answer", store.store)
    assert git(repo, "ls-tree", "-r", "--name-only", "answer").split() == [
        "a",
        "new/file",
        "out/large",
        "out/other",
        "sub/b",
    ]
    assert git(repo, "rev-parse", "answer:out") == git(repo, "rev-parse", "HEAD:out")
    apply_answer(repo, store.store)
    assert (repo / "a").read_bytes() == b"done\n"


async def test_a_change_in_the_second_of_the_index(tmp_path: Path, fresh: Callable[[], Path]) -> None:
    repo = make_repository(tmp_path / "repo", FILES)
    git(repo, "config", "core.trustctime", "false")
    second = 1_700_000_000_000_000_000
    for content in (b"2\n", b"3\n"):
        put(repo, {"a": content})
        os.utime(repo / "a", ns=(second, second))
        if content == b"2\n":
            git(repo, "add", "a")
            os.utime(repo / ".git/index", ns=(second, second))
    store = await snapshot(repo, tmp_path / "store")
    copy = fresh()
    await store.checkout(store.base, copy)
    assert (copy / "a").read_bytes() == b"3\n"
