"""Merging the patches of so many agents: python -m benchmarks.workers.merge WAY KIND PLACE

KIND is `disjoint` (no two patches share a file) or `shared` (all touch one of ten files, some meet a neighbour there).
PLACE is what `prepare` gave, as JSON. Tells milliseconds a patch, and `twice`: the time of all over that of half;
work that grows with the square of their number shows 4 there, one that does not about 2.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anyio

from swarm.merging.queue import MergeQueue
from swarm.sandboxes.git.repository import GitRepository
from swarm.sandboxes.git.workspace import reopen, snapshot
from swarm.stages import Harvest
from swarm.testing import RecordingSink
from swarm.types import AgentResult, Outcome, Plan, SubTask

LINES = 200


def make_repository(folder: Path, files: int) -> GitRepository:
    repo = folder / "repo"
    for n in range(files):
        path = repo / f"pkg{n % 40:02}/mod{n:05}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text(n))
    who = ["-c", "user.name=b", "-c", "user.email=b@example.invalid"]
    for args in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "start"]):
        subprocess.run(["git", *who, *args], cwd=repo, check=True)
    return anyio.run(snapshot, repo, folder / "store")


def text(n: int) -> str:
    return "".join(f"value_{n}_{line} = {line}\n" for line in range(LINES))


def commit(repository: GitRepository, number: int, change: Mapping[str, str], folder: Path) -> str:
    """A patch on the base, by plumbing: a few milliseconds each."""
    env = {**os.environ, "GIT_DIR": str(repository.store), "GIT_INDEX_FILE": str(folder / "index")}
    who = {f"GIT_{role}_{part}": "b" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    dates = {"GIT_AUTHOR_DATE": "@1 +0000", "GIT_COMMITTER_DATE": "@1 +0000"}

    def git(*args: str, stdin: str = "") -> str:
        done = subprocess.run(["git", *args], input=stdin, text=True, capture_output=True, check=True,
                              env={**env, **who, **dates})  # fmt: skip
        return done.stdout.strip()

    git("read-tree", repository.base)
    lines = [f"100644 {git('hash-object', '-w', '--stdin', stdin=data)}\t{path}\n" for path, data in change.items()]
    git("update-index", "--index-info", stdin="".join(lines))
    return git("commit-tree", git("write-tree"), "-p", repository.base, stdin=f"p{number}")


def disjoint(number: int) -> dict[str, str]:
    lines = text(number).splitlines(keepends=True)
    lines[number % LINES] = f"changed_{number} = True\n"
    return {f"pkg{number % 40:02}/mod{number:05}.py": "".join(lines)}


def sharing(number: int) -> dict[str, str]:
    """A line in one of ten files that all of this kind share; about one in five meets a neighbour there."""
    chance = random.Random(number)
    shared = number % 10
    lines = text(shared).splitlines(keepends=True)
    lines[chance.randrange(LINES)] = f"changed_{number} = True\n"
    return {f"pkg{shared % 40:02}/mod{shared:05}.py": "".join(lines), **disjoint(number + 500)}


def harvest(commits: list[str]) -> Harvest:
    subtasks = tuple(SubTask(id=f"t{n}", title=f"t{n}", instructions="x") for n in range(len(commits)))
    results = tuple(
        AgentResult(f"t{n}", f"t{n}", Outcome.COMPLETED, "done", "submitted", keep=True, commit=each)
        for n, each in enumerate(commits)
    )
    return Harvest(Plan(subtasks=subtasks), results)


def prepare(folder: Path, files: int, patches: int) -> dict[str, Any]:
    """A repository and commits on its base, of both kinds."""
    repository = make_repository(folder, files)
    commits = {
        name: [commit(repository, n, make(n), folder) for n in range(patches)]
        for name, make in (("disjoint", disjoint), ("shared", sharing))
    }
    return {"store": str(repository.store), "base": repository.base, **commits}


def queue(store: Path, base: str, commits: list[str]) -> tuple[float, int]:
    """Ours: trials as the patches arrive, then the settling. Seconds, and how many were merged."""

    async def merged() -> tuple[float, int]:
        queue = MergeQueue(await reopen(store), RecordingSink(), anyio.Event())
        work = harvest(commits)
        began = time.perf_counter()
        async with queue.trials(work.plan, 1, None) as arrived:
            for result in random.Random(1).sample(work.results, len(work.results)):
                arrived(result)
        found = await queue.settle(work)
        return time.perf_counter() - began, len(found.merged)

    return anyio.run(merged)


_WHO = {f"GIT_{role}_{part}": "b" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}


def merge_tree(store: Path, base: str, commits: list[str]) -> tuple[float, int]:
    """A script without a checkout: `git merge-tree`, `git commit-tree`, one after the other."""
    env = {**os.environ, **_WHO, "GIT_DIR": str(store)}
    began, tip, merged = time.perf_counter(), base, 0
    for each in commits:
        tree = subprocess.run(["git", "merge-tree", "--write-tree", tip, each], env=env, capture_output=True, text=True)
        if tree.returncode == 0:
            command = ["git", "commit-tree", tree.stdout.strip(), "-p", tip, "-m", "patch"]
            tip = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.strip()
            merged += 1
    return time.perf_counter() - began, merged


def cherry_pick(store: Path, base: str, commits: list[str]) -> tuple[float, int]:
    """A script with a checkout: `git cherry-pick`, and `--abort` where it does not fit."""
    checkout = store.with_name("checkout")
    shutil.rmtree(checkout, ignore_errors=True)
    env = {**os.environ, **_WHO}
    for command in (["clone", "-qs", str(store), str(checkout)], ["-C", str(checkout), "checkout", "-q", base]):
        subprocess.run(["git", *command], env=env, check=True, capture_output=True)
    began, merged = time.perf_counter(), 0
    for each in commits:
        done = subprocess.run(["git", "cherry-pick", each], cwd=checkout, env=env, capture_output=True)
        if done.returncode:
            subprocess.run(["git", "cherry-pick", "--abort"], cwd=checkout, env=env, check=True, capture_output=True)
        merged += done.returncode == 0
    return time.perf_counter() - began, merged


WAYS: dict[str, Callable[[Path, str, list[str]], tuple[float, int]]] = {
    "swarm": queue,
    "merge-tree": merge_tree,
    "cherry-pick": cherry_pick,
}


def main(name: str, kind: str, place: dict[str, Any]) -> None:
    commits = place[kind]
    with tempfile.TemporaryDirectory(dir=".") as folder:
        found = []
        for part in (commits[: len(commits) // 2], commits):
            store = Path(folder).resolve() / f"store-{len(part)}"
            shutil.copytree(place["store"], store)
            found.append(WAYS[name](store, place["base"], part))
    (half, _), (whole, merged) = found
    failed = len(commits) - merged if kind == "disjoint" else 0
    told = {"patch_ms": 1000 * whole / len(commits), "twice": whole / half, "merged": merged}
    print(json.dumps({**told, "failed": failed, "of": len(commits), "error": "not merged" if failed else ""}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], json.loads(Path(sys.argv[3]).read_text()))
