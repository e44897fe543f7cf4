"""A stage on paper: what may start, what follows from the end of an attempt, what each sub-task comes to. Everything is
found anew from what is over, again and again until nothing changes. No code of the product."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

GOOD = "completed"
KEPT_FIRST = ("failed", "timed_out", "budget_exhausted", "errored", "cancelled")


@dataclass(frozen=True)
class End:
    """How an attempt ended. `passing`: the machine failed, and a fresh attempt may do better."""

    outcome: str
    passing: bool = False
    keep: bool = False


@dataclass
class Paper:
    """One sub-task. `made` is the number of its last attempt. `lost` are those that did not do it, of which `rounds`
    ended with the machine's failure; someone ended those that were `stopped`: however that fails, they are not made
    again. `by_agent`: an attempt gave its result."""

    needs: frozenset[str]
    group: str
    working: set[int] = field(default_factory=set)
    made: int = 0
    lost: list[End] = field(default_factory=list)
    rounds: int = 0
    stopped: set[int] = field(default_factory=set)
    result: End | None = None
    by_agent: bool = False


class PaperStage:
    def __init__(self, subtasks: Mapping[str, Paper], need: Mapping[str, int]) -> None:
        self.subtasks = subtasks
        self.need = need

    def members(self, group: str) -> list[str]:
        return [name for name, each in self.subtasks.items() if each.group == group]

    def good(self, node: str) -> bool | None:
        """Whether a sub-task or group is there to be built on; None: not known yet."""
        if node in self.subtasks:
            result = self.subtasks[node].result
            return None if result is None else result.outcome == GOOD
        found = [self.good(name) for name in self.members(node)]
        if node in self.need:
            return True if found.count(True) >= self.need[node] else None if None in found else False
        return None if None in found else True in found

    def ready(self) -> set[str]:
        """What may begin, or begin again."""
        return {
            name
            for name, each in self.subtasks.items()
            if each.result is None and not each.working and all(self.good(need) for need in each.needs)
        }

    def turn(self, name: str) -> tuple[int, int, int]:
        """Whose turn it is, the least first: who has the longest way behind it, for whom most wait, as in the plan."""
        return -self._way(name), -len(self._after(name)), list(self.subtasks).index(name)

    def _way(self, node: str) -> int:
        return (node in self.subtasks) + max(map(self._way, self._after(node)), default=0)

    def _after(self, node: str) -> list[str]:
        group = self.subtasks[node].group if node in self.subtasks else ""
        return [name for name, each in self.subtasks.items() if node in each.needs] + ([group] if group else [])

    def handed(self, name: str) -> list[str]:
        found: set[str] = set()
        for need in self.subtasks[name].needs:
            found |= {need} if need in self.subtasks else {i for i in self.members(need) if self.good(i)}
        return sorted(found)

    @property
    def over(self) -> bool:
        return all(each.result is not None for each in self.subtasks.values())

    @property
    def working(self) -> int:
        """Attempts at work."""
        return sum(len(each.working) for each in self.subtasks.values())

    def began(self, name: str, number: int) -> None:
        each = self.subtasks[name]
        each.working.add(number)
        each.made = max(each.made, number)

    def ended(self, name: str, number: int, end: End) -> None:
        """An attempt ended. The first that completes is the result; while another works nothing is said; after the
        machine's failure it is begun once more, unless the work itself failed as well."""
        each = self.subtasks[name]
        each.working.discard(number)
        if number in each.stopped and end.outcome == "errored":
            end = End("cancelled", keep=end.keep)
        if each.result is not None:
            return
        if end.outcome == GOOD:
            self._decide_by_agent(name, end)
            return
        each.lost.append(end)
        if each.working:
            return
        each.rounds += end.passing
        if not end.passing or each.rounds == 2 or any(lost.outcome != "errored" for lost in each.lost):
            best = min(each.lost, key=lambda lost: (not lost.keep, KEPT_FIRST.index(lost.outcome)))
            self._decide_by_agent(name, best)

    def _decide_by_agent(self, name: str, end: End) -> None:
        self.subtasks[name].by_agent = True
        self.decide(name, end)

    def decide(self, name: str, end: End) -> None:
        """It has its result; and so has what needs no other, or can have none."""
        self.subtasks[name].result = end
        for group, count in self.need.items():
            if sum(self.good(i) is True for i in self.members(group)) >= count:
                for other in self.members(group):
                    self.subtasks[other].result = self.subtasks[other].result or End("skipped")
        changed = True
        while changed:
            changed = False
            for each in self.subtasks.values():
                known = [self.good(need) for need in each.needs]
                if each.result is None and None not in known and False in known:
                    each.result, changed = End("skipped"), True
