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
    """One sub-task. `lost` are the attempts that did not do it, of which `rounds` ended with the machine's failure;
    someone ended those that were `stopped`: however that fails, they are not made again."""

    needs: frozenset[str]
    group: str
    working: set[int] = field(default_factory=set)
    lost: list[End] = field(default_factory=list)
    rounds: int = 0
    stopped: set[int] = field(default_factory=set)
    result: End | None = None


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

    def handed(self, name: str) -> set[str]:
        found: set[str] = set()
        for need in self.subtasks[name].needs:
            found |= {need} if need in self.subtasks else {i for i in self.members(need) if self.good(i)}
        return found

    @property
    def over(self) -> bool:
        return all(each.result is not None for each in self.subtasks.values())

    def began(self, name: str, number: int) -> None:
        self.subtasks[name].working.add(number)

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
            self.decide(name, end)
            return
        each.lost.append(end)
        if each.working:
            return
        each.rounds += end.passing
        if not end.passing or each.rounds == 2 or any(lost.outcome != "errored" for lost in each.lost):
            self.decide(name, min(each.lost, key=lambda lost: (not lost.keep, KEPT_FIRST.index(lost.outcome))))

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
