"""The beginning and the end of a trajectory in the journal, whoever's it is."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio

from swarm.events import AgentEnded, AgentStarted
from swarm.protocols import EventSink
from swarm.types import Outcome, Usage

LIMITS = frozenset({"max_steps", "max_tokens", "timeout", "budget"})
"""The conditions that cut an attempt off."""


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


class Trajectory:
    """One agent's part of the record, open until the end of its block. Fill in how it ended."""

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
        self.usage = Usage()
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


@asynccontextmanager
async def open_trajectory(sink: EventSink, started: AgentStarted) -> AsyncIterator[Trajectory]:
    """Record the start; and at the end of the block, however it is left, the end, safely on disk."""
    sink.emit(started)
    trajectory = Trajectory(started)
    try:
        yield trajectory
    except Exception as error:
        trajectory.end(Outcome.ERRORED, type(error).__name__, str(error))
        raise
    finally:
        sink.emit(trajectory.event())
        with anyio.CancelScope(shield=True):
            await sink.flush()
