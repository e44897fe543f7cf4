"""What the Ray executor is made of, without Ray: packs, the record of an attempt whose node is gone, refusals."""

from __future__ import annotations

import pickle
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from swarm import tool
from swarm.config import RunConfig, load_config
from swarm.elsewhere import refuse_elsewhere
from swarm.errors import EndpointError, EndpointFault, MachineError, SandboxError, UsageError
from swarm.events import AgentEnded, AgentStarted, CallFinished, CallSent, Event
from swarm.executors.ray.cluster import Cluster, Node, open_cluster
from swarm.executors.ray.errand import LOST, Errand
from swarm.executors.ray.link import Link
from swarm.executors.ray.messages import Arrived, error_of, fault_from
from swarm.executors.ray.packing import unpack
from swarm.executors.ray.relay import Relay, RelayedArtifacts
from swarm.executors.ray.wire import RayLine
from swarm.journal.artifacts import Artifacts
from swarm.journal.redaction import Redactor
from swarm.parts import Parts
from swarm.sandboxes.git import packs
from swarm.sandboxes.git.workspace import reopen, snapshot
from swarm.steering import Steering
from swarm.types import Outcome, Role

pytestmark = pytest.mark.anyio


@tool(name="stock")
async def count_stock(article: str) -> int:
    """Stands at the top of a module."""
    return len(article)


async def test_an_artifact_from_elsewhere_is_masked_with_what_is_secret_here(tmp_path: Path) -> None:
    """A node knows the keys of the endpoints alone; the user's environment is here."""
    secret, relay = "q7Zt-vv81-KkPw-55aa-oPlm", Relay()
    home = Artifacts(tmp_path / "kept", Redactor({"DEPLOY_TOKEN": secret}))
    there = RelayedArtifacts(relay, Redactor({}))
    artifact = there.of("bash", "line\n" * 400 + f"deploying with {secret}\n")
    await there.keep(artifact)
    desk: Any = SimpleNamespace(store=None, artifacts=home, sink=None)
    link = Link(Node("n", "n", 1.0), RayLine(None), Arrived("", 0.0, "x", 1), desk, set())
    async with anyio.create_task_group() as group:
        await link._take_all(unpack(relay.outbox.close()[1]), group)
    kept = await home.read(artifact.handle)
    assert kept == artifact.text.replace(secret, "[redacted:DEPLOY_TOKEN]")


async def test_a_head_that_is_gone_is_a_failure_of_the_machine() -> None:
    def nodes() -> None:
        raise RuntimeError("Failed to connect to GCS\nand more")

    ray: Any = SimpleNamespace(nodes=nodes, exceptions=SimpleNamespace(RayError=OSError))
    with pytest.raises(MachineError, match="does not answer any more: Failed to connect to GCS"):
        await Cluster(ray).nodes()


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "auto", None])
async def test_where_nobody_listens_ray_is_not_left_to_wait_for_minutes(
    monkeypatch: pytest.MonkeyPatch, address: str | None
) -> None:
    def init(**_: object) -> None:
        asked.append("ray")

    asked: list[str] = []
    util = SimpleNamespace(get_node_ip_address=lambda: "127.0.0.1")
    ray = SimpleNamespace(init=init, is_initialized=lambda: False, shutdown=lambda: None, util=util)
    monkeypatch.setattr("swarm.executors.ray.cluster.load", lambda: ray)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        port = taken.getsockname()[1]
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
        with pytest.raises(MachineError, match=r"cannot be reached: .*refused"):
            async with open_cluster(f"{address}:{port}" if address and address != "auto" else address):
                pass
    assert asked == []


def test_a_failure_arrives_as_what_it_was() -> None:
    limited = EndpointError(EndpointFault.RATE_LIMITED, "slow down", remedy="wait", retry_after=2.0, status=429)
    for error in (limited, SandboxError("gone", remedy="start it"), MachineError("broken")):
        told = error_of(pickle.loads(pickle.dumps(fault_from(error))))
        assert type(told) is type(error) and str(told) == str(error)
    again = error_of(fault_from(limited))
    assert isinstance(again, EndpointError)
    assert (again.kind, again.retry_after, again.status) == (limited.kind, 2.0, 429)
    assert "KeyError" in error_of(fault_from(KeyError("x"))).message


def with_history(repo: Path) -> None:
    (repo / "b").mkdir(parents=True)
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    for text in ("old\n", "a\n"):
        (repo / "a.txt").write_text(text)
        (repo / "b/c.txt").write_text(text)
        for command in (("init", "-q"), ("add", "-A"), (*who, "commit", "-q", "-m", "x")):
            subprocess.run(["git", *command], cwd=repo, check=True)


async def test_commits_travel_without_the_history(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    with_history(repo)
    home = await snapshot(repo, tmp_path / "home.git")
    there = packs.unbundle(pickle.loads(pickle.dumps(packs.bundle(home))), tmp_path / "there.git")
    assert await there.contents(home.base) == await home.contents(home.base)
    folder = tmp_path / "copy"
    folder.mkdir()
    await there.checkout(home.base, folder)
    (folder / "new.txt").write_text("new\n")
    made = await there.capture(folder, home.base, author="a", message="new")
    assert made.commit is not None
    packs.unpack(home.store, packs.pack(there.store, [made.commit], [home.base]))
    known = await reopen(home.store)
    assert b"+new" in await known.diff(home.base, made.commit)
    with pytest.raises(MachineError):
        packs.unpack(home.store, b"PACK but damaged")


class Sink:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    async def flush(self) -> None:
        """Nothing waits."""


async def test_an_attempt_whose_node_is_gone_is_closed_in_the_record() -> None:
    sink = Sink()
    started = AgentStarted(trajectory_id="a", role=Role.SUBAGENT, name="a", trainable=False, model="m")
    errand = Errand(started, Steering(), sink, None)
    errand.begin()
    errand.take(started.model_copy())  # the outpost's own: told once
    errand.take(CallSent(trajectory_id="a", call_id="a/1", attempt=1, prompt_tokens=7))
    errand.close(Outcome.ERRORED, LOST, "the node is lost")
    errand.take(CallSent(trajectory_id="a", call_id="a/2", attempt=1))  # too late
    assert [type(event) for event in sink.events] == [AgentStarted, CallSent, CallFinished, AgentEnded]
    call, end = sink.events[2:]
    assert isinstance(call, CallFinished) and isinstance(end, AgentEnded)
    assert (call.error, call.usage.prompt_tokens, call.estimated) == ("lost", 7, True)
    assert (end.outcome, end.stop, end.truncated) == (Outcome.ERRORED, LOST, True)


def test_steering_is_heard_where_the_attempt_is_made() -> None:
    steering, heard = Steering(), list[tuple[str | None, bool | None]]()
    steering.tell("before")
    assert steering.take_texts() == ["before"]
    steering.forward = lambda text, held: heard.append((text, held))
    steering.tell("now")
    steering.hold()
    steering.hold()
    steering.release()
    assert heard == [("now", None), (None, True), (None, False)]
    assert steering.take_texts() == []


def test_what_cannot_travel_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("swarm.executors.ray.cluster.load", lambda: None)
    config = RunConfig(executor="ray")
    refuse_elsewhere(config, Parts(tools=(count_stock,)))
    assert pickle.loads(pickle.dumps(count_stock)) is count_stock

    @tool
    async def local(key: str) -> str:
        """What is made in a function has no name to travel by."""
        return key

    def of_main(key: str) -> str:
        return key

    of_main.__module__, of_main.__qualname__ = "__main__", "of_main"
    of_the_program = tool(of_main)
    monkeypatch.setattr("__main__.of_main", of_the_program, raising=False)

    for given_config, parts in (
        (config.model_copy(update={"record": tmp_path / "tape"}), Parts()),
        (config.model_copy(update={"mcp": tmp_path / "servers"}), Parts()),
        (config.model_copy(update={"max_depth": 2}), Parts()),
        (config.model_copy(update={"ray_address": "ray://head:10001"}), Parts()),
        (config, Parts(tools=(local,))),
        (config, Parts(tools=(of_the_program,))),
    ):
        with pytest.raises(UsageError):
            refuse_elsewhere(given_config, parts)
        refuse_elsewhere(replace_executor(given_config), parts)
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    refuse_elsewhere(config.model_copy(update={"ray_address": "head:6379"}), Parts())
    for address in (None, "auto"):
        with pytest.raises(UsageError, match="Ray Client"):
            refuse_elsewhere(config.model_copy(update={"ray_address": address}), Parts())


def replace_executor(config: RunConfig) -> RunConfig:
    return config.model_copy(update={"executor": "local"})


def test_a_repository_does_not_say_where_work_is_done(tmp_path: Path) -> None:
    for line in ('executor = "ray"', 'ray_address = "stranger:6379"'):
        (tmp_path / "swarm.toml").write_text(line + "\n")
        with pytest.raises(UsageError, match="opens your machine"):
            load_config({}, {"HOME": str(tmp_path / "home")}, tmp_path)


def test_without_ray_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'swarm\[ray\]'"):
        refuse_elsewhere(RunConfig(executor="ray"), Parts())
