"""What a screen shows of a run, folded from its events and from nothing else."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from swarm.budgets.levels import limit_words
from swarm.cli.text import line, many
from swarm.cli.view_agents import AgentsView
from swarm.cli.view_bounds import BoundsView, EndpointView
from swarm.cli.view_merging import MergingView
from swarm.cli.view_parts import AgentView, GateView, MergeView, State
from swarm.events import (
    Answered,
    BoardPosted,
    CallFinished,
    ControlUsed,
    CostPreviewed,
    Event,
    Gap,
    LimitReached,
    Notice,
    PreviewHeld,
    RepairsStarted,
    RunEnded,
    RunResumed,
    RunStarted,
    StageStarted,
)
from swarm.journal.totals import Totals
from swarm.legible import clean
from swarm.preview import Preview
from swarm.types import Plan


@dataclass
class RunView:
    """Fold events with `apply`. Unknown, missing or disordered events lose detail and never raise."""

    run_id: str = ""
    task: str = ""
    mode: str = ""
    totals: Totals = field(default_factory=Totals)
    models: dict[str, str] = field(default_factory=dict)
    test: str = ""
    stage: int = 0
    plans: dict[int, Plan] = field(default_factory=dict)
    preview: Preview | None = None
    held: PreviewHeld | None = None
    crew: AgentsView = field(default_factory=AgentsView)
    merging: MergingView = field(default_factory=MergingView)
    board: deque[str] = field(default_factory=lambda: deque(maxlen=100))
    notices: deque[str] = field(default_factory=lambda: deque(maxlen=50))
    started: float = 0.0
    ended: float = 0.0
    latest: float = 0.0
    status: str = ""
    error: str = ""
    error_details: list[str] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)
    before: dict[str, Any] = field(default_factory=dict)
    """The result of a run that is about to be gone on with."""
    bounds: BoundsView = field(default_factory=BoundsView)
    endpoint: EndpointView = field(default_factory=EndpointView)
    paused: bool = False
    waited: float = 0.0
    """Seconds in which the run waited for its user's answers."""
    changes: int = 0
    _asked: float | None = None

    def apply(self, event: Event) -> None:
        """Take in one event."""
        self.changes += 1
        before, self.latest = self.latest, max(self.latest, event.t)
        if isinstance(event, RunResumed):
            self.started += max(0.0, event.t - before) if self.started else 0.0
            self.crew.resume(event.again, event.t, before)
        self.run_id = self.run_id or line(event.run_id)
        self.totals.observe(event)
        self.crew.apply(event)
        self.merging.apply(event)
        handler = _HANDLERS.get(event.type)
        if handler is not None:
            handler(self, event)

    def say(self, message: str) -> None:
        """Show a notice that is not the run's own."""
        self.changes += 1
        self.notices.append(line(message, 300))

    def rationale(self, stage: int) -> str:
        """Why the orchestrator planned a stage as it did."""
        plan = self.plans.get(stage)
        return line(plan.rationale, 500) if plan else ""

    @property
    def agents(self) -> dict[tuple[int, str], AgentView]:
        """The sub-agents, by stage and id of the sub-task."""
        return self.crew.agents

    @property
    def others(self) -> dict[str, AgentView]:
        """Orchestrator and aggregators, by trajectory."""
        return self.crew.others

    @property
    def merges(self) -> list[MergeView]:
        """The last word on each patch."""
        return list(self.merging.last.values())

    @property
    def gate(self) -> GateView | None:
        """The last run of the gate on a merged tree."""
        return self.merging.gate

    @property
    def base_gate(self) -> GateView | None:
        return self.merging.base_gate

    @property
    def tokens(self) -> int:
        return self.totals.prompt_tokens + self.totals.completion_tokens

    def states(self) -> Counter[State]:
        """How many sub-agents stand where."""
        return self.crew.states()

    def seconds(self, now: float) -> float:
        return max(0.0, (self.ended or now) - self.started) if self.started else 0.0

    def name_of(self, trajectory_id: str) -> str:
        """The short name of whoever owns a trajectory."""
        agent = self.crew.of(trajectory_id)
        return agent.name if agent else line(trajectory_id, 40)

    def agent_of(self, trajectory_id: str) -> AgentView | None:
        return self.crew.of(trajectory_id)

    def _run_started(self, event: RunStarted) -> None:
        self.task, self.mode, self.started = line(event.task, 500), line(event.mode), event.t
        self.models = {line(role): line(model) for role, model in event.models.items()}
        self.test = str(event.config.get("test") or "")
        self.bounds.read(event.config)
        self.bounds.since = event.t

    def _resumed(self, event: RunResumed) -> None:
        self.status, self.error, self.error_details, self.ended, self.result = "", "", [], 0.0, {}
        self.paused, self.bounds.since, self._asked = False, event.t, None
        self.bounds.read(event.config)
        if event.stage in self.plans:
            self.merging.forget({subtask.id for subtask in self.plans[event.stage].subtasks})
        lost = f"; {many(event.lost_calls, 'call')} in flight when it ended" if event.lost_calls else ""
        self.notices.append(line(f"the run goes on in a new process{lost}", 300))
        self.notices.extend(line(text, 300) for text in event.changed)

    def _stage_started(self, event: StageStarted) -> None:
        self.stage, self._asked = event.stage, None
        self.plans[event.stage] = event.plan
        self.crew.plan(event.stage, event.plan.subtasks)

    def _previewed(self, event: CostPreviewed) -> None:
        self.preview, self._asked = event.preview, event.mono

    def _answered(self, event: Answered) -> None:
        if self._asked is not None:
            self.waited += max(0.0, event.mono - self._asked)
            self._asked = event.mono

    def _held_against(self, event: PreviewHeld) -> None:
        self.held = event

    def _call_finished(self, event: CallFinished) -> None:
        if event.accepted:
            self.endpoint.answered()
        else:
            self.endpoint.refused(event.error, event.error_message, event.t)

    def _repairs_started(self, event: RepairsStarted) -> None:
        self.crew.plan(event.stage, event.subtasks)

    def _notice(self, event: Notice) -> None:
        text = f"{self.name_of(event.trajectory_id)}: {event.message}" if event.trajectory_id else event.message
        self.notices.append(line(text, 300))

    def _posted(self, event: BoardPosted) -> None:
        if event.words:
            self.board.append(line(f"{self.name_of(event.trajectory_id)} {event.words}"))

    def _limit(self, event: LimitReached) -> None:
        self.notices.append(limit_words(event))

    def _control_used(self, event: ControlUsed) -> None:
        match event.action:
            case "pause" | "resume":
                self.paused = event.action == "pause"
            case "concurrency":
                self.bounds.width = event.concurrency
            case "budget":
                self.bounds.budget(event.tokens, event.usd)
            case "stop_agent":
                pass  # the agent's own records tell what came of it

    def _gap(self, event: Gap) -> None:
        self.notices.append(line(f"the record has a gap: {event.reason}", 300))

    def _run_ended(self, event: RunEnded) -> None:
        first, _, rest = event.error.partition("\n")
        self.status, self.error, self.ended = event.status.value, line(first, 500), event.t
        self.error_details = clean(rest).splitlines()
        self.result = event.result


def seen(events: Iterable[Event]) -> RunView:
    """The view of a run by its record."""
    view = RunView()
    for event in events:
        view.apply(event)
    return view


_HANDLERS: dict[str, Callable[[RunView, Any], None]] = {
    "run_start": RunView._run_started,
    "run_resume": RunView._resumed,
    "preview": RunView._previewed,
    "answer": RunView._answered,
    "preview_held": RunView._held_against,
    "stage_start": RunView._stage_started,
    "call": RunView._call_finished,
    "repairs": RunView._repairs_started,
    "board": RunView._posted,
    "control": RunView._control_used,
    "limit": RunView._limit,
    "notice": RunView._notice,
    "gap": RunView._gap,
    "run_end": RunView._run_ended,
}


def fold(events: Iterable[Event]) -> RunView:
    """The view of a whole record."""
    view = RunView()
    for event in events:
        view.apply(event)
    return view
