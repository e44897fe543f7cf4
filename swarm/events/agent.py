"""Records of one trajectory: its beginning, its calls and tools, its end."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PrivateAttr

from swarm.calls import Tokens
from swarm.events.base import EventBase
from swarm.types import BoardAction, Outcome, SubTask, ToolErrorKind, ToolStatus, Usage


class AgentStarted(EventBase):
    """A trajectory begins: an orchestrator's, an aggregator's, or one attempt of a sub-agent. `base` is the commit that
    its workspace starts from; `worker` names somebody else's agent that is at work in the place of ours. `trainable`
    says that it is to be trained on: its role learns, and its endpoint gives tokens (which of its calls can be, each
    tells by itself)."""

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
    base: str = ""
    worker: str = ""


class CallSent(EventBase):
    """A call is on its way (for live screens, and to know after a crash what was in flight). `prompt_tokens` is
    estimated; `tokens` and `usd` are set aside for it."""

    type: Literal["call_sent"] = "call_sent"
    trajectory_id: str
    call_id: str
    attempt: int
    prompt_tokens: int = 0
    tokens: int = 0
    usd: float = 0.0


Untrainable = Literal["", "frozen", "failed", "no_tokens", "inexact", "redacted"]
"""Why a call cannot be trained on: its agent does not learn, it is no accepted attempt, the endpoint gave no tokens,
their numbers do not agree, or a secret was taken out."""


class CallFinished(EventBase):
    """One attempt at one model call. Exactly one attempt of a call is `accepted`.

    The prompt is the prompt of `prefix_call_id` cut to `prefix_messages` messages, followed by `new_messages`.
    `response` is the raw message that answers, `read_as` what was read out of it where that is not its content.
    `error` is empty or the kind of failure (`lost`: whoever made the call was killed while it was in flight). `fitted`
    tells how the request was changed for an endpoint that lacks something, and what else was exchanged for the answer;
    `usage` and `cost_usd` are of all of it; `estimated` says that nobody counted: the attempt failed, and may be
    billed. `window_tokens` is the window as it was known then, 0 where it was not.

    `token_source` tells whether the tokens of prompt and answer are in `tokens.jsonl`, `token_exact` that ids, logprobs
    and the endpoint's own counts are of one length. `redacted`: its prompt or its answer held a secret, so that its
    tokens are not kept. `untrainable` says why no training row may be made of it, and is empty where one may.
    `policy_version` is that of the weights, as far as the endpoint told.
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
    window_tokens: int = 0
    response: dict[str, Any] = Field(default_factory=dict)
    read_as: str | None = None
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
    untrainable: Untrainable = "frozen"
    _tokens: Tokens | None = PrivateAttr(None)

    def with_tokens(self, tokens: Tokens | None) -> None:
        """Let the journal keep these tokens beside this record."""
        self._tokens = tokens

    def take_tokens(self) -> Tokens | None:
        """The tokens that go along, once: a record that was written holds none."""
        private = self.__pydantic_private__  # by itself: an attribute that is private is looked for in three places
        if not private or private["_tokens"] is None:
            return None
        tokens, self._tokens = self._tokens, None
        return tokens


class ToolStarted(EventBase):
    """A tool is about to be used; `arguments` is the JSON text as the model wrote it."""

    type: Literal["tool_start"] = "tool_start"
    trajectory_id: str
    call_id: str
    tool_call_id: str
    name: str
    arguments: str


class ToolFinished(EventBase):
    """One use of a tool. `result` is what the model saw, `error` how the use failed, `ends` that it ended the
    attempt; `t_start` and `t_end` are monotonic. `first_seen_by` is the call that the result was first told to, if it
    came to that call; `redacted` says that the hash is of a text from which secrets were taken out since."""

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
    first_seen_by: str = ""
    ends: bool = False
    redacted: bool = False


class TreeKept(EventBase):
    """A checkpoint of a trajectory's working copy: `commit` holds what stood there when the tools of `call_id` were
    done."""

    type: Literal["checkpoint"] = "checkpoint"
    trajectory_id: str
    call_id: str
    turn: int
    commit: str
    seconds: float = 0.0


class AgentEnded(EventBase):
    """A trajectory ends. `terminated` is an end of its own, `truncated` one from outside (a limit, whoever ended it,
    the machine: `outcome` errored); it is always one of them. `keep` says that its change is
    to be merged, `submitted` is what was handed in under a result schema; `artifacts` hold a long `final_output`."""

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
    keep: bool = False
    submitted: Any = None
    artifacts: list[str] = Field(default_factory=list)


class ContextEdited(EventBase):
    """An agent's conversation was shortened: its next call opens lineage `lineage_id`. Tools' output was `shortened` in
    so many messages; or a summary by the model (`call_id`, `summarized`), or a mere account (`cut`), stands in the
    place of all but the last turns; or somebody else's agent went on from other messages (`rewritten`). Tokens are
    those of the prompt, estimated; `window_tokens` is 0 where nobody knows it. `refused` says that the endpoint had
    refused the prompt before."""

    type: Literal["compaction"] = "compaction"
    trajectory_id: str
    lineage_id: int
    action: Literal["shortened", "summarized", "cut", "rewritten"]
    refused: bool = False
    window_tokens: int = 0
    tokens_before: int = 0
    tokens_after: int = 0
    messages_before: int = 0
    messages_after: int = 0
    shortened: int = 0
    call_id: str = ""
    artifacts: list[str] = Field(default_factory=list)


class AgentTold(EventBase):
    """An agent at work was told to finish with what it has, after so many seconds of work. `limit_s` is the soft limit
    that made it a straggler, 0 where someone asked for it; `limit` says in words how near a limit of a budget is, which
    is that of `scope` on `what`."""

    type: Literal["agent_told"] = "agent_told"
    trajectory_id: str
    reason: Literal["straggler", "asked", "budget"]
    text: str
    seconds: float = 0.0
    limit_s: float = 0.0
    limit: str = ""
    scope: str = ""
    what: Literal["", "tokens", "dollars", "steps", "seconds"] = ""


WorkerWord = Literal["message", "thought", "tool", "plan", "permission", "output", "error", "ended"]
"""What somebody else's agent tells of: what it says and thinks, uses of its own tools, its plan, what it asked leave
for, what it writes to its output and as errors, and its end."""


class WorkerSaid(EventBase):
    """Somebody else's agent, at work in the place of ours, told of itself. `text` has a bound; all of its output is in
    an artifact at its end. `tool_call_id` and `status` are its own, of uses of its tools."""

    type: Literal["worker"] = "worker"
    trajectory_id: str
    kind: WorkerWord
    text: str = ""
    tool_call_id: str = ""
    status: str = ""
    artifacts: list[str] = Field(default_factory=list)


class GroupStarted(EventBase):
    """A sub-agent waits for sub-agents of its own: its `group`-th, at work on these sub-tasks, from the tree that the
    commit holds (empty: without one)."""

    type: Literal["group_start"] = "group_start"
    trajectory_id: str
    stage: int
    group: int
    subtasks: list[SubTask]
    commit: str = ""


class GroupEnded(EventBase):
    """A sub-agent goes on, with what its group made: the commit holds its tree with their changes."""

    type: Literal["group_end"] = "group_end"
    trajectory_id: str
    stage: int
    group: int
    commit: str = ""


class BoardPosted(EventBase):
    """An agent used the board that siblings share; what became of it follows from the records before. `holder` is the
    other sub-task that has claimed the same thing."""

    type: Literal["board"] = "board"
    trajectory_id: str
    action: BoardAction
    key: str = ""
    text: str = ""
    holder: str = ""

    @property
    def words(self) -> str:
        """What the agent did; empty where it only looked."""
        match self.action:
            case "claim" if self.holder:
                return f"leaves {self.key} to {self.holder}"
            case "claim":
                return f"claims {self.key}"
            case "release":
                return f"gives up {self.key}"
            case "find":
                return f"found{f' ({self.key})' if self.key else ''}: {self.text}"
            case "read":
                return ""


class SubTaskSkipped(EventBase):
    """A sub-task that was never started, and why (a dependency failed, the budget or the run ended)."""

    type: Literal["subtask_skipped"] = "subtask_skipped"
    stage: int
    subtask_id: str
    outcome: Outcome
    reason: str
