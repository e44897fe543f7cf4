"""What a trajectory's calls and uses of tools came to, out of its own events."""

from __future__ import annotations

from collections import Counter, defaultdict, deque

from swarm.events import AgentStarted, CallFinished, CallSent, Event, RunResumed, ToolFinished, ToolStarted
from swarm.journal.standing import is_undone


class Trail:
    """Fed with the events of one trajectory, in order."""

    def __init__(self) -> None:
        self.accepted: dict[str, CallFinished] = {}
        self.asides: defaultdict[str, list[CallFinished]] = defaultdict(list)
        """Calls that were made for a call beforehand, by that call."""
        self.tries: Counter[str] = Counter()
        """The number of the last attempt at each call."""
        self.used: list[tuple[int, str]] = []
        """The turn and the tool of each use."""
        self._tools: defaultdict[tuple[str, str], deque[ToolFinished]] = defaultdict(deque)

    def __repr__(self) -> str:
        return f"<Trail: {len(self.accepted)} calls>"

    def observe(self, event: Event) -> None:
        """Take in the next event."""
        match event:
            case CallSent():
                self._tried(event)
            case CallFinished():
                self._tried(event)
                if event.accepted:
                    self.accepted[event.call_id] = event
                    turn = f"{event.trajectory_id}/{event.turn}"
                    if event.call_id != turn:
                        self.asides[turn].append(event)
            case ToolStarted() | ToolFinished():
                self.used.append((_turn_of(event.call_id), event.name))
                if isinstance(event, ToolFinished):
                    self._tools[event.call_id, event.tool_call_id].append(event)
            case _:
                pass

    def _tried(self, event: CallSent | CallFinished) -> None:
        self.tries[event.call_id] = max(self.tries[event.call_id], event.attempt)

    def undo(self, resumed: RunResumed, stage_end: int | None, starts: dict[str, AgentStarted]) -> None:
        """The run goes on: what was cut off is used again."""
        for key, ended in self._tools.items():
            self._tools[key] = deque(each for each in ended if not is_undone(each, resumed, stage_end, starts))

    def tool(self, call_id: str, tool_call_id: str) -> ToolFinished | None:
        """The end of a use of a tool, each given once: a model may give two the same id."""
        found = self._tools.get((call_id, tool_call_id))
        return found.popleft() if found else None


def _turn_of(call_id: str) -> int:
    turn = call_id.rpartition("/")[2]
    return int(turn) if turn.isdecimal() else 0
