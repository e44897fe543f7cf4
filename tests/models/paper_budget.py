"""The budget tree on paper: every sum is made anew from a list of what was reserved and settled. It knows no other way
to count, and shares no code with the product."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum, auto
from fractions import Fraction


class Decision(Enum):
    IN = auto()
    WAITS = auto()
    REFUSED = auto()


@dataclass
class Bound:
    """None is no limit."""

    tokens: int | None = None
    usd: float | None = None
    steps: int | None = None


@dataclass(eq=False)
class Node:
    name: str
    bound: Bound
    above: Node | None = None
    part: float = 0.0
    """Of the tokens and dollars above that it must leave to others."""
    left_steps: int = 0
    parallel: bool = False
    counted: bool = True
    needs: tuple[Node, ...] = ()
    """The siblings that it comes after, where they work side by side."""
    purse: Node | None = None
    below: list[Node] = field(default_factory=list)

    @property
    def path(self) -> list[Node]:
        return [self, *(self.above.path if self.above else [])]

    @property
    def payers(self) -> list[Node]:
        purse = self.path[-1].purse
        return [*self.path, *(purse.payers if purse else [])]


@dataclass(eq=False)
class Call:
    """One reservation; `took` is what it came to, None while it is open."""

    node: Node
    tokens: int
    usd: float
    took: tuple[int, float, int] | None = None


class PaperBudget:
    """Decides about calls, and adds them up."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def tokens(self, node: Node, *, held: bool) -> int:
        mine = [call for call in self.calls if node in call.node.payers]
        return sum(
            (call.tokens if held else 0) if call.took is None else (0 if held else call.took[0]) for call in mine
        )

    def usd(self, node: Node, *, held: bool) -> float:
        mine = [call for call in self.calls if node in call.node.payers]
        return sum((call.usd if held else 0) if call.took is None else (0 if held else call.took[1]) for call in mine)

    def steps(self, node: Node, *, held: bool, more: Node | None = None) -> int:
        """Those settled, with `held` those of open calls too; `more`: were there one more at that node."""
        own = [call for call in self.calls if call.node is node]
        found = sum(held if call.took is None else call.took[2] for call in own) + (more is node)
        below = [each for each in node.below if each.counted]
        if node.parallel:
            return found + max((self._end(each, held, more) for each in below), default=0)
        return found + sum(self.steps(each, held=held, more=more) for each in below)

    def _end(self, node: Node, held: bool, more: Node | None) -> int:
        before = max((self._end(each, held, more) for each in node.needs), default=0)
        return before + self.steps(node, held=held, more=more)

    def decide(self, node: Node, tokens: int, usd: float) -> Decision:
        """Whether a call fits, fits only when others have settled, or never."""
        waits = False
        below: Node | None = None
        for each in node.payers:
            within = each in node.path
            if not within and below is not None and each not in below.payers:
                below = None
            bound = self._bound(each, below if below is not None and below.above is each else None)
            spent, aside = self.tokens(each, held=False), self.tokens(each, held=True)
            if bound.tokens is not None and spent + tokens > bound.tokens:
                return Decision.REFUSED
            waits = waits or (bound.tokens is not None and spent + aside + tokens > bound.tokens)
            paid, apart = self.usd(each, held=False), self.usd(each, held=True)
            if bound.usd is not None and paid + usd > bound.usd:
                return Decision.REFUSED
            waits = waits or (bound.usd is not None and paid + apart + usd > bound.usd)
            if within and bound.steps is not None:
                for held in (False, True):
                    now, then = (self.steps(each, held=held, more=more) for more in (None, node))
                    if then > now and then > bound.steps:
                        if not held:
                            return Decision.REFUSED
                        waits = True
            below = each
        return Decision.WAITS if waits else Decision.IN

    @staticmethod
    def _bound(node: Node, below: Node | None) -> Bound:
        """What of a node's limits may be used from below."""
        if below is None:
            return node.bound
        part, bound = Fraction(below.part), node.bound
        return Bound(
            None if bound.tokens is None else bound.tokens - math.ceil(bound.tokens * part),
            None if bound.usd is None else float(Fraction(bound.usd) * (1 - part)),
            None if bound.steps is None else bound.steps - below.left_steps,
        )
