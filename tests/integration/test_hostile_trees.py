"""Whatever an agent leaves in its workspace: it is captured, or left out by name, and never the machine's failure."""

from __future__ import annotations

import codecs
import os
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from swarm.removal import remove_tree
from swarm.sandboxes.copies import staging
from swarm.sandboxes.copies.copy_tree import copy_tree
from swarm.sandboxes.copies.layering import Kind
from swarm.sandboxes.copies.layers import Layers
from swarm.sandboxes.folders import hand_over, settle
from swarm.sandboxes.git.workspace import GitRepository, snapshot
from swarm.stages import Captured

pytestmark = pytest.mark.anyio
LEVELS = 1_100


class Work:
    """A copy of a small repository, and what it is captured as."""

    def __init__(self, store: GitRepository, copy: Path) -> None:
        self.store = store
        self.copy = copy

    async def capture(self) -> Captured:
        return await self.store.capture(self.copy, self.store.base, author="t", message="m")

    def content(self, captured: Captured, path: str) -> bytes:
        found = subprocess.run(
            ["git", "--git-dir", self.store.store, "cat-file", "blob", f"{captured.commit}:{path}"],
            capture_output=True,
            check=True,
        )
        return found.stdout


def commit(repo: Path) -> None:
    for words in (["init", "-q"], ["add", "-A"], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "0"]):
        subprocess.run(["git", "-C", repo, *words], check=True, capture_output=True)


async def begin(tmp_path: Path, **files: bytes) -> Work:
    repo = tmp_path / "repo"
    repo.mkdir()
    for name, content in {"kept": b"kept\n", **files}.items():
        path = repo / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    commit(repo)
    store = await snapshot(repo, tmp_path / "store")
    copy = tmp_path / "copy"
    copy.mkdir()
    store.checkouts.make(store.base, copy)
    return Work(store, copy)


def nest(folder: Path, levels: int, name: str = "d") -> None:
    """Folders in each other, deeper than any path can tell, and a file at the bottom."""
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=at)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)
        os.close(at)
        at = below
    os.close(os.open("bottom", os.O_WRONLY | os.O_CREAT, dir_fd=at))
    os.close(at)


def depth(folder: Path) -> int:
    at, levels = os.open(folder, os.O_RDONLY | os.O_DIRECTORY), 0
    while "bottom" not in (found := os.listdir(at)):  # noqa: PTH208  a handle
        name = next(name for name in found if set(name) == {"d"})
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)
        os.close(at)
        at, levels = below, levels + 1
    os.close(at)
    return levels


async def test_new_attributes_are_a_file_like_any_other(tmp_path: Path) -> None:
    work = await begin(tmp_path)
    lines = b"*.txt working-tree-encoding=UTF-16\n*.crlf text eol=lf ident\n"
    (work.copy / ".gitattributes").write_bytes(lines)
    (work.copy / "a.txt").write_bytes(b"abc")
    (work.copy / "b.crlf").write_bytes(b"one\r\n$Id: x$\r\n")
    captured = await work.capture()
    assert (captured.failure, captured.left_out) == ("", ())
    assert work.content(captured, "a.txt") == b"abc"
    assert work.content(captured, "b.crlf") == b"one\r\n$Id: x$\r\n"
    assert work.content(captured, ".gitattributes") == lines


async def test_attributes_of_the_base_hold(tmp_path: Path) -> None:
    work = await begin(
        tmp_path,
        **{
            ".gitattributes": b'[attr]lines text eol=crlf\n*.txt lines -merge\n"with space" text\n*.bin binary\n',
            "sub *[/.gitattributes": b"*.py text\n/top.sh text\ndeep/*.c text\n# a comment\n",
            "u16/.gitattributes": b"*.t working-tree-encoding=UTF-16 text\n",
        },
    )
    sub = work.copy / "sub *["
    (sub / "deep").mkdir()
    (sub / "more").mkdir()
    (work.copy / ".gitattributes").write_bytes(b"* -text\n")
    both = {"a.txt": True, "with space": True, "x.bin": False, "other": False, "x.py": False, "sub *[/x.py": True}
    both |= {"sub *[/more/x.py": True, "sub *[/top.sh": True, "sub *[/more/top.sh": False, "sub *[/deep/x.c": True}
    for name in both:
        (work.copy / name).write_bytes(b"one\r\n")
    (work.copy / "u16/good.t").write_bytes("ä\n".encode("utf-16"))
    (work.copy / "u16/bad.t").write_bytes(b"abc")
    captured = await work.capture()
    assert captured.failure == ""
    found = {name: work.content(captured, name) == b"one\n" for name in both}
    assert found == both
    assert work.content(captured, "u16/good.t") == "ä\n".encode()
    assert work.content(captured, "u16/bad.t") == b"abc"


async def test_bad_encodings_in_nested_repositories(tmp_path: Path) -> None:
    work = await begin(tmp_path, **{".gitattributes": b"*.t working-tree-encoding=UTF-16\n"})
    inner = work.copy / "inner"
    inner.mkdir()
    (inner / "bad.t").write_bytes(b"abc")
    (inner / "fine").write_bytes(b"fine")
    commit(inner)
    captured = await work.capture()
    assert (work.content(captured, "inner/bad.t"), work.content(captured, "inner/fine")) == (b"abc", b"fine")


@pytest.mark.parametrize("name", [".gitignore", ".gitattributes", "sub/.gitignore", "__pycache__/.gitattributes"])
async def test_git_waits_for_nothing(name: str, tmp_path: Path) -> None:
    work = await begin(tmp_path)
    path = work.copy / name
    path.parent.mkdir(exist_ok=True)
    os.mkfifo(path)
    (work.copy / "new").write_bytes(b"new")
    captured = await work.capture()
    assert work.content(captured, "new") == b"new"
    assert captured.left_out == (f"{name} (no file of rules that git can read)",)


async def test_names_that_git_refuses_are_left_out_alone(tmp_path: Path) -> None:
    work = await begin(tmp_path)
    (work.copy / "git~1").mkdir()
    (work.copy / "git~1/x").write_bytes(b"x")
    (work.copy / ".gitmodules").symlink_to("kept")
    (work.copy / "new").write_bytes(b"new")
    captured = await work.capture()
    assert work.content(captured, "new") == b"new"


async def test_what_is_too_large_is_left_out_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = await begin(tmp_path, tracked=b"as it was\n")
    for name in ("tracked", "sparse"):
        os.truncate(os.open(work.copy / name, os.O_CREAT | os.O_WRONLY), 3 << 29)
    (work.copy / "new").write_bytes(b"new")
    (work.copy / ".gitignore").write_bytes(b"ignored\n")
    os.truncate(os.open(work.copy / "ignored", os.O_CREAT | os.O_WRONLY), 3 << 29)
    captured = await work.capture()
    assert set(captured.left_out) == {"tracked (1536 MiB)", "sparse (1536 MiB)"}
    assert await work.store.changed_files(work.store.base, captured.commit or "") == [".gitignore", "new"]
    for number in range(4):
        (work.copy / f"part-{number}").write_bytes(b"x" * (number + 2 << 20))
    monkeypatch.setattr(staging, "MOST", 10 << 20)
    left_out = (await work.capture()).left_out
    assert set(left_out) == {"tracked (1536 MiB)", "sparse (1536 MiB)", "part-3 (5 MiB)"}


async def test_unchanged_large_files_are_no_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = await begin(tmp_path, large=b"x" * 5000)
    monkeypatch.setattr(staging, "LARGEST", 4000)
    (work.copy / "new").write_bytes(b"new")
    assert (await work.capture()).left_out == ()


async def test_a_refusal_of_git_is_the_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = await begin(tmp_path, **{".gitattributes": b"*.t working-tree-encoding=UTF-16\n"})
    (work.copy / "bad.t").write_bytes(b"abc")
    monkeypatch.setattr(staging, "_refused", lambda *_: [])
    captured = await work.capture()
    assert captured.commit is None
    assert "BOM is required" in captured.failure


async def test_deep_folders_are_captured_around(deep_path: Path) -> None:
    work = await begin(deep_path)
    nest(work.copy, LEVELS, "dddd")
    (work.copy / "new").write_bytes(b"new")
    captured = await work.capture()
    assert work.content(captured, "new") == b"new"
    assert captured.left_out == ("1 files with paths of more than 4095 bytes",)
    settle(work.copy, 1, None)
    hand_over(work.copy, os.geteuid() + 1, os.getegid())
    copy_tree(work.copy, deep_path / "second", lambda: None, reflink=False)
    assert depth(deep_path / "second") == LEVELS


@pytest.mark.parametrize("kind", [Kind.OVERLAY, Kind.COPY])
async def test_deep_folders_are_forked(kind: Kind, deep_path: Path, require: Callable[[object, str], None]) -> None:
    require(kind is Kind.COPY or os.geteuid() == 0, "overlays take root")
    layers = Layers(deep_path, kind=kind)
    async with layers.open(None) as copy:
        nest(copy.tree, 50, "d" * 99)
        (copy.tree / "new").write_bytes(b"new\n")
        assert b"+new" in await copy.patch()
        name = await copy.snapshot()
        async with copy.fork() as fork, copy.fork(name) as again:
            assert depth(fork.tree) == depth(again.tree) == 50


@pytest.fixture
def ordinary() -> Iterator[Path]:
    """A folder of an ordinary user, whom the test is for as long."""
    was = os.geteuid()
    codecs.lookup("ascii")  # what Python loads later may be out of his reach
    if was == 0:
        os.seteuid(65534)
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        yield folder
    finally:
        os.seteuid(was)
        remove_tree(folder)


def modes(tree: Path) -> list[int]:
    """Of the tree, and what is in it, which is opened up."""
    found = []
    for name in ("", "folder", "new", "folder/file"):
        path = tree / name
        found.append(stat.S_IMODE(path.lstat().st_mode))
        path.chmod(0o700)
    return found


async def test_locked_folders_of_an_ordinary_user(ordinary: Path) -> None:
    begin = ordinary / "begin"
    (begin / "folder").mkdir(parents=True)
    (begin / "folder/file").write_text("one\n")
    layers = Layers(ordinary, kind=Kind.COPY)
    async with layers.open(await layers.adopt(begin)) as copy:
        tree = copy.tree
        (tree / "folder/file").write_text("two\n")
        (tree / "new").write_text("new\n")
        for name in ("new", "folder/file", "folder", ""):
            (tree / name).chmod(0)
        patch = await copy.patch()
        assert b"+two" in patch
        assert b"+new" in patch
        name = await copy.snapshot()
        async with copy.fork() as fork, copy.fork(name) as again:
            for each in (tree, fork.tree, again.tree):
                assert modes(each) == [0, 0, 0, 0]
        (tree / "folder").chmod(0)
        assert b"+two" in await copy.patch()
