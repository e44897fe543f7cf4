"""Records of what is made of results: merges and the gate."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from swarm.events.base import EventBase


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
