"""Budgets that are drawn on from other machines beside the one on paper: messages arrive late, machines are lost, and
those who hold grants that they do not use are asked for them."""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from swarm.budgets.budget import Budget, Reservation, Terms
from swarm.budgets.lease_messages import Settled, Took
from swarm.budgets.leased import LeasedBudget
from swarm.budgets.lessor import Lessor
from swarm.errors import BudgetExhausted
from swarm.testing.simulated_loop import Simulation, by_bytes
from tests.effort import examples
from tests.models.channels import Channel
from tests.models.paper_budget import Bound, Call, Decision, Node, PaperBudget
from tests.models.test_budget import bounds, few, limits

MOST = 5
plenty = st.integers(40, 200).map(lambda tokens: Bound(tokens, tokens / 4, tokens))
QUIET_S = 5.0


@dataclass(eq=False)
class Attempt:
    """One that is made elsewhere."""

    node: Node
    lessor: Lessor
    scope: anyio.CancelScope
    up: Channel = field(default_factory=Channel)
    down: Channel = field(default_factory=Channel)
    leased: LeasedBudget | None = None


@dataclass(eq=False)
class Asked:
    node: Node
    tokens: int
    usd: float
    scope: anyio.CancelScope
    attempt: Attempt | None
    fixed: bool
    """Else it does with as little as is left."""
    looks: bool
    """It waits for room, and then makes no call."""
    since: int = 0
    """Limits had been changed so often when it was asked for."""


@dataclass(eq=False)
class Taken:
    call: Call
    reservation: Reservation
    attempt: Attempt | None


class LeasedBudgets(RuleBasedStateMachine):
    @initialize(
        order=st.binary(max_size=12), root=bounds | plenty, purse=st.none() | bounds | plenty, honest=st.booleans()
    )
    def begin(self, order: bytes, root: Bound, purse: Bound | None, honest: bool) -> None:
        """`honest`: no endpoint counts more than was asked for, and no limit is changed."""
        self.sim = Simulation(by_bytes(order))
        self.paper = PaperBudget()
        self.real: dict[Node, Budget] = {}
        self.waiting: list[Asked] = []
        self.taken: list[Taken] = []
        self.attempts: list[Attempt] = []
        self.honest, self.changes, self.number = honest, 0, 0
        shared = Node("purse", purse) if purse is not None else None
        self.run = Node("run", root, purse=shared)
        self.real[self.run] = Budget(limits(root), name="run")
        if shared is not None and purse is not None:
            self.real[shared] = self.real[self.run].purse = Budget(limits(purse), name="purse")

    def below(self, above: Node, bound: Bound, terms: Terms = Terms()) -> Node:  # noqa: B008  a value
        self.number += 1
        node = Node(f"n{self.number}", bound, above, terms.part, terms.steps, terms.parallel, terms.counted)
        above.below.append(node)
        self.real[node] = self.real[above].part(node.name, limits(bound), terms)
        return node

    @precondition(lambda self: len(self.real) < MOST)
    @rule(bound=few, part=st.sampled_from([0.0, 0.0, 0.25, 0.5]), steps=st.integers(0, 1), parallel=st.booleans())
    def child(self, bound: Bound, part: float, steps: int, parallel: bool) -> None:
        self.below(self.run, bound, Terms(part=part, steps=steps, parallel=parallel))

    def places(self) -> list[Node]:
        made = {attempt.node for attempt in self.attempts}
        return [node for node in self.real if node.name != "purse" and node not in made]

    @precondition(lambda self: len(self.attempts) < 6)
    @rule(data=st.data())
    def attempt(self, data: st.DataObject) -> None:
        node = self.below(data.draw(st.sampled_from(self.places())), Bound())
        up, down = Channel(), Channel()
        lessor = self.sim.do(lambda: Lessor(self.real[node], down.send))
        attempt = Attempt(node, lessor, self.sim.do(anyio.CancelScope), up, down)
        attempt.leased = self.sim.do(lambda: LeasedBudget(lessor.first(), up.send, self.sim.loop.time))
        up.hear, down.hear = lessor.hear, attempt.leased.hear
        self.attempts.append(attempt)
        self.sim.start(self._run, attempt)

    async def _run(self, attempt: Attempt) -> None:
        with attempt.scope:
            await attempt.lessor.run()

    @precondition(lambda self: self.attempts)
    @rule(
        data=st.data(),
        tokens=st.sampled_from([0, 1, 2, 3, 4, 5, 6, 35, 90]),
        usd=st.integers(0, 6).map(lambda n: n / 4),
        fixed=st.booleans(),
        looks=st.sampled_from([False, False, True]),
        where=st.sampled_from(["there", "there", "there, at once", "there, at once", "here"]),
    )
    def ask(self, data: st.DataObject, tokens: int, usd: float, fixed: bool, looks: bool, where: str) -> None:
        """Elsewhere, or beside."""
        attempt = None if where == "here" else data.draw(st.sampled_from(self.attempts))
        node = attempt.node if attempt is not None else data.draw(st.sampled_from(self.places()))
        asked = Asked(node, tokens, usd, self.sim.do(anyio.CancelScope), attempt, fixed, looks, self.changes)
        self.waiting.append(asked)
        self.sim.start(self._reserve, asked)
        if where == "there, at once":
            self._talk()

    async def _reserve(self, asked: Asked) -> None:
        budget = self.real[asked.node] if asked.attempt is None else asked.attempt.leased
        assert budget is not None

        def wanted() -> tuple[int, float]:
            return self._wanted(asked, budget)

        with asked.scope:
            try:
                if asked.looks:
                    await budget.wait_for_room(wanted)
                    reservation = None
                else:
                    while (reservation := budget.try_reserve(*wanted())) is None:
                        await budget.wait_for_room(wanted)
            except BudgetExhausted:
                if self.changes == asked.since:
                    decided = self.paper.decide(asked.node, *self._wanted(asked, self.real[asked.node]))
                    assert decided is Decision.REFUSED, "refused, and there is room"
            else:
                if reservation is not None:
                    self._took(asked, reservation)
        self.waiting.remove(asked)

    def _took(self, asked: Asked, reservation: Reservation) -> None:
        if self.honest:
            decided = self.paper.decide(asked.node, reservation.tokens, reservation.usd)
            assert decided is Decision.IN, "more was granted than there is"
        self.paper.calls.append(Call(asked.node, reservation.tokens, reservation.usd))
        self.taken.append(Taken(self.paper.calls[-1], reservation, asked.attempt))

    @precondition(lambda self: self.taken)
    @rule(
        data=st.data(),
        how=st.sampled_from(["settle", "settle", "release", "forfeit"]),
        tokens=st.integers(0, 7),
        part=st.integers(0, 6),
    )
    def end(self, data: st.DataObject, how: str, tokens: int, part: int) -> None:
        taken = data.draw(st.sampled_from(self.taken))
        call, reservation, dear = taken.call, taken.reservation, part / 4
        if self.honest:
            tokens, dear = min(tokens, call.tokens), min(dear, call.usd)
        self._end(taken, how, tokens, dear)
        assert reservation not in [each.reservation for each in self.taken]

    def _end(self, taken: Taken, how: str, tokens: int = 0, usd: float = 0.0) -> None:
        self.taken.remove(taken)
        call, reservation = taken.call, taken.reservation
        match how:
            case "settle":
                self.sim.do(lambda: reservation.settle(tokens, usd))
                call.took = (tokens, usd, 1)
            case "release":
                self.sim.do(reservation.release)
                call.took = (0, 0.0, 0)
            case _:
                self.sim.do(reservation.forfeit)
                call.took = (call.tokens, call.usd, 0)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        self.sim.do(data.draw(st.sampled_from(self.waiting)).scope.cancel)

    @precondition(lambda self: not self.honest)
    @rule(data=st.data(), bound=few)
    def allow(self, data: st.DataObject, bound: Bound) -> None:
        node = data.draw(
            st.sampled_from([node for node in self.real if all(a.node is not node for a in self.attempts)])
        )
        node.bound = bound
        self.changes += 1
        self.sim.do(lambda: self.real[node].allow(limits(bound)))

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), up=st.booleans(), most=st.integers(1, 4))
    def deliver(self, data: st.DataObject, up: bool, most: int) -> None:
        attempt = data.draw(st.sampled_from(self.attempts))
        channel = attempt.up if up else attempt.down
        self.sim.do(lambda: channel.deliver(most))

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), lost=st.booleans())
    def leave(self, data: st.DataObject, lost: bool) -> None:
        """An attempt ends, or is lost with its machine: then what it had not told is not known."""
        attempt = data.draw(st.sampled_from(self.attempts))
        for asked in self.waiting:
            if asked.attempt is attempt:
                self.sim.do(asked.scope.cancel)
        self.sim.steps(40)
        if lost:
            self._lose(attempt)
        else:
            for taken in [taken for taken in self.taken if taken.attempt is attempt]:
                self._end(taken, "forfeit")
            self.sim.do(attempt.up.deliver)
            self.sim.do(attempt.lessor.close)
        self.sim.do(attempt.scope.cancel)
        self.attempts.remove(attempt)

    def _lose(self, attempt: Attempt) -> None:
        """What was told of its calls is known, no more: those that are known to be sent count as they were meant."""
        told = attempt.up.arrived
        known = [each.grant for each in told if isinstance(each, Took)]
        ended = {each.grant for each in told if isinstance(each, Settled)}
        grants = [each.grant for each in attempt.up.sent if isinstance(each, Took)]
        calls = [call for call in self.paper.calls if call.node is attempt.node]
        in_flight = []
        for call, grant in zip(calls, grants, strict=True):
            if grant not in known:
                call.took = (0, 0.0, 0)
            elif grant not in ended:
                call.took = (call.tokens, call.usd, 0)
                in_flight.append((call.tokens, call.usd))
        self.taken = [taken for taken in self.taken if taken.attempt is not attempt]
        attempt.up.cut()
        attempt.down.cut()
        assert sorted(self.sim.do(attempt.lessor.lost)) == sorted(in_flight)

    @rule(count=st.integers(1, 6))
    def run_a_little(self, count: int) -> None:
        self.sim.steps(count)

    @rule()
    def settle(self) -> None:
        """Where all messages arrive and nothing more happens, who waits does so for a call in flight."""
        self._quiet()
        for asked in self.waiting:
            decided = self.paper.decide(asked.node, *self._wanted(asked, self.real[asked.node]))
            assert decided is not Decision.IN, f"a grant that nobody uses keeps one waiting: {asked}"
            assert self.taken
        for node, budget in self.real.items():
            assert budget.used.tokens == self.paper.tokens(node, held=False)
            assert budget.used.usd == self.paper.usd(node, held=False)
            assert budget.held.tokens >= self.paper.tokens(node, held=True)
            if node.name != "purse":
                assert budget.used.steps == self.paper.steps(node, held=False)

    def _wanted(self, asked: Asked, budget: Budget) -> tuple[int, float]:
        if asked.fixed:
            return asked.tokens, asked.usd
        room = budget.room()
        return int(min(asked.tokens, max(1, room.tokens))), min(asked.usd, max(0.25, room.usd))

    def _quiet(self) -> None:
        for _ in range(3):
            self._talk(QUIET_S / 4)

    def _talk(self, seconds: float = 0.0) -> None:
        """All messages arrive, and are answered."""
        for _ in range(4):
            self.sim.settle(seconds)
            for channel in [each for attempt in self.attempts for each in (attempt.up, attempt.down)]:
                if channel.under_way:
                    self.sim.do(channel.deliver)

    @invariant()
    def never_too_much(self) -> None:
        """Nothing is used or set aside beyond a limit, whatever is under way."""
        if not self.honest:
            return
        for node in self.real:
            tokens = sum(self.paper.tokens(node, held=held) for held in (False, True))
            usd = sum(self.paper.usd(node, held=held) for held in (False, True))
            assert node.bound.tokens is None or tokens <= node.bound.tokens
            assert node.bound.usd is None or usd <= node.bound.usd
            held = self.real[node].held
            assert held.tokens >= 0
            assert held.usd >= 0

    def teardown(self) -> None:
        if not hasattr(self, "sim"):
            return
        for _ in range(30):
            self._quiet()
            if not self.taken:
                break
            for taken in tuple(self.taken):
                self._end(taken, "release")
        self.settle()
        assert not self.waiting, "nobody has anything set aside, and somebody waits"
        while self.attempts:
            attempt = self.attempts.pop()
            self.sim.do(attempt.lessor.close)
            self.sim.do(attempt.scope.cancel)
        for budget in self.real.values():
            assert (budget.held.tokens, budget.held.usd, budget.held.steps) == (0, 0.0, 0), "a grant was lost"
        self.sim.close()


LeasedBudgets.TestCase.settings = settings(max_examples=examples(30), stateful_step_count=30)
TestLeasedBudgets = LeasedBudgets.TestCase
