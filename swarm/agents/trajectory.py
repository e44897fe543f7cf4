"""The beginning and the end of a trajectory in the journal, whoever's it is."""

from __future__ import annotations

import hashlib
import time
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

import anyio

from swarm.events import AgentEnded, AgentStarted
from swarm.mishap import innermost
from swarm.protocols import EventSink
from swarm.types import NO_USAGE, Outcome

LIMITS = frozenset({"max_steps", "max_tokens", "timeout", "budget"})
"""The conditions that cut an attempt off."""


def sha256(text: str) -> str:
    """Of a text in UTF-8, in hex; halves of characters count as they are."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


class Trajectory:
    """One agent's part of the record, open until the end of its block. Fill in how it ended."""

    __slots__ = (
        "_since", "artifact", "before", "commit", "id", "keep", "outcome", "output", "steps", "stop", "submitted",
        "tool_calls", "usage",
    )  # fmt: skip

    def __init__(self, started: AgentStarted) -> None:
        self.id = started.trajectory_id
        self.outcome = Outcome.CANCELLED
        self.stop = "cancelled"
        self.output = ""
        self.commit = ""
        self.keep = False
        self.submitted: Any = None
        self.artifact = ""
        self.steps = 0
        self.tool_calls = 0
        self.usage = NO_USAGE
        self.before = 0.0
        """Seconds of work in processes that are gone."""
        self._since = time.monotonic()

    @property
    def seconds(self) -> float:
        return self.before + time.monotonic() - self._since

    def end(self, outcome: Outcome, stop: str, output: str) -> None:
        self.outcome, self.stop, self.output = outcome, stop, output

    def event(self) -> AgentEnded:
        outside = (Outcome.CANCELLED, Outcome.TIMED_OUT, Outcome.ERRORED)
        truncated = self.stop in LIMITS or self.outcome in outside
        return AgentEnded(
            trajectory_id=self.id,
            outcome=self.outcome,
            stop=self.stop,
            terminated=not truncated,
            truncated=truncated,
            final_output=self.output,
            commit=self.commit,
            steps=self.steps,
            tool_calls=self.tool_calls,
            artifacts=[self.artifact] if self.artifact else [],
            usage=self.usage,
            seconds=self.seconds,
            keep=self.keep,
            submitted=self.submitted,
        )


class _Recorded(AbstractAsyncContextManager[Trajectory]):
    """See `open_trajectory`. It keeps no record of the start, which holds all tools, for as long as the agent lives."""

    __slots__ = ("_sink", "_started", "_trajectory")

    def __init__(self, sink: EventSink, started: AgentStarted) -> None:
        self._sink = sink
        self._started: AgentStarted | None = started
        self._trajectory = Trajectory(started)

    async def __aenter__(self) -> Trajectory:
        started, self._started = self._started, None
        assert started is not None, "a trajectory begins once"
        self._sink.emit(started)
        return self._trajectory

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            fault = innermost(error)
            self._trajectory.end(Outcome.ERRORED, type(fault).__name__, str(fault))
        self._sink.emit(self._trajectory.event())
        with anyio.CancelScope(shield=True):
            await self._sink.flush()


def open_trajectory(sink: EventSink, started: AgentStarted) -> AbstractAsyncContextManager[Trajectory]:
    """Record the start; and at the end of the block, however it is left, the end, safely on disk."""
    return _Recorded(sink, started)
