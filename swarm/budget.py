"""The budget of a run: a tree of reservations. Every call reserves before it is sent and settles afterwards.

What a child may use is bounded by its own limits and by every budget above it. Nothing here waits or acts: a
reservation is granted or refused at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from swarm.errors import BudgetExhausted


@dataclass(frozen=True, slots=True)
class Limits:
    """None means no limit of its own. Tokens are prompt and completion together."""

    tokens: int | None = None
    usd: float | None = None
    steps: int | None = None


class Budget:
    """One node of the tree."""

    def __init__(self, limits: Limits, *, name: str = "run", parent: Budget | None = None) -> None:
        self.limits = limits
        self.name = name
        self.parent = parent
        self.tokens = 0
        self.usd = 0.0
        self.steps = 0

    def __repr__(self) -> str:
        return f"<Budget {self.name}: {self.tokens} tokens, {self.usd:.4f} dollars, {self.steps} steps in use>"

    def child(self, limits: Limits, name: str) -> Budget:
        return Budget(limits, name=name, parent=self)

    def reserve(self, tokens: int, usd: float) -> Reservation:
        """Set aside one step and what a call may cost, here and in every budget above.

        Raises:
            BudgetExhausted: it does not fit; the message names the budget and the limit.
        """
        for node in self._path():
            node._check(tokens, usd)
        reservation = Reservation(self, 0, 0.0, 0)
        reservation._change(tokens, usd, 1)
        return reservation

    def room(self) -> int | None:
        """Tokens that may still be reserved, or None where there is no limit."""
        rooms = [max(0, n.limits.tokens - n.tokens) for n in self._path() if n.limits.tokens is not None]
        return min(rooms, default=None)

    def _check(self, tokens: int, usd: float) -> None:
        for what, limit, used, wanted in (
            ("tokens", self.limits.tokens, self.tokens, tokens),
            ("dollars", self.limits.usd, self.usd, usd),
            ("steps", self.limits.steps, self.steps, 1),
        ):
            if limit is not None and used + wanted > limit:
                raise BudgetExhausted(f"the budget of the {self.name} is used up: {used:g} of {limit:g} {what}")

    def _path(self) -> list[Budget]:
        path: list[Budget] = [self]
        while path[-1].parent is not None:
            path.append(path[-1].parent)
        return path


class Reservation:
    """What was set aside for one call. Settle it exactly once."""

    def __init__(self, budget: Budget, tokens: int, usd: float, steps: int) -> None:
        self._budget = budget
        self.tokens = tokens
        self.usd = usd
        self.steps = steps

    def settle(self, tokens: int, usd: float) -> None:
        """Replace what was set aside by what was really used."""
        self._change(tokens - self.tokens, usd - self.usd, 0)

    def release(self) -> None:
        """Give everything back: the call was never answered."""
        self._change(-self.tokens, -self.usd, -self.steps)

    def _change(self, tokens: int, usd: float, steps: int) -> None:
        self.tokens += tokens
        self.usd += usd
        self.steps += steps
        for node in self._budget._path():
            node.tokens += tokens
            node.usd += usd
            node.steps += steps
