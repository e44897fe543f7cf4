"""Tool calls without an end: each that an accepted answer holds gets exactly one record, also where its agent ended
before it was used."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from swarm.events import AgentEnded, CallFinished, Event, ToolFinished
from swarm.types import Message, ToolCall, ToolErrorKind, ToolStatus

PARSED = "text_tool_calls"
"""The member of an answer with the calls that were read out of its text."""


def calls_in(message: Message) -> list[ToolCall]:
    """The tool calls of an assistant's message, as they were used: its own, or those read out of its text."""
    read = message.get(PARSED)
    if isinstance(read, dict):
        return [ToolCall(each["id"], each["name"], each["arguments"]) for each in read.get("calls") or ()]
    functions = [(str(each.get("id")), each.get("function") or {}) for each in message.get("tool_calls") or ()]
    return [ToolCall(name, str(f.get("name")), str(f.get("arguments") or "")) for name, f in functions]


def is_turn(call: CallFinished) -> bool:
    """Whether a call is a turn of its trajectory, and none beside it, such as one for a summary."""
    return call.call_id == f"{call.trajectory_id}/{call.turn}"


def was_used(status: ToolStatus, error: ToolErrorKind, *, ends: bool) -> bool:
    """Whether a tool did something: what it did, and nobody else. Handing in at the end is no use of one."""
    return not ends and status is not ToolStatus.CANCELLED and error not in _NOBODY


_NOBODY = (ToolErrorKind.UNKNOWN_TOOL, ToolErrorKind.BAD_ARGUMENTS, ToolErrorKind.DENIED)


FOLLOWED = frozenset((CallFinished, ToolFinished, AgentEnded))
"""What `OpenCalls` follows: others it need not be shown."""


class OpenCalls:
    """Fed with the events of the journal as they come. `past` gives those of a trajectory that stand from before, and
    is asked when something of it is seen first; None where there was nothing before."""

    def __init__(self, past: Callable[[str], Iterable[Event]] | None = None) -> None:
        self._past = past
        self._open: dict[str, list[tuple[str, ToolCall]]] = {}

    def __repr__(self) -> str:
        return f"<OpenCalls {sum(map(len, self._open.values()))}>"

    def observe(self, event: Event) -> None:
        """Take in the next event."""
        match event:
            case CallFinished() | ToolFinished():
                _follow(self._of(event.trajectory_id), event)
            case AgentEnded() if self._past is None:
                self._open.pop(event.trajectory_id, None)
            case AgentEnded():
                self._open[event.trajectory_id] = []  # nothing is asked for again
            case _:
                pass

    def _of(self, trajectory_id: str) -> list[tuple[str, ToolCall]]:
        if (found := self._open.get(trajectory_id)) is None:
            found = self._open[trajectory_id] = []
            for event in self._past(trajectory_id) if self._past is not None else ():
                _follow(found, event)
        return found

    def ended(self, trajectory_id: str) -> list[ToolFinished]:
        """Records for the calls that nobody will use any more."""
        now = time.monotonic()
        return [
            ToolFinished(
                trajectory_id=trajectory_id,
                call_id=call_id,
                tool_call_id=call.id,
                name=call.name,
                arguments=call.arguments,
                t_start=now,
                t_end=now,
                status=ToolStatus.CANCELLED,
                result_sha256=_NOTHING,
            )
            for call_id, call in self._of(trajectory_id)
        ]


def _follow(calls: list[tuple[str, ToolCall]], event: Event) -> None:
    """What an event of a trajectory makes of its open calls."""
    match event:
        case CallFinished(accepted=True) if event.response and is_turn(event):
            calls += ((event.call_id, call) for call in calls_in(event.response))
        case ToolFinished():
            for at, (call_id, call) in enumerate(calls):
                if (call_id, call.id) == (event.call_id, event.tool_call_id):
                    del calls[at]
                    break
        case AgentEnded():
            calls.clear()
        case _:
            pass


_NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""SHA-256 of the empty text."""
