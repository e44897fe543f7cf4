"""A repository, a scripted model and the command line, for whole runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.warm import Process, Warm

Files = Mapping[str, str]


def git(repo: Path, *args: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *who, *args], cwd=repo, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture
def make_repo(tmp_path: Path) -> Callable[[Files], Path]:
    """Makes a repository with one commit out of names and contents."""

    def make(files: Files) -> Path:
        repo = tmp_path / "repo"
        repo.mkdir()
        git(repo, "init", "-q")
        for name, content in files.items():
            path = repo / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        git(repo, "add", "-A")
        git(repo, "commit", "-q", "-m", "start")
        return repo

    return make


def subtask(name: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "title": f"do {name}", "instructions": f"work on {name}", **more}


def plan(*subtasks: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A planner's turn."""
    return {"json": {"rationale": "r", "subtasks": list(subtasks), "dropped": [], **more}}


def use(name: str, **arguments: Any) -> dict[str, Any]:
    """An agent's turn with one tool call."""
    return {"tool_calls": [{"name": name, "arguments": arguments}]}


def submit(summary: str = "did it", status: str = "done") -> dict[str, Any]:
    return use("submit", status=status, summary=summary)


@dataclass
class Script:
    """A scripted model, written to a file when its name is asked for."""

    path: Path
    rules: list[dict[str, Any]] = field(default_factory=list)
    faults: list[dict[str, Any]] = field(default_factory=list)

    def planner(self, *turns: dict[str, Any]) -> None:
        self.rules.append({"role": "planner", "turns": list(turns)})

    def agent(self, name: str, *turns: dict[str, Any]) -> None:
        """The turns of the sub-agent of one sub-task."""
        self.rules.append({"role": "subagent", "match": f"Sub-task {name}:", "turns": list(turns)})

    @property
    def model(self) -> str:
        self.path.write_text(json.dumps({"rules": self.rules, "faults": self.faults}))
        return f"embedded:script:{self.path}"


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path / "script.json")


@dataclass
class Done:
    """A finished command. With `--json`, its events and its envelope."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def result(self) -> dict[str, Any]:
        last = self.lines[-1]
        assert last["type"] == "result"
        return last

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["type"] == kind]


@dataclass
class Cli:
    """The command line in a process of its own, with its own home."""

    home: Path
    cwd: Path
    env: dict[str, str]
    box: str
    warm: Warm

    def start(self, *args: str, cwd: Path | None = None) -> Process:
        return self.warm.start(args, cwd or self.cwd, self.env)

    def __call__(self, *args: str, cwd: Path | None = None) -> Done:
        return self.wait(self.start(*args, cwd=cwd))

    def wait(self, process: Process) -> Done:
        try:
            out, err = process.communicate(timeout=300)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return Done(process.wait(), out, err)

    def run(self, task: str, repo: Path | None, *args: str) -> Done:
        where = ["--no-repo"] if repo is None else ["--repo", str(repo)]
        box = [] if "--sandbox" in args else ["--sandbox", self.box]
        return self("run", task, *where, "--json", *box, *args)

    @property
    def runs(self) -> Sequence[Path]:
        return sorted((self.home / "runs").glob("*"))


@pytest.fixture
def cli(tmp_path: Path, box: str, warm: Warm) -> Cli:
    home, user = tmp_path / "home", tmp_path / "user"
    user.mkdir()
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "LANG", "PYTHONPATH", "DOCKER_HOST")}
    return Cli(home, user, {**kept, "HOME": str(user), "SWARM_HOME": str(home)}, box, warm)


@pytest.fixture
def no_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))


@pytest.fixture
def counter() -> Iterator[int]:
    return iter(range(1000))


@pytest.fixture
def fresh(tmp_path: Path, counter: Iterator[int]) -> Callable[[], Path]:
    """A new empty folder at each call."""

    def make() -> Path:
        folder = tmp_path / f"copy-{next(counter)}"
        folder.mkdir()
        return folder

    return make


@pytest.fixture
def small_disk(tmp_path: Path, require: Callable[[object, str], None]) -> Iterator[Path]:
    """A file system of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", place], capture_output=True, check=False)
    require(mount.returncode == 0, "no file system can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)
