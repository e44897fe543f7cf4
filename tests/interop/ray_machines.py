"""A Ray cluster of several raylets on this machine, and the command line that is given work for it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.interop.servers import Require, embedded, environment

ROOT = Path(__file__).parents[2]
KEY = "sk-only-for-the-endpoint-0123456789"
AGENTS = 9
CALLS_OF_EACH = 4
READY_S, RUN_S = 240.0, 300.0


def script(pause: float = 0.3, **more: Any) -> dict[str, Any]:
    """Each agent writes a file of its own, in four calls."""
    subtasks = [{"id": f"s{n}", "title": f"write s{n}", "instructions": f"Write s{n}.txt."} for n in range(AGENTS)]
    look = {"tool_calls": [{"name": "bash", "arguments": {"command": f"ls; sleep {pause}"}}]}
    write = {"tool_calls": [{"name": "write", "arguments": {"path": "{{id}}.txt", "content": "{{id}}\n"}}]}
    read = {"tool_calls": [{"name": "bash", "arguments": {"command": f"cat {{{{id}}}}.txt; sleep {pause}"}}]}
    done = {"tool_calls": [{"name": "submit", "arguments": {"status": "done", "summary": "wrote {{id}}"}}]}
    return {
        "rules": [
            {"role": "planner", "turns": [{"json": {"rationale": "files", "subtasks": subtasks, "dropped": []}}]},
            {"role": "subagent", "match": r"Sub-task (?P<id>\w+):", "turns": [look, write, read, done]},
            {"turns": [{"content": "All are written."}]},
        ],
        **more,
    }


@dataclass
class Machines:
    """The cluster as a process."""

    process: subprocess.Popen[str]
    address: str
    python: Path
    folder: Path
    """Where Ray keeps its logs."""

    home: Path

    def kill_one(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("kill\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline().strip() == "killed"

    def logs(self) -> str:
        """All that Ray wrote."""
        found = [path for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink()]
        return "".join(path.read_text(errors="replace") for path in found)


@contextmanager
def cluster(nodes: int, home: Path, require: Require) -> Iterator[Machines]:
    needs = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    programs = environment("ray", ("ray==2.60.0", *needs), require)
    home.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="swarm-ray-"))  # sockets' paths are short
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "SWARM_HOME": str(home / "swarm"), "PYTHONPATH": str(ROOT)}
    env |= {"RAY_TMPDIR": str(folder)}
    process = subprocess.Popen(
        [programs / "python", ROOT / "tests/interop/ray_cluster.py", str(nodes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=env,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline().split()
        require(line[:1] == ["ready"], "no Ray cluster comes up here")
        yield Machines(process, line[1], programs / "python", folder, home)
    finally:
        with suppress(subprocess.TimeoutExpired):
            process.communicate("quit\n", timeout=60)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        # What a node left that died: on a machine of its own nobody would be there to see it.
        tidy: list[str | Path] = [programs / "python", "-m", "swarm", "gc", "--yes"]
        subprocess.run(tidy, env=env, stdout=subprocess.DEVNULL, check=True, timeout=120)
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Program:
    """The command line under Ray's Python, with its own home."""

    machines: Machines
    url: str
    repo: Path
    home: Path
    events: list[dict[str, Any]] = field(default_factory=list)
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        kept = {"PATH": os.environ["PATH"], "HOME": str(self.home), "PYTHONPATH": str(ROOT), "OPENAI_API_KEY": KEY}
        return {**kept, "SWARM_HOME": str(self.home / "swarm")}

    def start(self, *args: str) -> subprocess.Popen[str]:
        self.home.mkdir(exist_ok=True)
        with (self.home / "said").open("w") as said:
            process = subprocess.Popen(
                [str(self.machines.python), "-m", "swarm", *args, "--json"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
                cwd=self.repo,
                env=self.env,
                text=True,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def close(self) -> None:
        """End what a failed test left at work: the next test's run would meet it."""
        for process in self.started:
            assert process.stdout is not None
            if process.poll() is None:
                process.kill()
                process.wait()
            process.stdout.close()

    @property
    def said(self) -> str:
        """What it wrote for people."""
        return (self.home / "said").read_text()

    def run(self, *args: str, executor: str = "ray", sandbox: str = "process") -> subprocess.Popen[str]:
        where = ["--executor", executor, "--ray-address", self.machines.address]
        model = ["--model", "embedded", "--base-url", self.url, "--sandbox", sandbox]
        return self.start("run", "Write files", *where, *model, *args)

    def follow(self, process: subprocess.Popen[str], until: Callable[[list[dict[str, Any]]], bool]) -> None:
        """Read events until there are those that are waited for."""
        assert process.stdout is not None
        self.events = []
        while not until(self.events):
            line = process.stdout.readline()
            assert line, self.said
            self.events.append(json.loads(line))

    def end(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        """The envelope."""
        assert process.stdout is not None
        late = threading.Timer(RUN_S, process.kill)
        late.start()
        with process:  # by its own reader: that holds lines which it read ahead
            lines = [json.loads(line) for line in process.stdout]
        late.cancel()
        assert lines and lines[-1]["type"] == "result", self.said
        self.events += lines[:-1]
        return dict(lines[-1])

    def valid(self, envelope: dict[str, Any]) -> str:
        """What `swarm validate` has to say; empty where nothing."""
        command = [sys.executable, "-m", "swarm", "validate", envelope["run_dir"]]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=120, check=False)
        return "" if done.returncode == 0 else done.stdout + done.stderr

    def patch(self, envelope: dict[str, Any]) -> str:
        return Path(envelope["patch_path"]).read_text()

    def leftovers(self, machines: Machines) -> list[str]:
        """Leases of runs, here and on the nodes, which are all this machine; and actors."""
        homes = (self.home, machines.home)
        leases = [str(path) for home in homes for path in home.glob("swarm/leases/[!.]*")]
        actors = [place.name for place in Path("/proc").glob("[0-9]*") if _is_outpost(place, machines.folder)]
        return leases + actors


def _is_outpost(process: Path, folder: Path) -> bool:
    """Whether it is one of a cluster, by where that keeps its files."""
    try:
        named = (process / "cmdline").read_bytes().startswith(b"ray::Outpost")
        return named and os.fsencode(folder) in (process / "environ").read_bytes()
    except OSError:
        return False


@contextmanager
def endpoint(folder: Path, require: Require, answers: dict[str, Any]) -> Iterator[str]:
    (folder / "script.json").write_text(json.dumps(answers))
    with embedded(f"script:{folder}/script.json", folder=folder / "endpoint", require=require, key=KEY) as url:
        yield url


def of_type(program: Program, kind: str) -> list[dict[str, Any]]:
    return [event for event in program.events if event["type"] == kind]


def at_work(events: list[dict[str, Any]]) -> bool:
    return len([event for event in events if event["type"] == "tool_start"]) >= 4
