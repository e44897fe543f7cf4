"""The governor beside the one on paper, on a simulated clock: calls wait, are admitted, answered, refused and cancelled
in any order, and at any moment."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import anyio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from swarm.calls import Ask, ModelReply
from swarm.errors import EndpointError, EndpointFault, RateLimits
from swarm.models.admission.governor import Governor
from swarm.models.admission.waiting import Admission
from swarm.testing.simulated_loop import Simulation, by_bytes
from swarm.types import Role, Usage
from tests.effort import examples
from tests.models.paper_governor import OUTAGE, PaperGovernor

STATUS = {
    EndpointFault.RATE_LIMITED: 429,
    EndpointFault.OVERLOADED: 503,
    EndpointFault.WRONG_KEY: 401,
    EndpointFault.QUOTA_EXHAUSTED: 402,
    EndpointFault.REFUSED: 403,
}
limits = st.builds(
    RateLimits,
    requests_limit=st.just(10.0),
    requests_left=st.integers(0, 10).map(float),
    requests_reset_s=st.sampled_from([0.0, 1.0, 60.0]),
)
faults = st.sampled_from(
    [*STATUS, *[EndpointFault.RATE_LIMITED] * 4, EndpointFault.TIMED_OUT, EndpointFault.UNREACHABLE, EndpointFault.CUT]
)


@dataclass(eq=False)
class Call:
    scope: anyio.CancelScope
    go_on: anyio.Event
    """The call is over, for `end` or without one."""
    end: EndpointError | ModelReply | None = None
    admission: Admission | None = None


class Admissions(RuleBasedStateMachine):
    @initialize(order=st.binary(max_size=12), ceiling=st.sampled_from([1, 1, 2, 3, 20]), named=st.booleans())
    def begin(self, order: bytes, ceiling: int, named: bool) -> None:
        self.sim = Simulation(by_bytes(order))
        self.governor = Governor(ceiling, clock=self.sim.loop.time)
        self.paper = PaperGovernor(answer=self.sim.now)
        self.ceiling = ceiling
        self.waiting: list[Call] = []
        self.inside: list[Call] = []
        self.named, self.number = named, 0
        self.in_flight = self.admitted = self.unsent = 0
        self.sim.loop.watch = self.watch

    def watch(self) -> None:
        """After each callback: nobody was admitted whom the window has no place for."""
        s = self.governor.statistics()
        assert 1 <= s.window <= self.ceiling
        assert s.in_flight <= max(s.window, self.in_flight)
        assert len(self.inside) <= s.in_flight
        if s.admitted + self.unsent > self.admitted:
            # A call with a name that is refused again and again is nobody else's affair.
            assert self.sim.now >= self.paper.stopped_until
            assert self.named or not self.paper.problem(self.sim.now)
        self.in_flight, self.admitted = s.in_flight, max(self.admitted, s.admitted + self.unsent)

    @rule(role=st.sampled_from(Role), turn=st.integers(0, 9), count=st.sampled_from([1, 1, 3, 12]))
    def ask(self, role: Role, turn: int, count: int) -> None:
        for _ in range(count):
            self.number += 1
            since = self.sim.now if self.named else None
            call = Call(self.sim.do(anyio.CancelScope), self.sim.do(anyio.Event))
            self.waiting.append(call)
            self.sim.start(self._call, call, Ask(role, 10, turn=turn, since=since, trajectory_id=f"a{self.number % 5}"))

    async def _call(self, call: Call, ask: Ask) -> None:
        with call.scope:
            try:
                async with self.governor.admit(ask, "m") as admission:
                    self._admitted(call, admission)
                    try:
                        await call.go_on.wait()
                        self._learn(call, admission)
                    finally:
                        self.inside.remove(call)
                        self.unsent += not admission.sent
                        self.paper.sent.remove(admission.at)
            except EndpointError as error:
                assert call.admission is None
                assert error.kind in OUTAGE or self.sim.now < self.paper.refuses.get(error.kind, -inf), (
                    "it is refused for nothing"
                )
        if call in self.waiting:
            self.waiting.remove(call)

    def _admitted(self, call: Call, admission: Admission) -> None:
        self.waiting.remove(call)
        call.admission = admission
        assert not self.paper.tried(), "two calls try at once whether a fault is over"
        self.inside.append(call)
        self.paper.sent.append(admission.at)

    def _learn(self, call: Call, admission: Admission) -> None:
        admission.sent = call.end is not None
        if isinstance(call.end, EndpointError):
            since = admission.ask.since
            self.paper.failed(call.end, self.sim.now, admission.at, admission.at if since is None else since)
            self.governor.failed(call.end, admission)
        elif call.end is not None:
            self.paper.answered(self.sim.now, admission.at)
            self.governor.succeeded(call.end, admission)

    @precondition(lambda self: self.inside)
    @rule(data=st.data(), kind=faults, pause=st.sampled_from([None, 0.5, 20.0, 20.0, 20.0, 1000.0]))
    def fail(self, data: st.DataObject, kind: EndpointFault, pause: float | None) -> None:
        call = data.draw(st.sampled_from(self.inside))
        told = data.draw(st.none() | limits) if pause is None else None
        self._fails(call, EndpointError(kind, "no", retry_after=pause, status=STATUS.get(kind), limits=told))

    def _fails(self, call: Call, error: EndpointError) -> None:
        call.end = error
        self.sim.do(call.go_on.set)

    @precondition(lambda self: not self.waiting and not self.inside)
    @rule(wanted=st.booleans())
    def be_refused_after_long(self, wanted: bool) -> None:
        """Nobody was answered for long when a rate limit is met: because nobody asked, or though one `wanted` to."""
        self.limit(1)
        if wanted:
            self.ask(Role.SUBAGENT, 0, 2)
            self.settle(1000.0)
            for call in self.inside:
                self._fails(call, EndpointError(EndpointFault.CUT, "no"))
        else:
            self.settle(1000.0)
            self.ask(Role.SUBAGENT, 0, 1)
        self.settle(0.0)
        for call in self.inside:
            self._fails(call, EndpointError(EndpointFault.RATE_LIMITED, "no", status=429))
        self.ask(Role.SUBAGENT, 0, 1)
        self.settle(0.0)

    @precondition(lambda self: self.inside)
    @rule(data=st.data(), told=st.none() | limits, most=st.sampled_from([1, 1, 2, 20]))
    def answer(self, data: st.DataObject, told: RateLimits | None, most: int) -> None:
        for _ in range(min(most, len(self.inside))):
            call = data.draw(st.sampled_from(self.inside))
            call.end = self._reply(call, told)
            self.sim.do(call.go_on.set)

    def _reply(self, call: Call, told: RateLimits | None = None) -> ModelReply:
        assert call.admission is not None
        at, now = call.admission.at, self.sim.now
        return ModelReply(
            {}, "", (), "stop", Usage(prompt_tokens=20, completion_tokens=5, calls=1), "m", at, now, now, limits=told
        )

    @precondition(lambda self: self.waiting or self.inside)
    @rule(data=st.data(), sent=st.booleans())
    def give_up(self, data: st.DataObject, sent: bool) -> None:
        call = data.draw(st.sampled_from([*self.waiting[:3], *self.inside]))  # who is to be next is among the first
        if call.admission is not None:
            call.admission.sent = sent
        self.sim.do(call.scope.cancel)

    @rule(ceiling=st.integers(1, 20))
    def limit(self, ceiling: int) -> None:
        self.ceiling = ceiling
        self.sim.do(lambda: self.governor.limit(ceiling))

    @rule(count=st.integers(1, 8))
    def run_a_little(self, count: int) -> None:
        self.sim.steps(count)

    @rule(seconds=st.sampled_from([0.0, 0.0, 0.3, 2.0, 7.0, 30.0, 1000.0]))
    def settle(self, seconds: float) -> None:
        self.sim.settle(seconds)
        s = self.governor.statistics()
        assert (s.in_flight, s.waiting) == (len(self.inside), len(self.waiting))

    @precondition(lambda self: self.waiting and not self.inside)
    @rule()
    def be_patient(self) -> None:
        """Where no call is in flight, one is admitted some day, though nothing happens but the time."""
        waited = len(self.waiting)
        self.sim.settle(2000.0)
        assert self.inside or len(self.waiting) < waited

    @invariant()
    def it_tells_what_it_knows(self) -> None:
        assert repr(self.governor)
        assert self.governor.estimated_wait(Ask(Role.SUBAGENT, 10)) >= 0.0

    def teardown(self) -> None:
        """Whoever waits is served in the end, where calls are answered and time passes; then nothing is left."""
        if not hasattr(self, "sim"):
            return
        for _ in range(500):
            self.sim.settle()
            if not self.waiting and not self.inside:
                break
            for call in self.inside:
                call.end = self._reply(call)
                self.sim.do(call.go_on.set)
            self.sim.settle(60.0)
        assert not self.waiting, f"starved: {self.governor!r}"
        assert self.governor.statistics()[:3] == (0, self.governor.statistics().window, 0)
        self.sim.close()


Admissions.TestCase.settings = settings(max_examples=examples(80), stateful_step_count=30)
TestAdmissions = Admissions.TestCase
