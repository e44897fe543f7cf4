"""What is written into a store without git has the names that git gives it; what is merged without git is what git
would merge."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import anyio
import pytest

from swarm.errors import MachineError
from swarm.sandboxes.git import objects, picking
from swarm.sandboxes.git.command import own_git
from swarm.sandboxes.git.repository import GitRepository, commit_tree, plain_store
from swarm.stages import Picked

MESSAGES = ("p", "a\n\nb \n", "", "\n", "ü\r\n\ud800", "\ufffe", "\U0001ffff", "#c\n")
AUTHORS = ("20261122-1.s3", "a.", "'b'", "c <d>", "-", "e\\", "ü")

pytestmark = pytest.mark.anyio


def test_a_commit_has_the_name_that_git_gives_it(tmp_path: Path) -> None:
    repository = plain_store(tmp_path / "ours")
    git, tree = own_git(plain_store(tmp_path / "gits").store), repository.checkouts.empty()
    written = 0
    for number, message in enumerate((*MESSAGES, *MESSAGES)):
        author = AUTHORS[number % len(AUTHORS)] if number >= len(MESSAGES) else AUTHORS[0]
        parents = [] if number % 2 else [repository.base]
        theirs = commit_tree(git, tree, parents, message, author=author, date=number)
        people = author, "swarm", "swarm@localhost"
        ours = objects.write_commit(repository.store, (tree, parents), message, people, number)
        written += ours is not None
        assert ours in (None, theirs)
        if ours is not None:
            assert objects.read_commit(repository.store, ours) == picking.commits(git, [theirs])[0]
            assert objects.date_of(repository.store, ours) == number
    assert written > len(MESSAGES) / 2
    own_git(repository.store).run("fsck", "--strict")


def test_an_object_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    store = plain_store(tmp_path / "store").store
    for name in range(256):
        if not (place := store / f"objects/{name:02x}").is_dir():
            place.touch()
    with pytest.raises(MachineError, match="cannot be written"):
        for number in range(20):
            objects.write(store, b"blob", b"%d" % number, 40)
    assert not list(store.rglob("tmp_obj_*"))


async def test_what_is_merged_without_git_is_what_git_merges(tmp_path: Path) -> None:
    """Random patches, among them moves, removals, changes of kind, and files where others make folders."""
    chance = random.Random(7)
    repository = await anyio.to_thread.run_sync(plain_store, tmp_path / "store")
    names = [f"{folder}/{name}" for folder in ("a", "a/b", "c") for name in ("x", "y", "z")]
    base = await _commit(repository, tmp_path, repository.base, {name: f"{name}\n" * 9 for name in names})
    alone = 0
    for trial in range(3):
        tip = base
        for number in range(7):
            tree = {name: f"{name}\n" * 9 for name in names}
            for _ in range(2):
                _change(tree, chance, f"{trial}{number}", rough=trial == 2)
            patch = await _commit(repository, tmp_path, base, tree)
            if patch == base:
                continue
            await repository.changes(patch)
            started: list[str] = []
            found = await _counted(repository, tip, patch, started)
            plain = await GitRepository(repository.store, base, base, 0).pick(tip, patch, message="m", author="s")
            assert found == plain
            alone += "merge-tree" not in started
            tip = found.commit or tip
    assert alone > 5


async def test_what_is_added_to_a_folder_that_was_moved_is_left_to_git(tmp_path: Path) -> None:
    repository = await anyio.to_thread.run_sync(plain_store, tmp_path / "store")
    tree = {f"a/{name}": f"{name}\n" * 9 for name in "xyz"}
    base = await _commit(repository, tmp_path, repository.base, tree)
    moved = await _commit(repository, tmp_path, base, {f"b/{name[2:]}": text for name, text in tree.items()})
    added = await _commit(repository, tmp_path, base, tree | {"a/new": "new\n"})
    for patch in (moved, added):
        await repository.changes(patch)
    tip = (await repository.pick(base, moved, message="m", author="s")).commit or ""
    started: list[str] = []
    assert (await _counted(repository, tip, added, started)).conflicts
    assert "merge-tree" in started


def _change(tree: dict[str, str], chance: random.Random, mark: str, *, rough: bool) -> None:
    name = chance.choice(list(tree))
    match chance.randrange(6 if rough else 3):
        case 0 | 1:
            tree[name] += f"{mark}\n"
        case 2:
            tree[chance.choice([f"d/{mark}", f"a/n{mark}", f"{name}.d/e", "d"])] = f"{mark}\n"
        case 3:
            del tree[name]
        case 4:
            tree[f"moved/{mark}"] = tree.pop(name)
        case _:
            tree[f"{name}/below"] = tree.pop(name)


async def _commit(repository: GitRepository, place: Path, parent: str, tree: dict[str, str]) -> str:
    folder = place / f"f{len(list(place.iterdir()))}"
    folder.mkdir()
    for name, text in tree.items():
        path = folder / name
        if not any(above.is_file() for above in path.parents) and not path.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return (await repository.capture(folder, parent, author="s", message="p")).commit or parent


async def _counted(repository: GitRepository, onto: str, patch: str, started: list[str]) -> Picked:
    real = subprocess.run

    def run(command: list[str], **options: object) -> object:
        started.extend(command)
        return real(command, **options)  # type: ignore[call-overload]  # as it came

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(subprocess, "run", run)
        return await repository.pick(onto, patch, message="m", author="s")
