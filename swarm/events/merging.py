"""Records of what is made of results: merges and the gate."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from swarm.events.base import EventBase
from swarm.types import SubTask

GatePurpose = Literal["verdict", "affected", "search"]


EvictionKind = Literal["conflict", "gate", "alone", "held", "untested"]
"""Why a patch is not merged: it does not apply to what was merged before it; it does, and with another patch it breaks
tests that were green (a semantic conflict); it breaks them even by itself; what it builds on is not merged; tests are
red, and no more culprits are looked for."""


class MergeTried(EventBase):
    """A patch was merged on trial as it arrived, into those that had arrived before. Nothing follows from it: the
    queue merges in its own order when all are there. `against` are the sub-tasks that changed the files in conflict."""

    type: Literal["merge_trial"] = "merge_trial"
    stage: int
    subtask_id: str
    clean: bool
    files: list[str] = Field(default_factory=list)
    conflicts: list[str] = Field(default_factory=list)
    against: list[str] = Field(default_factory=list)


class PatchMerged(EventBase):
    """One sub-task's patch in the merge queue: merged as `commit`, or evicted with the reason. The last one counts.

    `against` are the sub-tasks that it conflicts with, as far as they are known, `tests` those that break. `repair` is
    the repair sub-agent's sub-task whose patch stands for that of the sub-task, "" for its own.
    """

    type: Literal["merge"] = "merge"
    stage: int
    subtask_id: str
    merged: bool
    commit: str = ""
    files: list[str] = Field(default_factory=list)
    reason: str = ""
    kind: EvictionKind | Literal[""] = ""
    against: list[str] = Field(default_factory=list)
    tests: list[str] = Field(default_factory=list)
    repair: str = ""


class CulpritSought(EventBase):
    """The gate is red on so many merged patches: it is looked for the one that broke it. `found` names it."""

    type: Literal["bisect"] = "bisect"
    stage: int
    commit: str
    patches: int
    tests: list[str] = Field(default_factory=list)
    found: str = ""


class RepairsStarted(EventBase):
    """Evicted patches are given to repair sub-agents, all at once. `commit` is what was merged by then, `repairs` maps
    each of their sub-tasks to the sub-task whose patch it brings in, `reasons` to why that was evicted."""

    type: Literal["repairs"] = "repairs"
    stage: int
    commit: str
    subtasks: list[SubTask]
    repairs: dict[str, str]
    reasons: dict[str, str] = Field(default_factory=dict)


class GateStarted(EventBase):
    """The gate is being run on a tree. `purpose`, `attempt` and `tests` as in its end."""

    type: Literal["gate_start"] = "gate_start"
    stage: int
    command: str
    commit: str = ""
    purpose: GatePurpose = "verdict"
    attempt: int = 1
    tests: list[str] = Field(default_factory=list)


class GateFinished(EventBase):
    """The gate ran on a tree; stage 0 is the base. `output` is its head and tail, all of it is in `artifact`.

    Of `purpose` verdict it says what a stage came to; `affected` is a run of only the `tests` that a change touches,
    `search` one that looks for a culprit. A verdict that is not `settled` is looked at again: `attempt` 2 follows, in
    which what is red was run once more, and 3, in which all was, if some of its `tests` were green alone. The lists of
    tests, `reason`, `base_passed` and `worse` as in `swarm.stages.GateReport`.
    """

    type: Literal["gate"] = "gate"
    stage: int
    command: str
    commit: str
    passed: bool
    exit_code: int
    timed_out: bool
    output: str
    seconds: float
    purpose: GatePurpose = "verdict"
    attempt: int = 1
    settled: bool = True
    tests: list[str] = Field(default_factory=list)
    failed: list[str] = Field(default_factory=list)
    broken: list[str] = Field(default_factory=list)
    before: list[str] = Field(default_factory=list)
    fixed: list[str] = Field(default_factory=list)
    flaky: list[str] = Field(default_factory=list)
    ran: int | None = None
    complete: bool = True
    runner: str = ""
    fewer: int = 0
    reason: str = ""
    base_passed: bool | None = None
    worse: bool = False
    artifact: str = ""
