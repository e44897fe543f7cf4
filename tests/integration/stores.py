"""A run's store with patches made in it by plumbing alone, and the queue over it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import anyio

from swarm.gating.gate import Gate
from swarm.merging.queue import MergeQueue, Settled
from swarm.sandboxes.git.repository import GitRepository
from swarm.sandboxes.git.workspace import snapshot
from swarm.stages import Harvest
from swarm.testing import RecordingSink
from swarm.types import AgentResult, Outcome, Plan, SubTask
from tests.integration.conftest import git

Tree = Mapping[str, str | bytes]
LINES = 12
BASE: dict[str, str | bytes] = {
    name: "".join(f"{name} line {n}\n" for n in range(LINES)) for name in ("a.txt", "b.txt", "sub/c.txt")
}


@dataclass
class Store:
    """A run's store with one base, and patches made in it by plumbing alone."""

    repository: GitRepository
    scratch: Path
    number: Iterator[int] = field(default_factory=lambda: iter(count()))

    def git(self, *args: str, stdin: bytes = b"", **env: str) -> str:
        where = {**os.environ, "GIT_DIR": str(self.repository.store), **env}
        done = subprocess.run(["git", *args], input=stdin, capture_output=True, check=True, env=where)
        return done.stdout.decode(errors="surrogateescape").strip("\n")

    def commit(self, tree: Mapping[str, str | bytes], parent: str = "", modes: Mapping[str, str] = {}) -> str:
        index = self.scratch / f"index-{next(self.number)}"
        lines = []
        for path, content in tree.items():
            data = content if isinstance(content, bytes) else content.encode()
            blob = self.git("hash-object", "-w", "--stdin", stdin=data)
            lines.append(f"{modes.get(path, '100644')} {blob}\t{path}\n")
        self.git("update-index", "--add", "--index-info", stdin="".join(lines).encode(), GIT_INDEX_FILE=str(index))
        made = self.git("write-tree", GIT_INDEX_FILE=str(index))
        who = {f"GIT_{role}_{part}": "t" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
        dates = {"GIT_AUTHOR_DATE": "@1 +0000", "GIT_COMMITTER_DATE": "@1 +0000"}
        return self.git("commit-tree", made, "-p", parent or self.repository.base, stdin=b"p", **who, **dates)

    def tree(self, commit: str) -> dict[str, str]:
        names = self.git("ls-tree", "-r", "--name-only", commit).splitlines()
        return {name: self.git("show", f"{commit}:{name}") for name in names}

    def log(self, commit: str) -> list[str]:
        return self.git("log", "--format=%s|%an|%(trailers:key=Swarm-Subtask,valueonly,separator=+)|%P",
                        f"{self.repository.base}..{commit}").splitlines()[::-1]  # fmt: skip


def open_store(folder: Path, base: Tree = BASE) -> Store:
    repo = folder / "repo"
    repo.mkdir(parents=True)
    git(repo, "init", "-q")
    for name, content in base.items():
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    git(repo, "add", "-A")
    git(repo, "commit", "-q", "-m", "start")
    return Store(anyio.run(snapshot, repo, folder / "store"), folder)


def harvest(patches: Mapping[str, str], needs: Mapping[str, Sequence[str]] = {}) -> Harvest:
    subtasks = [
        SubTask(id=name, title=f"do {name}", instructions="x", depends_on=tuple(needs.get(name, ())))
        for name in patches
    ]
    results = [
        AgentResult(name, name, Outcome.COMPLETED, f"{name} is done", "submitted", keep=True, commit=commit)
        for name, commit in patches.items()
    ]
    return Harvest(Plan(subtasks=tuple(subtasks)), tuple(results))


async def settled(store: Store, work: Harvest, gate: Gate | None = None, sink: RecordingSink | None = None) -> Settled:
    return await MergeQueue(store.repository, sink or RecordingSink(), anyio.Event(), gate).settle(work)
