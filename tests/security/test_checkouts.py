"""Bringing a patch into the user's checkout: whatever stands in it, nothing outside changes, and nothing runs.

That it is wholly applied or not at all, and past the user's own changes: `integration/test_delivery.py`,
`test_late_changes.py`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from swarm.errors import MachineError, UsageError
from swarm.sandboxes.git.applying import apply_answer
from swarm.sandboxes.git.branch import create_branch
from swarm.sandboxes.git.command import own_git
from swarm.sandboxes.git.repository import ANSWER, GitRepository
from swarm.sandboxes.git.workspace import snapshot
from tests.integration.checkouts import git, make_repository, state
from tests.security.conftest import Host

pytestmark = pytest.mark.anyio

FILES = {"a": b"a\n", "d/x": b"x\n"}


async def begun(place: Path) -> tuple[Path, GitRepository]:
    repo = make_repository(place / "repo", FILES)
    return repo, await snapshot(repo, place / "run/repo.git")


async def answer(repository: GitRepository, *entries: tuple[str, str, bytes]) -> None:
    """Make a tree of any names, which no git would make out of files, the run's answer: mode, path, content."""
    own = own_git(repository.store)

    def tree(some: list[tuple[str, str, bytes]]) -> bytes:
        lines: dict[bytes, bytes] = {}
        below: dict[str, list[tuple[str, str, bytes]]] = {}
        for mode, path, content in some:
            first, slash, rest = path.partition("|")
            if slash:
                below.setdefault(first, []).append((mode, rest, content))
            else:
                blob = own.run("hash-object", "-w", "--stdin", stdin=content).text
                lines[first.encode()] = mode.encode() + b" " + first.encode() + b"\0" + bytes.fromhex(blob)
        for first, inner in below.items():
            lines[first.encode()] = b"40000 " + first.encode() + b"\0" + tree(inner)
        data = b"".join(lines[name] for name in sorted(lines))
        return bytes.fromhex(own.run("hash-object", "-w", "-t", "tree", "--literally", "--stdin", stdin=data).text)

    made = tree([("100644", "a", b"a\n"), *entries]).hex()
    commit = own.run("commit-tree", made, "-p", repository.base, "-m", "m", env=_WHO).text
    (repository.store / ANSWER).write_text(f"{commit}\n")


_WHO = {f"GIT_{role}_{key}": "x@y" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}

HOSTILE: dict[str, list[tuple[str, str, bytes]]] = {
    "above": [("100644", "..|of-the-host|written|x", b"x")],
    "two above": [("100644", "d|..|..|of-the-host|written|x", b"x")],
    "slash in a name": [("100644", "../of-the-host/written/x", b"x")],
    "hooks": [("100755", ".git|hooks|pre-commit", b"#!/bin/sh\n")],
    "configuration": [("100644", ".git|config", b"[core]\n\tfsmonitor = x\n")],
    "large letters": [("100644", ".GIT|config", b"x")],
    "short name": [("100644", "git~1|config", b"x")],
    "a submodule's": [("100644", "d|.git|config", b"x")],
    "its own": [("120000", ".git", b"../of-the-host")],
    "dots": [("100644", ".|x", b"x")],
}


@pytest.mark.parametrize("what", HOSTILE)
async def test_a_patch_cannot_leave_the_checkout(what: str, tmp_path: Path, host: Host) -> None:
    repo, repository = await begun(tmp_path)
    await answer(repository, ("100644", "d|x", b"new\n"), *HOSTILE[what])
    before, around = state(repo), state(host.folder)
    with pytest.raises((UsageError, MachineError)):
        apply_answer(repo, repository.store)
    assert (state(repo), state(host.folder)) == (before, around)
    assert host.untouched


async def test_a_name_from_the_root_is_a_name_below_the_checkout(tmp_path: Path, host: Host) -> None:
    repo, repository = await begun(tmp_path)
    await answer(repository, ("100644", "d|x", b"new\n"), ("100644", f"{host.written}/x", b"x"))
    apply_answer(repo, repository.store)
    assert (repo / f"{host.written}/x".lstrip("/")).exists()
    assert host.untouched


async def test_what_became_a_link_meanwhile_is_not_written_through(tmp_path: Path, host: Host) -> None:
    repo, repository = await begun(tmp_path)
    await answer(repository, ("100644", "d|x", b"new\n"))
    shutil.rmtree(repo / "d")
    (repo / "d").symlink_to(host.written)
    (host.written / "x").write_text("x\n")
    with pytest.raises(UsageError, match=r"d(/x)? changed since|does not apply"):
        apply_answer(repo, repository.store)
    assert (host.written / "x").read_text() == "x\n"
    (repo / "d").unlink()
    (repo / "d").mkdir()
    (repo / "d/x").symlink_to(host.written / "x")
    with pytest.raises(UsageError):
        apply_answer(repo, repository.store)
    assert (host.written / "x").read_text() == "x\n"


async def test_a_link_of_the_patch_is_a_link_and_nothing_is_written_behind_it(tmp_path: Path, host: Host) -> None:
    repo, repository = await begun(tmp_path)
    await answer(repository, ("120000", "d", str(host.written).encode()), ("120000", "k", str(host.key).encode()))
    apply_answer(repo, repository.store)
    assert (repo / "d").is_symlink()
    assert host.untouched


async def test_nothing_of_the_patch_runs_when_it_is_brought(tmp_path: Path, host: Host) -> None:
    """Attributes and hooks that come with it meet filters and a folder of hooks that the user has configured."""
    repo, repository = await begun(tmp_path)
    ran = f"touch {host.written}/ran"
    for key, value in (("core.hooksPath", "hooks"), ("merge.evil.driver", ran), ("diff.evil.textconv", ran)):
        git(repo, "config", key, value)
    hooks = [("100755", f"hooks|{name}", f"#!/bin/sh\n{ran}\n".encode()) for name in _HOOKS]
    attributes = ("100644", ".gitattributes", b"* merge=evil diff=evil\n")
    await answer(repository, ("100644", "d|x", b"new\n"), attributes, *hooks)
    (repo / "a").write_text("changed by the user meanwhile\n")
    apply_answer(repo, repository.store)
    create_branch(repo, "given", repository.store, run="r")
    assert git(repo, "show", "given:d/x") == "new"
    assert host.untouched


_HOOKS = ("pre-applypatch", "applypatch-msg", "post-applypatch", "post-index-change", "reference-transaction")


@pytest.mark.parametrize("name", ["--exec=x", "-f", "../../evil", "a..b", "a b", "x.lock", "refs/../../x", "@{-1}", ""])
async def test_a_branch_is_a_branch(name: str, tmp_path: Path) -> None:
    repo, repository = await begun(tmp_path)
    await answer(repository, ("100644", "d|x", b"new\n"))
    before = state(repo)
    with pytest.raises(UsageError):
        create_branch(repo, name, repository.store)
    assert state(repo) == before
