"""One governor for several machines, on a simulated clock: messages arrive late, machines are lost at any moment, and
all together never have more calls in flight than the governor admits."""

from __future__ import annotations

import anyio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from swarm.calls import Ask, ModelReply
from swarm.errors import EndpointError, EndpointFault, RateLimits
from swarm.testing.simulated_loop import Simulation, by_bytes
from swarm.types import Role, Usage
from tests.effort import examples
from tests.models.leased_world import Node, World
from tests.models.paper_governor import FOR_GOOD, OUTAGE, PaperGovernor
from tests.models.test_governor import STATUS, Call, faults, limits


class LeasedAdmissions(RuleBasedStateMachine):
    @initialize(order=st.binary(max_size=12), ceiling=st.sampled_from([1, 2, 3, 5, 20]), named=st.booleans())
    def begin(self, order: bytes, ceiling: int, named: bool) -> None:
        self.sim = Simulation(by_bytes(order))
        self.world = World(self.sim, ceiling)
        self.paper = PaperGovernor(answer=self.sim.now)
        self.here: list[Call] = []
        self.lost, self.admitted_here = False, 0
        self.named, self.number = named, 0
        self.ceiling, self.in_flight, self.begun, self.known = ceiling, 0, 0, True
        for _ in range(2):
            self.world.join()
        self.sim.loop.watch = self.watch

    def watch(self) -> None:
        """After each callback: all together have no more than the governor has a place for."""
        s = self.world.governor.statistics()
        assert s.in_flight <= max(s.window, self.in_flight), "more places than the window has"
        here = sum(call.admission is not None for call in self.here)
        states = [node.governor.statistics() for node in self.world.nodes if node.governor is not None]
        assert sum(each.in_flight for each in states) + here <= s.in_flight, "more calls than places"
        begun = sum(each.admitted for each in states)
        if begun > self.begun and self.known and not self.named:
            assert not self.paper.problem(self.sim.now), "a call is sent though all know that none may"
        self.in_flight, self.begun, self.known = s.in_flight, begun, not self.world.under_way

    @precondition(lambda self: len(self.world.nodes) < 4)
    @rule()
    def join(self) -> None:
        self.world.join()

    @rule(data=st.data(), turn=st.integers(0, 9), count=st.sampled_from([1, 1, 3, 12]), here=st.integers(0, 4))
    def ask(self, data: st.DataObject, turn: int, count: int, here: int) -> None:
        node = data.draw(st.sampled_from(self.world.nodes)) if here and self.world.nodes else None
        for _ in range(count):
            self.number += 1
            since = self.sim.now if self.named else None
            call = Call(self.sim.do(anyio.CancelScope), self.sim.do(anyio.Event))
            role = Role.SUBAGENT if node else Role.ORCHESTRATOR
            (node.calls if node else self.here).append(call)
            ask = Ask(role, 10, turn=turn, since=since, trajectory_id=f"a{self.number % 5}")
            self.sim.start(self._call, call, ask, node)

    async def _call(self, call: Call, ask: Ask, node: Node | None) -> None:
        governor, here = self.world.governor if node is None else node.governor, node is None
        assert governor is not None
        with call.scope:
            try:
                async with governor.admit(ask, "m") as admission:
                    call.admission = admission
                    await call.go_on.wait()
                    admission.sent = call.end is not None
                    if isinstance(call.end, EndpointError):
                        wanted = admission.at if ask.since is None else ask.since
                        self.paper.failed(call.end, self.sim.now, admission.at, wanted)
                        self.known = self.known and node is None
                        governor.failed(call.end, admission)
                    elif call.end is not None:
                        self.paper.answered(self.sim.now, admission.at)
                        governor.succeeded(call.end, admission)
            except EndpointError as error:
                here = False
                assert call.admission is None
                assert error.kind in (*FOR_GOOD, *OUTAGE)
        self.admitted_here += here and call.admission is not None and call.admission.sent
        calls = self.here if node is None else node.calls
        calls.remove(call)

    def inside(self) -> list[Call]:
        calls = [*self.here, *(call for node in self.world.nodes for call in node.calls)]
        return [call for call in calls if call.admission is not None and not call.go_on.is_set()]

    @precondition(lambda self: self.inside())
    @rule(data=st.data(), kind=faults, pause=st.sampled_from([None, 0.5, 20.0, 20.0, 20.0, 1000.0]))
    def fail(self, data: st.DataObject, kind: EndpointFault, pause: float | None) -> None:
        call = data.draw(st.sampled_from(self.inside()))
        told = data.draw(st.none() | limits) if pause is None else None
        call.end = EndpointError(kind, "no", retry_after=pause, status=STATUS.get(kind), limits=told)
        self.sim.do(call.go_on.set)

    @precondition(lambda self: self.inside())
    @rule(data=st.data(), told=st.none() | limits, most=st.sampled_from([1, 1, 2, 20]))
    def answer(self, data: st.DataObject, told: RateLimits | None, most: int) -> None:
        for _ in range(min(most, len(self.inside()))):
            call = data.draw(st.sampled_from(self.inside()))
            call.end = reply(call, self.sim.now, told)
            self.sim.do(call.go_on.set)

    @rule(data=st.data(), sent=st.booleans())
    def give_up(self, data: st.DataObject, sent: bool) -> None:
        calls = [*self.here, *(call for node in self.world.nodes for call in node.calls)]
        if calls:
            call = data.draw(st.sampled_from(calls))
            if call.admission is not None:
                call.admission.sent = sent
            self.sim.do(call.scope.cancel)

    @rule(ceiling=st.integers(1, 20))
    def limit(self, ceiling: int) -> None:
        self.sim.do(lambda: self.world.governor.limit(ceiling))

    @precondition(lambda self: self.world.nodes)
    @rule(data=st.data(), up=st.booleans(), most=st.integers(1, 6))
    def deliver(self, data: st.DataObject, up: bool, most: int) -> None:
        node = data.draw(st.sampled_from(self.world.nodes))
        channel = node.up if up else node.down
        self.sim.do(lambda: channel.deliver(most))

    @precondition(lambda self: self.world.nodes)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        node = data.draw(st.sampled_from(self.world.nodes))
        self.lost = True
        self.in_flight = 10_000  # what is gone is not counted any more, before its places are free
        self.begun = 10_000
        for call in node.calls:
            self.sim.do(call.scope.cancel)
        self.world.lose(node)

    @rule(count=st.integers(1, 8))
    def run_a_little(self, count: int) -> None:
        self.sim.steps(count)

    @rule(seconds=st.sampled_from([0.0, 0.3, 2.0, 7.0, 30.0, 1000.0]))
    def settle(self, seconds: float) -> None:
        """Where all has arrived, both sides count the same, and no place is kept that somebody waits for."""
        self.world.quiet(seconds)
        self.world.quiet()
        s = self.world.governor.statistics()
        states = [node.governor.statistics() for node in self.world.nodes if node.governor is not None]
        here = sum(call.admission is not None for call in self.here)
        assert s.in_flight == here + sum(each.window for each in states), "a place was lost"
        waiting = sum(each.waiting for each in states) + len(self.here) - here
        kept = sum(each.window - each.in_flight for each in states)
        assert not (waiting and kept), "one waits for a place that nobody uses"
        assert s.rate is None or not kept, "a place is kept though each call needs its own"
        assert s.waiting <= waiting, "one waits who is gone"
        assert self.lost or s.admitted == here + self.admitted_here + sum(each.admitted for each in states)
        if waiting and not self.named:
            assert s.waiting, "one waits of whom the authority does not know"

    @invariant()
    def it_tells_what_it_knows(self) -> None:
        for node in self.world.nodes:
            assert repr(node.governor)
            assert node.governor is not None
            assert node.governor.estimated_wait(Ask(Role.SUBAGENT, 10)) >= 0.0

    def teardown(self) -> None:
        """Whoever waits is served in the end; then nothing is left."""
        if not hasattr(self, "sim"):
            return
        for _ in range(300):
            self.world.quiet(rounds=4)
            left = [*self.here, *(call for node in self.world.nodes for call in node.calls)]
            if not left:
                break
            for call in self.inside():
                call.end = reply(call, self.sim.now)
                self.sim.do(call.go_on.set)
            self.world.quiet(60.0, rounds=4)
        assert not left, f"starved: {self.world.authority!r}"
        while self.world.nodes:
            self.begun = self.in_flight = 10_000
            self.world.lose(self.world.nodes[0])
        self.sim.settle()
        assert self.world.governor.statistics().in_flight == 0
        assert self.world.governor.statistics().waiting == 0
        self.sim.close()


def reply(call: Call, now: float, told: RateLimits | None = None) -> ModelReply:
    assert call.admission is not None
    at, usage = call.admission.at, Usage(prompt_tokens=20, completion_tokens=5, calls=1)
    return ModelReply({}, "", (), "stop", usage, "m", at, now, now, limits=told)


LeasedAdmissions.TestCase.settings = settings(max_examples=examples(25), stateful_step_count=30)
TestLeasedAdmissions = LeasedAdmissions.TestCase
