"""What the past has said is not said again: a filter before the journal of a run that is gone through again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from swarm.errors import EVALUATION
from swarm.events import (
    AgentEnded,
    AgentStarted,
    AgentTold,
    Answered,
    BoardPosted,
    CallFinished,
    CallSent,
    ControlUsed,
    CulpritSought,
    Event,
    Finished,
    Gap,
    GateFinished,
    GateStarted,
    LimitReached,
    MergeTried,
    PatchMerged,
    RepairsStarted,
    RunEnded,
    RunResumed,
    RunStarted,
    StageEnded,
    StageStarted,
    SubTaskSkipped,
    ToolFinished,
    ToolStarted,
    TreeKept,
)
from swarm.events.base import EventBase
from swarm.journal.masking import mask
from swarm.journal.past import is_undone
from swarm.journal.redaction import Redactor
from swarm.protocols import EventSink
from swarm.types import Outcome

_KEYS: dict[type[EventBase], tuple[str, ...]] = {
    RunStarted: (),
    StageStarted: ("stage",),
    AgentStarted: ("trajectory_id",),
    CallSent: ("call_id", "attempt"),
    CallFinished: ("call_id", "attempt"),
    ToolStarted: ("call_id", "tool_call_id"),
    ToolFinished: ("call_id", "tool_call_id"),
    TreeKept: ("trajectory_id", "call_id"),
    AgentTold: ("trajectory_id", "reason"),
    AgentEnded: ("trajectory_id",),
    SubTaskSkipped: ("stage", "subtask_id"),
    PatchMerged: ("stage", "subtask_id"),
    GateStarted: ("stage", "commit", "command", "purpose", "attempt"),
    GateFinished: ("stage", "commit", "command", "purpose", "attempt"),
    StageEnded: ("stage",),
    Finished: (),
}
"""What makes two events of a type the same. One of another type is known by all that it says but times."""

_ALWAYS_NEW = (RunEnded, RunResumed, ControlUsed, Answered, Gap, BoardPosted)
_STAMPS = frozenset(EventBase.model_fields)


def identity(event: Event) -> tuple[Any, ...]:
    """What makes an event the same as another."""
    keys = _KEYS.get(type(event))
    if keys is not None:
        return (event.type, *(getattr(event, key) for key in keys))
    said = event.model_dump(mode="json", exclude=set(_STAMPS))
    return (event.type, repr({key: value for key, value in said.items() if not isinstance(value, float)}))


def standing(events: Iterable[Event]) -> list[Event]:
    """The events that still count: of what is gone through again, the last ones alone."""
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
            return event.trajectory_id in resumed.again
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


class Unsaid:
    """`swarm.protocols.EventSink` that hands on what was not said before. Each event of the past answers for one."""

    def __init__(self, sink: EventSink, events: Iterable[Event], redactor: Redactor) -> None:
        self._sink = sink
        self._redactor = redactor
        self._events = tuple(events)
        self._said: Counter[tuple[Any, ...]] = Counter()
        self.open: set[str] = set()
        """Trajectories that were to go on and have not ended again."""

    def __repr__(self) -> str:
        return f"<Unsaid: {self._said.total()} events are known>"

    def forget(self, resumed: RunResumed) -> None:
        """From now on what the run goes through again is no longer known."""
        past = standing((*self._events, resumed))
        self._said = Counter(identity(event) for event in past if not isinstance(event, _ALWAYS_NEW))

    def emit(self, event: Event) -> None:
        """See `swarm.protocols.EventSink`."""
        if isinstance(event, AgentEnded):
            self.open.discard(event.trajectory_id)
        if not self._is_known(event):
            self._sink.emit(event)

    async def flush(self) -> None:
        """See `swarm.protocols.EventSink`."""
        await self._sink.flush()

    def end_what_is_open(self) -> None:
        """End the trajectories that were at work in a process that is gone, and were not gone on with."""
        for trajectory_id in sorted(self.open):
            self.emit(
                AgentEnded(
                    trajectory_id=trajectory_id,
                    outcome=Outcome.CANCELLED,
                    stop="not_resumed",
                    terminated=False,
                    truncated=True,
                )
            )

    def _is_known(self, event: Event) -> bool:
        if isinstance(event, _ALWAYS_NEW) or (isinstance(event, LimitReached) and event.scope == EVALUATION):
            return False
        if type(event) not in _KEYS:
            event, _ = mask(event, self._redactor)  # as it was written
        known = identity(event)
        if self._said[known] < 1:
            return False
        self._said[known] -= 1
        return True
