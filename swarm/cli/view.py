"""What a screen shows of a run, folded from its events and from nothing else."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from swarm.cli.text import clean, line, many
from swarm.cli.view_parts import AgentView, GateView, MergeView, State, board_line, limit_line
from swarm.events import (
    AgentEnded,
    AgentStarted,
    AgentTold,
    BoardPosted,
    CallFinished,
    CallSent,
    CostPreviewed,
    Event,
    Gap,
    GateFinished,
    GateStarted,
    GroupStarted,
    LimitReached,
    Notice,
    PatchMerged,
    PreviewHeld,
    RunEnded,
    RunResumed,
    RunStarted,
    StageStarted,
    SubTaskSkipped,
    ToolFinished,
    ToolStarted,
)
from swarm.journal.totals import Totals
from swarm.preview import Preview
from swarm.types import Plan, Role

BEATEN = "the other attempt was first"


@dataclass
class RunView:
    """Fold events with `apply`. Unknown, missing or disordered events lose detail and never raise."""

    run_id: str = ""
    task: str = ""
    mode: str = ""
    totals: Totals = field(default_factory=Totals)
    models: dict[str, str] = field(default_factory=dict)
    stage: int = 0
    plans: dict[int, Plan] = field(default_factory=dict)
    preview: Preview | None = None
    held: PreviewHeld | None = None
    agents: dict[tuple[int, str], AgentView] = field(default_factory=dict)
    others: dict[str, AgentView] = field(default_factory=dict)
    merges: list[MergeView] = field(default_factory=list)
    gate: GateView | None = None
    base_gate: GateView | None = None
    board: deque[str] = field(default_factory=lambda: deque(maxlen=100))
    notices: deque[str] = field(default_factory=lambda: deque(maxlen=50))
    started: float = 0.0
    ended: float = 0.0
    latest: float = 0.0
    status: str = ""
    error: str = ""
    error_details: list[str] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)
    changes: int = 0
    _by_trajectory: dict[str, AgentView] = field(default_factory=dict)

    def apply(self, event: Event) -> None:
        """Take in one event."""
        self.changes += 1
        before, self.latest = self.latest, max(self.latest, event.t)
        if isinstance(event, RunResumed):
            self._leave_out(event, before)
        self.run_id = self.run_id or line(event.run_id)
        self.totals.observe(event)
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
    def tokens(self) -> int:
        return self.totals.usage.total_tokens

    def states(self) -> Counter[State]:
        """How many sub-agents stand where."""
        return Counter(agent.state for agent in self.agents.values())

    def seconds(self, now: float) -> float:
        return max(0.0, (self.ended or now) - self.started) if self.started else 0.0

    def name_of(self, trajectory_id: str) -> str:
        """The short name of whoever owns a trajectory."""
        agent = self._by_trajectory.get(trajectory_id)
        return agent.name if agent else line(trajectory_id, 40)

    def agent_of(self, trajectory_id: str) -> AgentView | None:
        return self._by_trajectory.get(trajectory_id)

    def _subagent(self, stage: int, name: str, title: str) -> AgentView:
        agent = self.agents.setdefault((stage, name), AgentView(line(name, 64), stage=stage))
        agent.title = line(title)
        return agent

    def _run_started(self, event: RunStarted) -> None:
        self.task, self.mode, self.started = line(event.task, 500), line(event.mode), event.t
        self.models = {line(role): line(model) for role, model in event.models.items()}

    def _leave_out(self, event: RunResumed, before: float) -> None:
        """The time in which nobody was at work is nobody's. `before`: when something was heard last."""
        for agent in {id(agent): agent for agent in self._by_trajectory.values()}.values():
            if agent.trajectory_id in event.again:
                agent.started += max(0.0, event.t - (agent.ended or before))
        self.started += max(0.0, event.t - before) if self.started else 0.0

    def _resumed(self, event: RunResumed) -> None:
        self.status, self.error, self.error_details, self.ended, self.result = "", "", [], 0.0, {}
        again = {subtask.id for subtask in self.plans[event.stage].subtasks} if event.stage in self.plans else set()
        self.merges = [merge for merge in self.merges if merge.name not in again]
        for trajectory_id in event.again:
            if agent := self._by_trajectory.get(trajectory_id):
                agent.state, agent.ended, agent.note, agent.tool = State.WORKING, 0.0, "goes on", None
        lost = f"; {many(event.lost_calls, 'call')} in flight when it ended" if event.lost_calls else ""
        self.notices.append(line(f"the run goes on in a new process{lost}", 300))
        self.notices.extend(line(text, 300) for text in event.changed)

    def _stage_started(self, event: StageStarted) -> None:
        self.stage = event.stage
        self.plans[event.stage] = event.plan
        for subtask in event.plan.subtasks:
            agent = self._subagent(event.stage, subtask.id, subtask.title)
            agent.depends_on = tuple(line(name, 64) for name in subtask.depends_on)

    def _previewed(self, event: CostPreviewed) -> None:
        self.preview = event.preview

    def _held_against(self, event: PreviewHeld) -> None:
        self.held = event

    def _agent_started(self, event: AgentStarted) -> None:
        if event.role == Role.SUBAGENT.value or event.subtask is not None:
            name, title = (event.subtask.id, event.subtask.title) if event.subtask else (event.name, event.name)
            agent = self._subagent(event.stage, name, title)
            if agent.state is State.WORKING and agent.trajectory_id != event.trajectory_id:
                agent = self.agents[event.stage, name] = agent.second()
        else:
            agent = self.others.setdefault(event.trajectory_id, AgentView(line(event.name or event.role, 64)))
            agent.role = line(event.role)
        self._by_trajectory[event.trajectory_id] = agent
        agent.trajectory_id = event.trajectory_id
        agent.state, agent.attempt, agent.stage = State.WORKING, event.attempt, event.stage
        agent.model, agent.sandbox, agent.max_steps = line(event.model), line(event.sandbox), event.max_steps
        agent.steps, agent.tool_calls, agent.started, agent.ended = 0, 0, event.t, 0.0
        agent.stop, agent.summary, agent.note, agent.tool, agent.told = "", "", "starting", None, False

    def _call_sent(self, event: CallSent) -> None:
        if agent := self._live(event.trajectory_id):
            agent.note, agent.tool = "thinking" if event.attempt <= 1 else f"thinking (try {event.attempt})", None

    def _call_finished(self, event: CallFinished) -> None:
        agent = self._by_trajectory.get(event.trajectory_id)
        if agent is None:
            return
        agent.count_tokens(event.usage.total_tokens)
        if self._live(event.trajectory_id) is None:
            return
        agent.tool = None
        agent.steps += event.accepted
        agent.note = "" if event.accepted else f"{line(event.error, 40).replace('_', ' ') or 'call failed'}: waits"

    def _tool_started(self, event: ToolStarted) -> None:
        if agent := self._live(event.trajectory_id):
            agent.tool = (event.name, event.arguments)

    def _tool_finished(self, event: ToolFinished) -> None:
        if agent := self._live(event.trajectory_id):
            agent.tool_calls += 1
            agent.tool = agent.tool or (event.name, event.arguments)

    def _agent_ended(self, event: AgentEnded) -> None:
        agent = self._by_trajectory.get(event.trajectory_id)
        if agent is None or agent.trajectory_id != event.trajectory_id:  # a newer attempt is at work
            return
        agent.state, agent.ended = State(event.outcome.value), event.t
        agent.steps, agent.tool_calls = event.steps or agent.steps, event.tool_calls or agent.tool_calls
        agent.stop, agent.summary = line(event.stop, 60), line(event.final_output, 400)
        agent.note, agent.tool = agent.summary or agent.stop, None
        if agent.beside is not None:
            self._one_of_two_ended(agent, agent.beside)

    def _one_of_two_ended(self, agent: AgentView, other: AgentView) -> None:
        """Show the attempt that gave the result, else the one that still may."""
        shown = other if agent.beaten or not (agent.state is State.COMPLETED or other.state.ended) else agent
        for key in [key for key, known in self.agents.items() if known is agent or known is other]:
            self.agents[key] = shown
        if agent.beaten:
            agent.note = agent.summary = BEATEN

    def _agent_told(self, event: AgentTold) -> None:
        if agent := self._live(event.trajectory_id):
            agent.told = True

    def _skipped(self, event: SubTaskSkipped) -> None:
        known = self.agents.get((event.stage, event.subtask_id))
        agent = self._subagent(event.stage, event.subtask_id, known.title if known else "")
        agent.state = State(event.outcome.value)
        agent.note = agent.summary = line(event.reason)
        agent.tool = None

    def _merged(self, event: PatchMerged) -> None:
        self.merges.append(MergeView(line(event.subtask_id, 64), event.merged, len(event.files), line(event.reason)))

    def _gate_started(self, event: GateStarted) -> None:
        self._set_gate(GateView(line(event.command), event.stage, event.t))

    def _gate_finished(self, event: GateFinished) -> None:
        gate = GateView(line(event.command), event.stage, event.t, event.passed, event.timed_out, event.exit_code)
        gate.seconds, gate.output = event.seconds, event.output
        self._set_gate(gate)

    def _set_gate(self, gate: GateView) -> None:
        if gate.stage == 0:
            self.base_gate = gate
        else:
            self.gate = gate

    def _notice(self, event: Notice) -> None:
        text = f"{self.name_of(event.trajectory_id)}: {event.message}" if event.trajectory_id else event.message
        self.notices.append(line(text, 300))

    def _posted(self, event: BoardPosted) -> None:
        if text := board_line(event, self.name_of(event.trajectory_id)):
            self.board.append(text)

    def _limit(self, event: LimitReached) -> None:
        self.notices.append(limit_line(event))

    def _group_started(self, event: GroupStarted) -> None:
        if agent := self._live(event.trajectory_id):
            agent.note, agent.tool = f"waits for {len(event.subtasks)} sub-agents of its own", None

    def _gap(self, event: Gap) -> None:
        self.notices.append(line(f"the record has a gap: {event.reason}", 300))

    def _run_ended(self, event: RunEnded) -> None:
        first, _, rest = event.error.partition("\n")
        self.status, self.error, self.ended = event.status.value, line(first, 500), event.t
        self.error_details = clean(rest).splitlines()
        self.result = event.result

    def _live(self, trajectory_id: str) -> AgentView | None:
        agent = self._by_trajectory.get(trajectory_id)
        if agent is None or agent.state.ended or agent.trajectory_id != trajectory_id:
            return None
        return agent


_HANDLERS: dict[str, Callable[[RunView, Any], None]] = {
    "run_start": RunView._run_started,
    "run_resume": RunView._resumed,
    "preview": RunView._previewed,
    "preview_held": RunView._held_against,
    "stage_start": RunView._stage_started,
    "agent_start": RunView._agent_started,
    "call_sent": RunView._call_sent,
    "call": RunView._call_finished,
    "tool_start": RunView._tool_started,
    "tool": RunView._tool_finished,
    "agent_told": RunView._agent_told,
    "agent_end": RunView._agent_ended,
    "subtask_skipped": RunView._skipped,
    "merge": RunView._merged,
    "gate_start": RunView._gate_started,
    "gate": RunView._gate_finished,
    "board": RunView._posted,
    "group_start": RunView._group_started,
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
