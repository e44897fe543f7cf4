"""Runs of one process over the same files: what git has made for one of them it does not make again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from swarm.sandboxes.copies.layers import Layers
from swarm.sandboxes.git.command import Finished, Git
from swarm.sandboxes.git.workspace import snapshot
from swarm.sandboxes.leases.lease import open_lease
from tests.integration.checkouts import git, make_repository

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
