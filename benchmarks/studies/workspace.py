"""What the user's tree costs on its way in and back, in a large repository: in seconds, median of some rounds.

    python -m benchmarks.studies.workspace [--files 100000] [--copies 10] [--rounds 1]

A repository of so many files is made, half of a percent of them changed and as many new. Then: the snapshot, the first
copy of it, further copies, in each a change of ten files captured; their diff, their merge one after the other, the
answer applied to the checkout and put on a branch.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio

from swarm.sandboxes.copies.layers import Layers
from swarm.sandboxes.git.applying import apply_answer
from swarm.sandboxes.git.branch import create_branch
from swarm.sandboxes.git.workspace import find_repository, snapshot
from swarm.sandboxes.leases.lease import open_lease

Times = defaultdict[str, list[float]]


async def main(arguments: argparse.Namespace) -> None:
    times: Times = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        repo = Path(folder, "repo")
        _make(repo, arguments.files)
        for number in range(arguments.rounds):
            await _round(times, repo, Path(folder, f"round-{number}"), arguments)
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, {arguments.files} files, {arguments.rounds} rounds")
    for name, found in times.items():
        print(f"{name:<42}{statistics.median(found):9.3f} s{len(found):5} times")


async def _round(times: Times, repo: Path, place: Path, arguments: argparse.Namespace) -> None:
    with _timed(times, "finding the repository"):
        await find_repository(repo)
    with _timed(times, "git status, to compare"):
        _status(repo)
    with _timed(times, "snapshot"):
        store = await snapshot(repo, place / "run/repo.git")
    commits = []
    async with open_lease(place / "home", "benchmark") as lease:
        layers = Layers(lease.folder, store)
        with _timed(times, "the first copy of a commit"):
            async with layers.open(store.base):
                pass
        for number in range(arguments.copies):
            began = time.perf_counter()
            async with layers.open(store.base) as copy:
                times[f"a copy ({layers.kind})"].append(time.perf_counter() - began)
                for each in range(10):
                    with (copy.tree / _name(number * 10 + each)).open("a") as file:
                        file.write(f"changed by {number}\n")
                with _timed(times, "capture of ten changed files"):
                    captured = await store.capture(copy.tree, store.base, author="a", message="work")
                commits.append(captured.commit or "")
    for commit in commits:
        with _timed(times, "diff of a capture"):
            await store.diff(store.base, commit)
    merged = store.base
    for number, commit in enumerate(commits):
        with _timed(times, "merge of a capture"):
            picked = await store.pick(merged, commit, message=f"work {number}", author="a")
        merged = picked.commit or merged
    await store.set_answer(merged)
    with _timed(times, "the answer on a branch"):
        create_branch(repo, f"answer-{place.name}", store.store)
    with _timed(times, "the answer applied"):
        apply_answer(repo, store.store)
    patch = await store.diff(store.base, merged)
    _undo(repo, patch)
    edited = repo / _name(39)
    before = edited.read_text()
    lines = before.splitlines(keepends=True)
    edited.write_text("".join([*lines[:-3], "the user\n", *lines[-2:]]))  # near enough that git needs all three sides
    with _timed(times, "applied past changes of the user's"):
        apply_answer(repo, store.store)
    _undo(repo, patch, f"--exclude={_name(39)}")
    edited.write_text(before)


def _status(repo: Path) -> None:
    subprocess.run(["git", "--no-optional-locks", "-C", repo, "status", "--short"], check=True, capture_output=True)


def _undo(repo: Path, patch: bytes, *options: str) -> None:
    subprocess.run(["git", "-C", repo, "apply", "-R", *options], input=patch, check=True)


def _make(repo: Path, files: int) -> None:
    repo.mkdir()
    stream = [b"commit refs/heads/main\ncommitter b <b@localhost> 1700000000 +0000\ndata 5\nfirst\n"]
    for number in range(files):
        text = f"file {number}\n" * (1 + number % 40)
        stream.append(f"M 644 inline {_name(number)}\ndata {len(text)}\n{text}\n".encode())
    for words, given in ((["init", "-q", "-b", "main"], b""), (["fast-import", "--quiet"], b"".join(stream))):
        subprocess.run(["git", "-C", repo, *words], input=given, check=True)
    subprocess.run(["git", "-C", repo, "reset", "-q", "--hard"], check=True)
    for number in range(0, files, 200):
        (repo / _name(number)).write_text("uncommitted\n")
        (repo / f"{_name(number)}-new").write_text("untracked\n")


def _name(number: int) -> str:
    return f"d{number % 100:02}/e{number // 100 % 20:02}/file-{number}.txt"


@contextmanager
def _timed(times: Times, name: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    times[name].append(time.perf_counter() - began)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--copies", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=1)
    anyio.run(main, parser.parse_args())
