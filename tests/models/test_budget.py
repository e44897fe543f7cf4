"""The budget tree against the one on paper: calls that reserve, wait, settle and are cancelled in any order."""

from __future__ import annotations

from dataclasses import dataclass

import anyio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from swarm.budgets.budget import Budget, Reservation, Terms
from swarm.budgets.levels import Limits
from swarm.errors import BudgetExhausted
from swarm.testing.simulated_loop import Simulation, by_bytes
from tests.effort import examples
from tests.models.paper_budget import Bound, Call, Decision, Node, PaperBudget

TOKENS, STEPS = st.integers(0, 12), st.integers(0, 6)  # small, so that limits are met exactly
QUARTERS = st.integers(0, 12).map(lambda n: n / 4)  # sums of them are exact
bounds = st.builds(Bound, *(st.none() | limit for limit in (TOKENS, QUARTERS, STEPS)))
few = st.just(Bound()) | st.just(Bound()) | bounds
MOST = 9


@dataclass(eq=False)
class Asked:
    """A call that was asked for; `scope` ends its waiting."""

    node: Node
    tokens: int
    usd: float
    scope: anyio.CancelScope


@dataclass(eq=False)
class Taken:
    call: Call
    reservation: Reservation


def limits(bound: Bound) -> Limits:
    return Limits(bound.tokens, bound.usd, bound.steps)


class Budgets(RuleBasedStateMachine):
    @initialize(order=st.binary(max_size=12), root=bounds, purse=st.none() | bounds)
    def begin(self, order: bytes, root: Bound, purse: Bound | None) -> None:
        self.sim = Simulation(by_bytes(order))
        self.paper = PaperBudget()
        self.real: dict[Node, Budget] = {}
        self.waiting: list[Asked] = []
        self.taken: list[Taken] = []
        shared = Node("purse", purse) if purse is not None else None
        if shared is not None:
            self.real[shared] = Budget(limits(shared.bound), name="purse")
        for name in ("run", "other run")[: 1 if shared is None else 2]:
            node = Node(name, root, purse=shared)
            self.real[node] = Budget(limits(root), name=name)
            self.real[node].purse = self.real[shared] if shared is not None else None

    @precondition(lambda self: len(self.real) < MOST)
    @rule(
        data=st.data(),
        bound=few,
        part=st.sampled_from([0.0, 0.0, 0.25, 0.5]),
        left_steps=st.integers(0, 1),
        parallel=st.booleans(),
        counted=st.sampled_from([True, True, True, False]),
    )
    def child(
        self, data: st.DataObject, bound: Bound, part: float, left_steps: int, parallel: bool, counted: bool
    ) -> None:
        roots = [node for node in self.real if node.name != "purse"]
        above = data.draw(st.sampled_from(roots))
        needs = data.draw(st.sets(st.sampled_from(above.below), max_size=2)) if above.parallel and above.below else ()
        node = Node(f"n{len(self.real)}", bound, above, part, left_steps, parallel, counted, tuple(needs))
        above.below.append(node)
        terms = Terms(part=part, steps=left_steps, parallel=parallel, counted=counted)
        self.real[node] = self.real[above].part(node.name, limits(bound), terms)
        for ways in self.real[above].ways or ():
            ways.add(node.name, [each.name for each in node.needs])

    @rule(data=st.data(), tokens=st.integers(0, 6), usd=st.integers(0, 6).map(lambda n: n / 4))
    def ask(self, data: st.DataObject, tokens: int, usd: float) -> None:
        node = data.draw(st.sampled_from([node for node in self.real if node.name != "purse"]))
        asked = Asked(node, tokens, usd, self.sim.do(anyio.CancelScope))
        self.waiting.append(asked)
        self.sim.start(self._reserve, asked)

    async def _reserve(self, asked: Asked) -> None:
        paper, wanted = self.paper, (asked.node, asked.tokens, asked.usd)
        with asked.scope:
            try:
                reservation = await self.real[asked.node].reserve(asked.tokens, asked.usd)
            except BudgetExhausted:
                assert paper.decide(*wanted) is Decision.REFUSED
            else:
                assert paper.decide(*wanted) is Decision.IN
                paper.calls.append(Call(*wanted))
                self.taken.append(Taken(paper.calls[-1], reservation))
        self.waiting.remove(asked)

    @precondition(lambda self: self.taken)
    @rule(
        data=st.data(),
        how=st.sampled_from(["settle", "settle", "release", "forfeit", "left"]),
        tokens=st.integers(0, 7),
        part=st.integers(0, 6),
    )
    def end(self, data: st.DataObject, how: str, tokens: int, part: int) -> None:
        """A call may also come to more than was set aside: endpoints count as they like."""
        taken = data.draw(st.sampled_from(self.taken))
        self.taken.remove(taken)
        call, reservation, dear = taken.call, taken.reservation, part / 4
        match how:
            case "settle":
                self.sim.do(lambda: reservation.settle(tokens, dear))
                call.took = (tokens, dear, 1)
            case "release":
                self.sim.do(reservation.release)
                call.took = (0, 0.0, 0)
            case "forfeit":
                self.sim.do(reservation.forfeit)
                call.took = (call.tokens, call.usd, 0)
            case _:
                self.sim.do(lambda: reservation.__exit__(None, None, None))
                call.took = (call.tokens, call.usd, 0)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        self.sim.do(data.draw(st.sampled_from(self.waiting)).scope.cancel)

    @rule(data=st.data(), bound=few)
    def allow(self, data: st.DataObject, bound: Bound) -> None:
        """Most of all where somebody waits."""
        there = [node for asked in self.waiting for node in asked.node.payers] or list(self.real)
        node = data.draw(st.sampled_from(there))
        node.bound = bound
        self.sim.do(lambda: self.real[node].allow(limits(bound)))

    @rule(count=st.integers(1, 6))
    def run_a_little(self, count: int) -> None:
        self.sim.steps(count)

    @rule()
    def settle(self) -> None:
        """Who waits when nothing more happens must do so for a call in flight."""
        self.sim.settle()
        for asked in self.waiting:
            assert self.paper.decide(asked.node, asked.tokens, asked.usd) is Decision.WAITS
            assert self.taken

    @invariant()
    def the_sums_are_right(self) -> None:
        for node, budget in self.real.items():
            spent, aside = (self.paper.tokens(node, held=held) for held in (False, True))
            assert (budget.used.tokens, budget.held.tokens) == (spent, aside)
            paid, apart = (self.paper.usd(node, held=held) for held in (False, True))
            assert (budget.used.usd, budget.held.usd) == (paid, apart)
            if node.name != "purse":
                done, every = (self.paper.steps(node, held=held) for held in (False, True))
                assert (budget.used.steps, budget.used.steps + budget.held.steps) == (done, every)

    def teardown(self) -> None:
        if not hasattr(self, "sim"):
            return
        self.sim.settle()
        while self.taken:
            taken = self.taken.pop()
            self.sim.do(taken.reservation.release)
            taken.call.took = (0, 0.0, 0)
            self.sim.settle()
        assert not self.waiting, "nobody has anything set aside, and somebody waits"
        self.the_sums_are_right()
        self.sim.close()


Budgets.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=30)
TestBudgets = Budgets.TestCase
