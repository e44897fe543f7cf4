"""Everything that happens in a run, as typed records: the one source of screen, JSON lines, show, resume and export.

Every key stands on every line with a typed default. `seq` is dense within a run, so that a gap proves a loss; it,
`run_id` and the two clocks are set by the journal. `t` is the wall clock (Unix seconds), `mono` the monotonic one.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, TypeAdapter

from swarm.events.agent import (
    AgentEnded,
    AgentStarted,
    AgentTold,
    CallFinished,
    CallSent,
    SubTaskSkipped,
    ToolFinished,
    ToolStarted,
)
from swarm.events.base import EventBase
from swarm.events.merging import GateFinished, GateStarted, PatchMerged
from swarm.events.run import (
    ControlUsed,
    Finished,
    Gap,
    Notice,
    RewardGiven,
    RunEnded,
    RunStarted,
    StageEnded,
    StageStarted,
)

__all__ = [
    "ANY_EVENT",
    "AgentEnded",
    "AgentStarted",
    "AgentTold",
    "CallFinished",
    "CallSent",
    "ControlUsed",
    "Event",
    "EventBase",
    "Finished",
    "Gap",
    "GateFinished",
    "GateStarted",
    "Notice",
    "PatchMerged",
    "RewardGiven",
    "RunEnded",
    "RunStarted",
    "StageEnded",
    "StageStarted",
    "SubTaskSkipped",
    "ToolFinished",
    "ToolStarted",
]

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
