"""Sandboxes that are broken on purpose: cancelled at any moment, their engine killed, their container taken away."""

from __future__ import annotations

import gc
import math
import random
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import anyio
import docker
import pytest

from swarm import RunConfig, RunStatus, Swarm
from swarm.errors import SandboxError
from swarm.events import AgentStarted, Event, ToolStarted
from swarm.sandboxes.catalog import open_backend
from swarm.sandboxes.leases.lease import Lease, open_lease
from swarm.sandboxes.leases.reaper import dead_leases, reap
from swarm.types import Outcome, SandboxRequest
from tests.docker_engine import PrivateEngine, private_engine
from tests.integration.conftest import Script, plan, submit, subtask, use
from tests.machine import cgroups_of, mounts_of, processes_of, until

pytestmark = pytest.mark.anyio

MARK = "SWARM_TEST_CHAOS"
SEED = 20261121
NAME = f"chaos-{secrets.token_hex(8)}"
"""Nobody else's: other tests run on this machine."""
Require = Callable[[object, str], None]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path / "script.json")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    monkeypatch.setenv("SWARM_HOME", str(home))
    return home


def wanted(lease: Lease, name: str, **env: str) -> SandboxRequest:
    workspace = lease.folder / name
    workspace.mkdir()
    return SandboxRequest("chaos", name, lease.folder, workspace, "/workspace", env)


def traces(home: Path) -> set[str]:
    """What is on this machine now and has to do with that home."""
    found = {str(path) for path in home.rglob("*")} - {str(home / "leases"), str(home / "leases/.lock")}
    leases = f"{home}/leases"
    return found | mounts_of(leases) | processes_of(leases) | cgroups_of(f"swarm-{NAME}")


def containers(address: str, home: Path) -> list[str]:
    client = docker.APIClient(address, version="auto")
    try:
        everyone = client.containers(all=True, filters={"label": "swarm.lease"})
    finally:
        client.close()
    return [one["Id"] for one in everyone if one["Labels"]["swarm.lease"].startswith(f"{home}/")]


@pytest.mark.parametrize(
    ("backend", "number", "at_once"), [("bubblewrap", 120, 20), ("process", 80, 20), ("docker", 24, 8)]
)
async def test_sandboxes_that_are_cancelled_at_any_moment_leave_nothing(
    backend: str, number: int, at_once: int, home: Path, request: pytest.FixtureRequest
) -> None:
    address = ""
    if backend == "docker":
        address = request.getfixturevalue("docker_box")
    if backend == "bubblewrap":
        request.getfixturevalue("bubblewrap_box")
    rng = random.Random(SEED)
    # Half of them counted from the beginning, one of these from before it; half from the moment at which it is open.
    moments = [0.0, *(rng.uniform(0, 1.2) ** 2 for _ in range(number - 1))]
    limiter = anyio.CapacityLimiter(at_once)
    opened: list[str] = []
    async with open_lease(home, NAME) as lease, open_backend(backend, lease.folder) as boxes:
        before = {path.name for path in lease.folder.iterdir()}

        async def one(name: str, moment: float, counts_from_open: bool) -> None:
            async with limiter:
                with anyio.move_on_after(math.inf if counts_from_open else moment) as scope:
                    async with boxes.open(wanted(lease, name, **{MARK: str(lease.folder)})) as sandbox:
                        opened.append(name)
                        if counts_from_open:
                            scope.deadline = anyio.current_time() + moment
                        await sandbox.exec("sleep 600 >/dev/null 2>&1 & trap '' TERM; sleep 600")

        with anyio.fail_after(300):
            async with anyio.create_task_group() as group:
                for index, moment in enumerate(moments):
                    group.start_soon(one, f"w-{index}", moment, bool(index % 2))
        assert number // 2 <= len(opened) < number  # some were cancelled before, some after they were open
        after = {path.name for path in lease.folder.iterdir()}
        assert after - before == {f"w-{index}" for index in range(number)}
        if address:
            assert containers(address, home) == []
    assert traces(home) == set()


# The docker package leaks its socket where an engine has gone meanwhile.
LEAKS = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore:unclosed:ResourceWarning")


@pytest.fixture
def engine(require: Require, docker_box: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[PrivateEngine]:
    """An engine that may be killed."""
    with private_engine(require) as engine:
        monkeypatch.setenv("DOCKER_HOST", engine.address)
        yield engine
        gc.collect()  # now, where the warning is expected


@LEAKS
async def test_an_engine_that_is_killed_is_the_machines_failure_and_nothing_hangs(
    engine: PrivateEngine, home: Path
) -> None:
    with anyio.fail_after(300):
        async with open_lease(home, NAME) as lease, open_backend("docker", lease.folder) as backend:
            with pytest.raises(SandboxError):
                async with backend.open(wanted(lease, "one")) as sandbox:
                    engine.kill()
                    await sandbox.exec("true")  # whether or not it outlives the engine, it is not closed in order
            with pytest.raises(SandboxError):
                async with backend.open(wanted(lease, "two")):
                    pass
        assert (lease.folder / "lock").exists()  # kept: it knows what could not be looked at
        assert await reap(home) == ""  # the engine is still away, and a later run goes on without it
        with dead_leases(home) as dead:
            assert [bool(one.unseen) for one in dead.leases] == [True]
        assert engine.start() == ""
        assert containers(engine.address, home)
        assert "1 container" in await reap(home)
    assert containers(engine.address, home) == []
    assert traces(home) == set()


async def test_a_container_that_is_taken_away_is_closed_in_peace(docker_box: str, home: Path) -> None:
    async with (
        open_lease(home, NAME) as lease,
        open_backend("docker", lease.folder) as backend,
        backend.open(wanted(lease, "one")) as sandbox,
        anyio.create_task_group() as group,
    ):

        async def hang() -> None:
            with pytest.raises(SandboxError):
                await sandbox.exec(": > begun; sleep 600")

        group.start_soon(hang)
        with anyio.fail_after(300):
            await until((lease.folder / "one/begun").exists)
            await anyio.to_thread.run_sync(take_away, docker_box, home)
    assert traces(home) == set()


def take_away(address: str, home: Path) -> None:
    client = docker.APIClient(address, version="auto")
    try:
        for container in containers(address, home):
            with suppress(docker.errors.APIError):  # its owner was faster
                client.remove_container(container, force=True)
    finally:
        client.close()


async def broken_run(script: Script, command: str, box_breaks: Callable[[], None]) -> None:
    """A run whose agent's sandbox is broken each time that it is at work: it is tried again, and errs."""
    script.planner(plan(subtask("one")))
    script.agent("one", use("bash", command="true"), use("bash", command=command), submit())
    seen: list[Event] = []
    tell, told = anyio.create_memory_object_stream[None](100)

    def watch(event: Event) -> None:
        seen.append(event)
        if isinstance(event, ToolStarted) and event.name == "bash" and command in event.arguments:
            tell.send_nowait(None)

    async def break_it() -> None:
        async for _ in told:
            await anyio.to_thread.run_sync(box_breaks)

    with tell, told, anyio.fail_after(300):
        async with anyio.create_task_group() as breaking:
            breaking.start_soon(break_it)
            async with Swarm(config=RunConfig(model=script.model, sandbox="docker")) as swarm:
                result = await swarm.run("x", on_event=watch)
            breaking.cancel_scope.cancel()
    assert (result.status, result.exit_code) == (RunStatus.ERRORED, 3)
    assert result.outcomes == {Outcome.ERRORED: 1}
    tried = [event.attempt for event in seen if isinstance(event, AgentStarted) and event.depth == 1]
    assert tried == [1, 2]


async def test_a_run_whose_containers_are_taken_away_tries_again_and_errs(
    docker_box: str, home: Path, script: Script
) -> None:
    await broken_run(script, "sleep 4000", lambda: take_away(docker_box, home))
    assert [path for path in (home / "leases").iterdir() if path.is_dir()] == []


@LEAKS
async def test_a_run_whose_engine_is_killed_errs(engine: PrivateEngine, home: Path, script: Script) -> None:
    def kill() -> None:
        """Its containers live on without it; what cannot be done any more is to close them."""
        engine.kill()
        while not (begun := list((home / "leases").glob("*/ws-*/tree/begun"))):
            time.sleep(0.01)  # another process is waited for
        for path in begun:
            (path.parent / "stop").touch()

    await broken_run(script, ": > begun; until [ -e stop ]; do sleep 0.1; done", kill)
    assert engine.start() == ""
    await reap(home)
    assert containers(engine.address, home) == []
    assert [path for path in (home / "leases").iterdir() if path.is_dir()] == []
