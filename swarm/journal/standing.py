"""Which events of a journal still count: of what a run that was resumed goes through again, the last ones alone."""

from __future__ import annotations

from collections.abc import Iterable

from swarm.events import (
    AgentEnded,
    AgentStarted,
    CulpritSought,
    Event,
    Finished,
    MergeTried,
    PatchMerged,
    RepairsStarted,
    RunEnded,
    RunResumed,
    StageEnded,
    SubTaskSkipped,
    ToolFinished,
)
from swarm.types import Role, ToolStatus

DECIDE = (RunResumed, RunEnded, StageEnded)
"""Events by which others cease to count: no others but those of the same trajectory do that."""


def standing(events: Iterable[Event]) -> list[Event]:
    """The events that still count, of all or of one trajectory with all that `DECIDE`."""
    kept: list[Event] = []
    starts: dict[str, AgentStarted] = {}
    for event in events:
        if isinstance(event, AgentStarted):
            starts.setdefault(event.trajectory_id, event)
        if isinstance(event, RunResumed):
            over = any(isinstance(each, RunEnded) for each in kept)
            end = next((e.seq for e in kept if isinstance(e, StageEnded) and e.stage == event.stage), None)
            kept = [each for each in kept if not _is_void(each, event, over, end, starts)]
        kept.append(event)
    return kept


def _is_void(
    event: Event, resumed: RunResumed, over: bool, stage_end: int | None, starts: dict[str, AgentStarted]
) -> bool:
    match event:
        case AgentEnded():
            return event.trajectory_id in resumed.going_on
        case ToolFinished():
            return is_undone(event, resumed, stage_end, starts)
        case SubTaskSkipped() | MergeTried() | PatchMerged() | CulpritSought() | RepairsStarted() | StageEnded():
            return 0 < resumed.stage <= event.stage
        case Finished():
            return over
        case RunEnded():
            return True
        case _:
            return False


def is_undone(tool: ToolFinished, resumed: RunResumed, stage_end: int | None, starts: dict[str, AgentStarted]) -> bool:
    """Whether a use of a tool was cut off with its trajectory, or gave an orchestrator the results of a stage that is
    gone through again."""
    if tool.trajectory_id not in resumed.going_on:
        return False
    start = starts.get(tool.trajectory_id)
    of_orchestrator = start is not None and start.role == Role.ORCHESTRATOR
    if of_orchestrator and resumed.stage and stage_end is not None and tool.seq > stage_end:
        return True
    return tool.status is ToolStatus.CANCELLED and not tool.result
