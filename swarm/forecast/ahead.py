"""What is previewed: the plan of a stage, and which past sub-tasks its own are like in each future."""

from __future__ import annotations

from collections.abc import Sequence

from swarm.forecast.chance import Chance
from swarm.forecast.rows import Sample, digest
from swarm.forecast.terms import Terms
from swarm.forecast.timing import Timing
from swarm.types import Plan

_A_KIND = 3
"""So many sub-tasks of a kind are a pattern for those of that kind; of fewer, all are."""


class Pool:
    """Past sub-tasks that those at some places of the plan are like: none twice before all were taken, as drawing them
    freely would count twice how far runs of so few sub-tasks are from each other."""

    def __init__(self, numbers: list[int], places: list[int], chance: Chance, first: int) -> None:
        self._numbers = numbers
        self._places = places
        whole, part = divmod(len(places), len(numbers))
        self._rounds = whole + bool(part)
        self.times = [whole + 1] * part + [whole] * (len(numbers) - part if whole else 0)
        """How often each is taken, in the order in which they are."""
        self._choices = [chance.choice(first + n) for n in range(len(self.times))]

    def __repr__(self) -> str:
        return f"<Pool of {len(self._numbers)} for {len(self._places)} places>"

    def taken(self, future: int) -> list[int]:
        """Those that a future takes, by their numbers."""
        order = self._numbers.copy()
        left = len(order)
        for at, choice in enumerate(self._choices):
            other = at + int(choice[future] * left)
            order[at], order[other] = order[other], order[at]
            left -= 1
        return order[: len(self._choices)]

    def put(self, each: list[float], where: list[float]) -> None:
        """Put a figure of each that was taken to its places in the plan."""
        if len(self._places) == len(where):
            where[:] = (each * self._rounds)[: len(where)]
        else:
            for place, value in zip(self._places, each * self._rounds, strict=False):
                where[place] = value


class Ahead:
    """A plan, as the scheduler would run it, in so many futures."""

    def __init__(self, plan: Plan, stage: int, terms: Terms, futures: int) -> None:
        self.stage = stage
        self.again = stage < terms.config.rounds
        """Whether a further stage may come."""
        self.terms = terms
        self.number = len(plan.subtasks)
        self.timing = Timing(plan, terms.config.concurrency)
        self.chance = Chance(futures)
        self._places: dict[str, list[int]] = {}
        for place, subtask in enumerate(plan.subtasks):
            self._places.setdefault(subtask.kind, []).append(place)
        self._places = {digest(kind): places for kind, places in self._places.items()}
        self._of_any: dict[int, list[Pool]] = {}  # the same for all runs of so many sub-tasks

    def __repr__(self) -> str:
        return f"<Ahead: stage {self.stage}, {self.number} sub-tasks>"

    def pools(self, samples: Sequence[Sample]) -> list[Pool]:
        """Of a past run: of those kinds of which it has enough, and of all for what is of no such kind."""
        of_kind: dict[str, list[int]] = {}
        if self._places.keys() != {""}:
            for n, sample in enumerate(samples):
                if sample.kind in self._places:
                    of_kind.setdefault(sample.kind, []).append(n)
        known = {kind: own for kind, own in of_kind.items() if kind and len(own) >= _A_KIND}
        found = [] if known else self._of_any.get(len(samples), [])
        if not found:
            others = sorted([place for kind, places in self._places.items() if kind not in known for place in places])
            first = len(samples)
            if others:
                found.append(Pool(list(range(first)), others, self.chance, 0))
            for kind, own in known.items():
                found.append(Pool(own, self._places[kind], self.chance, first))
                first += len(own)
            if not known:
                self._of_any[len(samples)] = found
        return found
