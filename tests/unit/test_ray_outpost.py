"""The actor of a node, without Ray and without a station."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest
from anyio.abc import SocketAttribute

from swarm.config import RunConfig
from swarm.errors import MachineError, SandboxError
from swarm.executors.ray import outpost
from swarm.executors.ray.cluster import Node
from swarm.executors.ray.fleet import Fleet
from swarm.executors.ray.link import Link
from swarm.executors.ray.mail import Bundle
from swarm.executors.ray.messages import Answer, Arrived, Commits, Fault, Steered, Supplies, Work
from swarm.executors.ray.outpost import BUDGET, Outpost
from swarm.executors.ray.packing import pack
from swarm.executors.ray.relay import Relay
from swarm.executors.ray.station import Station
from swarm.executors.ray.wire import Door, RayLine, Wire, open_line

pytestmark = pytest.mark.anyio

SUPPLIES = Supplies("0", "run", RunConfig(), "m", None, None, None, None, "", False, (), "/w")


@pytest.mark.parametrize("error", [SandboxError("no sandbox here", remedy="mend it"), AttributeError("no such thing")])
async def test_why_a_node_cannot_be_used_is_told(error: Exception) -> None:
    @asynccontextmanager
    async def broken(supplies: Supplies, relay: Relay) -> AsyncIterator[Station]:
        if supplies.run_id:
            raise error
        yield cast("Station", None)  # never reached

    actor = Outpost(broken)
    fault = await actor.serve(SUPPLIES, None)
    await actor.ended()
    told = await actor.arrived()
    assert isinstance(told, Fault) and told == fault
    assert str(error).partition(";")[0] in told.message


async def test_one_with_nothing_to_say_answers_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outpost, "SPEAKS_S", 0.0)

    @asynccontextmanager
    async def never(supplies: Supplies, relay: Relay) -> AsyncIterator[Any]:
        yield None

    actor = Outpost(never)
    with anyio.fail_after(30):
        assert await actor.speak((1, b"")) == (1, b"")


class Budget:
    """In the place of one that is leased: what it hears."""

    def __init__(self, lease: object, send: object) -> None:
        self.heard: list[Any] = []

    def hear(self, message: Any) -> None:
        self.heard.append(message)


async def test_what_is_said_to_an_attempt_that_waits_for_commits_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """In its order, before what is said when it has begun."""
    monkeypatch.setattr(outpost, "LeasedBudget", Budget)
    go_on, begun = anyio.Event(), list[Any]()

    async def learn(data: bytes) -> None:
        await go_on.wait()

    @asynccontextmanager
    async def station(supplies: Supplies, relay: Relay) -> AsyncIterator[Any]:
        pool = SimpleNamespace(workshop=SimpleNamespace(backend=SimpleNamespace(name="x")))
        yield SimpleNamespace(pool=pool, slots=1, notices=(), learn=learn)

    async def make(work: Work, station: Station, attempt: Any) -> None:
        begun.append(attempt)

    actor = Outpost(station)
    monkeypatch.setattr(actor, "_make", make)
    async with anyio.create_task_group() as group:
        group.start_soon(actor.serve, SUPPLIES, None)
        await actor.arrived()
        work, channel = Work({"trajectory_id": "a"}, "", None), BUDGET + "a"
        words = [(channel, 1), Steered("a", cancelled=True), (channel, 2), (BUDGET + "other", 3)]
        await actor.hear((1, pack([Commits(b""), work, *words])))
        await anyio.wait_all_tasks_blocked()
        assert begun == []
        go_on.set()
        await anyio.wait_all_tasks_blocked()
        await actor.hear((2, pack([(channel, 4)])))
        assert begun[0].budget.heard == [1, 2, 4] and begun[0].scope.cancel_called
        await actor.leave()


class Unavailable(Exception):
    """As Ray says of an actor that lives on."""


async def test_a_bundle_that_is_lost_on_its_way_out_ends_the_line() -> None:
    """The outpost would wait for its number for ever, and hear nothing more, while it is listened to."""

    async def hear(bundle: Bundle) -> None:
        raise Unavailable

    async def speak(bundle: Bundle) -> None:
        await anyio.sleep_forever()

    actor = SimpleNamespace(hear=SimpleNamespace(remote=hear), speak=SimpleNamespace(remote=speak))
    nobody: Any = None
    cluster: Any = SimpleNamespace(lost=(Unavailable,))
    desk: Any = SimpleNamespace(store=None)
    link = Link(Node("n", "n", 1.0), RayLine(actor), Arrived("", 0.0, "x", 1), desk, set())
    fleet, ended = Fleet(cluster, nobody, SUPPLIES, nobody), anyio.Event()

    async def converse() -> None:
        with pytest.raises(Unavailable):
            await fleet._converse(link, anyio.sleep_forever())
        ended.set()

    async with anyio.create_task_group() as group:
        group.start_soon(converse)
        await anyio.wait_all_tasks_blocked()
        link.post(Answer(1))  # it is listened already: this goes by itself
        with anyio.fail_after(5):
            await ended.wait()


async def test_why_an_outpost_ended_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what it returns: that its connection ended is heard first, and tells nothing."""
    monkeypatch.setattr(outpost, "address", lambda: "127.0.0.1")

    def told(channel: str, said: object) -> None:
        raise ValueError("no such channel")

    @asynccontextmanager
    async def station(supplies: Supplies, relay: Relay) -> AsyncIterator[Any]:
        pool = SimpleNamespace(workshop=SimpleNamespace(backend=SimpleNamespace(name="x")))
        try:
            yield SimpleNamespace(pool=pool, slots=1, notices=(), told=told)
        finally:
            await anyio.wait_all_tasks_blocked()  # there is something to be put away

    actor, over, faults = Outpost(station), anyio.Event(), list[Fault | None]()

    async def serve() -> None:
        faults.append(await actor.serve(SUPPLIES, None))
        over.set()

    async def served() -> Fault | None:
        await over.wait()
        return faults[0]

    nobody: Any = None
    cluster: Any = SimpleNamespace(lost=(Unavailable,))
    desk: Any = SimpleNamespace(store=None)
    async with anyio.create_task_group() as group:
        group.start_soon(serve)
        greeting = await actor.arrived()
        assert isinstance(greeting, Arrived)
        async with open_line(None, greeting.door, "n") as line:
            assert isinstance(line, Wire)
            link = Link(Node("n", "n", 1.0), line, greeting, desk, set())
            link.say("nobody's", 1)
            with anyio.fail_after(30), pytest.raises(MachineError, match="n ended: ValueError: no such channel"):
                await Fleet(cluster, nobody, SUPPLIES, nobody)._converse(link, served())


async def test_an_outpost_that_is_given_up_before_its_line_stands_puts_away_what_it_used() -> None:
    asked = list[str]()

    async def place(*given: object) -> Any:
        return actor

    async def end(actor: object) -> None:
        asked.append("end")

    def method(name: str, said: object = None) -> Any:
        async def remote() -> object:
            asked.append(name)
            return said

        return SimpleNamespace(remote=remote)

    nobody: Any = None
    cluster: Any = SimpleNamespace(lost=(Unavailable,), place=place, end=end)
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as silent:
        first: Any = silent.listeners[0]
        door = Door("127.0.0.1", silent.extra(SocketAttribute.local_port), b"k" * 64)
        actor = SimpleNamespace(leave=method("leave"), ended=method("ended"))
        actor.arrived = method("arrived", Arrived("", 0.0, "x", 1, door=door))
        actor.serve = SimpleNamespace(remote=lambda *given: object())
        fleet = Fleet(cluster, cast("Any", SimpleNamespace(image=None)), SUPPLIES, nobody)
        async with anyio.create_task_group() as group:
            group.start_soon(fleet._hold, Node("n", "n", 1.0))
            with anyio.fail_after(30):
                knocking = await first.accept()
            group.cancel_scope.cancel()
        await anyio.aclose_forcefully(knocking)
    assert asked == ["arrived", "leave", "ended", "end"]
