"""The budget of an attempt that is made in another process than the one that holds the budget tree.

It is a budget like any other, with budgets below it. But every call that is paid from it needs a grant (see
`swarm.budgets.lessor`): what does not fit into one is asked for, and refused only by the tree itself.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count

import anyio

from swarm.budgets.budget import PLAIN, Budget, Reservation, Terms
from swarm.budgets.lease_messages import (
    Drawn,
    Granted,
    Granting,
    Lease,
    Recalled,
    Refused,
    Returned,
    Settled,
    Standing,
    Told,
    Took,
    Unwanted,
    Wanted,
)
from swarm.budgets.levels import Gauge, Limits, Room
from swarm.errors import BudgetExhausted

HELD_S = 1.0
"""Seconds for which a grant is kept for the call that asked for it, whoever else waits: else two calls that wait for
their admission could take it from each other for ever."""


@dataclass(slots=True)
class _Wish:
    """A call that waits for a grant."""

    wanted: Wanted
    answered: anyio.Event
    refused: Refused | None = None


@dataclass(slots=True)
class _Idle:
    """A grant that no call uses yet."""

    grant: int
    tokens: int
    usd: float
    kept_until: float

    def fits(self, tokens: int, usd: float) -> bool:
        return tokens <= self.tokens and usd <= self.usd


class _Grants:
    """The grants of one attempt, for all budgets of its tree."""

    def __init__(self, lease: Lease, root: Budget, send: Callable[[Drawn], None], clock: Callable[[], float]) -> None:
        self._send = send
        self._clock = clock
        self._root = root
        self._numbers, self._own = count(1), count(1)
        self._idle: list[_Idle] = []
        self._wishes: dict[int, _Wish] = {}
        self._untold: deque[tuple[int, int, float]] = deque()  # calls that were settled and are not in the standing yet
        self._settled = 0
        self._standing, self._stood_at = lease.standing, clock()

    @property
    def limited(self) -> bool:
        """Whether the tree limits anything, as far as is known."""
        return self._standing.limited

    def room(self) -> Room:
        """What is left in the tree, as far as is known."""
        room, held, (tokens, usd) = self._standing.room, self._root.held, self._more()
        left, dollars = room.tokens - tokens, room.usd - usd
        return Room(left, dollars, room.free_tokens - tokens - held.tokens, room.free_usd - usd - held.usd)

    def gauges(self) -> Iterator[tuple[Gauge, int]]:
        """Those of the tree, as far as is known."""
        tokens, usd = self._more()
        added: dict[str, float] = {"tokens": tokens, "dollars": usd, "seconds": self._clock() - self._stood_at}
        for gauge, users in self._standing.gauges:
            yield replace(gauge, used=gauge.used + added.get(gauge.what, 0.0)), users

    def fits(self, tokens: int, usd: float) -> bool:
        """Whether a call has what it needs."""
        return not self._standing.limited or any(idle.fits(tokens, usd) for idle in self._idle)

    def take(self, tokens: int, usd: float) -> int:
        """A call is sent: the grant that it is paid out of, the smallest that does."""
        chosen = None
        if self._idle:
            fitting = [idle for idle in self._idle if idle.fits(tokens, usd)]
            chosen = min(fitting, key=lambda idle: (idle.tokens, idle.usd), default=None)
        if chosen is None:
            assert not self._standing.limited
            number = -next(self._own)
        else:
            self._idle.remove(chosen)
            number = chosen.grant
        self._send(Took(number, tokens, usd))
        return number

    def settled(self, grant: int, tokens: int, usd: float, steps: int) -> None:
        self._settled += 1
        if self._standing.limited:
            self._untold.append((self._settled, tokens, usd))
        self._send(Settled(grant, tokens, usd, steps))

    async def grant(self, tokens: int, usd: float, room: Room) -> None:
        """Ask for a grant, and wait for an answer: it is there, or less is to be asked for.

        Raises:
            BudgetExhausted: the tree refused it.
        """
        self._give_back()  # they are too small
        wish = _Wish(Wanted(next(self._numbers), tokens, usd, (room.tokens, room.usd)), anyio.Event())
        self._wishes[wish.wanted.number] = wish
        self._send(wish.wanted)
        try:
            await wish.answered.wait()
        finally:
            if self._wishes.pop(wish.wanted.number, None) is not None:
                self._send(Unwanted(wish.wanted.number))
        if (refused := wish.refused) is not None:
            raise BudgetExhausted(refused.message, scope=refused.scope, what=refused.what)

    def hear(self, message: Granting) -> None:
        match message:
            case Granted():
                self._stand(message.standing)
                kept_until = self._clock() + HELD_S if message.wanted else 0.0
                self._idle.append(_Idle(message.grant, message.tokens, message.usd, kept_until))
                self._answer(message.wanted)
            case Told():
                self._stand(message.standing)
                self._answer(message.wanted)
            case Refused():
                self._answer(message.wanted, message)
            case Recalled():
                self._give_back()

    def _give_back(self) -> None:
        """All that nobody has just asked for."""
        now = self._clock()
        back = tuple(idle.grant for idle in self._idle if idle.kept_until <= now)
        self._idle = [idle for idle in self._idle if idle.kept_until > now]
        if back:
            self._send(Returned(back))

    def _more(self) -> tuple[int, float]:
        """What was used since the standing."""
        return sum(tokens for _, tokens, _ in self._untold), sum(usd for _, _, usd in self._untold)

    def _answer(self, wanted: int, refused: Refused | None = None) -> None:
        wish = self._wishes.pop(wanted, None)
        if wish is not None:
            wish.refused = refused
            wish.answered.set()

    def _stand(self, standing: Standing) -> None:
        self._standing, self._stood_at = standing, self._clock()
        while self._untold and self._untold[0][0] <= standing.settled:
            self._untold.popleft()
        if not self._standing.limited:
            for wish in tuple(self._wishes):
                self._answer(wish)


class _Below(Budget):
    """A budget of the tree of such an attempt."""

    grants: _Grants

    def child(
        self, limits: Limits, name: str, terms: Terms = PLAIN, clock: Callable[[], float] | None = None
    ) -> Budget:
        """See `Budget.child`."""
        below = _Below(limits, name=name, parent=self, terms=terms, clock=clock)
        below.grants = self.grants
        return below

    def try_reserve(self, tokens: int, usd: float, *, quiet: bool = False) -> Reservation | None:
        """See `Budget.try_reserve`; None also where a grant has to be asked for."""
        if self._full(tokens, usd, quiet) is not None or not self.grants.fits(tokens, usd):
            return None
        return _Granted(self, tokens, usd)

    async def wait_for_room(self, wanted: Callable[[], tuple[int, float]]) -> None:
        """See `Budget.wait_for_room`."""
        while True:
            await super().wait_for_room(wanted)
            if not self.grants.limited or self.grants.fits(*(needed := wanted())):
                return
            await self.grants.grant(*needed, self.grants.room())

    def room(self, *, own: bool = False) -> Room:
        """See `Budget.room`."""
        if not self.grants.limited:
            return super().room(own=own)
        here, there = super().room(own=own), self.grants.room()
        return Room(
            min(here.tokens, there.tokens),
            min(here.usd, there.usd),
            min(here.free_tokens, there.free_tokens),
            min(here.free_usd, there.free_usd),
        )

    def shared_gauges(self) -> Iterator[tuple[Gauge, int]]:
        """See `Budget.shared_gauges`."""
        yield from super().shared_gauges()
        if self.grants.limited:
            yield from self.grants.gauges()


class LeasedBudget(_Below):
    """What takes the place of the budget that attempts are paid from, for one of them: `swarm.budgets.funds` hangs its
    budget below. `send` takes messages for the lessor, in order; `clock` gives seconds."""

    def __init__(
        self, lease: Lease, send: Callable[[Drawn], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(Limits(), name=lease.name, soft=lease.soft)
        self.grants = _Grants(lease, self, send, clock)

    def hear(self, message: Granting) -> None:
        """A message of the lessor."""
        self.grants.hear(message)


class _Granted(Reservation):
    """What was set aside for one call, out of a grant."""

    def __init__(self, budget: _Below, tokens: int, usd: float) -> None:
        super().__init__(budget, tokens, usd)
        self._grants = budget.grants
        self._grant = budget.grants.take(tokens, usd)

    def end(self, tokens: int, usd: float, steps: int) -> None:
        """See `Reservation.end`."""
        root = self._path[-1]
        before = root.used.steps
        super().end(tokens, usd, steps)
        self._grants.settled(self._grant, tokens, usd, root.used.steps - before)
