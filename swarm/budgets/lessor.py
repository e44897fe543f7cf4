"""A budget that is drawn on from another process, with grants: what is set aside here for calls that are made there.

Each grant is a reservation in the budget tree, so that what is used and granted together never exceeds a limit. Where
there is plenty one is set aside ahead for the next call; who waits for room gets back what nobody uses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import anyio

from swarm.budgets.budget import Budget, Reservation
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
from swarm.budgets.levels import Room
from swarm.budgets.sizes import PLENTY
from swarm.errors import BudgetExhausted

TELL_S = 2.0
"""Seconds between two looks at what others have used meanwhile."""

_SCARCE_S = 5.0
"""Seconds after somebody waited for room in which nothing is set aside ahead."""

_MORE = 1.5
"""The next call is taken to need so many times what the last one did."""


@dataclass(slots=True)
class _Grant:
    reservation: Reservation
    taken: bool = False


class Lessor:
    """One attempt that is made elsewhere: grants it its calls out of `budget`, the one below which they are to count,
    and settles them there. `send` takes messages for it, in order. `run` while it lasts, then `close`, or `lost`."""

    def __init__(self, budget: Budget, send: Callable[[Granting], None]) -> None:
        self._budget = budget
        self._send = send
        self._payers = budget.payers()
        self._grants: dict[int, _Grant] = {}
        self._number = 0
        self._waiting: dict[int, Wanted] = {}
        self._asked = anyio.Event()
        self._serving: tuple[int, anyio.CancelScope] | None = None
        self._settled = 0
        self._told = self._standing()
        self._recalled = False
        self._scarce_until = 0.0
        self._open = True
        for node in self._payers:
            node.lent = (*node.lent, self._give_back)

    def __repr__(self) -> str:
        return f"<Lessor of {self._budget.name}: {len(self._grants)} grants, {len(self._waiting)} wanted>"

    def first(self) -> Lease:
        """What the attempt begins with."""
        return Lease(self._budget.name, self._budget.soft, self._stand())

    def hear(self, message: Drawn) -> None:
        """A message of the attempt; what comes after its end is of no account."""
        if not self._open:
            return
        match message:
            case Wanted():
                if not self._grant(message):
                    self._waiting[message.number] = message
                    self._asked.set()
            case Unwanted():
                self._waiting.pop(message.number, None)
                if self._serving is not None and self._serving[0] == message.number:
                    self._serving[1].cancel()
            case Took():
                self._take(message)
            case Settled():
                self._settled += 1
                grant = self._grants.pop(message.grant, None) or _Grant(Reservation(self._budget, 0, 0.0))
                grant.reservation.end(message.tokens, message.usd, message.steps)  # it was used, whoever granted it
                self._ahead(message)
            case Returned():
                self._recalled = False
                for number in message.grants:
                    if (unused := self._grants.pop(number, None)) is not None:
                        unused.reservation.release()

    async def run(self) -> None:
        """Serve those that have to wait, in turn, and tell what others use. Ends by being cancelled."""
        while True:
            with anyio.move_on_after(TELL_S):
                await self._asked.wait()
            self._look()
            self._asked = anyio.Event()
            while self._waiting:
                await self._serve(self._waiting[next(iter(self._waiting))])

    def close(self) -> None:
        """The attempt is over; what it did not use is free."""
        self._end()

    def lost(self) -> list[tuple[int, float]]:
        """The attempt is gone with its machine. What its calls in flight may have used counts as used; gives their
        tokens and dollars."""
        return self._end()

    def _end(self) -> list[tuple[int, float]]:
        gone: list[tuple[int, float]] = []
        self._open = False
        self._waiting.clear()
        for node in self._payers:
            node.lent = tuple(each for each in node.lent if each != self._give_back)
        while self._grants:
            grant = self._grants.popitem()[1]
            if grant.taken:
                gone.append((grant.reservation.tokens, grant.reservation.usd))
                grant.reservation.forfeit()
            else:
                grant.reservation.release()
        return gone

    # granting

    async def _serve(self, wanted: Wanted) -> None:
        """One that did not fit at first."""

        def again() -> tuple[int, float]:
            if self._too_much(wanted):
                raise _TooMuchError
            return wanted.tokens, wanted.usd

        with anyio.CancelScope() as scope:
            self._serving = wanted.number, scope
            try:
                with anyio.move_on_after(TELL_S) as patience:
                    await self._budget.wait_for_room(again)
                if patience.cancelled_caught:
                    self._look()
            except (BudgetExhausted, _TooMuchError):
                pass  # it is told below
            finally:
                self._serving = None
            if self._waiting.pop(wanted.number, None) and not self._grant(wanted):
                self._waiting[wanted.number] = wanted  # behind the others: they may want less

    def _grant(self, wanted: Wanted) -> bool:
        """Whether there is an answer; else it has to wait."""
        if self._too_much(wanted):
            self._send(Told(self._stand(), wanted.number))
            return True
        try:
            reservation = self._budget.try_reserve(wanted.tokens, wanted.usd)
        except BudgetExhausted as error:
            self._send(Refused(wanted.number, error.message, error.scope, error.what))
            return True
        if reservation is None:
            return False
        self._hand_out(reservation, wanted.number)
        return True

    def _too_much(self, wanted: Wanted) -> bool:
        """Whether less would be asked for if it were known what is left."""
        room, (tokens, usd) = self._budget.room(), wanted.seen
        excess = wanted.tokens > room.tokens or wanted.usd > room.usd
        return excess and wanted.tokens <= tokens and wanted.usd <= usd

    def _hand_out(self, reservation: Reservation, wanted: int) -> None:
        self._number += 1
        self._grants[self._number] = _Grant(reservation)
        self._send(Granted(self._number, reservation.tokens, reservation.usd, wanted, self._stand()))

    def _take(self, took: Took) -> None:
        if (grant := self._grants.get(took.grant)) is None:
            self._grants[took.grant] = _Grant(Reservation(self._budget, took.tokens, took.usd), taken=True)
            return
        grant.taken = True
        grant.reservation.lessen(took.tokens, took.usd)

    def _ahead(self, last: Settled) -> None:
        """After a call: set aside what the next may need, or tell how the budget stands."""
        if not self._budget.all_bounds():
            return
        room = self._budget.room()
        tokens, usd = int(_MORE * last.tokens) + 1, _MORE * last.usd
        plenty = room.free_tokens >= PLENTY * tokens and room.free_usd >= PLENTY * usd
        idle = any(not grant.taken for grant in self._grants.values())
        if plenty and not idle and anyio.current_time() >= self._scarce_until:
            try:
                reservation = self._budget.try_reserve(tokens, usd, quiet=True)
            except BudgetExhausted:
                reservation = None
            if reservation is not None:
                self._hand_out(reservation, 0)
                return
        self._send(Told(self._stand()))

    # taking back

    def _give_back(self) -> None:
        """Somebody waits for room in a budget that pays this one."""
        self._scarce_until = anyio.current_time() + _SCARCE_S
        if not self._recalled and any(not grant.taken for grant in self._grants.values()):
            self._recalled = True
            self._send(Recalled())

    # telling

    def _look(self) -> None:
        """Now and then: what nobody told yet; and grants that were still to be used when they were recalled."""
        if any(node.waiting for node in self._payers):
            self._recalled = False
            self._give_back()
        if not self._told.limited and not self._budget.all_bounds():
            return
        standing = self._standing()
        if standing != self._told:
            self._told = standing
            self._send(Told(standing))

    def _stand(self) -> Standing:
        self._told = self._standing()
        return self._told

    def _standing(self) -> Standing:
        room = self._budget.room()
        if not self._budget.all_bounds():
            return Standing(self._settled, False, room, ())
        tokens = sum(grant.reservation.tokens for grant in self._grants.values())
        usd = sum(grant.reservation.usd for grant in self._grants.values())
        mine = Room(room.tokens, room.usd, room.free_tokens + tokens, room.free_usd + usd)
        return Standing(self._settled, True, mine, tuple(self._budget.shared_gauges()))


class _TooMuchError(Exception):
    """What is left is less than was known when it was asked for."""
