"""Records of the run as a whole: its beginning, its stages, its end."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from swarm.events.base import EventBase
from swarm.types import Plan, RunStatus


class RunStarted(EventBase):
    """The first record. `models` and `endpoints` (their hosts) are by role; `engine`, `tokenizer_sha256` and
    `chat_template_sha256` are of the policy that learns, "" where nobody told; `prompts` are hashes of what agents are
    told, `redaction_version` is that of the rules by which secrets are taken out; `attached` are the paths of what the
    run is given to read."""

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
    engine: str = ""
    tokenizer_sha256: str = ""
    chat_template_sha256: str = ""
    prompts: dict[str, str] = Field(default_factory=dict)
    redaction_version: int = 1
    repo: str = ""
    dry_run: bool = False
    attached: list[str] = Field(default_factory=list)


class RunResumed(EventBase):
    """The run goes on in a new process, after a crash or an end before its time.

    What ended only because the run did is open again: `again` are the trajectories that go on, whose ends no longer
    count; `stage` is the last stage that is gone through again (0: none), so that what was said of its merging and of
    the end no longer counts. `superseded` trajectories stand for results that change; others take their place.
    `lost_calls` were in flight. `changed` tells in words what is not as it was; `config` holds the keys given anew.
    """

    type: Literal["run_resume"] = "run_resume"
    swarm_version: str
    began_with: str
    again: list[str] = Field(default_factory=list)
    superseded: list[str] = Field(default_factory=list)
    stage: int = 0
    lost_calls: int = 0
    changed: list[str] = Field(default_factory=list)
    config: dict[str, Any] = Field(default_factory=dict)

    @cached_property
    def going_on(self) -> frozenset[str]:
        """`again`, to be asked about many thousand names."""
        return frozenset(self.again)


class StageStarted(EventBase):
    """The orchestrator's plan for one stage, as it will be run. `commit` is the tree that it starts from."""

    type: Literal["stage_start"] = "stage_start"
    stage: int
    plan: Plan
    trajectory_id: str = ""
    commit: str = ""


class StageEnded(EventBase):
    """One stage is merged: the steps of the orchestrator and the most of any sub-agent (for critical steps)."""

    type: Literal["stage_end"] = "stage_end"
    stage: int
    main_steps: int
    sub_steps: dict[str, int] = Field(default_factory=dict)
    answer: str = ""
    commit: str = ""


class Finished(EventBase):
    """The orchestrator's decision to end; `dropped` names sub-tasks that are no longer needed, `commit` holds what it
    changed itself."""

    type: Literal["finish"] = "finish"
    answer: str = ""
    dropped: list[str] = Field(default_factory=list)
    commit: str = ""


class Answered(EventBase):
    """The user's answer to a question. `spent_usd` is what the run had cost then, None where that is not known; `plan`
    what the user made of the plan, None where it is to be run as it was."""

    type: Literal["answer"] = "answer"
    kind: Literal["plan", "spending", "patch"]
    stage: int
    yes: bool
    spent_usd: float | None = None
    plan: Plan | None = None


class ControlUsed(EventBase):
    """Someone steered the run from outside. `concurrency` is the new width, `agent` whom it was about, `tokens` and
    `usd` the new budget of the run (None: as it was)."""

    type: Literal["control"] = "control"
    action: Literal["pause", "resume", "concurrency", "stop_agent", "budget"]
    concurrency: int = 0
    agent: str = ""
    soft: bool = False
    tokens: int | None = None
    usd: float | None = None


class LimitReached(EventBase):
    """A limit of the run, or of the evaluation that it is one of, is near or used up: `used` of `limit`, from which the
    part is taken off that is kept back.

    `soft`: agents at work are told to finish. `hard`: a call was not sent. `over`: an endpoint counted more than it was
    asked for. `closed`: after `stage` nothing further could be started, whatever was left to be done.
    """

    type: Literal["limit"] = "limit"
    level: Literal["soft", "hard", "over", "closed"]
    what: Literal["tokens", "dollars", "steps", "seconds"]
    used: float
    limit: float
    stage: int = 0
    scope: Literal["run", "evaluation"] = "run"


class Notice(EventBase):
    """Something the user should see: a warning, a wait that the endpoint asked for, a sandbox's own words.

    `gate_left_out`: the test command that was found cannot be run, and the run goes on without a gate.
    """

    type: Literal["notice"] = "notice"
    level: Literal["info", "warning"] = "info"
    message: str
    trajectory_id: str = ""
    gate_left_out: bool = False


class RewardGiven(EventBase):
    """One raw component of a reward; weights stand beside values and are never folded in. Of several of one name for
    one target the last one counts, so that a verifier's takes the place of the run's own."""

    type: Literal["reward"] = "reward"
    scope: Literal["call", "trajectory", "run"]
    target_id: str
    name: str
    value: FiniteFloat
    weight: FiniteFloat
    source: str
    formula_version: int


class Gap(EventBase):
    """Evidence that is known to be missing."""

    type: Literal["gap"] = "gap"
    reason: str
    lost: int = 0


class StageSteps(BaseModel):
    """The steps of one stage: the orchestrator's, and those of each of its sub-tasks; `longest` is the longest way
    through them."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    stage: int
    main_steps: int = 0
    sub_steps: dict[str, int] = Field(default_factory=dict)
    longest: int = 0


class RunEnded(EventBase):
    """The last record: the totals, all of which can be recomputed from the records above.

    `error` says why it is not completed, and is empty only where it is; `fault` names the kind of failure that ended
    the run itself, and not its attempts alone (of an endpoint as calls do). Attempts that were `spawned` ended
    as `finished` (completed), `failed` or `cancelled`. `log_sha256` and `tokens_sha256` are of all bytes of
    `events.jsonl` before this line, and of `tokens.jsonl`. `stages` tells the steps of each, `critical_path_s` the
    seconds that came one after the other; the rest is as in `swarm.journal.parl`.
    """

    type: Literal["run_end"] = "run_end"
    status: RunStatus
    exit_code: int
    result: dict[str, Any]
    error: str = ""
    fault: str = ""
    spawned: int = 0
    finished: int = 0
    failed: int = 0
    cancelled: int = 0
    peak_concurrency: int = 0
    total_steps: int = 0
    critical_steps: int = 0
    wall_s: float = 0.0
    stages: list[StageSteps] = Field(default_factory=list)
    critical_path_s: float = 0.0
    r_parallel: float = 0.0
    r_finish: float = 0.0
    r_perf: float = 0.0
    lambda1: float = 0.0
    lambda2: float = 0.0
    anneal_step: int = 0
    log_sha256: str = ""
    tokens_sha256: str = ""
