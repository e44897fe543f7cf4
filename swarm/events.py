"""Everything that happens in a run, as typed records: the one source of screen, JSON lines, show, resume and export.

Every key stands on every line with a typed default. `seq` is dense within a run, so that a gap proves a loss; it,
`run_id` and the two clocks are set by the journal. `t` is the wall clock (Unix seconds), `mono` the monotonic one.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from swarm.types import Outcome, Plan, RunStatus, SubTask, ToolErrorKind, ToolStatus, Usage


class EventBase(BaseModel):
    """What every record carries."""

    model_config = ConfigDict(extra="forbid")

    v: int = 1
    seq: int = -1
    run_id: str = ""
    t: float = 0.0
    mono: float = 0.0


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


class AgentStarted(EventBase):
    """A trajectory begins: an orchestrator's, an aggregator's, or one attempt of a sub-agent."""

    type: Literal["agent_start"] = "agent_start"
    trajectory_id: str
    role: str
    name: str
    trainable: bool
    depth: int = 0
    parent_trajectory_id: str = ""
    spawned_by_tool_call_id: str = ""
    stage: int = 0
    spawn_index: int = 0
    attempt: int = 1
    subtask: SubTask | None = None
    model: str = ""
    system_prompt_sha256: str = ""
    tools: list[dict[str, Any]] = Field(default_factory=list)
    max_steps: int = 0
    timeout_s: float | None = None
    sandbox: str = ""


class CallSent(EventBase):
    """A call is on its way (for live screens, and to know after a crash what was in flight)."""

    type: Literal["call_sent"] = "call_sent"
    trajectory_id: str
    call_id: str
    attempt: int


class CallFinished(EventBase):
    """One attempt at one model call. Exactly one attempt of a call is `accepted`.

    The prompt is the prompt of `prefix_call_id` cut to `prefix_messages` messages, followed by `new_messages`.
    `message` is the raw answer. `error` is empty or the kind of failure. `fitted` tells how the request was changed
    for an endpoint that lacks something, and what else was exchanged for the answer; `usage` and `cost_usd` are of all
    of it; `estimated` says that nobody counted: the attempt failed, and may be billed. A `redacted` call cannot be
    trained on.
    """

    type: Literal["call"] = "call"
    trajectory_id: str
    lineage_id: int = 0
    call_id: str
    turn: int
    attempt: int
    accepted: bool
    model: str = ""
    prefix_call_id: str = ""
    prefix_messages: int = 0
    new_messages: list[dict[str, Any]] = Field(default_factory=list)
    prompt_sha256: str = ""
    sampling: dict[str, Any] = Field(default_factory=dict)
    message: dict[str, Any] = Field(default_factory=dict)
    fitted: dict[str, Any] = Field(default_factory=dict)
    finish_reason: str = ""
    usage: Usage = Usage()
    cost_usd: float | None = None
    estimated: bool = False
    t_sent: float = 0.0
    t_first_token: float = 0.0
    t_done: float = 0.0
    wait_s: float = 0.0
    error: str = ""
    error_message: str = ""
    policy_version: str = ""
    token_source: Literal["server_ids", "none"] = "none"
    token_exact: bool = False
    redacted: bool = False


class ToolStarted(EventBase):
    type: Literal["tool_start"] = "tool_start"
    trajectory_id: str
    call_id: str
    tool_call_id: str
    name: str
    arguments: str


class ToolFinished(EventBase):
    """One use of a tool. `result` is what the model saw, `error` how the use failed; `t_start` and `t_end` are
    monotonic."""

    type: Literal["tool"] = "tool"
    trajectory_id: str
    call_id: str
    tool_call_id: str
    name: str
    arguments: str
    t_start: float
    t_end: float
    status: ToolStatus
    error: ToolErrorKind = ToolErrorKind.NONE
    exit_code: int | None = None
    result: str = ""
    truncated: bool = False
    result_sha256: str = ""
    artifacts: list[str] = Field(default_factory=list)
    sandbox_id: str = ""
    child_trajectory_ids: list[str] = Field(default_factory=list)


class AgentEnded(EventBase):
    """A trajectory ends. `terminated` is a natural end, `truncated` a limit; never both."""

    type: Literal["agent_end"] = "agent_end"
    trajectory_id: str
    outcome: Outcome
    stop: str
    terminated: bool
    truncated: bool
    final_output: str = ""
    commit: str = ""
    steps: int = 0
    tool_calls: int = 0
    usage: Usage = Usage()
    seconds: float = 0.0


class SubTaskSkipped(EventBase):
    """A sub-task that was never started, and why (a dependency failed, the budget or the run ended)."""

    type: Literal["subtask_skipped"] = "subtask_skipped"
    stage: int
    subtask_id: str
    outcome: Outcome
    reason: str


class ControlUsed(EventBase):
    """Someone steered the run from outside. `concurrency` is the new width, `agent` whom it was about."""

    type: Literal["control"] = "control"
    action: Literal["pause", "resume", "concurrency", "stop_agent"]
    concurrency: int = 0
    agent: str = ""
    soft: bool = False


class AgentTold(EventBase):
    """A sub-agent at work was told to finish with what it has, after so many seconds of work. `limit_s` is the soft
    limit that made it a straggler, 0 where someone asked for it."""

    type: Literal["agent_told"] = "agent_told"
    trajectory_id: str
    reason: Literal["straggler", "asked"]
    text: str
    seconds: float = 0.0
    limit_s: float = 0.0


class PatchMerged(EventBase):
    """One sub-task's patch in the merge queue: merged, or evicted with the reason."""

    type: Literal["merge"] = "merge"
    stage: int
    subtask_id: str
    merged: bool
    commit: str = ""
    files: list[str] = Field(default_factory=list)
    reason: str = ""


class GateStarted(EventBase):
    type: Literal["gate_start"] = "gate_start"
    stage: int
    command: str


class GateFinished(EventBase):
    """The gate ran on a tree; stage 0 is the base. `output` is its tail."""

    type: Literal["gate"] = "gate"
    stage: int
    command: str
    commit: str
    passed: bool
    exit_code: int
    timed_out: bool
    output: str
    seconds: float


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


Event = (
    RunStarted
    | StageStarted
    | AgentStarted
    | CallSent
    | CallFinished
    | ToolStarted
    | ToolFinished
    | AgentEnded
    | SubTaskSkipped
    | ControlUsed
    | AgentTold
    | PatchMerged
    | GateStarted
    | GateFinished
    | StageEnded
    | Finished
    | Notice
    | RewardGiven
    | Gap
    | RunEnded
)

ANY_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="type")])
"""Reads one line of a journal."""
