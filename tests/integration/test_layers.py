"""Working copies by each kind that works on this machine: right whatever is done in them, and apart from each other."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest

from swarm.errors import MachineError
from swarm.sandboxes.copies.checkouts import Checkouts
from swarm.sandboxes.copies.layering import Kind, best
from swarm.sandboxes.copies.layers import Layers
from swarm.sandboxes.git.command import Git
from swarm.sandboxes.git.workspace import GitRepository, snapshot
from swarm.sandboxes.leases.lease import open_lease
from swarm.sandboxes.leases.mounts import mounts_below
from tests.integration.checkouts import ODD_NAMES, git, make_repository, put, tree

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_configuration")]

OWNER = (12345, 12346)
FILES = {
    "a.txt": b"one\n",
    "b.bin": bytes(range(256)),
    "pkg/m.py": b"m = 1\n",
    "pkg/deep/er.py": b"e = 1\n",
    "gone.txt": b"g\n",
    "run.sh": b"#!/bin/sh\n",
    "other/kept": b"k\n",
} | dict.fromkeys(ODD_NAMES, b"odd\n")


@pytest.fixture(params=list(Kind))
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Kind:
    wanted: Kind = request.param
    order = list(Kind)
    if order.index(best(tmp_path)) > order.index(wanted) or (wanted is Kind.REFLINK and not clones(tmp_path)):
        pytest.skip(f"no {wanted} here")
    return wanted


def clones(folder: Path) -> bool:
    from swarm.sandboxes.copies.copy_tree import clone

    (folder / "clone-source").write_bytes(b"x")
    try:
        clone(folder / "clone-source", folder / "clone-target")
    except OSError:
        return False
    return True


@pytest.fixture
def owner() -> tuple[int, int] | None:
    return OWNER if os.geteuid() == 0 else None


@pytest.fixture
async def store(tmp_path: Path) -> GitRepository:
    repo = make_repository(tmp_path / "repo", FILES)
    return await snapshot(repo, tmp_path / "store")


@pytest.fixture
async def lease(deep_path: Path) -> AsyncIterator[Path]:
    async with open_lease(deep_path / "odd,name:with\\all", "lease") as held:
        yield held.folder
    assert mounts_below(deep_path) == []
    assert not held.folder.exists()


@pytest.fixture
def layers(kind: Kind, store: GitRepository, lease: Path, owner: tuple[int, int] | None) -> Layers:
    return Layers(lease, store, owner, kind)


def doubtful(store: GitRepository, folder: Path) -> list[str]:
    """The tracked files into which git would have to look to know whether they are changed."""
    store_git = ("--git-dir", str(store.store), "--work-tree", str(folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_INDEX_FILE", str(store.checkouts.index_of(folder)))
        return git(folder, *store_git, "diff-files", "--name-only").splitlines()


def change(folder: Path) -> None:
    """All that can happen to a tree."""
    put(folder, {"a.txt": b"two\n", "b.bin": bytes(range(255, -1, -1)), "new/folder/file": b"\0new"})
    (folder / "gone.txt").unlink()
    (folder / "pkg").rename(folder / "package")
    (folder / "package/m.py").write_bytes(b"m = 2\n")
    shutil.rmtree(folder / "other")
    (folder / "other").mkdir()
    (folder / "other/fresh").write_bytes(b"f\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("/etc/passwd")


async def test_a_copy_is_the_commit_and_the_base_never_changes(
    layers: Layers, store: GitRepository, lease: Path, owner: tuple[int, int] | None
) -> None:
    async with layers.open(store.base) as copy, layers.open(store.base) as other:
        [base] = lease.glob(f"layers-*/bases/{store.base}/tree")
        before = tree(base)
        assert tree(copy.tree) == before and set(before) == set(FILES)
        found = {(path.lstat().st_uid, path.lstat().st_gid) for path in (copy.tree, *copy.tree.rglob("*"))}
        assert found == {owner or (os.geteuid(), os.getegid())}
        assert git(copy.tree, "-c", f"safe.directory={copy.tree}", "status", "--porcelain") == ""
        assert await copy.patch() == b""
        change(copy.tree)
        assert tree(base) == before == tree(other.tree)
        commit = (await store.capture(copy.tree, store.base, author="t", message="m")).commit
        assert commit is not None
        assert await copy.patch() == await store.diff(store.base, commit) != b""
        async with layers.open(commit) as again:
            assert tree(again.tree) == tree(copy.tree)
        assert await other.patch() == b""
    assert not copy.tree.parent.exists()


async def test_forks_and_snapshots_are_apart(layers: Layers, store: GitRepository, lease: Path) -> None:
    async with layers.open(store.base) as copy:
        change(copy.tree)
        os.mkfifo(copy.tree / "fifo")
        os.link(copy.tree / "a.txt", copy.tree / "also-a")
        changed, patch = tree(copy.tree), await copy.patch()
        name = await copy.snapshot()
        async with copy.fork() as fork, copy.fork() as sibling:
            assert tree(fork.tree) == changed
            assert await fork.patch() == patch
            assert (fork.tree / "also-a").stat().st_ino == (fork.tree / "a.txt").stat().st_ino
            put(fork.tree, {"a.txt": b"fork\n", "gone.txt": b"back\n"})
            put(copy.tree, {"a.txt": b"parent\n"})
            assert tree(sibling.tree) == changed
            assert (copy.tree / "a.txt").read_bytes() == b"parent\n"
            assert b"+fork\n" in await fork.patch()
            async with fork.fork(name) as restored:
                assert tree(restored.tree) == changed
    async with layers.restore(name) as first, layers.restore(name) as second:
        assert tree(first.tree) == changed and await first.patch() == patch
        shutil.rmtree(first.tree / "package")
        again = await first.snapshot()
        assert tree(second.tree) == changed
        async with layers.restore(again) as third:
            assert tree(third.tree) == {k: v for k, v in changed.items() if not k.startswith("package/")}
    with pytest.raises(MachineError, match="no snapshot"):
        async with layers.restore("snapshot-99"):
            pass


async def test_a_file_with_holes_stays_small(layers: Layers) -> None:
    async with layers.open(None) as copy:
        with (copy.tree / "hole").open("wb") as file:
            file.truncate(1 << 34)
            file.seek(1 << 33)
            file.write(b"here")
        async with copy.fork() as fork:
            found = (fork.tree / "hole").stat()
            assert found.st_size == 1 << 34 and found.st_blocks * 512 < 1 << 20
            with (fork.tree / "hole").open("rb") as file:
                file.seek(1 << 33)
                assert file.read(5) == b"here\0"


async def test_git_looks_only_into_what_changed(layers: Layers, store: GitRepository) -> None:
    async with layers.open(store.base) as copy:
        assert doubtful(store, copy.tree) == []
        put(copy.tree, {"a.txt": b"two\n", "new": b"1"})
        assert doubtful(store, copy.tree) == ["a.txt"]
        async with copy.fork() as fork, layers.restore(await copy.snapshot()) as restored:
            assert doubtful(store, fork.tree) == doubtful(store, restored.tree) == ["a.txt"]
        commit = (await store.capture(copy.tree, store.base, author="t", message="m")).commit
        assert commit is not None
    async with layers.open(store.base) as copy:
        await copy.move_to(commit)
        assert doubtful(store, copy.tree) == []


async def test_a_change_in_the_same_second_is_seen(layers: Layers, store: GitRepository) -> None:
    """Changed at once, and again right after a capture, each time to the same size."""
    async with layers.open(store.base) as copy:
        (copy.tree / "a.txt").write_bytes(b"ONE\n")
        assert b"+ONE" in await copy.patch()
        async with copy.fork() as fork:
            assert (await store.capture(fork.tree, store.base, author="t", message="m")).commit is not None
            (fork.tree / "a.txt").write_bytes(b"Two\n")
            async with fork.fork() as next_one:
                (next_one.tree / "a.txt").write_bytes(b"TWO\n")
                assert b"+TWO" in await next_one.patch()


async def test_moving_touches_only_what_differs(
    layers: Layers, store: GitRepository, owner: tuple[int, int] | None
) -> None:
    async with layers.open(store.base) as work:
        change(work.tree)
        commit = (await store.capture(work.tree, store.base, author="t", message="m")).commit
        assert commit is not None
        wanted = tree(work.tree)
    async with layers.open(store.base) as copy:
        kept = {name: (copy.tree / name).stat().st_ino for name in ODD_NAMES}
        await copy.move_to(commit)
        assert copy.commit == commit
        assert tree(copy.tree) == wanted
        assert {name: (copy.tree / name).stat().st_ino for name in ODD_NAMES} == kept
        assert {path.lstat().st_uid for path in (copy.tree, *copy.tree.rglob("*"))} == {(owner or (os.geteuid(),))[0]}
        own = ("-c", f"safe.directory={copy.tree}")
        assert git(copy.tree, *own, "status", "--porcelain") == ""
        assert git(copy.tree, *own, "fsck", "--no-dangling") == ""
        assert await copy.patch() == b""
        put(copy.tree, {"a.txt": b"three\n"})
        patch = await copy.patch()
        assert b"-two" in patch and b"+three" in patch and b"gone.txt" not in patch
        async with layers.restore(await copy.snapshot()) as again:
            assert again.commit == commit and await again.patch() == patch
        with pytest.raises(MachineError, match="was changed"):
            await copy.move_to(store.base)
    async with layers.open(None) as empty:
        with pytest.raises(MachineError, match="no copy of a commit"):
            await empty.move_to(commit)


async def test_without_a_repository(lease: Path, kind: Kind, tmp_path: Path, owner: tuple[int, int] | None) -> None:
    layers = Layers(lease, None, owner, kind)
    async with layers.open(None) as copy:
        assert await copy.patch() == b""
        put(copy.tree, {"found.txt": b"1\n", "m/__pycache__/m.pyc": b"no"})
        patch = await copy.patch()
        assert b"+1\n" in patch and b"pyc" not in patch
        async with copy.fork() as fork:
            assert await fork.patch() == patch
    theirs = tmp_path / "theirs"
    put(theirs, {"a": b"1\n", "b/c": b"2\n"})
    commit = await layers.adopt(theirs)
    async with layers.open(commit) as copy:
        assert tree(copy.tree) == tree(theirs)
        put(copy.tree, {"a": b"2\n"})
        assert b"-1\n+2\n" in await copy.patch()
    assert (theirs / "a").read_bytes() == b"1\n"


async def test_the_first_users_of_a_commit_share_one_checkout(
    layers: Layers, store: GitRepository, lease: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str | None] = []
    make = Checkouts.make

    def counted(self: Checkouts, commit: str | None, folder: Path, owner: tuple[int, int] | None = None) -> None:
        made.append(commit)
        make(self, commit, folder, owner)

    monkeypatch.setattr(Checkouts, "make", counted)
    opened = 0

    async def one() -> None:
        nonlocal opened
        async with layers.open(store.base) as copy:
            (copy.tree / "mine").write_text("x")
            opened += 1

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(one)
    assert (made, opened) == ([store.base], 20)
    assert list(lease.glob("ws-*")) == []
    assert list((store.store / "indexes").glob("*.commit")) != []
    assert len(list((store.store / "indexes").iterdir())) == 2


async def test_cancelled_at_any_point_nothing_is_left(
    layers: Layers, store: GitRepository, lease: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call of git, and each way-point of a copy, is once where we are cancelled."""
    attempt = Git.attempt
    stop_at, calls, scope = 0, 0, anyio.CancelScope()

    def counting(self: Git, *args: str | Path, **more: object) -> object:
        nonlocal calls
        calls += 1
        if calls == stop_at:
            anyio.from_thread.run_sync(scope.cancel)
        return attempt(self, *args, **more)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(Git, "attempt", counting)
    while not stop_at or scope.cancelled_caught:
        stop_at, calls, scope = stop_at + 1, 0, anyio.CancelScope()
        fresh = Layers(lease, store, None, layers.kind)
        with scope:
            async with fresh.open(store.base) as copy:
                put(copy.tree, {"new": b"1"})
                await copy.snapshot()
                async with copy.fork() as fork:
                    await fork.patch()
        assert mounts_below(lease) == []
        assert list(lease.glob("ws-*")) == []
    assert stop_at > 4


async def test_a_hostile_tree_leads_nowhere(layers: Layers, store: GitRepository, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    put(secret, {"key": b"the secret"})
    async with layers.open(store.base) as copy:
        shutil.rmtree(copy.tree / "pkg")
        (copy.tree / "pkg").symlink_to(secret)
        (copy.tree / "a.txt").unlink()
        (copy.tree / "a.txt").symlink_to(secret / "key")
        deep = copy.tree
        for _ in range(300):
            deep = deep / "d"
            deep.mkdir()
        (deep / "end").write_bytes(b"deep")
        assert b"the secret" not in await copy.patch()
        async with layers.restore(await copy.snapshot()) as again:
            assert (again.tree / "pkg").is_symlink()
            assert (again.tree / deep.relative_to(copy.tree) / "end").read_bytes() == b"deep"


async def test_many_generations(layers: Layers, store: GitRepository, kind: Kind) -> None:
    """A chain of snapshots is as deep as one likes."""
    async with AsyncExitStack() as stack:
        copy = await stack.enter_async_context(layers.open(store.base))
        (copy.tree / "a.txt").unlink()
        count = 70 if kind is Kind.OVERLAY else 3
        for number in range(count):
            put(copy.tree, {f"new/{number}": b"%d" % number})
            (copy.tree / f"new/{number - 1}").unlink(missing_ok=True)
            name = await copy.snapshot()
            copy = await stack.enter_async_context(layers.restore(name))
        found = tree(copy.tree)
        assert [path for path in found if path.startswith("new/")] == [f"new/{count - 1}"]
        assert set(found) == (set(FILES) - {"a.txt"}) | {f"new/{count - 1}"}
        patch = await copy.patch()
        assert b"a.txt" in patch and patch.count(b"diff --git") == 2


def test_the_best_kind_as_root_is_an_overlay(tmp_path: Path, require: Callable[[object, str], None]) -> None:
    require(os.geteuid() == 0, "mounting takes root")
    found = best(tmp_path)
    assert list(tmp_path.iterdir()) == []
    require(found is Kind.OVERLAY, f"no overlay here, but {found}")
