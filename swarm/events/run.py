"""Records of the run as a whole: its beginning, its stages, its end."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from swarm.events.base import EventBase
from swarm.types import Plan, RunStatus


class RunStarted(EventBase):
    type: Literal["run_start"] = "run_start"
    task: str
    task_sha256: str
    mode: str
    swarm_version: str
    config: dict[str, Any]
    config_sha256: str
    git_head: str = ""
    base_commit: str = ""
    group_id: str = ""
    rollout_index: int = 0
    seed: int | None = None
    models: dict[str, str] = Field(default_factory=dict)
    endpoints: dict[str, str] = Field(default_factory=dict)
    redaction_version: int = 1


class StageStarted(EventBase):
    """The orchestrator's plan for one stage, as it will be run."""

    type: Literal["stage_start"] = "stage_start"
    stage: int
    plan: Plan
    trajectory_id: str = ""


class StageEnded(EventBase):
    """One stage is merged: the steps of the orchestrator and the most of any sub-agent (for critical steps)."""

    type: Literal["stage_end"] = "stage_end"
    stage: int
    main_steps: int
    sub_steps: dict[str, int] = Field(default_factory=dict)
    answer: str = ""
    commit: str = ""


class Finished(EventBase):
    """The orchestrator's decision to end; `dropped` names sub-tasks that are no longer needed."""

    type: Literal["finish"] = "finish"
    answer: str = ""
    dropped: list[str] = Field(default_factory=list)


class ControlUsed(EventBase):
    """Someone steered the run from outside. `concurrency` is the new width, `agent` whom it was about."""

    type: Literal["control"] = "control"
    action: Literal["pause", "resume", "concurrency", "stop_agent"]
    concurrency: int = 0
    agent: str = ""
    soft: bool = False


class Notice(EventBase):
    """Something the user should see: a warning, a wait that the endpoint asked for, a sandbox's own words."""

    type: Literal["notice"] = "notice"
    level: Literal["info", "warning"] = "info"
    message: str
    trajectory_id: str = ""


class RewardGiven(EventBase):
    """One raw component of a reward; weights stand beside values and are never folded in."""

    type: Literal["reward"] = "reward"
    scope: Literal["call", "trajectory", "run"]
    target_id: str
    name: str
    value: float
    weight: float
    source: str
    formula_version: int


class Gap(EventBase):
    """Evidence that is known to be missing."""

    type: Literal["gap"] = "gap"
    reason: str
    lost: int = 0


class RunEnded(EventBase):
    """The last record: the totals, all of which can be recomputed from the records above."""

    type: Literal["run_end"] = "run_end"
    status: RunStatus
    exit_code: int
    result: dict[str, Any]
    error: str = ""
    spawned: int = 0
    finished: int = 0
    failed: int = 0
    cancelled: int = 0
    peak_concurrency: int = 0
    total_steps: int = 0
    critical_steps: int = 0
    wall_s: float = 0.0
