"""Removing a tree, whatever is in it and whatever happens to it meanwhile."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from swarm.removal import remove_tree

Require = Callable[[object, str], None]


def nest(folder: Path, levels: int, mode: int = 0o777, name: str = "d" * 50) -> None:
    """Make folders in folders, deeper than any path can be long; `mode`: of each."""
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=at)
        os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=at))
        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)
        os.fchmod(at, mode)
        os.close(at)
        at = inner
    os.close(at)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def few_descriptors(more: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(map(int, names(Path("/proc/self/fd")))) + 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_as_deep_as_it_may_be_with_few_descriptors(deep_path: Path) -> None:
    tree = deep_path / "tree"
    tree.mkdir()
    for name, levels in (("a", 1500), ("b", 3)):
        (tree / name).mkdir()
        nest(tree / name, levels)
    with few_descriptors(8):
        remove_tree(tree)
    assert names(deep_path) == []


def test_without_permissions_to_the_bottom(deep_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a user to whom permissions mean something."""
    tree = deep_path / "tree"
    tree.mkdir()
    nest(tree, 1200, mode=0)
    tree.chmod(0)
    me = os.geteuid()
    if me == 0:
        subprocess.run(["chown", "-R", "54321", deep_path], check=True)
        monkeypatch.chdir(deep_path)
        os.seteuid(54321)
    try:
        remove_tree(Path(os.path.relpath(tree)))
    finally:
        os.seteuid(me)
    assert names(deep_path) == []


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    outside, tree = tmp_path / "outside", tmp_path / "tree"
    outside.mkdir(mode=0o500)
    tree.mkdir()
    (outside.parent / "file").write_text("kept")
    (tree / "folder").symlink_to(outside)
    (tree / "file").symlink_to(tmp_path / "file")
    (tree / "nowhere").symlink_to("nowhere")
    os.mkfifo(tree / "fifo")
    remove_tree(tree)
    assert names(tmp_path) == ["file", "outside"]
    assert outside.stat().st_mode & 0o777 == 0o500

    link = tmp_path / "link"
    link.symlink_to(outside)
    (outside / "kept").touch() if os.geteuid() == 0 else None
    for odd in (link, tmp_path / "file", tmp_path / "none", tmp_path / "none/none", Path("a\0b"), Path("x" * 5000)):
        remove_tree(odd)
    assert names(tmp_path) == ["file", "link", "outside"]


def test_what_is_mounted_stays(tmp_path: Path, require: Require) -> None:
    """Also a folder of the same device."""
    precious, tree = tmp_path / "precious", tmp_path / "tree"
    place = tree / "a/place"
    place.mkdir(parents=True)
    (tree / "file").touch()
    precious.mkdir()
    (precious / "file").touch()
    done = subprocess.run(["mount", "--bind", precious, place], check=False, capture_output=True)
    require(done.returncode == 0, "nothing can be mounted here")
    try:
        remove_tree(tree)
        remove_tree(place)
        assert sorted(path.name for path in tree.rglob("*")) == ["a", "file", "place"]
    finally:
        subprocess.run(["umount", place], check=True)
    assert (precious / "file").exists()
    remove_tree(tree)
    assert names(tmp_path) == ["precious"]


def test_a_folder_that_is_moved_out_leads_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever moves the folder in which we are must not make us remove what lies beside it then."""
    tree, other = tmp_path / "tree", tmp_path / "other"
    (tree / "victim/inner").mkdir(parents=True)
    (other / "victim").mkdir(parents=True)  # bears the name that would be removed next
    rmdir = os.rmdir

    def moved(name: str, *, dir_fd: int) -> None:
        rmdir(name, dir_fd=dir_fd)
        if name == "inner":
            (tree / "victim").rename(other / "moved")

    monkeypatch.setattr(os, "rmdir", moved)
    remove_tree(tree)
    assert not tree.exists()
    assert names(other) == ["moved", "victim"]
