"""Everything that happens in a run, as typed records: the one source of screen, JSON lines, show, resume and export.

Every key stands on every line with a typed default. `seq` is dense within a run, so that a gap proves a loss; it,
`run_id` and the two clocks are set by the journal. `t` is the wall clock (Unix seconds), `mono` the monotonic one.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter

from swarm.events.agent import (
    AgentEnded,
    AgentStarted,
    AgentTold,
    BoardPosted,
    CallFinished,
    CallSent,
    ContextEdited,
    GroupEnded,
    GroupStarted,
    SubTaskSkipped,
    ToolFinished,
    ToolStarted,
    TreeKept,
    WorkerSaid,
)
from swarm.events.base import EventBase
from swarm.events.documents import AttachedDocument, DocumentsAttached
from swarm.events.merging import (
    CulpritSought,
    EvictionKind,
    GateFinished,
    GateStarted,
    MergeTried,
    PatchMerged,
    RepairsStarted,
)
from swarm.events.previews import CostPreviewed, PreviewHeld
from swarm.events.run import (
    Answered,
    ControlUsed,
    Finished,
    Gap,
    LimitReached,
    Notice,
    RewardGiven,
    RunEnded,
    RunResumed,
    RunStarted,
    StageEnded,
    StageStarted,
)

__all__ = [
    "ANY_EVENT",
    "AgentEnded",
    "AgentStarted",
    "AgentTold",
    "Answered",
    "AttachedDocument",
    "BoardPosted",
    "CallFinished",
    "CallSent",
    "ContextEdited",
    "ControlUsed",
    "CostPreviewed",
    "CulpritSought",
    "DocumentsAttached",
    "Event",
    "EventBase",
    "EvictionKind",
    "Finished",
    "Gap",
    "GateFinished",
    "GateStarted",
    "GroupEnded",
    "GroupStarted",
    "LimitReached",
    "MergeTried",
    "Notice",
    "PatchMerged",
    "PreviewHeld",
    "RepairsStarted",
    "RewardGiven",
    "RunEnded",
    "RunResumed",
    "RunStarted",
    "StageEnded",
    "StageStarted",
    "SubTaskSkipped",
    "ToolFinished",
    "ToolStarted",
    "TreeKept",
    "WorkerSaid",
]

Event = (
    RunStarted
    | RunResumed
    | DocumentsAttached
    | CostPreviewed
    | StageStarted
    | AgentStarted
    | CallSent
    | CallFinished
    | ToolStarted
    | ToolFinished
    | TreeKept
    | AgentEnded
    | SubTaskSkipped
    | Answered
    | ControlUsed
    | LimitReached
    | AgentTold
    | WorkerSaid
    | ContextEdited
    | BoardPosted
    | GroupStarted
    | GroupEnded
    | MergeTried
    | PatchMerged
    | CulpritSought
    | RepairsStarted
    | GateStarted
    | GateFinished
    | StageEnded
    | Finished
    | Notice
    | RewardGiven
    | Gap
    | PreviewHeld
    | RunEnded
)

ANY_EVENT: TypeAdapter[Event] = TypeAdapter(
    Annotated[Event, Field(discriminator="type")], config=ConfigDict(defer_build=True)
)
"""Reads one line of a journal."""
