"""The shares of a stage's sub-tasks in what was left when it began. Without any, all draw on what there is."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

from swarm.budgets.budget import Budget, Terms
from swarm.budgets.levels import Limits, Room
from swarm.scheduling.ways import Ways
from swarm.stages import edges
from swarm.types import Plan

PARALLEL = Terms(parallel=True)
_REST = "rest of the stage"


def stage_budget(work: Budget, stage: int) -> Budget:
    """The part of a stage, whose sub-tasks run beside each other."""
    return work.part(f"stage {stage}", terms=PARALLEL)


def subtask_budget(stage: Budget, subtask_id: str) -> Budget:
    """A sub-task's own budget: with its share, in what is left to those without one, or directly below the stage."""
    name = _name(subtask_id)
    rest = stage.has(_REST) and not stage.has(name)
    return stage.part(_REST).part(name) if rest else stage.part(name)


def steps_before(stage: Budget, subtask_id: str) -> tuple[int, int]:
    """The steps of the longest way through a stage that leads to a sub-task, and with those of its own."""
    if stage.ways is None:
        return 0, 0
    settled, name = stage.ways[0], _name(subtask_id)
    return settled.before(name), settled.end(name)


def _name(node: str) -> str:
    return sys.intern(f"sub-task {node}")  # five places keep it for each of thousands


class Shares:
    """Sub-tasks with a share may use so much, those without one together the rest; what one leaves that has ended goes
    to those that have not. Shares that make more than the whole, or leave nobody without one, are taken in proportion.
    """

    def __init__(self, stage: Budget, plan: Plan, room: Room) -> None:
        self._stage = stage
        subtasks = plan.subtasks
        if not stage.used.steps:  # what was used by a run that is gone on with keeps its order
            needs = {_name(node): [_name(other) for other in others] for node, others in edges(plan).items()}
            stage.ways = Ways(needs), Ways(needs)
        self._open: dict[str, Budget] = {}
        self._without = {subtask.id for subtask in subtasks if not subtask.budget_share}
        self._nodes = [_name(subtask.id) for subtask in subtasks]
        shares = {subtask.id: subtask.budget_share for subtask in subtasks if subtask.budget_share}
        total = sum(shares.values())
        whole = total if total > 1 or not self._without else 1.0
        for subtask_id, share in shares.items() if not room.unlimited else ():
            limits = _part(room, share / whole)
            self._open[subtask_id] = stage.part(_name(subtask_id), limits)
        if self._open and self._without:
            rest = stage.part(_REST, _part(room, max(0.0, 1 - total / whole)), PARALLEL)
            rest.ways = stage.ways  # some of those with a share may wait for these, and these for them
            self._open[_REST] = rest

    def __repr__(self) -> str:
        return f"<Shares {', '.join(self._open) or 'none'}>"

    def end(self, subtask_id: str) -> None:
        """A sub-task needs no more."""
        self._without.discard(subtask_id)
        ended = [subtask_id] if self._without else [subtask_id, _REST]
        for name in ended:
            node = self._open.pop(name, None)
            if node is not None and self._open:
                self._hand_on(node)

    def then(self, more: Sequence[str]) -> None:
        """Further sub-tasks of the stage, side by side, when all so far have ended: they draw on what there is."""
        nodes = [name for subtask_id in more if (name := _name(subtask_id)) not in self._nodes]
        for ways in self._stage.ways or ():
            for node in nodes:
                ways.add(node, tuple(self._nodes))
        for node in nodes:
            self._stage.part(node)
        self._nodes += nodes

    def lift(self) -> None:
        """No shares any more: the whole has changed."""
        for node in self._open.values():
            node.allow(Limits())
        self._open.clear()

    def _hand_on(self, node: Budget) -> None:
        was, used = node.limits, node.used
        node.allow(Limits(None if was.tokens is None else used.tokens, None if was.usd is None else used.usd))
        number = len(self._open)
        for other in self._open.values():
            tokens, usd = other.limits.tokens, other.limits.usd
            if tokens is not None and was.tokens is not None:
                tokens += max(0, was.tokens - used.tokens) // number
            if usd is not None and was.usd is not None:
                usd += max(0.0, was.usd - used.usd) / number
            other.allow(Limits(tokens, usd))


def _part(room: Room, part: float) -> Limits:
    tokens = None if room.tokens == math.inf else int(max(0, room.tokens) * part)
    return Limits(tokens, None if room.usd == math.inf else max(0.0, room.usd) * part)
