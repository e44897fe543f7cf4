"""The pieces of a run's view: sub-agents, merges, the gate."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from swarm.cli.text import tool_use
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


@dataclass(slots=True)
class AgentView:
    """One sub-agent (its last attempt), or the orchestrator or aggregator. Times are Unix seconds."""

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
    tool: tuple[str, str] | None = None

    @property
    def doing(self) -> str:
        """What it does now: the tool in use, "thinking", or why it waits or ended."""
        if self.tool is not None:
            return tool_use(*self.tool)
        if not self.note and self.state is State.WAITING and self.depends_on:
            return "after " + ", ".join(self.depends_on)
        return self.note

    def seconds(self, now: float) -> float:
        """Wall time of the attempt, up to `now` where it still works."""
        if not self.started:
            return 0.0
        return max(0.0, (self.ended if self.state.ended else now) - self.started)


@dataclass(slots=True)
class MergeView:
    name: str
    merged: bool
    files: int
    reason: str


@dataclass(slots=True)
class GateView:
    """The gate's last run; `passed` is None while it runs."""

    command: str
    stage: int
    started: float
    passed: bool | None = None
    timed_out: bool = False
    exit_code: int = 0
    seconds: float = 0.0
    output: str = ""
