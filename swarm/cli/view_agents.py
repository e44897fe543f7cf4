"""The sub-agents of a view, and whoever else asks a model: folded from their records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from swarm.cli.text import line
from swarm.cli.view_parts import AgentView, Phase, State
from swarm.events import (
    AgentEnded,
    AgentStarted,
    AgentTold,
    CallFinished,
    CallSent,
    Event,
    GroupEnded,
    GroupStarted,
    SubTaskSkipped,
    ToolFinished,
    ToolStarted,
)
from swarm.types import Role, SubTask

BEATEN = "the other attempt was first"


class Took(NamedTuple):
    """What a completed sub-task took: seconds from its attempt's start to its end, and model calls."""

    kind: str
    seconds: float
    steps: int


@dataclass
class AgentsView:
    """Fold events with `apply`. `agents` are those of sub-tasks, by stage and id; `others` by trajectory."""

    agents: dict[tuple[int, str], AgentView] = field(default_factory=dict)
    others: dict[str, AgentView] = field(default_factory=dict)
    took: list[Took] = field(default_factory=list)
    _by_trajectory: dict[str, AgentView] = field(default_factory=dict)

    def apply(self, event: Event) -> None:
        """Take in one event; those that are about no agent change nothing."""
        handler = _HANDLERS.get(event.type)
        if handler is not None:
            handler(self, event)

    def of(self, trajectory_id: str) -> AgentView | None:
        return self._by_trajectory.get(trajectory_id)

    def states(self) -> Counter[State]:
        """How many sub-agents stand where."""
        return Counter([agent.state for agent in self.agents.values()])

    def plan(self, stage: int, subtasks: Iterable[SubTask]) -> None:
        """These are to be worked on."""
        for subtask in subtasks:
            agent = self._subagent(stage, subtask.id, subtask.title)
            agent.depends_on, agent.kind = tuple(line(name, 64) for name in subtask.depends_on), subtask.kind

    def resume(self, again: Iterable[str], at: float, before: float) -> None:
        """These trajectories go on, at Unix seconds `at`; when something was heard last is `before`: the time in which
        nobody was at work is nobody's."""
        going = set(again)
        for agent in {id(agent): agent for agent in self._by_trajectory.values()}.values():
            if agent.trajectory_id in going:
                agent.started += max(0.0, at - (agent.ended or before))
                agent.state, agent.ended, agent.note, agent.tool = State.WORKING, 0.0, "goes on", None
                agent.be(Phase.STARTING, at)

    def _subagent(self, stage: int, name: str, title: str) -> AgentView:
        agent = self.agents.setdefault((stage, name), AgentView(line(name, 64), stage=stage))
        agent.title = line(title)
        return agent

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
        agent.retries, agent.refusal = 0, ""
        agent.be(Phase.STARTING, event.t)
        if event.trajectory_id not in agent.trajectories:
            agent.trajectories.append(event.trajectory_id)

    def _call_sent(self, event: CallSent) -> None:
        if agent := self._live(event.trajectory_id):
            agent.note, agent.tool = "thinking" if event.attempt <= 1 else f"thinking (try {event.attempt})", None
            agent.be(Phase.THINKING, event.t)

    def _call_finished(self, event: CallFinished) -> None:
        agent = self._by_trajectory.get(event.trajectory_id)
        if agent is None:
            return
        agent.count_tokens(event.usage.total_tokens)
        if self._live(event.trajectory_id) is None:
            return
        agent.tool = None
        if event.accepted:
            agent.steps += 1
            agent.note = ""
            agent.be(Phase.QUEUED, event.t)
        else:
            agent.retries += 1
            agent.refusal = line(event.error, 40)
            agent.note = f"{agent.refusal.replace('_', ' ') or 'call failed'}: waits"
            agent.be(Phase.REFUSED, event.t)

    def _tool_started(self, event: ToolStarted) -> None:
        if agent := self._live(event.trajectory_id):
            agent.tool = (event.name, event.arguments)
            agent.be(Phase.TOOL, event.t)

    def _tool_finished(self, event: ToolFinished) -> None:
        if agent := self._live(event.trajectory_id):
            agent.tool_calls += 1
            agent.tool = agent.tool or (event.name, event.arguments)
            agent.be(Phase.QUEUED, event.t)

    def _agent_ended(self, event: AgentEnded) -> None:
        agent = self._by_trajectory.get(event.trajectory_id)
        if agent is None or agent.trajectory_id != event.trajectory_id:  # a newer attempt is at work
            return
        agent.state, agent.ended = State(event.outcome.value), event.t
        agent.steps, agent.tool_calls = event.steps or agent.steps, event.tool_calls or agent.tool_calls
        if agent.state is State.COMPLETED and agent.role == Role.SUBAGENT.value:
            self.took.append(Took(agent.kind, max(0.0, event.t - agent.started), agent.steps))
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

    def _group_started(self, event: GroupStarted) -> None:
        if agent := self._live(event.trajectory_id):
            agent.note, agent.tool = f"waits for {len(event.subtasks)} sub-agents of its own", None
            agent.be(Phase.GROUP, event.t)

    def _group_ended(self, event: GroupEnded) -> None:
        if agent := self._live(event.trajectory_id):
            agent.note = ""
            agent.be(Phase.QUEUED, event.t)

    def _live(self, trajectory_id: str) -> AgentView | None:
        agent = self._by_trajectory.get(trajectory_id)
        if agent is None or agent.state.ended or agent.trajectory_id != trajectory_id:
            return None
        return agent


_HANDLERS: dict[str, Callable[[AgentsView, Any], None]] = {
    "agent_start": AgentsView._agent_started,
    "call_sent": AgentsView._call_sent,
    "call": AgentsView._call_finished,
    "tool_start": AgentsView._tool_started,
    "tool": AgentsView._tool_finished,
    "agent_told": AgentsView._agent_told,
    "agent_end": AgentsView._agent_ended,
    "subtask_skipped": AgentsView._skipped,
    "group_start": AgentsView._group_started,
    "group_end": AgentsView._group_ended,
}
