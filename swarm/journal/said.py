"""What the past has said is not said again: a filter before the journal of a run that is gone through again."""

from __future__ import annotations

from collections import Counter
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
    Event,
    Finished,
    Gap,
    GateFinished,
    GateStarted,
    LimitReached,
    PatchMerged,
    RunEnded,
    RunResumed,
    RunStarted,
    StageEnded,
    StageStarted,
    SubTaskSkipped,
    ToolFinished,
    ToolStarted,
    TreeKept,
    WorkerSaid,
)
from swarm.events.base import EventBase
from swarm.journal.masking import mask
from swarm.journal.past import Past
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

_ALWAYS_NEW = (RunEnded, RunResumed, ControlUsed, Answered, Gap, BoardPosted, WorkerSaid)
_STAMPS = frozenset(EventBase.model_fields)


def identity(event: Event) -> tuple[Any, ...]:
    """What makes an event the same as another."""
    keys = _KEYS.get(type(event))
    if keys is not None:
        return (event.type, *(getattr(event, key) for key in keys))
    said = event.model_dump(mode="json", exclude=set(_STAMPS))
    return (event.type, repr({key: value for key, value in said.items() if not isinstance(value, float)}))


class Unsaid:
    """`swarm.protocols.EventSink` that hands on what was not said before. Each event of the past answers for one."""

    def __init__(self, sink: EventSink, past: Past, redactor: Redactor) -> None:
        self._sink = sink
        self._redactor = redactor
        self._trails = past.trails
        self._resumed: RunResumed | None = None
        self._said: dict[str, Counter[tuple[Any, ...]]] = {}  # by trajectory, of those that have said something again
        self.open: set[str] = set()
        """Trajectories that were to go on and have not ended again."""

    def __repr__(self) -> str:
        known = sum(said.total() for said in self._said.values())
        return f"<Unsaid: {known} events are known of {len(self._said)} trajectories>"

    def forget(self, resumed: RunResumed) -> None:
        """From now on what the run goes through again is no longer known."""
        self._resumed = resumed
        self._said.clear()

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
        said, known = self._said_by(getattr(event, "trajectory_id", "")), identity(event)
        if said[known] < 1:
            return False
        said[known] -= 1
        return True

    def _said_by(self, trajectory_id: str) -> Counter[tuple[Any, ...]]:
        """What one trajectory has said; "" for what belongs to none."""
        if (found := self._said.get(trajectory_id)) is None:
            past = self._trails.standing(trajectory_id, self._resumed) if self._resumed is not None else ()
            found = Counter(identity(event) for event in past if not isinstance(event, _ALWAYS_NEW))
            self._said[trajectory_id] = found
        return found
