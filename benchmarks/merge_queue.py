"""What the merge queue costs: patches that share no file, and patches of which some do, in a repository made for it.

    python -m benchmarks.merge_queue [--disjoint 300] [--shared 100] [--files 2000]

Figures are seconds of wall time; compare them on one machine only. `x2` is the time for twice as many patches: a queue
whose work grows with the square of their number shows 4 there, one that does not about 2.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import anyio

from swarm.merging.queue import MergeQueue
from swarm.sandboxes.git.repository import GitRepository
from swarm.sandboxes.git.workspace import snapshot
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


async def measure(repository: GitRepository, work: Harvest) -> tuple[float, float, int, int]:
    """Seconds of the trials and of the settling, and how many were merged and evicted."""
    queue = MergeQueue(repository, RecordingSink(), anyio.Event())
    started = time.perf_counter()
    async with queue.trials(work.plan, 1, None) as arrived:
        for result in random.Random(1).sample(work.results, len(work.results)):
            arrived(result)
    tried = time.perf_counter()
    found = await queue.settle(work)
    return tried - started, time.perf_counter() - tried, len(found.merged), len(found.evicted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--disjoint", type=int, default=300)
    parser.add_argument("--shared", type=int, default=100)
    parser.add_argument("--files", type=int, default=2000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        repository = make_repository(Path(place), args.files)
        before: dict[str, float] = {}
        for name, make, most in (("disjoint", disjoint, args.disjoint), ("shared", sharing, args.shared)):
            commits = [commit(repository, n, make(n), Path(place)) for n in range(most)]
            for count in (most // 2, most):
                trials, settling, merged, evicted = anyio.run(measure, repository, harvest(commits[:count]))
                whole = trials + settling
                ratio = f", x2: {whole / before[name]:.2f}" if name in before else ""
                before[name] = whole
                print(
                    f"{name}: {count} patches, {merged} merged, {evicted} evicted: trials {trials:.2f} s, "
                    f"settled {settling:.2f} s, {1000 * whole / count:.1f} ms a patch{ratio}"
                )


if __name__ == "__main__":
    main()
