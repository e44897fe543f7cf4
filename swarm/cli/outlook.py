"""What is still to come of a stage, learnt from those of its sub-tasks that are done: its end and its longest way."""

from __future__ import annotations

from bisect import bisect_right, insort
from dataclasses import dataclass

from swarm.cli.view import RunView
from swarm.cli.view_parts import AgentView, State
from swarm.forecast.timing import Timing
from swarm.scheduling.ordering import quantile
from swarm.scheduling.plan_graph import problems
from swarm.types import Plan, Role

EVERY = 1.0
"""Seconds for which an outlook holds: it need not be made anew for each frame."""

ENOUGH = 2
"""So many that are done say how long the others may take."""

_OVERDUE = 0.2
"""Who has worked longer than all who are done is given this part of that time again."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """`seconds` until the stage's last sub-agent ends, learnt from `siblings` that are done (0: from the preview);
    None where nothing is known. `steps` are the model calls of the longest way that is left, None where nobody knows
    how many one takes; `subtasks` are those on the longest way that is left."""

    seconds: float | None = None
    siblings: int = 0
    steps: int | None = None
    subtasks: int = 0


@dataclass(slots=True)
class _Known:
    """What finished ones took, in order: seconds, and model calls."""

    seconds: list[float]
    steps: list[int]


class Watcher:
    """Makes outlooks of one view, which grows."""

    def __init__(self, view: RunView) -> None:
        self._view = view
        self._all = _Known([], [])
        self._kinds: dict[str, _Known] = {}
        self._seen = 0
        self._plan: Plan | None = None
        self._width = 0
        self._timing: Timing | None = None
        self._at = float("-inf")
        self._outlook = Outlook()

    def __repr__(self) -> str:
        return f"<Watcher of {self._seen} finished: {self._outlook}>"

    def progress(self, agent: AgentView) -> float | None:
        """About what part of its work one has done, by its model calls; None where nobody knows."""
        known = self._of(agent.kind).steps
        if len(known) < ENOUGH or agent.role != Role.SUBAGENT.value:
            return None
        return min(0.95, agent.steps / max(1, quantile(known, 0.5)))

    def look(self, now: float) -> Outlook:
        """How it stands at Unix seconds `now`, or stood within the last second."""
        if abs(now - self._at) >= EVERY:
            self._at = now
            self._outlook = self._look(now)
        return self._outlook

    def _look(self, now: float) -> Outlook:
        self._learn()
        view = self._view
        plan = view.plans.get(view.stage)
        if plan is None or view.status:
            return Outlook()
        width = view.bounds.width or len(plan.subtasks)
        if plan is not self._plan or width != self._width:
            self._plan, self._width = plan, width
            self._timing = None if problems(plan) else Timing(plan, width)  # a record may have been made by hand
        if self._timing is None:
            return Outlook()
        agents = [view.agents.get((view.stage, subtask.id)) for subtask in plan.subtasks]
        open_ = [float(agent is None or not agent.state.ended) for agent in agents]
        if not any(open_):
            return Outlook()
        steps: int | None = None
        if len(self._all.steps) >= ENOUGH:
            steps = round(self._timing.longest([self._steps_left(agent) for agent in agents]))
        seconds: float | None = None
        if len(self._all.seconds) >= ENOUGH:
            seconds = self._timing.takes([self._seconds_left(agent, now) for agent in agents])
        elif view.preview is not None and view.preview.stage == view.stage:
            seconds = max(0.0, view.preview.wall_s.likely - view.seconds(now))
        siblings = len(self._all.seconds)
        return Outlook(seconds, siblings if siblings >= ENOUGH else 0, steps, round(self._timing.longest(open_)))

    def _learn(self) -> None:
        took = self._view.crew.took
        for kind, seconds, steps in took[self._seen :]:
            own = self._kinds.setdefault(kind, _Known([], [])) if kind else None
            for known in (self._all, own):
                if known is not None:
                    insort(known.seconds, seconds)
                    insort(known.steps, steps)
        self._seen = len(took)

    def _of(self, kind: str) -> _Known:
        own = self._kinds.get(kind)
        return own if own is not None and len(own.seconds) >= ENOUGH else self._all

    def _seconds_left(self, agent: AgentView | None, now: float) -> float:
        if agent is not None and agent.state.ended:
            return 0.0
        known = self._of(agent.kind if agent is not None else "").seconds
        if agent is None or agent.state is State.WAITING:
            return quantile(known, 0.5)
        worked = agent.seconds(now)
        longer = known[bisect_right(known, worked) :]
        return quantile(longer, 0.5) - worked if longer else _OVERDUE * worked

    def _steps_left(self, agent: AgentView | None) -> float:
        if agent is not None and agent.state.ended:
            return 0.0
        known = self._of(agent.kind if agent is not None else "").steps
        done = agent.steps if agent is not None and agent.state is State.WORKING else 0
        return float(max(1, quantile(known, 0.5) - done))
