"""What sandboxes asked the network for in vain, told to the user."""

from __future__ import annotations

from collections.abc import Callable

from swarm.events import Notice
from swarm.protocols import EventSink

MOST = 50
"""Refusals of hosts that are told in one run."""


def refusals(sink: EventSink) -> Callable[[str], None]:
    """Tells each once in a run."""
    told: set[str] = set()

    def tell(line: str) -> None:
        if line not in told and len(told) < MOST:
            told.add(line)
            sink.emit(Notice(message=line, level="warning"))

    return tell
