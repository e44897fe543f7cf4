"""What an orchestrator sees, and what it decides: the stages of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from swarm.types import AgentResult, Outcome, Plan


@dataclass(frozen=True, slots=True)
class GateReport:
    """One run of the gate. `seconds` is wall time."""

    command: str
    exit_code: int
    output: str
    timed_out: bool
    seconds: float

    @property
    def passed(self) -> bool:
        return self.exit_code == 0 and not self.timed_out


@dataclass(frozen=True, slots=True)
class Captured:
    """What an attempt left behind. `commit` holds it, None where nothing changed, or nothing can be held: `failure`
    says why. `left_out` names files that are not in it though they changed, with the reason."""

    commit: str | None
    left_out: tuple[str, ...] = ()
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Merged:
    """What the aggregator made of a stage's results: a text, and where there is a repository the merged commit.

    `evicted` maps a sub-task whose patch could not be merged to the reason.
    """

    text: str
    commit: str | None = None
    evicted: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StageReport:
    """One finished stage: what was asked, what came back, what became of it."""

    stage: int
    plan: Plan
    results: tuple[AgentResult, ...]
    merged: Merged
    gate: GateReport | None


@dataclass(frozen=True, slots=True)
class RunState:
    """What an orchestrator sees when it decides. `tree` is a listing of the repository, empty without one."""

    task: str
    test: str | None
    tree: str
    base_gate: GateReport | None
    stages: tuple[StageReport, ...] = ()


@dataclass(frozen=True, slots=True)
class Dispatch:
    """The orchestrator's decision to run these sub-tasks as the next stage."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class Finish:
    """The orchestrator's decision to end; `dropped` names sub-tasks that are no longer needed, `note` what the user
    should know about it."""

    answer: str
    dropped: tuple[str, ...] = ()
    note: str = ""


def all_is_well(stages: Sequence[StageReport]) -> bool:
    """Whether the last stage left nothing to be done: all complete, all merged, the gate green."""
    if not stages:
        return False
    last = stages[-1]
    good = all(result.outcome is Outcome.COMPLETED for result in last.results) and not last.merged.evicted
    return good and (last.gate is None or last.gate.passed)
