"""What a working copy costs, in one run: a full checkout for each, as an overlay, as a plain copy; and a fork.

    python -m benchmarks.studies.sandbox_fork [--files 5000] [--copies 10] [--rounds 5] [--changed-mb 50] [--docker]

A repository of so many files is made. Each round makes as many copies of it by every way, one after the other: a full
`git read-tree -u` and a change of owner for each, and each kind of our copies that works here (their one shared
checkout is made before, and shown apart). Then one file is changed in a copy, and the change committed. At last a copy
with so many megabytes of changes is forked; with `--docker` (an engine must answer)
also by `docker commit` and a start of the image, as peers do. Medians in ms.
"""

from __future__ import annotations

import argparse
import os
import secrets
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import anyio

from swarm.sandboxes.copies.layering import Kind, best
from swarm.sandboxes.copies.layers import Layers
from swarm.sandboxes.folders import hand_over
from swarm.sandboxes.git.command import Git, own_git
from swarm.sandboxes.git.workspace import GitRepository, snapshot
from swarm.sandboxes.leases.lease import open_lease

OWNER = (12345, 12345)
Times = defaultdict[str, list[float]]


async def main(arguments: argparse.Namespace) -> None:
    times: Times = defaultdict(list)
    owner = OWNER if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory() as folder:
        repo = Path(folder, "repo")
        _make(repo, arguments.files)
        store = await snapshot(repo, Path(folder, "store"))
        async with open_lease(Path(folder, "home"), "benchmark") as lease:
            kinds = [kind for kind in Kind if kind in (best(lease.folder), Kind.COPY)]
            layers = {kind: Layers(lease.folder, store, owner, kind) for kind in kinds}
            for kind, made in layers.items():
                with _timed(times, f"{kind}: the first copy of a commit"):
                    async with made.open(store.base):
                        pass
            for _ in range(arguments.rounds):
                for _ in range(arguments.copies):
                    await _full(times, store, lease.folder, owner)
                    for kind, made in layers.items():
                        await _layered(times, kind, made, store)
                for kind, made in layers.items():
                    await _fork(times, kind, made, store, arguments.changed_mb)
                if arguments.docker:
                    _docker(times, arguments.changed_mb)
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, {arguments.files} files, {arguments.rounds} rounds")
    print(f"{'what':56} {'median':>9} {'min':>9} {'times':>6}")
    for name, found in sorted(times.items()):
        print(f"{name:56} {statistics.median(found):9.1f} {min(found):9.1f} {len(found):6}")


class _timed:
    """Adds the time of a block, in ms."""

    def __init__(self, times: Times, name: str) -> None:
        self._found = times[name]

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._found.append((time.perf_counter() - self._started) * 1000)


def _make(repo: Path, files: int) -> None:
    for number in range(files):
        path = repo / f"package{number % 97}/part{number % 11}/module{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"NUMBER = {number}\n" * 40)
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-c", "user.name=u", "-c", "user.email=u@example.com", *words], cwd=repo, check=True)


async def _full(times: Times, store: GitRepository, lease: Path, owner: tuple[int, int] | None) -> None:
    """A checkout for each copy, as it was before there were layers."""
    place = Path(tempfile.mkdtemp(prefix="full-", dir=lease))
    tree, index = place / "tree", place / "index"
    tree.mkdir()
    git = own_git(store.store)
    git = Git({**git.env, "GIT_WORK_TREE": str(tree), "GIT_INDEX_FILE": str(index)}, tree)

    def make() -> None:
        git.run("read-tree", "--reset", "-u", store.base)
        if owner is not None:
            hand_over(tree, *owner)

    def capture() -> None:
        git.run("add", "-A")
        git.run("write-tree")

    with _timed(times, "full checkout: make a copy"):
        await anyio.to_thread.run_sync(make)
    _change(tree)
    with _timed(times, "full checkout: capture one changed file"):
        await anyio.to_thread.run_sync(capture)
    with _timed(times, "full checkout: remove"):
        await anyio.to_thread.run_sync(lambda: subprocess.run(["rm", "-rf", str(place)], check=True))


async def _layered(times: Times, kind: Kind, layers: Layers, store: GitRepository) -> None:
    started = time.perf_counter()
    async with layers.open(store.base) as copy:
        times[f"{kind}: make a copy"].append((time.perf_counter() - started) * 1000)
        _change(copy.tree)
        with _timed(times, f"{kind}: capture one changed file"):
            await store.capture(copy.tree, store.base, author="b", message="b")
        with _timed(times, f"{kind}: patch of one changed file"):
            await copy.patch()
        started = time.perf_counter()
    times[f"{kind}: remove"].append((time.perf_counter() - started) * 1000)


async def _fork(times: Times, kind: Kind, layers: Layers, store: GitRepository, megabytes: int) -> None:
    async with layers.open(store.base) as copy:
        _fill(copy.tree, megabytes)
        with _timed(times, f"{kind}: snapshot of {megabytes} MB"):
            name = await copy.snapshot()
        for what, way in (("fork", copy.fork()), ("fork of a snapshot", copy.fork(name))):
            started = time.perf_counter()
            async with way:
                times[f"{kind}: {what} of {megabytes} MB"].append((time.perf_counter() - started) * 1000)
        with _timed(times, f"(cp of the {megabytes} MB alone)"):
            await anyio.run_process(["cp", "-a", "--reflink=never", copy.tree / "data", f"{copy.tree}-cp"])


def _docker(times: Times, megabytes: int) -> None:
    """Fork a container by committing it to an image and starting that."""
    name = f"swarm-benchmark-{secrets.token_hex(4)}"
    first, second = f"{name}-1", f"{name}-2"

    def run(*words: str) -> None:
        subprocess.run(["docker", *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "root.tar")
        subprocess.run(
            ["tar", "-chf", str(root), "--ignore-failed-read", *_shell_files()], check=True, stderr=subprocess.DEVNULL
        )
        run("import", str(root), f"{name}:start")
    try:
        run("run", "-d", "--network=none", "--name", first, f"{name}:start", "/bin/sleep", "600")
        fill = f"mkdir /data; for i in $(seq {megabytes}); do head -c 1048576 /dev/urandom > /data/$i; done"
        run("exec", first, "/bin/sh", "-c", fill)
        with _timed(times, f"docker commit and run, of {megabytes} MB"):
            run("commit", first, f"{name}:fork")
            run("run", "-d", "--network=none", "--name", second, f"{name}:fork", "/bin/sleep", "600")
    finally:
        subprocess.run(["docker", "rm", "-f", first, second], check=False, capture_output=True)
        subprocess.run(["docker", "rmi", "-f", f"{name}:start", f"{name}:fork"], check=False, capture_output=True)


def _shell_files() -> list[str]:
    """The programs that the container of comparison needs, with their libraries."""
    programs = ["/bin/sh", "/bin/sleep", "/bin/mkdir", "/usr/bin/head", "/usr/bin/seq"]
    listed = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True).stdout
    return [*programs, *sorted({word for word in listed.split() if word.startswith("/") and not word.endswith(":")})]


def _change(tree: Path) -> None:
    (tree / "package1/part1/module1.py").write_text("changed\n")


def _fill(tree: Path, megabytes: int) -> None:
    (tree / "data").mkdir()
    for number in range(megabytes):
        (tree / f"data/{number}").write_bytes(os.urandom(1 << 20))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--copies", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--changed-mb", type=int, default=50)
    parser.add_argument("--docker", action="store_true", help="also fork a container of the engine")
    anyio.run(main, parser.parse_args())
