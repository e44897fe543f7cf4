"""What an index tells without git: whether it may hold submodules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from swarm.sandboxes.git.command import Finished, Git
from swarm.sandboxes.git.index import may_hold_links
from swarm.sandboxes.git.workspace import snapshot
from tests.integration.checkouts import git, make_repository

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_configuration")]

FILES = {"in/one.txt": b"1", "out/two.txt": b"2", "out/deep/three.txt": b"3"}


@pytest.mark.parametrize("version", ["2", "4"])
def test_an_index_without_submodules_says_so(version: str, tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo", FILES)
    git(repo, "update-index", "--index-version", version)
    assert not may_hold_links(repo / ".git/index")
    assert not may_hold_links(repo / ".git/nothing")
    git(repo, "update-index", "--add", "--cacheinfo", f"160000,{git(repo, 'rev-parse', 'HEAD').strip()},out/sub")
    assert may_hold_links(repo / ".git/index")


@pytest.mark.parametrize(
    "command",
    [
        ("update-index", "--split-index"),
        ("sparse-checkout", "set", "--cone", "--sparse-index", "in"),
    ],
)
def test_an_index_that_does_not_hold_all_itself_does_not(command: tuple[str, ...], tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo", FILES)
    git(repo, *command)
    assert may_hold_links(repo / ".git/index")


async def test_a_tree_without_submodules_is_not_listed_to_find_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    attempt = Git.attempt

    def noted(self: Git, *args: str, **options: Any) -> Finished:
        asked.append(str(args[0]))
        return attempt(self, *args, **options)

    repo = make_repository(tmp_path / "repo", FILES)
    monkeypatch.setattr(Git, "attempt", noted)
    await snapshot(repo, tmp_path / "store")
    assert "write-tree" in asked
    assert "ls-files" not in asked
