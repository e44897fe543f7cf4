"""The values that travel through a run: the vocabulary of the design, as types.

pydantic models are what crosses a boundary (a model's answer, a file, the envelope); dataclasses stay inside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from swarm.steering import Steering
from swarm.values import value

Message = dict[str, Any]
"""One chat message in the wire form of the OpenAI API, kept as it came so that nothing a provider sent is lost."""

JsonObject = dict[str, Any]
"""A JSON object: a schema, the arguments of a tool."""


class Outcome(StrEnum):
    """How an attempt ended. `failed` is the work's failure, `errored` the machine's."""

    COMPLETED = "completed"
    FAILED = "failed"
    ERRORED = "errored"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    BUDGET_EXHAUSTED = "budget_exhausted"
    SKIPPED = "skipped"


class RunStatus(StrEnum):
    """How a run ended."""

    COMPLETED = "completed"
    PARTIAL = "partial"
    FAILED = "failed"
    ERRORED = "errored"
    BUDGET_EXHAUSTED = "budget_exhausted"
    CANCELLED = "cancelled"


class Role(StrEnum):
    """Who makes a model call; also the class of its admission, most urgent first."""

    ORCHESTRATOR = "orchestrator"
    AGGREGATOR = "aggregator"
    SUBAGENT = "subagent"


class SubTask(BaseModel):
    """One piece of the task, for one sub-agent.

    `depends_on` names sub-tasks whose results it needs; `files` the paths it means to write (a scope, may be
    empty); `replaces` earlier sub-tasks that did not succeed and that this one takes over. `result_schema` is the JSON
    schema (draft 2020-12, references only to its own `$defs`) that the submitted result must fit. It
    must hold a value somewhere; an empty list is one only where the schema gives it `minItems: 0`. All fields count as
    given (`model_fields_set`).
    """

    model_config = ConfigDict(frozen=True, defer_build=True)

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    title: str = Field(min_length=1, max_length=200)
    instructions: str = Field(min_length=1)
    system_prompt: str = ""
    depends_on: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    result_schema: JsonObject | None = None
    kind: str = ""  # those of one kind take about as long as each other
    # The part of what is left for its stage that it may use, where tokens or dollars are limited; 0: none of its own.
    budget_share: float = Field(default=0.0, ge=0, le=1)
    group: str = Field(default="", pattern=r"^([A-Za-z0-9][A-Za-z0-9_.-]{0,63})?$")

    def model_post_init(self, context: Any) -> None:
        """Let all fields count as given."""
        object.__setattr__(self, "__pydantic_fields_set__", _OF_SUBTASK)  # nobody asks, and a set takes 200 bytes

    @field_validator("result_schema")
    @classmethod
    def _is_a_schema(cls, value: JsonObject | None) -> JsonObject | None:
        if value is not None:
            from jsonschema import Draft202012Validator, SchemaError  # wanted for few sub-tasks only

            try:
                Draft202012Validator.check_schema(value)
            except SchemaError as error:
                raise ValueError(f"not a JSON schema: {error.message}") from None
            _check_references(value, value.get("$defs", {}))
        return value


_OF_SUBTASK = set(SubTask.model_fields)


def _check_references(part: Any, defined: Mapping[str, Any]) -> None:
    """A reference that leads nowhere would fail every submission; one that leads out would be fetched."""
    if isinstance(part, dict):
        reference = part.get("$ref")
        local = isinstance(reference, str) and reference.startswith("#/$defs/")
        if isinstance(reference, str) and not (local and reference.removeprefix("#/$defs/") in defined):
            raise ValueError(f"not a JSON schema: the reference {reference!r} is not to one of its own $defs")
        part = list(part.values())
    if isinstance(part, list):
        for inner in part:
            _check_references(inner, defined)


class Plan(BaseModel):
    """A graph of sub-tasks for one stage. `dropped` names earlier sub-tasks that are no longer needed."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    rationale: str = ""
    subtasks: tuple[SubTask, ...]
    dropped: tuple[str, ...] = ()
    # So many completed members of a group are enough, the others are then cancelled (a quorum). A group without a need
    # is a best-of: all go to their end, one completed is enough. `depends_on` may name a group.
    need: dict[str, int] = Field(default_factory=dict)


class Usage(BaseModel):
    """Tokens as the endpoint counted them, and the calls that were answered."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    calls: int = 0

    def __add__(self, other: Usage) -> Usage:
        total = Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            calls=self.calls + other.calls,
        )
        object.__setattr__(total, "__pydantic_fields_set__", _COUNTS)  # 700 bytes of each agent's
        return total

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


_COUNTS = set(Usage.model_fields)

NO_USAGE = Usage()
"""What everybody begins with."""


@value(frozen=True, slots=True)
class ToolCall:
    """A model's wish to use a tool; `arguments` is the raw string that it wrote."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ExecResult:
    """What a command did. A time-out is a result (`timed_out`, exit code 124), not an error."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    timed_out: bool = False
    truncated: bool = False
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """What one sandbox may use: bytes of memory, processes, CPUs, bytes per file written, bytes written in all."""

    memory_bytes: int = 2 << 30
    pids: int = 512
    cpus: float = 2.0
    file_bytes: int = 4 << 30
    disk_bytes: int = 8 << 30

    @property
    def tmp_bytes(self) -> int:
        """Of the memory, what temporary files may take: with all of it, nothing could run any more."""
        return self.memory_bytes // 2


@dataclass(frozen=True, slots=True)
class SandboxRequest:
    """A sandbox that is wanted.

    `lease` is the folder of the host in which the backend puts whatever it makes there, and with whose path it labels
    whatever it makes elsewhere: what bears it can be removed when the lease's holder is gone. `workspace` is a folder
    of the host that becomes writable at `workdir` inside; `toolchain` are folders of the host that are visible
    read-only at their own paths (an interpreter, a virtual environment). `env` is the whole environment but for what
    the backend needs itself: nothing is inherited. `network` names the hosts that may be reached (`HOST`, `*.HOST`,
    `HOST:PORT`); without one there is no network. `refused` is told, in a line, of each other host that was asked for.
    """

    run_id: str
    owner: str
    lease: Path
    workspace: Path
    workdir: str
    env: Mapping[str, str] = field(default_factory=dict)
    toolchain: tuple[Path, ...] = ()
    network: tuple[str, ...] = ()
    limits: SandboxLimits = SandboxLimits()
    refused: Callable[[str], None] | None = field(default=None, compare=False)


BoardAction = Literal["claim", "release", "find", "read"]
"""What an agent does at the board that siblings share."""


class ToolStatus(StrEnum):
    """How a use of a tool ended. `denied`: a rule or a person said no; nothing was done."""

    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    DENIED = "denied"


class ToolErrorKind(StrEnum):
    """The ways in which the use of a tool fails, by what a model can do about it."""

    NONE = ""
    UNKNOWN_TOOL = "unknown_tool"
    """There is no such tool: use one of those that there are."""

    BAD_ARGUMENTS = "bad_arguments"
    """The arguments do not fit: give others."""

    NOT_FOUND = "not_found"
    """A path, a job or a page is not there: look for it."""

    NO_MATCH = "no_match"
    """Text or a hunk is not in the file as given: read the file again."""

    UNSUITABLE = "unsuitable"
    """It is there, but of another kind (a folder, binary, too large): use another tool."""

    DENIED = "denied"
    """Not permitted: go on without it."""

    TIMED_OUT = "timed_out"
    """Stopped at the time limit: ask for less, or for longer."""

    UNAVAILABLE = "unavailable"
    """What the tool stands on is missing or does not answer: go on without it."""

    RAISED = "raised"
    """The tool itself failed."""


@value(frozen=True, slots=True)
class Submission:
    """A sub-agent's own word on its work.

    `done`: the sub-task is done. `partial`: it is not, but what was changed is worth keeping. `failed`: nothing of
    use; what was changed is thrown away. `result` fits the sub-task's `result_schema`, None without one.
    """

    status: Literal["done", "partial", "failed"]
    summary: str
    result: Any = None


@value(frozen=True, slots=True)
class ToolResult:
    """What a tool gives back to the model. `submission` ends the attempt; `error` says how the use failed."""

    content: str
    status: ToolStatus = ToolStatus.COMPLETED
    exit_code: int | None = None
    truncated: bool = False
    submission: Submission | None = None
    error: ToolErrorKind = ToolErrorKind.NONE


@value(frozen=True, slots=True)
class AgentLimits:
    """Limits of one attempt: model calls, seconds of work (without waits for admission), tokens. None: the run's."""

    max_steps: int = 100
    timeout: float | None = None
    max_tokens: int | None = None


@value(frozen=True, slots=True)
class AgentSpec:
    """All that an executor needs to make one attempt at one sub-task.

    `base` is the commit that the sub-agent's workspace starts from (None: a task without a repository). `spawned_by`
    is the orchestrator's tool call that asked for it, empty where a plan did. `siblings`: others of its stage can be
    at work at the same time. `depth` counts the agents above it.
    """

    trajectory_id: str
    subtask: SubTask
    stage: int
    attempt: int
    spawn_index: int
    system_prompt: str
    instructions: str
    base: str | None
    limits: AgentLimits
    steering: Steering = field(default_factory=Steering, compare=False)
    spawned_by: str = ""
    siblings: bool = False
    depth: int = 1


@dataclass(frozen=True, slots=True)
class AgentResult:
    """How one attempt ended. `commit` holds the changed workspace, None where nothing changed.

    `stop` names the condition that ended the loop (`submitted`, `answered`, `max_steps`, an error kind, ...);
    `keep` says that the change is to be merged: the sub-task is done, or partly and worth keeping. `result` is what
    was submitted under the sub-task's `result_schema`, `artifact` the handle of a text that is too long to be handed
    over as it is.
    """

    subtask_id: str
    trajectory_id: str
    outcome: Outcome
    text: str
    stop: str
    keep: bool = False
    commit: str | None = None
    steps: int = 0
    tool_calls: int = 0
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    result: Any = None
    artifact: str = ""
