"""Runs of one process over the same files: what git has made for one of them it does not make again."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from swarm.config import Rollout, RunConfig
from swarm.errors import MachineError
from swarm.ground import open_grounds
from swarm.sandboxes.copies.checkouts import Checkouts, Owner
from swarm.sandboxes.copies.layers import Layers
from swarm.sandboxes.copies.shelf import Shelf
from swarm.sandboxes.git.command import Finished, Git
from swarm.sandboxes.git.workspace import GitRepository, snapshot
from swarm.sandboxes.leases.late import late_lease
from swarm.sandboxes.leases.lease import open_lease
from tests.integration.checkouts import git, make_repository, put

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_configuration")]


async def test_runs_over_the_same_files_share_what_git_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    attempt = Git.attempt

    def noted(self: Git, *args: str, **options: Any) -> Finished:
        asked.append(str(args[0]))
        return attempt(self, *args, **options)

    monkeypatch.setattr(Git, "attempt", noted)
    repo = make_repository(tmp_path / "repo", {"only/here.txt": os.urandom(20).hex().encode()})
    packs = []
    for number in range(2):
        asked.clear()
        store = await snapshot(repo, tmp_path / f"store-{number}")
        async with (
            open_lease(tmp_path, f"lease-{number}") as held,
            Layers(held.folder, store).open(store.base) as copy,
        ):
            packs.append({path.name: path.read_bytes() for path in (copy.tree / ".git/objects/pack").iterdir()})
            assert git(copy.tree, "-c", "safe.directory=*", "fsck", "--strict") == ""
            assert git(copy.tree, "-c", "safe.directory=*", "status", "--porcelain") == ""
        assert asked.count("pack-objects") == 1 - number
        assert number == 0 or "init" not in asked
        git(store.store, "fsck", "--strict")
    assert packs[0] == packs[1] and len(packs[0]) >= 2


@pytest.fixture
def trees_made(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders into which a tree was written."""
    made: list[Path] = []
    make = Checkouts.make

    def noted(self: Checkouts, commit: str | None, folder: Path, owner: Owner = None) -> None:
        made.append(folder)
        make(self, commit, folder, owner)

    monkeypatch.setattr(Checkouts, "make", noted)
    return made


@asynccontextmanager
async def run(home: Path, name: str, store: GitRepository, shelf: Shelf) -> AsyncIterator[Layers]:
    """As a run begins and ends: what is lent goes back when its lease is gone."""
    async with shelf.lent() as lent, open_lease(home, name) as held:
        yield Layers(held.folder, store, shelf=lent)


async def test_runs_that_share_a_shelf_lie_over_one_tree(tmp_path: Path, trees_made: list[Path]) -> None:
    repo = make_repository(tmp_path / "repo", {"a.txt": b"one\n", "b/c.txt": b"two\n"})
    stores = [await snapshot(repo, tmp_path / f"store-{number}") for number in range(3)]
    async with late_lease(tmp_path, "bases") as lease:
        shelf = Shelf(lease)
        async with (
            run(tmp_path, "first", stores[0], shelf) as one,
            run(tmp_path, "second", stores[1], shelf) as two,
            one.open(stores[0].base) as mine,
            two.open(stores[1].base) as yours,
        ):
            put(mine.tree, {"a.txt": b"changed\n"})
            (mine.tree / "b/c.txt").unlink()
            assert (yours.tree / "a.txt").read_bytes() == b"one\n" and (yours.tree / "b/c.txt").exists()
            assert git(yours.tree, "-c", "safe.directory=*", "status", "--porcelain") == ""
            assert await yours.patch() == b"" != await mine.patch()
            put(yours.tree, {"new": b"new\n"})
            captured = await stores[1].capture(yours.tree, stores[1].base, author="t", message="m")
            assert captured.commit is not None
            assert await stores[1].changed_files(stores[1].base, captured.commit) == ["new"]
        # It waits for the next run.
        async with run(tmp_path, "third", stores[2], shelf) as three, three.open(stores[2].base) as copy:
            assert (copy.tree / "a.txt").read_bytes() == b"one\n" and (copy.tree / "b/c.txt").exists()
            assert not await copy.patch()
        assert len(trees_made) == 1
    assert [path.name for path in (tmp_path / "leases").iterdir()] == [".lock"]


async def test_a_tree_that_nobody_uses_makes_room(tmp_path: Path, trees_made: list[Path]) -> None:
    async with late_lease(tmp_path, "bases") as lease:
        shelf = Shelf(lease)
        for number in range(4):
            repo = make_repository(tmp_path / f"repo-{number}", {"a.txt": f"{number}\n".encode()})
            store = await snapshot(repo, tmp_path / f"store-{number}")
            async with run(tmp_path, f"run-{number}", store, shelf) as layers, layers.open(store.base):
                assert trees_made[number].is_dir()
        assert [folder.is_dir() for folder in trees_made] == [False, False, True, True]


async def test_what_may_look_otherwise_is_not_shared(tmp_path: Path, trees_made: list[Path]) -> None:
    repo = make_repository(tmp_path / "repo", {".gitattributes": b"*.bin filter=lfs\n", "a.txt": b"one\n"})
    async with late_lease(tmp_path, "bases") as lease:
        shelf = Shelf(lease)
        for number in range(2):
            store = await snapshot(repo, tmp_path / f"store-{number}")
            async with run(tmp_path, f"run-{number}", store, shelf) as layers, layers.open(store.base):
                pass
        assert len(trees_made) == 2


async def test_a_tree_that_could_not_be_made_is_made_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await snapshot(make_repository(tmp_path / "repo", {"a.txt": b"one\n"}), tmp_path / "store")
    async with late_lease(tmp_path, "bases") as lease:
        shelf = Shelf(lease)
        async with run(tmp_path, "first", store, shelf) as one, run(tmp_path, "second", store, shelf) as two:
            with monkeypatch.context() as patch:
                patch.setattr(Checkouts, "keep", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
                with pytest.raises(MachineError, match="No space left"):
                    async with one.open(store.base):
                        pass
            assert list(lease.folder.glob(f"{store.base}-*")) == []
            async with two.open(store.base) as copy:
                assert (copy.tree / "a.txt").read_bytes() == b"one\n"


async def test_runs_of_a_group_share_and_others_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))

    @asynccontextmanager
    async def opened(name: str, *_: object, **__: object) -> AsyncIterator[SimpleNamespace]:
        yield SimpleNamespace(name=name)

    monkeypatch.setattr("swarm.sandboxes.catalog.open_backend", opened)
    alone = RunConfig(sandbox="docker")
    grouped = alone.model_copy(update={"rollout": Rollout(group_id="suite/one")})
    open_to_all = grouped.model_copy(update={"sandbox": "process"})
    async with (
        open_grounds(None) as grounds,
        grounds.ground("a", grouped) as a,
        grounds.ground("b", grouped) as b,
        grounds.ground("c", alone) as c,
        grounds.ground("d", open_to_all) as d,
    ):
        assert a.shelf is not None and b.shelf is not None and a.shelf.shelf is b.shelf.shelf
        assert c.shelf is None
        assert d.shelf is None  # one run could change there what the next one begins with
