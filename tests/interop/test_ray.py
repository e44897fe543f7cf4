"""Runs on a real Ray cluster: several raylets on this machine, with real sandboxes on them.

Takes some minutes; the first time 300 MB are installed. Run by `make test-interop`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.conftest import Files, make_repo
from tests.interop.ray_machines import (
    AGENTS,
    CALLS_OF_EACH,
    KEY,
    ROOT,
    Machines,
    Program,
    at_work,
    cluster,
    endpoint,
    of_type,
    script,
)
from tests.interop.servers import Require

__all__ = ["make_repo"]


@pytest.fixture(scope="module")
def machines(require: Require, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    with cluster(3, tmp_path_factory.mktemp("nodes"), require) as found:
        yield found


@pytest.fixture
def program(
    machines: Machines, tmp_path: Path, make_repo: Callable[[Files], Path], require: Require
) -> Iterator[Program]:
    with (
        endpoint(tmp_path, require, script()) as url,
        closing(Program(machines, url, make_repo({"a.txt": "a\n"}), tmp_path / "home")) as program,
    ):
        yield program


def test_what_ray_imports_in_threads_is_there_before_them(machines: Machines) -> None:
    """LangGraph imports the same in the loop's thread: of two at once one fails (KeyError: pydantic.v1)."""
    program = """
import sys, threading
from swarm.executors.ray.cluster import load

class Meeting:
    def find_spec(self, name, path=None, target=None):
        if name == "pydantic.v1" and not met.is_set():
            met.set()
            other.join(0.5)

def serialise():
    try:
        met.wait()
        import pydantic.v1.fields
    except BaseException as error:
        failed.append(repr(error))

met, failed = threading.Event(), []
other = threading.Thread(target=serialise)
if sys.argv[1] == "loaded":
    load()
sys.meta_path.insert(0, Meeting())
other.start()
try:
    import langgraph.graph
except ImportError as error:
    failed.append(repr(error))
met.set()
other.join()
sys.exit(bool(failed))
"""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    command = [str(machines.python), "-c", program]
    codes = [subprocess.run([*command, each], env=env, stderr=subprocess.DEVNULL).returncode for each in ("", "loaded")]
    assert codes == [1, 0]


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
