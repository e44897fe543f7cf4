"""Files that git converts on their way in and out: by filters, Git LFS, line ends, encodings."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from swarm.errors import UsageError
from swarm.sandboxes.git.applying import apply_answer
from swarm.sandboxes.git.branch import create_branch
from swarm.sandboxes.git.lfs_filter import place, pointer
from swarm.sandboxes.git.workspace import GitRepository, snapshot
from tests.integration.checkouts import git, make_repository, put, state

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_configuration")]


def pointer_of(content: bytes) -> bytes:
    return pointer(hashlib.sha256(content).hexdigest(), len(content))


async def answer(store: GitRepository, copy: Path, files: dict[str, bytes]) -> str:
    await store.checkout(store.base, copy)
    put(copy, files)
    commit = (await store.capture(copy, store.base, author="t", message="the work")).commit
    assert commit is not None
    await store.set_answer(commit)
    return commit


async def test_large_files_need_no_git_lfs_and_it_is_never_run(tmp_path: Path, fresh: Callable[[], Path]) -> None:
    contents = {name: name.encode() + os.urandom(200_000) for name in ("here.bin", "stored.bin", "lost.bin", "x y.bin")}
    pointers = {name: pointer_of(content) for name, content in contents.items()}
    attributes = b"*.bin filter=lfs diff=lfs merge=lfs -text\n"
    repo = make_repository(tmp_path / "repo", {".gitattributes": attributes, "empty.bin": b"", **pointers})
    for word in ("clean", "smudge", "process"):
        git(repo, "config", f"filter.lfs.{word}", f"touch {tmp_path}/ran; git-lfs {word} -- %f")
    git(repo, "config", "filter.lfs.required", "true")
    put(repo, {name: contents[name] for name in ("here.bin", "x y.bin")})
    held = place(repo / ".git/lfs", hashlib.sha256(contents["stored.bin"]).hexdigest())
    put(held.parent, {held.name: contents["stored.bin"]})
    before = state(repo)

    store = await snapshot(repo, tmp_path / "store")
    assert state(repo) == before
    assert not store.dirty
    copy = fresh()
    await store.checkout(store.base, copy)
    wanted = {**contents, "lost.bin": pointers["lost.bin"], "empty.bin": b""}
    assert {name: (copy / name).read_bytes() for name in wanted} == wanted
    assert (await store.capture(copy, store.base, author="t", message="m")).commit is None

    new = {"here.bin": contents["here.bin"] + b"more", "new.bin": os.urandom(100_000), "plain": b"1\n"}
    commit = await answer(store, fresh(), new)
    patch = await store.diff(store.base, commit)
    assert len(patch) < 3000
    assert git(store.store, "show", f"{commit}:new.bin").encode() + b"\n" == pointer_of(new["new.bin"])
    apply_answer(repo, store.store)
    assert {name: (repo / name).read_bytes() for name in new} == new
    assert (repo / "x y.bin").read_bytes() == contents["x y.bin"]
    create_branch(repo, "answer", store.store)
    for name in ("here.bin", "new.bin"):
        assert git(repo, "show", f"answer:{name}").encode() + b"\n" == pointer_of(new[name])
        assert place(repo / ".git/lfs", hashlib.sha256(new[name]).hexdigest()).read_bytes() == new[name]
    assert not (tmp_path / "ran").exists()


async def test_filters_of_the_user(tmp_path: Path, fresh: Callable[[], Path]) -> None:
    repo = make_repository(tmp_path / "repo", {".gitattributes": b"*.up filter=up\n", "a.up": b"ABC\n"})
    git(repo, "config", "filter.up.clean", "tr a-z A-Z")
    git(repo, "config", "filter.up.smudge", f"touch {tmp_path}/smudged; tr A-Z a-z")
    put(repo, {"a.up": b"abc\n", "b.up": b"new\n"})
    store = await snapshot(repo, tmp_path / "store")
    copy = fresh()
    await answer(store, copy, {"a.up": b"ABC\nDEF\n", "c.up": b"c\n"})
    assert (copy / "b.up").read_bytes() == b"NEW\n"  # what git keeps of it
    assert not (tmp_path / "smudged").exists()
    apply_answer(repo, store.store)
    assert (repo / "a.up").read_bytes() == b"abc\ndef\n"

    git(repo, "config", "filter.up.required", "true")
    git(repo, "config", "filter.up.clean", "no-such-program %f")
    before = state(repo)
    with pytest.raises(UsageError, match=r"a\.up: clean filter 'up' failed") as raised:
        await snapshot(repo, tmp_path / "second")
    assert "filter" in (raised.value.remedy or "")
    assert state(repo) == before


async def test_line_ends_and_encodings(tmp_path: Path, fresh: Callable[[], Path]) -> None:
    files = {
        ".gitattributes": b"*.eol text eol=crlf\n*.u16 text working-tree-encoding=UTF-16\n*.id ident\n*.raw -text\n",
        "a.eol": b"1\r\n2\r\n",
        "a.u16": "ä\n".encode("utf-16"),
        "a.id": b"$Id$\n1\n",
        "a.raw": b"1\r\n2\n",
        "plain": b"1\r\n2\r\n",
        "mixed": b"1\r\n2\n",
    }
    repo = make_repository(tmp_path / "repo", files)
    git(repo, "config", "core.autocrlf", "true")
    put(repo, {"new": b"1\r\n2\r\n"})
    store = await snapshot(repo, tmp_path / "store")
    copy = fresh()
    more = {
        "a.eol": b"1\r\n2\r\n3\r\n",
        "a.u16": "ä\nö\n".encode("utf-16"),
        "a.id": b"$Id$\n1\n2\n",
        "a.raw": b"1\r\n2\n3\r\n",
        "plain": b"1\r\n2\r\n3\r\n",
        "mixed": b"1\r\n2\n3\n",
        "new": b"1\n2\n3\n",
    }
    commit = await answer(store, copy, more)
    assert set(await store.changed_files(store.base, commit)) == set(more)
    apply_answer(repo, store.store)
    given = {name: (repo / name).read_bytes() for name in more}
    assert given.pop("new") == b"1\r\n2\r\n3\r\n"
    assert given.pop("a.u16").decode("utf-16") == "ä\r\nö\r\n"
    assert given.pop("a.id").endswith(b"1\r\n2\r\n")
    assert given == {name: more[name] for name in given}
