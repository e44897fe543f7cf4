"""Runs on a real Ray cluster: several raylets on this machine, with real sandboxes on them.

Takes some minutes; the first time 300 MB are installed. Run by `make test-interop`.
"""

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

import pytest

from tests.integration.conftest import Files, make_repo
from tests.interop.servers import Require, embedded, environment

__all__ = ["make_repo"]

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


@pytest.fixture(scope="module")
def machines(require: Require, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    with cluster(3, tmp_path_factory.mktemp("nodes"), require) as found:
        yield found


@dataclass
class Program:
    """The command line under Ray's Python, with its own home."""

    machines: Machines
    url: str
    repo: Path
    home: Path
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        kept = {"PATH": os.environ["PATH"], "HOME": str(self.home), "PYTHONPATH": str(ROOT), "OPENAI_API_KEY": KEY}
        return {**kept, "SWARM_HOME": str(self.home / "swarm")}

    def start(self, *args: str) -> subprocess.Popen[str]:
        self.home.mkdir(exist_ok=True)
        with (self.home / "said").open("w") as said:
            return subprocess.Popen(
                [str(self.machines.python), "-m", "swarm", *args, "--json"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
                cwd=self.repo,
                env=self.env,
                text=True,
                start_new_session=True,
            )

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


@pytest.fixture
def program(
    machines: Machines, tmp_path: Path, make_repo: Callable[[Files], Path], require: Require
) -> Iterator[Program]:
    with endpoint(tmp_path, require, script()) as url:
        yield Program(machines, url, make_repo({"a.txt": "a\n"}), tmp_path / "home")


@contextmanager
def endpoint(folder: Path, require: Require, answers: dict[str, Any]) -> Iterator[str]:
    (folder / "script.json").write_text(json.dumps(answers))
    with embedded(f"script:{folder}/script.json", folder=folder / "endpoint", require=require, key=KEY) as url:
        yield url


def of_type(program: Program, kind: str) -> list[dict[str, Any]]:
    return [event for event in program.events if event["type"] == kind]


def at_work(events: list[dict[str, Any]]) -> bool:
    return len([event for event in events if event["type"] == "tool_start"]) >= 4


@pytest.mark.parametrize("sandbox", ["process", "bubblewrap"])
def test_a_run_on_three_nodes_makes_what_a_local_one_makes(
    program: Program, sandbox: str, bubblewrap_box: object
) -> None:
    far = program.end(program.run(sandbox=sandbox))
    events = program.events
    near = program.end(program.run(executor="local", sandbox=sandbox))
    assert far["status"] == near["status"] == "completed"
    assert program.patch(far) == program.patch(near)
    assert far["usage"] == near["usage"]
    assert program.valid(far) == ""
    assert {event["sandbox"] for event in events if event["type"] == "agent_start" and event["depth"]} == {sandbox}
    assert KEY not in program.machines.logs() + json.dumps(events)
    assert program.leftovers(program.machines) == []


def test_what_was_at_work_on_a_node_that_dies_is_made_elsewhere(
    program: Program, tmp_path: Path, require: Require
) -> None:
    for number in range(3):  # those on it may have come to their end before it was dead
        with cluster(2, tmp_path / f"nodes-{number}", require) as two:
            program.machines = two
            process = program.run("--concurrency", str(AGENTS))
            program.follow(process, at_work)
            two.kill_one()
            envelope = program.end(process)
        assert envelope["status"] == "completed" and envelope["coverage"]["useful"] == AGENTS
        assert program.valid(envelope) == ""
        if lost := [event for event in of_type(program, "agent_end") if event["stop"] == "node_lost"]:
            break
    assert lost and all(event["outcome"] == "errored" for event in lost)
    done = [event["name"] for event in of_type(program, "agent_start") if event["depth"]]
    assert len(done) == AGENTS + len(lost)
    assert sorted(program.patch(envelope).count(f"+s{n}\n") for n in range(AGENTS)) == [1] * AGENTS


def test_an_interrupt_ends_all_and_leaves_nothing(program: Program) -> None:
    process = program.run()
    program.follow(process, at_work)
    process.send_signal(signal.SIGINT)
    envelope = program.end(process)
    assert process.returncode == 130 and envelope["status"] == "cancelled"
    assert program.valid(envelope) == ""
    assert program.leftovers(program.machines) == []


@pytest.mark.parametrize("executor", ["ray", "local"])
def test_a_run_whose_process_was_killed_goes_on(program: Program, executor: str) -> None:
    process = program.run()
    program.follow(process, lambda events: sum(event["type"] == "agent_end" for event in events) >= 2)
    with process:
        process.kill()
    run = next((program.home / "swarm/runs").iterdir())
    place = ["--executor", executor, "--ray-address", program.machines.address]
    envelope = program.end(program.start("resume", run.name, *place))
    assert envelope["status"] == "completed" and envelope["coverage"]["useful"] == AGENTS
    assert program.valid(envelope) == ""
    records = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    answered = [each["call_id"] for each in records if each["type"] == "call" and each["accepted"]]
    assert len(answered) == len(set(answered)) == envelope["usage"]["calls"]
    assert sorted(program.patch(envelope).count(f"+s{n}\n") for n in range(AGENTS)) == [1] * AGENTS


def test_a_budget_is_not_exceeded_by_all_nodes_together(program: Program) -> None:
    limit = 40_000
    envelope = program.end(program.run("--budget-tokens", str(limit)))
    used = envelope["usage"]["prompt_tokens"] + envelope["usage"]["completion_tokens"]
    assert 0 < used <= limit
    assert envelope["exit_code"] in (1, 4) and envelope["coverage"]["useful"] < AGENTS
    assert program.valid(envelope) == ""


def test_a_limit_of_the_endpoint_is_kept_by_all_nodes_together(
    program: Program, tmp_path: Path, require: Require
) -> None:
    limited = script(0.0, limit={"requests": 20, "per_s": 2, "retry_after": True})
    with endpoint(tmp_path, require, limited) as program.url:
        envelope = program.end(program.run())
    refused = [event for event in of_type(program, "call") if event["error"] == "rate_limited"]
    assert envelope["status"] == "completed"
    assert len(refused) < AGENTS * CALLS_OF_EACH  # each of three nodes by itself would meet it again and again
    assert program.valid(envelope) == ""


def test_what_cannot_travel_is_refused_before_anything_is_begun(program: Program, tmp_path: Path) -> None:
    deep = ["--mode", "parl", "--max-depth", "2"]
    for option in (["--record", str(tmp_path / "tape")], ["--mcp", "servers.json"], deep):
        process = program.run(*option)
        process.communicate(timeout=60)
        assert process.returncode == 2 and "--executor ray" in program.said, program.said
    assert not list((program.home / "swarm/runs").glob("*")) if (program.home / "swarm/runs").exists() else True
