"""A checkout with what its user configured, and what lies in it that is not the user's word: the snapshot of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from swarm.sandboxes.git.applying import Applied, apply_answer
from swarm.sandboxes.git.attributes import conversions
from swarm.sandboxes.git.command import Finished, Git, own_git
from swarm.sandboxes.git.workspace import GitRepository, snapshot
from tests.integration.checkouts import git, make_repository, put, state

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_configuration")]


def names(store: GitRepository, commit: str = "base") -> list[str]:
    return git(store.store, "ls-tree", "-r", "--name-only", commit).splitlines()


async def captured(store: GitRepository, copy: Path, files: Mapping[str, bytes]) -> list[str]:
    await store.checkout(store.base, copy)
    put(copy, files)
    commit = (await store.capture(copy, store.base, author="t", message="m")).commit
    await store.set_answer(commit or store.base)
    return list(await store.changed_files(store.base, commit or store.base))


@pytest.mark.parametrize("default", [True, False])
async def test_what_is_ignored_everywhere_is_in_the_copies_too(
    default: bool, tmp_path: Path, fresh: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = make_repository(tmp_path / "repo", {"a": b"1\n"})
    make_repository(repo / "in[n]er", {"i": b"1\n"})
    put(repo / "in[n]er/.git/info", {"exclude": b"# none\n*.tmp\n/top\n!kept.tmp\n"})
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    rules = tmp_path / ("config/git/ignore" if default else "rules")
    put(tmp_path, {str(rules.relative_to(tmp_path)): b"build/\n*.swp\n*.log"})
    if not default:
        git(repo, "config", "core.excludesFile", str(rules))
    put(repo / ".git/info", {"exclude": b"!kept.log\n"})
    put(repo, {"build/out": b"mine\n", "in[n]er/x.tmp": b"mine\n"})
    store = await snapshot(repo, tmp_path / "store")
    assert names(store) == ["a", "in[n]er/i"]
    files = ("build/out", ".a.swp", "x.log", "kept.log", "x.tmp", "top")
    inner = ("in[n]er/d/x.tmp", "in[n]er/top", "in[n]er/d/top", "in[n]er/kept.tmp")
    changed = await captured(store, fresh(), dict.fromkeys(("a", *files, *inner), b"2\n"))
    assert sorted(changed) == sorted(["a", "kept.log", "x.tmp", "top", "in[n]er/d/top", "in[n]er/kept.tmp"])
    assert apply_answer(repo, store.store) == Applied()
    assert (repo / "build/out").read_bytes() == b"mine\n"


async def test_a_signed_head_that_is_to_be_verified(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo", {"a": b"1\n"})
    put(tmp_path, {"gpg": f"#!/bin/sh\ntouch {tmp_path}/gpg-ran\necho Good signature >&2\n".encode()})
    (tmp_path / "gpg").chmod(0o755)
    head, _, body = git(repo, "cat-file", "commit", "HEAD").partition("\n\n")
    signed = f"{head}\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n =abcd\n -----END PGP SIGNATURE-----\n\n{body}\n"
    name = git(repo, "hash-object", "-t", "commit", "-w", "--stdin", stdin=signed.encode())
    git(repo, "update-ref", "refs/heads/main", name)
    git(repo, "config", "log.showSignature", "true")
    git(repo, "config", "gpg.program", str(tmp_path / "gpg"))
    assert (await snapshot(repo, tmp_path / "store")).head == name
    assert not (tmp_path / "gpg-ran").exists()


async def test_line_ends_that_git_would_refuse(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo", {"a": b"1\n"})
    git(repo, "config", "core.autocrlf", "input")
    git(repo, "config", "core.safecrlf", "true")
    put(repo, {"w": b"1\r\n2\r\n"})
    assert names(await snapshot(repo, tmp_path / "store")) == ["a", "w"]


async def test_no_filter_of_a_repository_that_is_not_recorded_runs(tmp_path: Path, fresh: Callable[[], Path]) -> None:
    repo = make_repository(tmp_path / "repo", {"a": b"1\n"})
    vendor = make_repository(repo / "vendor", {"v": b"1\n", "w": b"1\n", ".gitattributes": b"* filter=e=vil\n"})
    for kind in ("clean", "smudge", "process"):
        git(vendor, "config", f"filter.e=vil.{kind}", f"touch {tmp_path}/filter-ran; cat")
    git(vendor, "config", "filter.e=vil.required", "true")
    put(vendor, {"v": b"dirty\n"})
    store = await snapshot(repo, tmp_path / "store")
    assert git(store.store, "show", "base:vendor/v") == "dirty"
    await captured(store, fresh(), {"vendor/v": b"done\n", "vendor/new": b"new\n"})
    put(vendor, {"w": b"meanwhile\n"})
    apply_answer(repo, store.store)
    assert (vendor / "v").read_bytes() == b"done\n"
    assert not (tmp_path / "filter-ran").exists()


@pytest.mark.parametrize("home", ["deep/in/it", "."])
async def test_the_folder_where_runs_are_kept_is_no_work(home: str, tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo", {"a": b"1\n"})
    kept = {f"{home}/{name}": b"x\n" for name in ("runs/OLD/events.jsonl", "leases/one")}
    put(repo, {**kept, "new": b"1\n"})
    (tmp_path / "link").symlink_to(repo)
    before = state(repo)
    store = await snapshot(repo, tmp_path / "link" / home / "runs/NOW/repo.git")
    assert names(store) == ["a", "new"]
    assert before.items() <= state(repo).items()


async def test_names_that_git_does_not_take(tmp_path: Path, fresh: Callable[[], Path]) -> None:
    repo = make_repository(tmp_path / "repo", {"a": b"1\n"})
    refused = {"git~1/x": b"1\n", ".git /x": b"1\n"}
    put(repo, {**refused, "new": b"1\n"})
    store = await snapshot(repo, tmp_path / "store")
    assert names(store) == ["a", "new"]
    assert store.notes == ("not in the copies, for git does not take the name: .git /x, git~1/x",)
    copy = fresh()
    await store.checkout(store.base, copy)
    put(copy, {**refused, "a": b"2\n"})
    done = await store.capture(copy, store.base, author="t", message="m")
    assert sorted(done.left_out) == [f"{name} (a name that git does not take)" for name in sorted(refused)]
    assert await store.changed_files(store.base, done.commit or "") == ["a"]


async def test_many_repositories_in_a_copy(
    tmp_path: Path, fresh: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = make_repository(tmp_path / "repo", {"a": b"1\n", "gone": b"1\n"})
    store = await snapshot(repo, tmp_path / "store")
    copy = fresh()
    await store.checkout(store.base, copy)
    (copy / "gone").unlink()
    made = {f"n/{number}/f": b"1\n" for number in range(60)}
    put(copy, {"a": b"2\n", **made, **{f"n/{number}/.git/HEAD": b"" for number in range(60)}})
    git(copy, "init", "-q", "n/60")
    put(copy, {"n/60/f": b"1\n"})
    calls = count_calls(monkeypatch)
    commit = (await store.capture(copy, store.base, author="t", message="m")).commit or ""
    assert set(await store.changed_files(store.base, commit)) == {"a", "gone", *made, "n/60/f"}
    assert "add" not in calls  # with a pattern for each, git compares every file with every one


async def test_rules_of_many_folders_are_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = {f"d{number}/.gitattributes": b"*.x text eol=%s\n" % (b"lf", b"crlf")[number % 2] for number in range(20)}
    store = await snapshot(make_repository(tmp_path / "repo", rules), tmp_path / "store")
    calls = count_calls(monkeypatch)
    lines = conversions(own_git(store.store), store.entries(store.base)).splitlines()
    assert b'"/d3/**/*.x" text eol=crlf' in lines and len(lines) == 21
    assert len(calls) < 5


def count_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What git is asked from now on."""
    calls: list[str] = []
    attempt = Git.attempt

    def counted(self: Git, *args: str | Path, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Finished:
        calls.append(str(args[0]))
        return attempt(self, *args, stdin=stdin, env=env)

    monkeypatch.setattr(Git, "attempt", counted)
    return calls
