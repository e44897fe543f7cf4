"""What the Ray executor is made of, without Ray: mail, packs, the record of an attempt whose node is gone, refusals."""

from __future__ import annotations

import pickle
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm import tool
from swarm.config import RunConfig, load_config
from swarm.elsewhere import refuse_elsewhere
from swarm.errors import EndpointError, EndpointFault, MachineError, SandboxError, UsageError
from swarm.events import AgentEnded, AgentStarted, CallFinished, CallSent, Event
from swarm.executors.ray.cluster import Cluster, Node
from swarm.executors.ray.errand import LOST, Errand
from swarm.executors.ray.link import Link
from swarm.executors.ray.mail import GATHER_S, LINGER_S, MOST, MUCH, Inbox, Outbox
from swarm.executors.ray.messages import Arrived, Taken, error_of, fault_from
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


@given(st.lists(st.lists(st.integers(), max_size=3), max_size=8), st.randoms())
def test_mail_is_opened_in_the_order_in_which_it_was_closed(letters: list[list[int]], order: Any) -> None:
    outbox, taken = Outbox(), list[int]()
    bundles = []
    for items in letters:
        for item in items:
            outbox.put(item)
        bundles.append(outbox.close())
    order.shuffle(bundles)
    inbox = Inbox(taken.extend)
    for bundle in bundles:
        inbox.open(bundle)
    assert taken == [item for items in letters for item in items]


def test_a_message_waits_for_others_the_longer_the_more_is_said() -> None:
    now = 0.0
    outbox = Outbox(lambda: now)

    def due_after(count: int, seconds: float) -> float:
        """Of a message after so many in each of so many seconds."""
        nonlocal now
        for _ in range(int(seconds * 10)):
            for _ in range(count // 10):
                outbox.put("something")
            now += 0.1
            outbox.close()
        now += LINGER_S
        outbox.put("something")
        due_in = outbox.due_in
        outbox.close()
        return due_in

    assert due_after(0, 5.0) == pytest.approx(0.0, abs=1e-9), "alone it is sent at once"
    waits = [due_after(count, 5.0) for count in (MUCH // 10, MUCH // 2, MUCH, 3 * MUCH)]
    assert waits == pytest.approx([GATHER_S / 10, GATHER_S / 2, GATHER_S, GATHER_S], rel=0.05)
    now += 10.0
    outbox.put("something")
    outbox.close()
    assert due_after(0, 0.0) < LINGER_S, "it is forgotten how much was said"


async def test_a_bundle_that_is_full_waits_for_nothing_more() -> None:
    now = 0.0
    outbox, due = Outbox(lambda: now), list[int]()
    for _ in range(3 * MUCH):
        outbox.put("something")
    now += 1.0
    outbox.close()

    async def wait() -> None:
        await outbox.gathered()
        due.append(len(outbox))

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        outbox.put("something")
        await anyio.wait_all_tasks_blocked()
        assert due == []
        for _ in range(MOST - 1):
            outbox.put("something")
        await anyio.wait_all_tasks_blocked()
        assert due == [MOST]


async def test_who_waits_for_mail_is_woken_though_an_empty_bundle_was_closed() -> None:
    outbox, woken = Outbox(), list[int]()

    async def wait() -> None:
        await outbox.filled()
        woken.append(len(outbox))

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert outbox.close() == (1, b"")
        outbox.put("something")
        await anyio.wait_all_tasks_blocked()
        assert woken == [1]
        group.cancel_scope.cancel()


async def test_who_waits_until_all_is_taken_goes_on_with_the_bundle_that_it_went_with() -> None:
    """And not before: a call is made when the record that it is made is in the journal."""
    relay, gone_on = Relay(), list[str]()

    async def wait(name: str) -> None:
        relay.put(name)
        await relay.taken()
        gone_on.append(name)

    async with anyio.create_task_group() as group:
        for name in ("a", "b"):
            group.start_soon(wait, name)
        await anyio.wait_all_tasks_blocked()
        relay.outbox.close()
        group.start_soon(wait, "c")
        await anyio.wait_all_tasks_blocked()
        relay.hear(Taken(1))
        await anyio.wait_all_tasks_blocked()
        assert gone_on == []
        relay.hear(Taken(2))
        await anyio.wait_all_tasks_blocked()
        assert gone_on == ["a", "b"]
        relay.outbox.close()
        relay.hear(Taken(3))
        await anyio.wait_all_tasks_blocked()
        assert gone_on == ["a", "b", "c"]
        await relay.taken()  # nothing was said since


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
    refuse_elsewhere(config, Parts())

    @tool
    async def local(key: str) -> str:
        """What is made in a function has no name to travel by."""
        return key

    for given_config, parts in (
        (config.model_copy(update={"record": tmp_path / "tape"}), Parts()),
        (config.model_copy(update={"mcp": tmp_path / "servers"}), Parts()),
        (config.model_copy(update={"max_depth": 2}), Parts()),
        (config.model_copy(update={"ray_address": "ray://head:10001"}), Parts()),
        (config, Parts(tools=(local,))),
    ):
        with pytest.raises(UsageError):
            refuse_elsewhere(given_config, parts)
        refuse_elsewhere(replace_executor(given_config), parts)


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
