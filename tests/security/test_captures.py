"""What is read out of a sandbox, perhaps as root: whoever worked there must not lead that to other files, hold it up,
or speak through names. More of it: `integration/test_hostile_trees.py`, `test_hostile_runs.py`, `test_workspace.py`."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from swarm.sandboxes.copies.layering import Kind
from swarm.sandboxes.copies.layers import LayeredCopy, Layers
from swarm.sandboxes.git.repository import GitRepository
from swarm.sandboxes.git.workspace import snapshot
from swarm.sandboxes.limits.disk import count
from tests.integration.checkouts import git, make_repository
from tests.security.conftest import SECRET, Host

pytestmark = pytest.mark.anyio

FILES = {
    "a.txt": "a\n".encode("utf-16"),
    "d/id_rsa": "a\n".encode("utf-16"),
    "d/b.txt": "b\n".encode("utf-16"),
    ".gitattributes": b"*.txt working-tree-encoding=UTF-16\nid_rsa working-tree-encoding=UTF-16\n",
}
HOLDERS: list[Kind | None] = [None, Kind.COPY]


@asynccontextmanager
async def opened(
    place: Path, kind: Kind | None = None, files: dict[str, bytes] = FILES
) -> AsyncIterator[tuple[GitRepository, Layers, LayeredCopy]]:
    """A run's store, what makes copies, and one of its base."""
    repository = await snapshot(make_repository(place / "repo", files), place / "store")
    (place / "lease").mkdir()
    owner = (20_123, 20_123) if os.geteuid() == 0 else None
    layers = Layers(place / "lease", repository, owner, kind)
    async with layers.open(repository.base) as copy:
        yield repository, layers, copy


@pytest.mark.parametrize("kind", HOLDERS)
async def test_a_link_in_place_of_a_folder_leads_nowhere(kind: Kind | None, tmp_path: Path, host: Host) -> None:
    """An agent puts a link where a folder was; the next one's copy is brought to that. As root every file that changed
    was given to the sandbox's user: through the link, one of this machine."""
    (host.folder / "b.txt").write_text(SECRET)
    async with opened(tmp_path, kind, {"d/.ssh/id_rsa": b"", "d/b.txt": b""}) as (repository, layers, copy):
        shutil.rmtree(copy.tree / "d")
        (copy.tree / "d").symlink_to(host.folder)
        captured = await repository.capture(copy.tree, repository.base, author="a", message="m")
        assert captured.commit is not None
        assert captured.left_out == (), "what is behind the link is told to the agent"
        before = (host.folder / "b.txt").stat()
        async with layers.open(repository.base) as later:
            await later.move_to(captured.commit)
            assert (later.tree / "d").is_symlink()
        assert (host.folder / "b.txt").stat() == before
        assert host.untouched
        assert SECRET.encode() not in await repository.diff(repository.base, captured.commit)


@pytest.mark.parametrize("what", ["a pipe", "an endless file", "a file of the host", "a folder of the host"])
async def test_what_is_not_converted_is_not_opened_either(
    what: str, tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file whose encoding is wrong has all looked at by themselves that should have one."""
    monkeypatch.setattr("swarm.sandboxes.git.command._TIMEOUT", 20.0)
    async with opened(tmp_path) as (repository, _, copy):
        (copy.tree / "bad.txt").write_bytes(b"odd")
        (copy.tree / "a.txt").unlink()
        match what:
            case "a pipe":
                os.mkfifo(copy.tree / "a.txt")
            case "an endless file":
                (copy.tree / "a.txt").symlink_to("/dev/zero")
            case "a file of the host":
                (copy.tree / "a.txt").symlink_to(host.key)
            case _:
                shutil.rmtree(copy.tree / "d")
                (copy.tree / "d").symlink_to(host.key.parent)
        captured = await repository.capture(copy.tree, repository.base, author="a", message="m")
        assert captured.commit is not None, captured.failure
        patch = await repository.diff(repository.base, captured.commit)
        assert b"+odd" in patch
        assert SECRET.encode() not in patch


@pytest.mark.parametrize("pointer", ["gitdir: {0}/.git\n", "gitdir: {0}/.git/worktrees/x\n", "{0}/.git", "folder"])
async def test_a_repository_made_inside_is_not_asked_anything(pointer: str, tmp_path: Path, host: Host) -> None:
    """`.git` as a file or a link that leads to a repository whose configuration names programs."""
    evil = make_repository(host.folder / "evil", {"x": b"x"})
    hook = f"touch {host.written}/ran"
    for key in ("core.fsmonitor", "core.hooksPath", "filter.evil.clean", "core.editor", "core.sshCommand"):
        git(evil, "config", key, hook)
    async with opened(tmp_path) as (repository, _, copy):
        tops = [copy.tree, copy.tree / "inner", copy.tree / "d"]
        (copy.tree / "inner").mkdir()
        for top in tops:
            shutil.rmtree(top / ".git", ignore_errors=True)
            if pointer == "folder":
                shutil.copytree(evil / ".git", top / ".git", symlinks=True)
            elif pointer.startswith("gitdir"):
                (top / ".git").write_text(pointer.format(evil))
            else:
                (top / ".git").symlink_to(pointer.format(evil))
            (top / "new").write_text("n\n")
            (top / ".gitattributes").write_text("* filter=evil\n")
        captured = await repository.capture(copy.tree, repository.base, author="a", message="m")
        assert captured.commit is not None
        changed = set(await repository.changed_files(repository.base, captured.commit))
        assert {"new", "inner/new", "d/new"} <= changed
        assert not any(".git" in Path(name).parts for name in changed)
        assert b"+n" in await copy.patch()
    assert host.untouched


async def test_names_do_not_speak(tmp_path: Path) -> None:
    """Escape codes, ends of lines and what is no text are shown as what they are, wherever names are told."""
    odd = ("\x1b]0;owned\x07", "a\nb", "\x1b[2J", "\u202egpj.exe", os.fsdecode(b"\xff\xfe"), "\x9b31m")
    async with opened(tmp_path) as (repository, _, copy):
        for name in odd:
            with (copy.tree / name).open("wb") as file:
                file.truncate(200 << 20)
        captured = await repository.capture(copy.tree, repository.base, author="a", message="m")
        (copy.tree / odd[0]).write_text("x")
        some = await repository.capture(copy.tree, repository.base, author="a", message="m")
        assert some.commit is not None
        listing = await repository.listing(some.commit, 100)
    assert len(captured.left_out) == len(odd)
    assert all(line.isprintable() for line in (*captured.left_out, *listing.splitlines()))


def test_empty_files_are_not_free(tmp_path: Path) -> None:
    """A file system makes only so many: a million of them is a full disk, though they take no byte."""
    for number in range(500):
        (tmp_path / str(number)).touch()
    assert count([tmp_path], 0)[0] >= 500 * 4096
