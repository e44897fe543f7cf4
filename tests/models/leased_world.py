"""A governor with its authority, and machines that have their places from it: what admission of several machines is
tested with."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import anyio

from swarm.calls import Ask, ModelReply
from swarm.models.admission.authority import AdmissionAuthority
from swarm.models.admission.governor import Governor
from swarm.models.admission.leased import LeasedGovernor
from swarm.testing.simulated_loop import Simulation
from swarm.types import Role, Usage
from tests.models.channels import Channel
from tests.models.test_governor import Call


@dataclass(eq=False)
class Node:
    """A machine with an admission of its own."""

    name: str
    up: Channel = field(default_factory=Channel)
    down: Channel = field(default_factory=Channel)
    governor: LeasedGovernor | None = None
    calls: list[Call] = field(default_factory=list)
    """Those that wait or are in flight there."""
    lost: bool = False


class World:
    """A governor with its authority, and machines."""

    def __init__(self, sim: Simulation, ceiling: int) -> None:
        self.sim = sim
        self.governor = Governor(ceiling, clock=sim.loop.time)
        self.authority = AdmissionAuthority(self.governor, sim.loop.time)
        self.nodes: list[Node] = []
        self.count = 0
        sim.start(self.authority.run)
        sim.settle()

    def join(self) -> Node:
        self.count += 1
        node = Node(f"node {self.count}")
        node.governor = self.sim.do(lambda: LeasedGovernor(node.up.send, self.sim.loop.time))
        node.down.hear = node.governor.hear
        node.up.hear = lambda message: self.authority.hear(node.name, message)
        self.sim.do(lambda: self.authority.join(node.name, node.down.send))
        self.nodes.append(node)
        return node

    def lose(self, node: Node) -> None:
        self.nodes.remove(node)
        node.up.cut()
        node.down.cut()
        self.sim.do(lambda: self.authority.lost(node.name))

    def deliver(self) -> None:
        for node in self.nodes if self.under_way else ():
            if node.up.under_way:
                self.sim.do(node.up.deliver)
            if node.down.under_way:
                self.sim.do(node.down.deliver)

    def quiet(self, seconds: float = 0.0, rounds: int = 8) -> None:
        """All messages arrive, while so many seconds pass."""
        for _ in range(rounds):
            self.sim.settle(seconds / rounds)
            self.deliver()
        self.sim.settle()
        if not self.under_way:
            states = [leased(node).statistics() for node in self.nodes]
            assert self.governor._idle == sum(each.window - each.in_flight for each in states)

    @property
    def under_way(self) -> int:
        return sum(len(node.up.under_way) + len(node.down.under_way) for node in self.nodes)


class Workers:
    """Who make one call after the other, of so many seconds each."""

    def __init__(self, world: World, seconds: float = 1.0) -> None:
        self.world = world
        self.seconds = seconds
        self.served: Counter[str] = Counter()

    def start(self, name: str, governor: LeasedGovernor | Governor, count: int) -> None:
        for _ in range(count):
            self.world.sim.start(self._work, name, governor)

    async def _work(self, name: str, governor: LeasedGovernor | Governor) -> None:
        while True:
            await self.call(name, governor)

    async def call(self, name: str, governor: LeasedGovernor | Governor) -> None:
        async with governor.admit(Ask(Role.SUBAGENT, 10), "m") as admission:
            admission.sent = True
            await anyio.sleep(self.seconds)
            usage = Usage(prompt_tokens=10, calls=1)
            at, now = admission.at, self.world.sim.now
            governor.succeeded(ModelReply({}, "", (), "stop", usage, "m", at, at, now), admission)
        self.served[name] += 1


def leased(node: Node) -> LeasedGovernor:
    assert node.governor is not None
    return node.governor
