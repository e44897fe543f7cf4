"""The pieces of a run's view: sub-agents, merges, the gate."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from swarm.cli.text import line, tool_use
from swarm.events import GateFinished, GateStarted
from swarm.journal.gate_words import ended, words
from swarm.types import Role


class State(StrEnum):
    """Where a sub-agent stands; an ended one has the name of its outcome."""

    WAITING = "waiting"
    WORKING = "working"
    COMPLETED = "completed"
    FAILED = "failed"
    ERRORED = "errored"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    BUDGET_EXHAUSTED = "budget_exhausted"
    SKIPPED = "skipped"

    @property
    def ended(self) -> bool:
        return self not in (State.WAITING, State.WORKING)


class Phase(StrEnum):
    """What one at work is at."""

    STARTING = "starting"
    QUEUED = "queued"
    """Between two things: it waits for its admission to the endpoint, for budget, or to be told to go on."""
    THINKING = "thinking"
    TOOL = "tool"
    REFUSED = "refused"
    """Its call failed, and it waits to send it again."""
    GROUP = "group"
    """It waits for sub-agents of its own."""


@dataclass(slots=True)
class AgentView:
    """One sub-agent (its last attempt; of two at once each has one), or the orchestrator or aggregator. Times are Unix
    seconds: `since` is when the phase began. `retries` are failed calls of the attempt, `refusal` the kind of the last
    one's failure; `trajectories` are those of all attempts."""

    name: str
    title: str = ""
    role: str = Role.SUBAGENT.value
    stage: int = 0
    depends_on: tuple[str, ...] = ()
    state: State = State.WAITING
    attempt: int = 0
    model: str = ""
    sandbox: str = ""
    steps: int = 0
    max_steps: int = 0
    tool_calls: int = 0
    tokens: int = 0
    started: float = 0.0
    ended: float = 0.0
    stop: str = ""
    summary: str = ""
    trajectory_id: str = ""
    note: str = ""
    told: bool = False
    tool: tuple[str, str] | None = None
    phase: Phase = Phase.QUEUED
    since: float = 0.0
    retries: int = 0
    refusal: str = ""
    kind: str = ""
    trajectories: list[str] = field(default_factory=list)
    beside: AgentView | None = None
    """The other one of two attempts at once, which has the tokens of both as well."""

    @property
    def doing(self) -> str:
        """What it does now: the tool in use, "thinking", or why it waits or ended."""
        if self.tool is not None:
            return tool_use(*self.tool)
        if not self.note and self.state is State.WAITING and self.depends_on:
            return "after " + ", ".join(self.depends_on)
        return self.note

    @property
    def beaten(self) -> bool:
        """Whether the other attempt gave the result: this one is no failure."""
        return self.beside is not None and self.beside.state is State.COMPLETED and self.state is not State.COMPLETED

    def be(self, phase: Phase, since: float) -> None:
        self.phase, self.since = phase, since

    def count_tokens(self, tokens: int) -> None:
        for agent in (self, self.beside):
            if agent is not None:
                agent.tokens += tokens

    def second(self) -> AgentView:
        """The view of an attempt that begins beside this one."""
        other = AgentView(self.name, self.title, self.role, self.stage, self.depends_on, tokens=self.tokens)
        other.kind, other.trajectories = self.kind, self.trajectories
        self.beside, other.beside = other, self
        return other

    def seconds(self, now: float) -> float:
        """Wall time of the attempt, up to `now` where it still works."""
        if not self.started:
            return 0.0
        return max(0.0, (self.ended if self.state.ended else now) - self.started)


@dataclass(slots=True)
class MergeView:
    """The last word on a sub-task's patch; `repair` is the sub-task whose patch stands for it, "" for its own."""

    name: str
    merged: bool
    files: int
    reason: str
    repair: str = ""


@dataclass(slots=True)
class GateView:
    """A run of the gate: what was told of it last."""

    event: GateStarted | GateFinished
    left: bool = False
    """Whether the run ended before it did."""

    @property
    def passed(self) -> bool | None:
        """None while it runs."""
        return self.event.passed if isinstance(self.event, GateFinished) else None

    @property
    def command(self) -> str:
        return line(self.event.command)

    @property
    def state(self) -> str:
        """How it stands, and what is to be said of that."""
        if not isinstance(self.event, GateFinished):
            return "not finished" if self.left else "running"
        told = line(words(self.event), 400) if self.event.settled else ""
        return f"{ended(self.event)}{f' ({told})' if told else ''}"

    @property
    def name(self) -> str:
        """What it was run for."""
        match self.event.purpose:
            case "affected":
                number = len(self.event.tests)
                return f"gate ({number} affected tests)" if number else "gate (affected tests)"
            case "search":
                return "gate (looking for what broke it)"
            case _:
                return "gate on the base" if self.event.stage == 0 else "gate"
