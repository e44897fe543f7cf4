"""Admission of several machines: who gets the places of the one governor, and what holds for all."""

from __future__ import annotations

import gc
import sys

import anyio
import pytest

from swarm.calls import Ask
from swarm.errors import EndpointError, EndpointFault
from swarm.models.admission.authority import AdmissionAuthority
from swarm.models.admission.lease_messages import Began, Ended
from swarm.models.admission.leased import LeasedGovernor
from swarm.testing.simulated_loop import Simulation
from swarm.types import Role
from tests.models.leased_world import Node, Workers, World, leased


def test_one_call_follows_the_other_without_a_message_from_outside() -> None:
    sim = Simulation()
    world = World(sim, 20)
    node, workers = world.join(), Workers(world)
    workers.start("a", leased(node), 5)
    world.quiet(4.0, rounds=40)
    before = workers.served["a"]
    assert before > 0
    sim.settle(50.0)  # nothing is delivered
    assert workers.served["a"] - before >= 245
    sim.close()


@pytest.mark.parametrize("places", [1, 8])
def test_nobody_starves_where_places_are_short(places: int) -> None:
    """Two machines, one with much more to do, and somebody beside them: each call has its turn, and no place idles."""
    sim = Simulation()
    world = World(sim, places)
    much, little, workers = world.join(), world.join(), Workers(world)
    workers.start("much", leased(much), 30)
    world.quiet(5.0, rounds=25)
    workers.start("little", leased(little), 1)
    workers.start("here", world.governor, 1)
    workers.served.clear()
    world.quiet(60.0, rounds=300)
    assert sum(workers.served.values()) >= 0.7 * 60 * places
    turns = 60 * places / 32
    assert min(workers.served["much"] / 30, workers.served["little"], workers.served["here"]) >= 0.6 * turns - 1
    assert max(workers.served["little"], workers.served["here"]) <= 1.6 * turns + 2
    sim.close()


def test_a_machine_that_has_nothing_to_do_gives_its_places_back() -> None:
    sim = Simulation()
    world = World(sim, 4)
    idle, busy, workers = world.join(), world.join(), Workers(world)
    for _ in range(4):
        sim.start(workers.call, "idle", leased(idle))
    world.quiet(3.0, rounds=30)
    assert workers.served["idle"] == 4
    assert leased(idle).statistics().window == 4
    workers.start("busy", leased(busy), 4)
    world.quiet()
    assert leased(idle).statistics().window == 0
    assert leased(busy).statistics().in_flight == 4
    sim.close()


def test_what_one_is_refused_holds_all() -> None:
    """A 429 with a pause at one machine: the others send nothing either, once they have heard of it, and then go on at
    the rate that was learnt."""
    sim = Simulation()
    world = World(sim, 8)
    nodes, workers = [world.join(), world.join()], Workers(world)
    for node in nodes:
        workers.start(node.name, leased(node), 4)
    world.quiet(5.0, rounds=50)
    error = EndpointError(EndpointFault.RATE_LIMITED, "slowly", retry_after=30.0, status=429)
    sim.do(lambda: leased(nodes[0]).failed(error))
    assert leased(nodes[0]).estimated_wait(Ask(Role.SUBAGENT, 1)) >= 0
    world.quiet()
    world.quiet(3.0, rounds=30)  # what is on its way ends
    before = sum(workers.served.values())
    assert all(leased(node).statistics().in_flight == 0 for node in nodes)
    assert all(leased(node).estimated_wait(Ask(Role.SUBAGENT, 1)) > 20 for node in nodes)
    world.quiet(25.0, rounds=50)
    assert sum(workers.served.values()) == before
    world.quiet(60.0, rounds=120)
    assert min(workers.served[node.name] for node in nodes) > before / 2 + 10
    sim.close()


def test_an_idle_machine_hears_what_another_was_refused() -> None:
    sim = Simulation()
    world = World(sim, 8)
    one, two, workers = world.join(), world.join(), Workers(world)
    for node in (one, two):
        sim.start(workers.call, node.name, leased(node))
    world.quiet(2.0)
    assert leased(two).statistics().window == 1
    error = EndpointError(EndpointFault.RATE_LIMITED, "slowly", retry_after=30.0, status=429)
    sim.do(lambda: leased(one).failed(error))
    world.quiet()
    assert leased(two).statistics().window == 0, "no place is kept: each call needs its own"
    sim.start(workers.call, "two", leased(two))
    world.quiet(20.0)
    assert workers.served["two"] == 0
    world.quiet(20.0)
    assert workers.served["two"] == 1
    sim.close()


def test_who_was_refused_sends_nothing_before_the_others_know() -> None:
    sim = Simulation()
    world = World(sim, 4)
    node, workers = world.join(), Workers(world)
    workers.start("a", leased(node), 8)
    world.quiet(3.0, rounds=12)
    assert leased(node).statistics()[:3] == (4, 4, 4)
    sim.do(lambda: leased(node).failed(EndpointError(EndpointFault.OVERLOADED, "no", status=503)))
    sim.settle(5.0)
    assert leased(node).statistics().in_flight == 0, "those in flight end, and none follows"
    world.quiet()
    assert leased(node).statistics().in_flight > 0
    sim.close()


def test_the_window_does_not_grow_over_places_that_nobody_uses() -> None:
    sim = Simulation()
    world = World(sim, 100)
    node, workers = world.join(), Workers(world)
    for _ in range(16):
        sim.start(workers.call, "there", leased(node))
    world.quiet(2.0)
    assert world.governor.statistics()[:3] == (16, 16, 0)
    sim.start(workers.call, "here", world.governor)
    sim.settle(10.0)  # nobody hears that one waits
    assert world.governor.statistics()[:3] == (16, 16, 1)
    world.quiet(2.0)
    assert workers.served["here"] == 1
    sim.close()


def test_a_place_that_is_given_too_late_stays_here() -> None:
    """Who wanted it has gone, and the word of that comes between its being given and its being sent."""
    sim = Simulation()
    world = World(sim, 1)
    node, workers, scope = world.join(), Workers(world), sim.do(anyio.CancelScope)
    sim.start(workers.call, "here", world.governor)

    async def wait() -> None:
        with scope:
            await workers.call("there", leased(node))

    sim.settle(0.5)
    sim.start(wait)
    world.quiet()
    sim.do(scope.cancel)
    sim.settle()
    assert world.governor.statistics()[:3] == (1, 1, 1)

    def hear_of_it() -> None:
        if world.governor.statistics().waiting == 0:
            node.up.deliver()

    sim.loop.watch = hear_of_it
    sim.settle(1.0)  # the call here ends, and the other is admitted
    sim.loop.watch = None
    world.quiet()
    assert world.governor.statistics()[:3] == (0, 1, 0)
    assert leased(node).statistics().window == 0
    sim.close()


@pytest.mark.parametrize("limited", [False, True])
def test_a_place_that_comes_when_nobody_wants_it_any_more_goes_back(limited: bool) -> None:
    sim = Simulation()
    world = World(sim, 1)
    node, workers, scope = world.join(), Workers(world), sim.do(anyio.CancelScope)
    if limited:
        sim.do(lambda: leased(node).failed(EndpointError(EndpointFault.RATE_LIMITED, "slowly", status=429)))
        world.quiet(10.0)

    async def wait() -> None:
        with scope:
            await workers.call("there", leased(node))

    sim.start(wait)
    sim.settle()
    sim.do(node.up.deliver)
    sim.settle()
    assert world.governor.statistics().in_flight == 1
    sim.do(scope.cancel)
    world.quiet()
    assert leased(node).statistics()[:3] == (0, 0 if limited else 1, 0)
    assert world.governor._idle == world.governor.statistics().in_flight == (0 if limited else 1)
    sim.start(workers.call, "here", world.governor)
    world.quiet(10.0)
    assert workers.served == {"here": 1}
    assert world.governor.statistics().admitted == 1
    sim.close()


@pytest.mark.parametrize("limited", [False, True])
def test_who_waits_no_more_is_not_waited_for(limited: bool) -> None:
    sim = Simulation()
    world = World(sim, 1)
    node, workers, scope = world.join(), Workers(world, 1000.0), sim.do(anyio.CancelScope)
    if limited:
        sim.do(lambda: leased(node).failed(EndpointError(EndpointFault.RATE_LIMITED, "slowly", status=429)))
        world.quiet(10.0)
    sim.start(workers.call, "here", world.governor)

    async def wait() -> None:
        with scope:
            await workers.call("there", leased(node))

    sim.start(wait)
    world.quiet()
    assert world.governor.statistics().waiting == 1
    sim.do(scope.cancel)
    world.quiet()
    assert world.governor.statistics().waiting == 0
    sim.close()


def test_two_runs_share_a_governor() -> None:
    """Each has an authority of its own over the same places."""
    sim = Simulation()
    world = World(sim, 4)
    other, workers = AdmissionAuthority(world.governor, sim.loop.time), Workers(world)
    sim.start(other.run)
    sim.settle()
    one, two = world.join(), Node("of the other run")
    two.governor = LeasedGovernor(two.up.send, sim.loop.time)
    two.down.hear, two.up.hear = two.governor.hear, lambda message: other.hear("x", message)
    sim.do(lambda: other.join("x", two.down.send))
    for _ in range(4):
        sim.start(workers.call, "one", leased(one))
    world.quiet(3.0, rounds=12)
    assert leased(one).statistics().window == 4
    world.nodes.append(two)
    for _ in range(4):
        sim.start(workers.call, "two", leased(two))
    world.quiet(3.0, rounds=12)
    assert workers.served == {"one": 4, "two": 4}
    sim.close()


def test_a_smaller_window_is_kept_to_as_calls_end() -> None:
    sim = Simulation()
    world = World(sim, 16)
    nodes, workers = [world.join(), world.join()], Workers(world)
    for node in nodes:
        workers.start(node.name, leased(node), 8)
    world.quiet(5.0, rounds=50)
    assert sum(leased(node).statistics().in_flight for node in nodes) == 16
    sim.do(lambda: world.governor.limit(6))
    world.quiet()
    world.quiet(1.5, rounds=30)
    assert sum(leased(node).statistics().window for node in nodes) <= 6
    served = workers.served.copy()
    world.quiet(10.0, rounds=50)
    assert all(workers.served[node.name] - served[node.name] >= 15 for node in nodes)
    sim.close()


def test_a_fault_for_good_ends_the_calls_of_all() -> None:
    sim = Simulation()
    world = World(sim, 1)
    nodes = [world.join(), world.join()]
    ends: list[EndpointFault] = []

    async def call(node: Node) -> None:
        try:
            async with leased(node).admit(Ask(Role.SUBAGENT, 10), "m") as admission:
                admission.sent = True
                await anyio.sleep(1.0)
                error = EndpointError(EndpointFault.WRONG_KEY, "who are you", remedy="set it", status=401)
                leased(node).failed(error, admission)
                raise error
        except EndpointError as error:
            ends.append(error.kind)
            assert error.remedy == "set it"

    for node in nodes:
        for _ in range(3):
            sim.start(call, node)
    world.quiet(2.0, rounds=20)
    assert ends == [EndpointFault.WRONG_KEY] * 6
    sim.close()


def test_news_are_told_once() -> None:
    sim = Simulation()
    world = World(sim, 2)
    nodes, said = [world.join(), world.join()], list[str]()

    async def call(node: Node) -> None:
        async with leased(node).admit(Ask(Role.SUBAGENT, 10, tell=said.append), "m"):
            await anyio.sleep(1000.0)

    for node in (*nodes, *nodes):
        sim.start(call, node)
    world.quiet()
    sim.do(lambda: world.governor.tell_all("look out"))
    world.quiet()
    assert said == ["look out"]
    sim.close()


def test_a_call_whose_place_is_kept_is_admitted_at_once() -> None:
    """It stands in no line: it begins, it ends, and the authority hears of both."""
    sim = Simulation()
    world = World(sim, 20)
    node, workers = world.join(), Workers(world, 0.0)
    sim.start(workers.call, "a", leased(node))
    world.quiet(4.0, rounds=20)
    sent, calls = len(node.up.sent), 0

    def count(frame: object, event: str, arg: object) -> None:
        nonlocal calls
        calls += event == "call"

    async def call() -> None:
        gc.disable()  # others (hypothesis) are called when it works, and those are none of ours
        sys.setprofile(count)
        try:
            async with leased(node).admit(Ask(Role.SUBAGENT, 10), "m") as admission:
                admission.sent = True
        finally:
            sys.setprofile(None)
            gc.enable()

    sim.start(call)
    sim.settle()
    assert [type(message) for message in node.up.sent[sent:]] == [Began, Ended]
    assert 0 < calls <= 35, calls
    sim.close()
