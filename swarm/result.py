"""The envelope: what a run gives back."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from swarm.types import RunStatus

UNMERGED = "unmerged"
"""The folder of a run with a patch for each sub-task that is not in its answer."""


class Coverage(BaseModel, defer_build=True):
    """Sub-tasks that were asked for, those with a useful result, and those without."""

    asked: int = 0
    useful: int = 0
    missing: int = 0


class Spent(BaseModel, defer_build=True):
    """Tokens of all calls of a run, and how many calls were answered."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    calls: int = 0


class GateVerdict(BaseModel, defer_build=True):
    """Whether the test command passed on the merged tree."""

    command: str
    passed: bool


class CitedDocument(BaseModel, defer_build=True):
    """A document that the run was given to read, and whether its answer cites it."""

    id: str
    name: str
    sha256: str
    cited: bool = False


class UnsupportedClaim(BaseModel, defer_build=True):
    """What the answer says without a source that holds, and why."""

    claim: str
    reason: str


class Sources(BaseModel, defer_build=True):
    """What stands behind an answer from attached documents. `supported` counts its claims whose sources hold."""

    documents: list[CitedDocument]
    supported: int = 0
    unsupported: list[UnsupportedClaim] = Field(default_factory=list)


class RunResult(BaseModel, defer_build=True):
    """The envelope: what a run gives back, on the last line of `--json`, in `result.json` and from Python.

    `n_subagents` counts attempts that were started. `outcomes` counts sub-tasks, each once, by the end of the attempt
    that decided: a hedge or a first try that lost is not in it. Sub-tasks of sub-agents are. `sources` are those of an
    answer from attached documents, None without any.
    """

    schema_version: Literal[1] = 1
    run_id: str
    status: RunStatus
    exit_code: int
    answer: str
    patch_path: str | None = None
    coverage: Coverage = Coverage()
    usage: Spent = Spent()
    cost_usd: float | None = None
    wall_s: float = 0.0
    critical_steps: int = 0
    total_steps: int = 0
    n_subagents: int = 0
    peak_concurrency: int = 0
    outcomes: dict[str, int] = Field(default_factory=dict)
    gate: GateVerdict | None = None
    sources: Sources | None = None
    run_dir: str
