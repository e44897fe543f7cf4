"""The budget of a run: a tree of reservations. Every call reserves before it is sent and settles afterwards.

What a child may use is bounded by its own limits and by every budget above it. What is set aside for calls in flight
counts until it is settled, so that children cannot overshoot together; a call that would fit only without it waits.
Only calls in flight are ever waited for, and they wait for no budget: nobody waits for ever.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import anyio

from swarm.budgets.levels import ANY_ROOM, NO_LIMITS, PLAIN, Amount, Gauge, Limits, Quantity, Room, Terms, figure
from swarm.errors import BudgetExhausted
from swarm.scheduling.ways import Ways

__all__ = ["PLAIN", "Budget", "Listener", "Reservation", "Terms"]

Bounds = tuple[tuple["Budget", Limits], ...]

Clock = Callable[[], float]
Listener = Callable[[Gauge | None], None]
"""Told by the budget at the root of each end of a reservation (None), and of each limit that refused one."""


class Budget:
    """One node of the tree. `used` is settled, `held` set aside for calls in flight. `clock` gives the seconds that it
    was used, where those are limited. `users` is how many work with it now, `waiting` how many wait for room. `soft` is
    the part of a limit after which one is told to come to an end: that of the root holds for all."""

    __slots__ = (
        "_bounded", "_changes", "_open", "_parts", "_path", "_settled", "clock", "held", "lent", "limits", "listener",
        "name", "parent", "purse", "soft", "terms", "used", "users", "waiting", "ways",
    )  # fmt: skip

    def __init__(
        self,
        limits: Limits,
        *,
        name: str = "run",
        parent: Budget | None = None,
        terms: Terms = PLAIN,
        clock: Clock | None = None,
        soft: float = 1.0,
    ) -> None:
        self._changes = 0  # of limits and terms in the tree, counted at its root
        self._bounded: tuple[int, Bounds] = (-1, ())  # what bounds it, as of so many changes
        self._path: tuple[Budget, ...] = (self,) if parent is None else (self, *parent._path)
        self.limits = limits  # changed by `allow` alone, the terms by `agree`
        self.terms = terms
        self.name = name
        self.parent = parent
        self.clock = clock
        self.soft: float = parent.soft if parent is not None else soft
        self.used = Amount()
        self.held = Amount()
        self._parts: dict[str, Budget] | None = None  # made with the first: thousands have none
        self.listener: Listener | None = None
        self.purse: Budget | None = None
        """What pays the root together with others of its kind: its limits bound all of them, and hurry nobody."""
        self.users = 1
        self.lent: tuple[Callable[[], None], ...] = ()
        """Of those that set aside for calls to come: asked to give back what they can, whenever somebody waits here."""
        self._open = 0
        self.waiting = 0
        self._settled: anyio.Event | None = None  # made by who waits first: most budgets keep nobody waiting
        self.ways: tuple[Ways, Ways] | None = (Ways(), Ways()) if terms.parallel else None
        """Of its children's steps where they work in parallel: those settled, and with those held."""

    def __repr__(self) -> str:
        return f"<Budget {self.name}: used {self.used}, held {self.held}>"

    def child(self, limits: Limits, name: str, terms: Terms = PLAIN, clock: Clock | None = None) -> Budget:
        """A new budget below this one."""
        return Budget(limits, name=name, parent=self, terms=terms, clock=clock)

    def part(self, name: str, limits: Limits | None = None, terms: Terms = PLAIN) -> Budget:
        """The one budget of this name below this one, made where there is none; `limits` take the place of its own."""
        self._parts = self._parts or {}
        if (found := self._parts.get(name)) is None:
            found = self._parts[name] = self.child(limits or NO_LIMITS, name, terms)
        elif limits is not None:
            found.allow(limits)
        return found

    def has(self, name: str) -> bool:
        """Whether there is a part of this name."""
        return self._parts is not None and name in self._parts

    def allow(self, limits: Limits) -> None:
        """From now on these limits, whether more or less was used; who waits looks again."""
        self.limits = limits
        self._path[-1]._changes += 1
        self._wake()

    def agree(self, terms: Terms) -> None:
        """From now on these terms with the budget above."""
        self.terms = terms
        self._path[-1]._changes += 1

    async def reserve(self, tokens: int, usd: float) -> Reservation:
        """Set aside one step and what a call may cost, here and in every budget above; wait for calls in flight to
        settle where it fits only then.

        Raises:
            BudgetExhausted: it does not fit, whatever they settle for; the message names the budget and the limit.
        """
        while (reservation := self.try_reserve(tokens, usd)) is None:
            await self.wait_for_room(lambda: (tokens, usd))
        return reservation

    def try_reserve(self, tokens: int, usd: float, *, quiet: bool = False) -> Reservation | None:
        """`reserve` without waiting; None where it fits only when calls in flight have settled. `quiet`: nobody is told
        of a limit that refuses it."""
        return Reservation(self, tokens, usd) if self._full(tokens, usd, quiet) is None else None

    async def wait_for_room(self, wanted: Callable[[], tuple[int, float]]) -> None:
        """Wait until the tokens and dollars that are `wanted` would fit, without setting them aside. What is wanted is
        asked again whenever something was settled: it may be less where there is less room. Raises as `reserve`."""
        while self.all_bounds() and (full := self._full(*wanted())) is not None:  # nothing is wanted without limits
            full.waiting += 1
            settled = full._settled = full._settled or anyio.Event()
            try:
                for give_back in full.lent:
                    give_back()
                await settled.wait()
            finally:
                full.waiting -= 1

    def book(self, tokens: int, usd: float, steps: int) -> None:
        """What was used without a reservation: by a run that is gone on with."""
        for node in self.payers():
            node.used.add(tokens, usd)
        self._shift(0, steps)

    def room(self, *, own: bool = False) -> Room:
        """What may still be used here, with all budgets above; `own`: as if nobody else drew on the purse."""
        tokens = usd = free_tokens = free_usd = math.inf
        for node, limits in self._bounds() if own else self.all_bounds():
            used, held = node.used, node.held
            if limits.tokens is not None:
                tokens = min(tokens, limits.tokens - used.tokens)
                free_tokens = min(free_tokens, limits.tokens - used.tokens - held.tokens)
            if limits.usd is not None:
                usd = min(usd, limits.usd - used.usd)
                free_usd = min(free_usd, limits.usd - used.usd - held.usd)
        return ANY_ROOM if tokens == usd == math.inf else Room(tokens, usd, free_tokens, free_usd)

    def gauges(self) -> Iterator[Gauge]:
        """How far the limits here and above are used up; of steps up to where those of others count in."""
        return (gauge for gauge, _ in self.shared_gauges())

    def shared_gauges(self) -> Iterator[tuple[Gauge, int]]:
        """The gauges, each with how many use up what it measures."""
        bounds, alone, users = dict(self._bounds()), True, 1
        if not bounds:
            return
        for node in self._path:
            limits = bounds.get(node)
            if limits is not None:
                used: tuple[tuple[Quantity, float | None, float], ...] = (
                    ("tokens", limits.tokens, node.used.tokens),
                    ("dollars", limits.usd, node.used.usd),
                    ("steps", limits.steps if alone else None, node.used.steps),
                    ("seconds", limits.seconds, node.clock() if node.clock else 0.0),
                )
                for what, limit, amount in used:
                    if limit is not None:
                        yield Gauge(node.name, what, amount, limit), max(users, node.users)
            users = max(users, node.users)
            alone = alone and node.terms.counted and not node.terms.parallel

    def payers(self) -> Sequence[Budget]:
        """The path, and that of the purse."""
        purse = self._path[-1].purse
        return self._path if purse is None else (*self._path, *purse.payers())

    def all_bounds(self) -> Bounds:
        """The budgets with limits, and what of these may be used from here: of the path, and of the purse."""
        purse = self._path[-1].purse
        return self._bounds() if purse is None else (*self._bounds(), *purse.all_bounds())

    def _bounds(self) -> Bounds:
        """The budgets of the path with limits, and what of these may be used from here; found anew when one changes."""
        changes = self._path[-1]._changes
        if self._bounded[0] == changes:
            return self._bounded[1]
        found, terms = [], PLAIN
        for node in self._path:
            limits = node.limits
            if limits.any:
                if terms.part or terms.steps or terms.time:
                    limits = limits.without(terms.part, terms.steps, terms.time, (terms.tokens, terms.usd))
                found.append((node, limits))
            terms = node.terms
        self._bounded = changes, tuple(found)
        return self._bounded[1]

    def _full(self, tokens: int, usd: float, quiet: bool = False) -> Budget | None:
        """The first budget in which it does not fit as long as calls are in flight."""
        root = self._path[-1]
        full, told = None, None if quiet else root.listener
        for node, limits in self._bounds():
            steps = self._added(node) if limits.steps is not None else (0, 0)
            if not node._fits(limits, tokens, usd, steps, told):
                full = full or node
        if root.purse is not None:
            for node, limits in root.purse.all_bounds():
                if not node._fits(limits, tokens, usd, (0, 0), told):
                    full = full or node
        return full

    def _added(self, above: Budget) -> tuple[int, int]:
        """What one step here would add to those settled in a budget of the path, and to all."""
        steps, below = (1, 1), self
        for node in self._path[1:] if above is not self else ():
            steps = _passed_on(below, node, steps)
            below = node
            if node is above:
                break
        return steps

    def _fits(self, limits: Limits, tokens: int, usd: float, steps: tuple[int, int], told: Listener | None) -> bool:
        used, held = self.used, self.held
        if limits.tokens is not None and used.tokens + tokens > limits.tokens:
            self._refuse("tokens", used.tokens, limits.tokens, tokens, told)
        if limits.usd is not None and used.usd + usd > limits.usd:
            self._refuse("dollars", used.usd, limits.usd, usd, told)
        if limits.steps is not None and steps[0] and used.steps + steps[0] > limits.steps:
            self._refuse("steps", used.steps, limits.steps, 0, told)
        if limits.seconds is not None and self.clock is not None and self.clock() >= limits.seconds:
            self._refuse("seconds", self.clock(), limits.seconds, 0, told)
        return (
            (limits.tokens is None or used.tokens + held.tokens + tokens <= limits.tokens)
            and (limits.usd is None or used.usd + held.usd + usd <= limits.usd)
            and (limits.steps is None or not steps[1] or used.steps + held.steps + steps[1] <= limits.steps)
        )

    def _refuse(self, what: Quantity, used: float, limit: float, wanted: float, told: Listener | None) -> None:
        gauge = Gauge(self.name, what, used, limit)
        if told is not None:
            told(gauge)
        own = self.limits
        whole = {"tokens": own.tokens, "dollars": own.usd, "steps": own.steps, "seconds": own.seconds}[what] or limit
        kept = f", with {figure(whole - limit)} kept back" if whole > limit else ""
        more = f", and the next call may need {figure(wanted)}" if wanted else ""
        text = f"{Gauge(self.name, what, used, whole)}{kept}{more}"
        raise BudgetExhausted(f"the budget of the {self.name} is used up: {text}", scope=self.name, what=what)

    def _shift(self, held: int, used: int) -> None:
        """So many steps more are held or used here; what of it counts above is so there."""
        node = self
        while held or used:
            node.used.steps += used
            node.held.steps += held
            if (above := node.parent) is None or not node.terms.counted:
                return
            if above.ways is not None and above.ways is not node.ways:
                settled, together = above.ways
                more = together.set(node.name, node.used.steps + node.held.steps) if held + used else 0
                if used:
                    used = settled.set(node.name, node.used.steps)
                held = more - used
            node = above

    def _wake(self) -> None:
        if self._settled is not None:
            self._settled.set()
            self._settled = None


def _passed_on(below: Budget, node: Budget, steps: tuple[int, int]) -> tuple[int, int]:
    """What of steps that are added in a budget is added in the one above."""
    if not below.terms.counted:
        return (0, 0)
    if node.ways is None or node.ways is below.ways:
        return steps
    settled, together = node.ways
    used = settled.longest_with(below.name, below.used.steps + steps[0]) - settled.longest
    every = together.longest_with(below.name, below.used.steps + below.held.steps + steps[1]) - together.longest
    return max(0, used), max(0, every)


class Reservation:
    """What was set aside for one call. Settle it exactly once; left open at the end of its block, it is forfeited."""

    __slots__ = ("_budget", "_ended", "_listener", "_path", "tokens", "usd")

    def __init__(self, budget: Budget, tokens: int, usd: float) -> None:
        self._budget = budget
        self._path = budget.payers()
        self._listener = budget._path[-1].listener
        self._ended = False
        self.tokens = tokens
        self.usd = usd
        for node in self._path:
            node._open += 1
            held = node.held
            held.tokens += tokens
            held.usd += usd
        budget._shift(1, 0)

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, *ended: object) -> None:
        if not self._ended:
            self.forfeit()

    def settle(self, tokens: int, usd: float) -> None:
        """What the call really used."""
        self.end(tokens, usd, 1)

    def release(self) -> None:
        """The call was refused: nothing was used."""
        self.end(0, 0.0, 0)

    def forfeit(self) -> None:
        """Nobody knows what the call used: all that was set aside counts as used, but for the step."""
        self.end(self.tokens, self.usd, 0)

    def lessen(self, tokens: int, usd: float) -> None:
        """Set aside no more than so much from now on."""
        less, cheaper = max(0, self.tokens - tokens), max(0.0, self.usd - usd)
        self.tokens -= less
        self.usd -= cheaper
        for node in self._path if less or cheaper else ():
            node.held.add(-less, -cheaper)
            node._wake()

    def end(self, tokens: int, usd: float, steps: int) -> None:
        """The call used so much, and so many steps."""
        assert not self._ended, "a reservation is settled once"
        self._ended = True
        self._budget._shift(-1, steps)
        for node in self._path:
            node._open -= 1
            used, held = node.used, node.held
            held.tokens -= self.tokens
            held.usd = held.usd - self.usd if node._open else 0.0  # no last digit of a sum may keep anybody waiting
            used.tokens += tokens
            used.usd += usd
            if node._settled is not None:
                node._wake()
        if self._listener is not None:
            self._listener(None)
