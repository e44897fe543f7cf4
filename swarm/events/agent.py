"""Records of one trajectory: its beginning, its calls and tools, its end."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from swarm.events.base import EventBase
from swarm.types import Outcome, SubTask, ToolErrorKind, ToolStatus, Usage


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


class AgentTold(EventBase):
    """A sub-agent at work was told to finish with what it has, after so many seconds of work. `limit_s` is the soft
    limit that made it a straggler, 0 where someone asked for it."""

    type: Literal["agent_told"] = "agent_told"
    trajectory_id: str
    reason: Literal["straggler", "asked"]
    text: str
    seconds: float = 0.0
    limit_s: float = 0.0


class SubTaskSkipped(EventBase):
    """A sub-task that was never started, and why (a dependency failed, the budget or the run ended)."""

    type: Literal["subtask_skipped"] = "subtask_skipped"
    stage: int
    subtask_id: str
    outcome: Outcome
    reason: str
