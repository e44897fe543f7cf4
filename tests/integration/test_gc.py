"""Nothing left behind: runs that were killed, the next run, `swarm gc`, and those that live meanwhile."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from tests.integration.conftest import Cli, Done, Files, Script, plan, submit, subtask, use
from tests.machine import cgroups_of, mounts_of, processes_of
from tests.warm import Process, Warm

BACKENDS = ("docker", "bubblewrap", "process")


@pytest.fixture
def repo(make_repo: Callable[[Files], Path]) -> Path:
    return make_repo({"a.txt": "a\n"})


@pytest.fixture
def started(cli: Cli) -> Iterator[list[Process]]:
    """Runs that are ended at the end, if they are still there."""
    processes: list[Process] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()
    cli("gc", "--yes")


@pytest.fixture
def begin(cli: Cli, script: Script, repo: Path, started: list[Process]) -> Callable[[str], Process]:
    """Starts a run whose agent is at work inside its sandbox, with something in the background, for ever."""
    script.planner(plan(subtask("one")))
    script.agent("one", use("bash", command="sleep 4000 >/dev/null 2>&1 & sleep 4000"), submit())
    model = script.model

    def start(backend: str) -> Process:
        process = cli.start("run", "x", "--repo", str(repo), "--json", "--sandbox", backend, "--model", model)
        started.append(process)
        for line in process.stdout:
            if json.loads(line)["type"] == "tool_start":
                return process
        raise AssertionError(process.stderr.read())

    return start


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    if request.param != "process":
        request.getfixturevalue(f"{request.param}_box")
    return str(request.param)


@pytest.fixture
def cli(tmp_path: Path, warm: Warm, backend: str) -> Cli:
    home, user = tmp_path / "home", tmp_path / "user"
    user.mkdir()
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "LANG", "PYTHONPATH", "DOCKER_HOST")}
    return Cli(home, user, {**kept, "HOME": str(user), "SWARM_HOME": str(home)}, "process", warm)


def run_of(home: Path, process: Process) -> str:
    """The lease that a process holds."""
    for lock in (home / "leases").glob("*/lock"):
        if json.loads(lock.read_text())["pid"] == process.pid:
            return lock.parent.name
    raise AssertionError("it holds no lease")


def kill(process: Process) -> None:
    process.kill()
    process.communicate()


def traces(home: Path, run: str) -> set[str]:
    """All that is on this machine now and has to do with a run, found without any help of what is tested."""
    folder = f"{home}/leases/{run}"
    found = {str(path) for path in (home / "leases").glob(run)}
    found |= mounts_of(folder) | processes_of(folder) | cgroups_of(f"swarm-{run}")
    if "DOCKER_HOST" in os.environ:
        client = docker.from_env()
        try:
            alive = client.api.containers(all=True, filters={"label": f"swarm.lease={folder}"})
        finally:
            client.close()
        found |= {f"container {container['Id']}" for container in alive}
    return found


def settled(home: Path, run: str) -> set[str]:
    """Its traces, when what begins there has begun: a process that becomes another is not taken for one that stays."""
    before = traces(home, run)
    while before != (now := traces(home, run)):
        before = now
    return before


def listed(done: Done) -> dict[str, list[str]]:
    """What `swarm gc --json` lists, by run: kinds."""
    return {line["id"]: [thing["kind"] for thing in line["leftovers"]] for line in done.lines}


def test_a_killed_run_is_cleared_and_a_living_one_is_not_touched(
    cli: Cli, backend: str, begin: Callable[[str], Process]
) -> None:
    alive, dead = begin(backend), begin(backend)
    living, killed = run_of(cli.home, alive), run_of(cli.home, dead)
    kill(dead)
    assert traces(cli.home, killed)

    shown = cli("gc", "--json")
    assert shown.code == 0
    assert list(listed(shown)) == [killed]
    kinds = listed(shown)[killed]
    assert kinds[-1] == "folder"
    assert backend != "docker" or "container" in kinds
    # Some end by themselves when nobody gives orders any more.
    assert backend != "process" or "process" in kinds or not processes_of(f"{cli.home}/leases/{killed}")
    told = cli("gc")
    assert told.code == 0
    assert killed in told.out
    assert "swarm gc --yes" in told.out
    assert traces(cli.home, killed)  # only shown

    before = settled(cli.home, living)
    assert before
    removed = cli("gc", "--yes")
    assert (removed.code, removed.err) == (0, "")
    assert traces(cli.home, killed) == set()
    assert before <= traces(cli.home, living)
    assert "nothing is left behind" in cli("gc", "--yes").out
    run, _, _ = killed.partition(".")  # a lease is named after its run, with a suffix
    assert [line["status"] for line in cli("runs", "--json").lines if line["run_id"] == run] == ["crashed"]

    alive.send_signal(signal.SIGINT)
    done = cli.wait(alive)
    assert (done.code, done.result["status"]) == (130, "cancelled"), done.err
    assert traces(cli.home, living) == set()


def test_the_next_run_clears_up(
    cli: Cli, backend: str, begin: Callable[[str], Process], repo: Path, tmp_path: Path
) -> None:
    dead = [begin(backend), begin(backend)]
    killed = [run_of(cli.home, process) for process in dead]
    for process in dead:
        kill(process)
    quick = Script(tmp_path / "quick.json")
    quick.planner(plan(subtask("one")))
    quick.agent("one", use("write", path="a.txt", content="A\n"), submit())
    done = cli.run("x", repo, "--model", quick.model)
    assert done.code == 0, done.err
    notices = [line["message"] for line in done.of("notice") if "left behind" in line["message"]]
    assert len(notices) == 1
    assert all(run in notices[0] for run in killed)
    assert [traces(cli.home, run) for run in killed] == [set(), set()]
    assert [path for path in (cli.home / "leases").iterdir() if path.is_dir()] == []
    again = cli.run("x", repo, "--model", quick.model)
    assert not [line for line in again.of("notice") if "left behind" in line["message"]]
