"""The budget of a run: a tree of reservations. Every call reserves before it is sent and settles afterwards.

What a child may use is bounded by its own limits and by every budget above it. What is set aside for calls in flight
counts until it is settled, so that children cannot overshoot together; a call that would fit only without it waits.
"""

from __future__ import annotations

from dataclasses import dataclass

import anyio

from swarm.errors import BudgetExhausted


@dataclass(frozen=True, slots=True)
class Limits:
    """None means no limit of its own. Tokens are prompt and completion together."""

    tokens: int | None = None
    usd: float | None = None
    steps: int | None = None


@dataclass(slots=True)
class Amount:
    tokens: int = 0
    usd: float = 0.0
    steps: int = 0

    def add(self, tokens: int, usd: float, steps: int) -> None:
        self.tokens += tokens
        self.usd += usd
        self.steps += steps


class Budget:
    """One node of the tree. `used` is settled, `held` set aside for calls in flight."""

    def __init__(self, limits: Limits, *, name: str = "run", parent: Budget | None = None) -> None:
        self.limits = limits
        self.name = name
        self.parent = parent
        self.used = Amount()
        self.held = Amount()
        self._settled = anyio.Event()

    def __repr__(self) -> str:
        return f"<Budget {self.name}: used {self.used}, held {self.held}>"

    def child(self, limits: Limits, name: str) -> Budget:
        return Budget(limits, name=name, parent=self)

    async def reserve(self, tokens: int, usd: float) -> Reservation:
        """Set aside one step and what a call may cost, here and in every budget above; wait for calls in flight to
        settle where it fits only then.

        Raises:
            BudgetExhausted: it does not fit, whatever they settle for; the message names the budget and the limit.
        """
        while (reservation := self.try_reserve(tokens, usd)) is None:
            await self.wait_for_room(tokens, usd)
        return reservation

    def try_reserve(self, tokens: int, usd: float) -> Reservation | None:
        """`reserve` without waiting; None where it fits only when calls in flight have settled."""
        return Reservation(self, tokens, usd) if self._full(tokens, usd) is None else None

    async def wait_for_room(self, tokens: int, usd: float) -> None:
        """Wait until it would fit, without setting it aside. Raises as `reserve`."""
        while (full := self._full(tokens, usd)) is not None:
            await full._settled.wait()

    def room(self) -> int | None:
        """Tokens that are not used up, or None where there is no limit."""
        rooms = [max(0, n.limits.tokens - n.used.tokens) for n in self._path() if n.limits.tokens is not None]
        return min(rooms, default=None)

    def _full(self, tokens: int, usd: float) -> Budget | None:
        return next((node for node in self._path() if not node._fits(tokens, usd)), None)

    def _fits(self, tokens: int, usd: float) -> bool:
        fits = True
        for what, limit, used, held, wanted in (
            ("tokens", self.limits.tokens, self.used.tokens, self.held.tokens, tokens),
            ("dollars", self.limits.usd, self.used.usd, self.held.usd, usd),
            ("steps", self.limits.steps, self.used.steps, self.held.steps, 1),
        ):
            if limit is not None and used + wanted > limit:
                raise BudgetExhausted(
                    f"the budget of the {self.name} is used up: {used:g} of {limit:g} {what}", scope=self.name
                )
            fits = fits and (limit is None or used + held + wanted <= limit)
        return fits

    def _path(self) -> list[Budget]:
        path: list[Budget] = [self]
        while path[-1].parent is not None:
            path.append(path[-1].parent)
        return path


class Reservation:
    """What was set aside for one call. Settle it exactly once."""

    def __init__(self, budget: Budget, tokens: int, usd: float) -> None:
        self._path = budget._path()
        self.tokens = tokens
        self.usd = usd
        for node in self._path:
            node.held.add(tokens, usd, 1)

    def settle(self, tokens: int, usd: float) -> None:
        """What the call really used."""
        self._end(tokens, usd, 1)

    def release(self) -> None:
        """The call was refused: nothing was used."""
        self._end(0, 0.0, 0)

    def forfeit(self) -> None:
        """Nobody knows what the call used: all that was set aside counts as used."""
        self._end(self.tokens, self.usd, 1)

    def _end(self, tokens: int, usd: float, steps: int) -> None:
        for node in self._path:
            node.held.add(-self.tokens, -self.usd, -1)
            node.used.add(tokens, usd, steps)
            node._settled.set()
            node._settled = anyio.Event()
