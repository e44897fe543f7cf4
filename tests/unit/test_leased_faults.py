"""Admission of several machines: a fault that ends by itself, calls that are given up, and words about places that are
not there."""

from __future__ import annotations

import anyio
import pytest

from swarm.calls import Ask, ModelReply
from swarm.errors import EndpointError, EndpointFault
from swarm.models.admission.governor import Governor
from swarm.models.admission.lease_messages import Began, Call, Ended, Returned, Wanted
from swarm.models.admission.leased import LeasedGovernor
from swarm.testing.simulated_loop import Simulation
from swarm.types import Role, Usage
from tests.models.leased_world import Workers, World, leased

ASK = Ask(Role.SUBAGENT, 10)


def test_a_halt_that_is_over_is_over_for_all() -> None:
    sim = Simulation()
    world = World(sim, 8)
    nodes = [world.join(), world.join()]
    world.quiet(1.0)
    sim.do(lambda: leased(nodes[0]).failed(EndpointError(EndpointFault.WRONG_KEY, "no", status=401)))
    world.quiet(1.0)
    assert [leased(node).estimated_wait(ASK) for node in nodes] == [float("inf")] * 2
    world.quiet(10.0, rounds=20)  # nobody calls meanwhile
    assert [leased(node).estimated_wait(ASK) for node in nodes] == [world.governor.estimated_wait(ASK)] * 2 == [0.0] * 2
    sim.close()


class Bad:
    """One call that is refused each time, beside others that pass."""

    def __init__(self, world: World, governor: Governor | LeasedGovernor) -> None:
        self.world, self.governor = world, governor
        self.sent, self.end = 0, ""

    async def others(self, name: str) -> None:
        sim = self.world.sim
        while True:
            async with self.governor.admit(Ask(Role.SUBAGENT, 10, since=sim.now, trajectory_id=name), "m") as admission:
                admission.sent = True
                await anyio.sleep(1.0)
                at, usage = admission.at, Usage(prompt_tokens=10, calls=1)
                reply = ModelReply({}, "", (), "stop", usage, "m", at, at, sim.now)
                self.governor.succeeded(reply, admission)

    async def one(self) -> None:
        ask = Ask(Role.SUBAGENT, 10, "p", 3, since=self.world.sim.now, trajectory_id="bad")
        while not self.end:
            try:
                async with self.governor.admit(ask, "m") as admission:
                    admission.sent = True
                    await anyio.sleep(0.1)
                    self.sent += 1
                    error = EndpointError(EndpointFault.RATE_LIMITED, "too large", status=429)
                    self.governor.failed(error, admission)
            except EndpointError as error:
                self.end = error.message
            await anyio.sleep(0.05)


def test_a_call_that_is_refused_time_and_again_is_put_apart_there_as_here() -> None:
    sent = []
    for elsewhere in (False, True):
        sim = Simulation()
        world = World(sim, 16)
        bad = Bad(world, leased(world.join()) if elsewhere else world.governor)
        for number in range(2):
            sim.start(bad.others, f"good {number}")
        sim.start(bad.one)
        for _ in range(3000):
            if bad.end:
                break
            sim.settle(0.2)
            world.deliver()
        assert "while other calls pass" in bad.end
        sent.append(bad.sent)
        sim.close()
    assert abs(sent[0] - sent[1]) <= 2, "sent as often"


def test_who_is_refused_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one call follows the other a wish names nobody; refused is whoever it was made for."""
    sim = Simulation()
    world = World(sim, 16)
    node, workers, ends = world.join(), Workers(world, 1000.0), list[str]()

    def hopeless(ask: Ask) -> int:
        return 14 if ask.turn == 3 else 0

    monkeypatch.setattr(world.governor._apart, "hopeless", hopeless)
    sim.start(workers.call, "other", leased(node))
    world.quiet(1.0)
    assert world.governor.free()

    async def call() -> None:
        try:
            async with leased(node).admit(Ask(Role.SUBAGENT, 10, turn=3, since=sim.now, trajectory_id="x"), "m"):
                ends.append("admitted")
        except EndpointError as error:
            ends.append(error.message)

    sim.start(call)
    world.quiet(2.0, rounds=50)
    assert len(ends) == 1 and "14 times" in ends[0]
    assert sum(isinstance(message, Wanted) for message in node.up.sent) == 2
    sim.close()


@pytest.mark.parametrize("gone", [False, True])
def test_a_call_apart_that_gives_up_leaves_nothing(gone: bool) -> None:
    """Withdrawn while it waits for its own place, or when that is on its way."""
    sim = Simulation()
    world = World(sim, 1)
    node, scope = world.join(), sim.do(anyio.CancelScope)
    ask = Ask(Role.SUBAGENT, 10, turn=3, since=sim.now, trajectory_id="bad")

    async def call() -> None:
        with scope:
            for _ in range(2):
                async with leased(node).admit(ask, "m") as admission:
                    admission.sent = True
                    leased(node).failed(EndpointError(EndpointFault.RATE_LIMITED, "no", status=429), admission)

    sim.start(call)
    sim.settle()
    sim.do(node.up.deliver)
    sim.settle()
    sim.do(node.down.deliver)  # admitted, refused, and asked for again
    sim.settle()
    assert leased(node).statistics().waiting == 1
    if gone:
        sim.do(node.up.deliver)
        sim.settle(60.0)
    sim.do(scope.cancel)
    world.quiet(60.0)
    assert leased(node).statistics()[:3] == (0, 0, 0)
    assert world.governor.statistics()[:3] == (0, 1, 0)
    sim.close()


def test_words_about_places_that_are_not_there_end_no_run() -> None:
    sim = Simulation()
    world = World(sim, 4)
    node, workers = world.join(), Workers(world)
    call = Call.of(ASK, "m", sim.now)
    for message in (Began(99, call, 0), Ended(99, None, True, True, 0), Returned((99,))):
        sim.do(lambda message=message: world.authority.hear(node.name, message))  # type: ignore[misc]  # by its value
    sim.start(workers.call, "a", leased(node))
    world.quiet(3.0, rounds=12)
    assert workers.served == {"a": 1}
    sim.close()
