"""Submodules: their files are there to work on, and what is changed in them comes back to where it belongs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from swarm.errors import SwarmError, UsageError
from swarm.sandboxes.git.applying import apply_answer
from swarm.sandboxes.git.branch import create_branch
from swarm.sandboxes.git.workspace import GitRepository, snapshot
from tests.integration.checkouts import git, make_repository, put, state, tree
from tests.integration.test_configured import count_calls

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_configuration")]

ALLOW = ("-c", "protocol.file.allow=always")


def nested(tmp_path: Path) -> Path:
    """A repository with a submodule that has one too, uncommitted changes in each, and two that are not checked out
    or not recorded."""
    inner = make_repository(tmp_path / "inner", {"i": b"1\n", "same": b"1\n"})
    outer = make_repository(tmp_path / "outer", {"o": b"1\n", ".gitattributes": b"*.lf -text\n", "x.lf": b"1\r\n"})
    git(outer, *ALLOW, "submodule", "add", "-q", str(inner), "in ner")
    git(outer, "commit", "-q", "-m", "submodule")
    repo = make_repository(tmp_path / "repo", {"top": b"1\n", ".gitattributes": b"*.lf text\n"})
    for name in ("lib/sub", "empty"):
        git(repo, *ALLOW, "submodule", "add", "-q", str(outer), name)
    git(repo, "commit", "-q", "-m", "submodules")
    git(repo, *ALLOW, "submodule", "update", "-q", "--init", "--recursive")
    git(repo, "submodule", "deinit", "-q", "-f", "empty")
    git(repo, "worktree", "add", "-q", "trees/side", "-b", "side")
    make_repository(repo / "clone", {"c": b"1\n"})
    git(repo, "init", "-q", "unborn")
    put(repo, {"lib/sub/in ner/i": b"dirty\n", "lib/sub/new": b"untracked\n", "unborn/u": b"u", "top": b"dirty\n"})
    return repo


def files(folder: Path) -> dict[str, str]:
    """What stands in a folder, without what belongs to git, at any depth."""
    return {name: what for name, what in tree(folder).items() if ".git" not in Path(name).parts}


async def work(store: GitRepository, copy: Path, files: dict[str, bytes]) -> str:
    await store.checkout(store.base, copy)
    put(copy, files)
    commit = (await store.capture(copy, store.base, author="t", message="the work\n\nSwarm-Subtask: t")).commit
    assert commit is not None
    await store.set_answer(commit)
    return commit


WORK = {
    "top": b"done\n",
    "lib/sub/o": b"2\n",
    "lib/sub/in ner/i": b"2\n",
    "lib/sub/in ner/n": b"n\n",
    "clone/c": b"2\n",
}


async def test_files_of_submodules_are_there_and_come_back(tmp_path: Path, fresh: Callable[[], Path]) -> None:
    repo = nested(tmp_path)
    before = state(repo)
    store = await snapshot(repo, tmp_path / "store")
    assert state(repo) == before
    copy = fresh()
    await store.checkout(store.base, copy)
    assert files(copy) == {n: what for n, what in files(repo).items() if not n.startswith(("trees/", "unborn/"))}
    assert (copy / "empty").is_dir()
    told = "\n".join(store.notes)
    assert "not checked out, and so empty in the copies: empty (1 of" in told
    assert "trees/side is another worktree" in told

    put(copy, {"lib/sub/x.lf": b"2\r\n"})  # what is said of attributes above a submodule does not hold in it
    commit = await work(store, fresh(), WORK)
    capture = await store.capture(copy, store.base, author="t", message="m")
    assert git(store.store, "cat-file", "-s", f"{capture.commit}:lib/sub/x.lf") == "3"
    assert "lib/sub/in ner/n" in await store.changed_files(store.base, commit)

    heads = [git(repo / path, "rev-parse", "HEAD") for path in (".", "lib/sub", "lib/sub/in ner", "clone")]
    apply_answer(repo, store.store)
    for name, content in WORK.items():
        assert (repo / name).read_bytes() == content
    assert (repo / "lib/sub/new").read_bytes() == b"untracked\n"
    assert heads == [git(repo / path, "rev-parse", "HEAD") for path in (".", "lib/sub", "lib/sub/in ner", "clone")]


async def test_a_branch_links_to_branches_of_the_submodules(
    tmp_path: Path, fresh: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = nested(tmp_path)
    store = await snapshot(repo, tmp_path / "store")
    await work(store, fresh(), WORK)
    before = files(repo)
    create_branch(repo, "done", store.store, run="r1")
    assert files(repo) == before
    message = git(repo, "log", "-1", "--format=%B", "done")
    assert message == "the work\n\nSwarm-Subtask: t\nSwarm-Run: r1"
    start = "uncommitted changes at the start"
    assert git(repo, "log", "--format=%s", "main..done").splitlines() == ["the work", start]
    assert git(repo / "lib/sub", "log", "--format=%s", "HEAD..done").splitlines() == ["the work", start]
    assert git(repo / "clone", "log", "--format=%s", "HEAD..done").splitlines() == ["the work"]
    link = git(repo, "rev-parse", "done:lib/sub")
    assert link == git(repo / "lib/sub", "rev-parse", "done")
    assert git(repo, "rev-parse", "done:empty") == git(repo, "rev-parse", "main:empty")
    assert git(repo / "lib/sub", "rev-parse", f"{link}:in ner") == git(repo / "lib/sub/in ner", "rev-parse", "done")
    assert git(repo, "show", "--format=", "--name-status", "done").split() == ["M", "lib/sub", "M", "top"]
    assert git(repo / "lib/sub/in ner", "show", "done:i") == "2"
    for path in (".", "lib/sub", "lib/sub/in ner", "clone"):
        git(repo / path, "fsck", "--full", "--no-dangling")

    git(repo, "branch", "-D", "done")  # made again a second later, of the same commits: what is linked to is there
    with monkeypatch.context() as later:
        later.setattr("time.time", lambda: 2e9)
        create_branch(repo, "done", store.store, run="r1")
    assert git(repo, "rev-parse", "done:lib/sub") == link == git(repo / "lib/sub", "rev-parse", "done")
    git(repo, "branch", "-D", "done")
    git(repo, "config", "user.name", "Another")  # and of others, all of them are
    git(repo / "lib/sub/in ner", "config", "user.name", "Another")
    create_branch(repo, "done", store.store, run="r1")
    link = git(repo, "rev-parse", "done:lib/sub")
    assert link == git(repo / "lib/sub", "rev-parse", "done")
    assert git(repo / "lib/sub", "rev-parse", f"{link}:in ner") == git(repo / "lib/sub/in ner", "rev-parse", "done")
    git(repo / "lib/sub", "fsck", "--full", "--no-dangling")

    git(repo / "clone", "branch", "taken")
    with pytest.raises(UsageError, match="branch taken exists in"):
        create_branch(repo, "taken", store.store)
    git(repo, "show-ref", "--verify", "refs/heads/taken", code=128)
    git(repo / "lib/sub", "show-ref", "--verify", "refs/heads/taken", code=128)


async def test_a_submodule_that_is_no_repository_any_more(tmp_path: Path, fresh: Callable[[], Path]) -> None:
    repo = nested(tmp_path)
    victim = make_repository(tmp_path / "victim", {"o": b"1\n"})
    store = await snapshot(repo, tmp_path / "store")
    await work(store, fresh(), {"top": b"done\n", "lib/sub/o": b"2\n"})
    git(repo, "submodule", "deinit", "-q", "-f", "lib/sub")
    for linked in (False, True):
        if linked:
            (repo / "lib/sub").rmdir()
            (repo / "lib/sub").symlink_to(victim)
        before = state(repo), state(victim)
        with pytest.raises(UsageError, match="lib/sub is no longer a repository"):
            apply_answer(repo, store.store)
        with pytest.raises(UsageError, match="lib/sub is no longer a repository"):
            create_branch(repo, "done", store.store)
        assert (state(repo), state(victim)) == before


async def test_a_branch_costs_what_was_changed(
    tmp_path: Path, fresh: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = make_repository(tmp_path / "repo", {"top": b"1\n"})
    first = make_repository(repo / "libs/0", {"x": b"1\n"})
    for number in range(1, 10):
        shutil.copytree(first, repo / f"libs/{number}")
    git(repo, "-c", "advice.addEmbeddedRepo=false", "add", "libs")
    git(repo, "commit", "-q", "-m", "modules")
    store = await snapshot(repo, tmp_path / "store")
    copy, tip = fresh(), store.base
    await store.checkout(tip, copy)
    for number in range(3):
        put(copy, {"top": b"%d\n" % number})
        tip = (await store.capture(copy, tip, author="t", message="work")).commit or ""
    await store.set_answer(tip)
    calls = count_calls(monkeypatch)
    create_branch(repo, "done", store.store)
    assert len(calls) < 70
    assert git(repo, "diff", "--name-only", "main", "done") == "top"
    assert git(repo, "log", "--format=%s", "main..done").splitlines() == ["work"] * 3


async def test_untouched_submodules_are_no_change(tmp_path: Path, fresh: Callable[[], Path]) -> None:
    repo = nested(tmp_path)
    store = await snapshot(repo, tmp_path / "store")
    commit = await work(store, fresh(), {"other": b"2\n"})
    assert await store.changed_files(store.base, commit) == ["other"]
    create_branch(repo, "done", store.store)
    assert git(repo, "diff", "--name-only", "main", "done").splitlines() == ["other", "top"]
    git(repo / "lib/sub", "show-ref", "--verify", "refs/heads/done", code=128)


async def test_a_file_in_place_of_a_submodule_is_refused(tmp_path: Path, fresh: Callable[[], Path]) -> None:
    repo = nested(tmp_path)
    store = await snapshot(repo, tmp_path / "store")
    copy = fresh()
    await store.checkout(store.base, copy)
    shutil.rmtree(copy / "lib/sub")
    put(copy, {"lib/sub": b"a file\n"})
    await store.set_answer((await store.capture(copy, store.base, author="t", message="m")).commit or "")
    before = state(repo)
    with pytest.raises(SwarmError, match="lib/sub"):
        apply_answer(repo, store.store)
    assert state(repo) == before
    create_branch(repo, "done", store.store)
    assert git(repo, "show", "done:lib/sub") == "a file"
