"""Conformance checks of the state of a sandbox: patch, snapshot, fork.

The subject carries its working copy, which began as a folder with what `BEGIN` names, and a way to open a sandbox over
another copy. Each check brings those files back first, and looks at nothing else.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread

from swarm.protocols import Sandbox, WorkingCopy
from swarm.sandboxes.conformance.kit import Nonconforming, Subject, holds, output_of, runs, same
from swarm.sandboxes.git.command import user_git

BEGIN = {
    "state/changed": b"one\ntwo\n",
    "state/deleted": b"to be deleted\n",
    "state/binary": bytes(range(256)),
    "state/mode": b"#!/bin/sh\necho ran\n",
    "state/folder/file": b"in a folder\n",
}
"""The files that the working copy of a subject begins with."""


async def patch_tells_all(subject: Subject) -> None:
    """A patch holds what was changed, made and deleted, binary content and modes; it applies to what was before."""
    copy = await _begin(subject)
    await output_of(
        subject,
        "cd state && echo three >> changed && rm deleted && printf '\\001\\000\\377' > binary && chmod +x mode && "
        "mkdir made && echo new > made/file && ln -s nowhere link && mv folder moved",
    )
    applied = await anyio.to_thread.run_sync(_apply, await copy.patch())
    same(
        applied,
        {
            "changed": b"one\ntwo\nthree\n",
            "binary": b"\1\0\xff",
            "mode": b"x" + BEGIN["state/mode"],
            "made/file": b"new\n",
            "link": b"-> nowhere",
            "moved/file": b"in a folder\n",
        },
        "what the patch makes",
    )


async def patch_of_nothing(subject: Subject) -> None:
    """What is put back as it was is in no patch."""
    copy = await _begin(subject)
    await output_of(subject, "cd state && echo x >> changed && rm deleted && chmod +x mode")
    holds(b"b/state/changed" in await copy.patch(), "a change is missing")
    await _begin(subject)
    holds(b"b/state/" not in await copy.patch(), "what is as it was is in the patch")


async def snapshot_is_frozen(subject: Subject) -> None:
    """A snapshot is what was, whatever is done after it; a fork of it begins there."""
    copy = await _begin(subject)
    await output_of(subject, "cd state && echo frozen > changed && rm deleted && echo new > made")
    name = await copy.snapshot()
    await output_of(subject, "cd state && echo later > changed && rm -r folder made && echo back > deleted")
    async with copy.fork(name) as fork, _beside(subject, fork) as sandbox:
        found = await sandbox.exec("cd state && cat changed made folder/file; ls")
        same(found.stdout, b"frozen\nnew\nin a folder\nbinary\nchanged\nfolder\nmade\nmode\n", "the fork")
    same(await output_of(subject, "cd state && cat changed deleted"), "later\nback\n", "the parent")


async def fork_is_apart(subject: Subject) -> None:
    """Neither a fork nor its parent sees what the other does afterwards; both may change what they share."""
    copy = await _begin(subject)
    await output_of(subject, "echo shared > state/changed")
    async with copy.fork() as fork, _beside(subject, fork) as sandbox:
        same(await sandbox.read_file("state/changed"), b"shared\n", "what the fork begins with")
        await output_of(subject, "cd state && echo parent > changed && rm mode && echo parent > only-parent")
        done = await sandbox.exec("cd state && echo fork >> changed && rm -r folder && echo fork > only-fork; ls")
        same(done.stdout, b"binary\nchanged\ndeleted\nmode\nonly-fork\n", "the fork")
        same(await sandbox.read_file("state/changed"), b"shared\nfork\n", "changed in the fork")
        holds(b"only-fork" in await fork.patch(), "the fork's patch lacks its change")
    found = await output_of(subject, "cd state && cat changed folder/file && ls")
    wanted = "parent\nin a folder\nbinary\nchanged\ndeleted\nfolder\nonly-parent\n"
    same(found, wanted, "the parent")


async def fork_while_a_command_runs(subject: Subject) -> None:
    """A fork can be taken while a command writes; it holds what was finished, and not the command."""
    copy = await _begin(subject)
    await output_of(subject, "echo finished > state/changed")
    writing = "while [ ! -e state/stop ]; do echo x >> state/log; mkdir state/d; rmdir state/d; done"
    async with anyio.create_task_group() as group:
        group.start_soon(subject.sandbox.exec, writing)
        with anyio.fail_after(30):
            while (await subject.sandbox.exec("test -s state/log")).exit_code != 0:
                pass
        for _ in range(3):
            async with copy.fork() as fork:
                holds((fork.tree / "state/changed").read_bytes() == b"finished\n", "what was finished is missing")
                before = (fork.tree / "state/log").read_bytes()
                await output_of(subject, "echo more >> state/log")
                holds((fork.tree / "state/log").read_bytes() == before, "the fork changes with its parent")
        await subject.sandbox.write_file("state/stop", b"")
    async with copy.fork() as fork, _beside(subject, fork) as sandbox:
        same(await runs(Subject(sandbox, fork.tree), "no-such-command"), 0, "processes in a fork")


async def state_of_what_is_locked(subject: Subject) -> None:
    """Patch, snapshot and fork hold also what its owner may not read himself, and leave it so."""
    copy = await _begin(subject)
    await output_of(
        subject,
        "cd state && echo locked > changed && chmod 000 changed && chmod 000 folder && (umask 777; echo new > made)",
    )
    try:
        made = await copy.patch()
        for part in (b"+locked", b"+new"):
            holds(part in made, f"{part!r} is missing in the patch")
        holds(b"state/folder" not in made, "a locked folder is taken for gone")
        name = await copy.snapshot()
        for source in (None, name):
            async with copy.fork(source) as fork, _beside(subject, fork) as sandbox:
                found = await sandbox.exec(
                    "cd state && ls -ld changed folder made | cut -c2-10; chmod 700 folder; ls folder"
                )
                same(found.stdout, b"---------\n" * 3 + b"file\n", "a fork")
    finally:
        await output_of(subject, "chmod 700 state/folder")


async def state_of_deep_folders(subject: Subject) -> None:
    """Twelve hundred folders in each other break neither patch nor fork: more than Python's recursion goes down or a
    process usually may hold open, and with a path twice as long as the kernel takes."""
    copy = await _begin(subject)
    # Put together from pieces whose paths every program takes.
    name = "folder"
    dig = f"p={name}; i=1; while [ $i -lt 200 ]; do p=$p/{name}; i=$((i+1)); done; mkdir -p $p; i=1; "
    dig += f"while [ $i -lt 6 ]; do mkdir -p n$i/$p && mv {name} n$i/$p/ && mv n$i/{name} . || exit 1; i=$((i+1)); done"
    await output_of(subject, f"cd state && echo three >> changed && mkdir deep && cd deep && {dig}")
    try:
        holds(b"+three" in await copy.patch(), "the change is missing in the patch")
        async with copy.fork(await copy.snapshot()) as fork:
            holds(fork.tree.joinpath("state/deep", *[name] * 3).is_dir(), "the folders are missing in a fork")
    finally:
        await output_of(subject, "rm -rf state/deep")


async def _begin(subject: Subject) -> WorkingCopy:
    """Bring the files back that the copy began with."""
    if subject.copy is None or subject.beside is None:
        raise Nonconforming("give the subject its working copy and a way to open a sandbox beside it")
    await output_of(subject, "rm -rf state")
    for name, content in BEGIN.items():
        await subject.sandbox.write_file(name, content)
    return subject.copy


@asynccontextmanager
async def _beside(subject: Subject, copy: WorkingCopy) -> AsyncIterator[Sandbox]:
    assert subject.beside is not None
    async with subject.beside(copy) as sandbox:
        yield sandbox


def _apply(patch: bytes) -> dict[str, bytes]:
    """What a patch makes of what was at the beginning, below `state`."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in BEGIN.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        git = user_git(Path(folder))
        git.run("init", "-q")
        git.run("apply", "--include=state/*", "-", stdin=patch)
        top = Path(folder, "state")
        return {str(path.relative_to(top)): _content(path) for path in top.rglob("*") if not path.is_dir()}


def _content(path: Path) -> bytes:
    if path.is_symlink():
        return b"-> " + bytes(path.readlink())
    return (b"x" if path.stat().st_mode & 0o100 else b"") + path.read_bytes()
