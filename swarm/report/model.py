"""What the page shows, as types: written into it as JSON, and drawn by its own scripts.

Times are milliseconds of the run at work: the time in which no process worked on it is left out. A `blob` is the
number of a part of the page that is unpacked when it is looked at. Lists of agents are indices into `RunPage.agents`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, Field

from swarm.result import Coverage

WAIT, MODEL, FAILED_CALL, TOOL, GROUP = range(5)
"""Kinds of spans: waiting for admission, a model call, one that failed, a tool, waiting for sub-agents of its own."""


@dataclass(slots=True)
class Agent:
    """One trajectory. `spans` holds kind, start and length of each span, one after the other; `messages` is a blob."""

    id: str
    name: str
    role: str
    title: str = ""
    subtask: str = ""
    stage: int = 0
    attempt: int = 1
    parent: str = ""
    model: str = ""
    sandbox: str = ""
    outcome: str = ""
    stop: str = ""
    summary: str = ""
    told: str = ""
    start: int = 0
    end: int = 0
    steps: int = 0
    tool_calls: int = 0
    failed_calls: int = 0
    lost: int = 0
    prompt: int = 0
    completion: int = 0
    cached: int = 0
    cost: float | None = 0.0
    wait_ms: int = 0
    model_ms: int = 0
    tool_ms: int = 0
    spans: list[int] = field(default_factory=list)
    by_steps: bool = False
    by_time: bool = False
    messages: int = -1


class Node(BaseModel):
    """One sub-task in the graph of the plans. `state` is its outcome, `working`, `waiting`, `unmerged` or `over`."""

    id: str
    title: str
    stage: int
    state: str
    why: str = ""
    needs: list[str] = Field(default_factory=list)
    agents: list[int] = Field(default_factory=list)
    files: list[str] = Field(default_factory=list)
    instructions: str = ""
    origin: str = ""
    by_steps: bool = False
    by_time: bool = False
    x: float = 0.0
    y: float = 0.0


class Band(BaseModel):
    """The place of a stage in the graph."""

    stage: int
    y: float
    height: float


class Graph(BaseModel):
    """The plans of all stages, laid out. `edges` are pairs of indices into `nodes`, and whether it is an own sub-agent
    (2), one that replaces or repairs another (1), or what is waited for (0)."""

    nodes: list[Node] = Field(default_factory=list)
    edges: list[tuple[int, int, int]] = Field(default_factory=list)
    bands: list[Band] = Field(default_factory=list)
    width: float = 0.0
    height: float = 0.0
    node_width: float = 0.0
    node_height: float = 0.0


class Stage(BaseModel):
    """One stage, from plan to merge; `start` and `end` in milliseconds of the run."""

    number: int
    start: int
    end: int | None = None
    rationale: str = ""
    planner: int = -1
    subtasks: int = 0
    main_steps: int = 0
    longest: int = 0


class Mark(BaseModel):
    """Something on the timeline that is no agent's: `gate`, `merge`, `evicted`, `paused`, `asked`, `resumed`."""

    kind: str
    start: int
    end: int
    text: str
    ok: bool = True


class GateRun(BaseModel):
    """One run of the gate. `output` is a blob; the lists name tests as far as its output named them."""

    stage: int
    purpose: str
    command: str
    attempt: int = 1
    passed: bool | None = None
    settled: bool = True
    timed_out: bool = False
    exit_code: int = 0
    seconds: float = 0.0
    commit: str = ""
    reason: str = ""
    ran: int | None = None
    failed: list[str] = Field(default_factory=list)
    broken: list[str] = Field(default_factory=list)
    fixed: list[str] = Field(default_factory=list)
    flaky: list[str] = Field(default_factory=list)
    artifact: str = ""
    output: int = -1


class PatchFile(BaseModel):
    """One file of the patch. `authors` names the sub-tasks whose lines are in it; `body` is a blob of its hunks."""

    name: str
    change: str
    added: int = 0
    removed: int = 0
    binary: bool = False
    authors: list[str] = Field(default_factory=list)
    lines: int = 0
    body: int = -1


class Patch(BaseModel):
    """What came of the run. `note` says what is not as it should be, such as why nobody's name stands at the lines."""

    files: list[PatchFile] = Field(default_factory=list)
    note: str = ""


class Unmerged(BaseModel):
    """What a sub-task made and is not in the patch. `against` are sub-tasks that it conflicts with, `tests` those that
    it breaks."""

    subtask: str
    reason: str
    kind: str = ""
    against: list[str] = Field(default_factory=list)
    tests: list[str] = Field(default_factory=list)
    patch: Patch = Patch()


class Entry(BaseModel):
    """A line of the record: what was said, decided or reached, by whom."""

    at: int
    kind: str
    text: str
    agent: int = -1
    warning: bool = False


class RunPage(BaseModel):
    """One run. `state` says in sentences what is not whole about it: at work, crashed, a record with holes."""

    id: str
    task: str = ""
    mode: str = ""
    status: str = ""
    exit_code: int | None = None
    state: str = ""
    error: str = ""
    answer: str = ""
    version: str = ""
    started: float = 0.0
    wall_ms: int = 0
    seed: int | None = None
    repo: str = ""
    head: str = ""
    dry_run: bool = False
    coverage: Coverage = Coverage()
    missing: dict[str, str] = Field(default_factory=dict)
    outcomes: dict[str, int] = Field(default_factory=dict)
    attempts: dict[str, int] = Field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    calls: int = 0
    cost_usd: float | None = None
    unpriced: list[str] = Field(default_factory=list)
    critical_steps: int = 0
    total_steps: int = 0
    n_subagents: int = 0
    peak_concurrency: int = 0
    models: dict[str, str] = Field(default_factory=dict)
    endpoints: dict[str, str] = Field(default_factory=dict)
    config: dict[str, Any] = Field(default_factory=dict)
    stages: list[Stage] = Field(default_factory=list)
    agents: list[Agent] = Field(default_factory=list)
    graph: Graph = Graph()
    marks: list[Mark] = Field(default_factory=list)
    gates: list[GateRun] = Field(default_factory=list)
    patch: Patch = Patch()
    unmerged: list[Unmerged] = Field(default_factory=list)
    entries: list[Entry] = Field(default_factory=list)


class Difference(BaseModel):
    """What two patches do to one file: `same`, `differs`, `first` or `second` alone. `body` is a blob."""

    name: str
    how: str
    body: int = -1


class Page(BaseModel):
    """The whole page: one run, or two and how their patches differ. `systems` are texts that many agents were given."""

    title: str
    runs: list[RunPage]
    systems: list[str] = Field(default_factory=list)
    differences: list[Difference] = Field(default_factory=list)
