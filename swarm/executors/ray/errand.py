"""One attempt at an outpost, as it is followed at home: its records so far, its clock, and its end, whichever way."""

from __future__ import annotations

import anyio

from swarm.agents.trajectory import LIMITS
from swarm.budgets.lessor import Lessor
from swarm.config import Price
from swarm.errors import MachineError
from swarm.events import AgentEnded, AgentStarted, CallFinished, CallSent, Event, ToolFinished
from swarm.executors.ray.messages import Ended
from swarm.journal.open_calls import was_used
from swarm.models.pricing import cost
from swarm.protocols import EventSink
from swarm.steering import Steering, WorkClock
from swarm.types import Outcome, Usage

LOST = "node_lost"
"""The `stop` of an attempt whose node is gone."""


class DistantClock(WorkClock):
    """The clock of an attempt that is made elsewhere, as far as it was told of."""

    def told(self, seconds: float, *, running: bool) -> None:
        """So many seconds were worked by now."""
        self.stop()
        self._worked = seconds
        self._ever = True
        if running:
            self.start()


class Errand:
    """An attempt that is made elsewhere. Its record begins here, where it also ends if nothing more is heard of it."""

    def __init__(self, started: AgentStarted, steering: Steering, sink: EventSink, price: Price | None) -> None:
        self.id = started.trajectory_id
        self.lessor: Lessor | None = None
        self.steering = steering
        self.clock = DistantClock()
        self.over = anyio.Event()
        self.ended: Ended | None = None
        self.lost: MachineError | None = None
        self._sink = sink
        self._price = price
        self._started = started
        self._closed = False
        self._in_flight: dict[tuple[str, int], CallSent] = {}
        self._steps = self._tool_calls = 0
        self._usage = Usage()

    def __repr__(self) -> str:
        return f"<Errand {self.id}: {self._steps} steps{', over' if self.over.is_set() else ''}>"

    def begin(self) -> None:
        """Write down that it begins."""
        self._sink.emit(self._started)

    def take(self, event: Event) -> None:
        """A record of it came."""
        if self._closed or isinstance(event, AgentStarted):
            return
        match event:
            case CallSent():
                self._in_flight[event.call_id, event.attempt] = event
            case CallFinished():
                self._in_flight.pop((event.call_id, event.attempt), None)
                if event.accepted:
                    self._steps += event.call_id == f"{self.id}/{event.turn}"
                    self._usage = self._usage + event.usage
            case ToolFinished():
                self._tool_calls += was_used(event.status, event.error, ends=event.ends)
            case AgentEnded():
                self._closed = True
            case _:
                pass
        self._sink.emit(event)

    def end(self, ended: Ended) -> None:
        """It is over."""
        self.ended = ended
        self.over.set()

    def lose(self, why: MachineError) -> None:
        """Nothing more will be heard of it."""
        if not self.over.is_set():
            self.lost = why
            self.over.set()

    def close(self, outcome: Outcome, stop: str, why: str) -> None:
        """Write down its end where it did not do so itself. Calls in flight may be billed."""
        if self._closed:
            return
        self._closed = True
        for call in self._in_flight.values():
            usage = Usage(prompt_tokens=call.prompt_tokens)
            turn = call.call_id.rpartition("/")[2].partition("-")[0]
            self._sink.emit(
                CallFinished(
                    trajectory_id=self.id,
                    call_id=call.call_id,
                    turn=int(turn) if turn.isdecimal() else 0,
                    attempt=call.attempt,
                    accepted=False,
                    untrainable="failed" if self._started.trainable else "frozen",
                    model=self._started.model,
                    usage=usage,
                    cost_usd=cost(self._price, usage),
                    estimated=True,
                    error="lost",
                    error_message=why,
                )
            )
        self._in_flight.clear()
        truncated = stop in LIMITS or outcome in (Outcome.CANCELLED, Outcome.ERRORED)
        self._sink.emit(
            AgentEnded(
                trajectory_id=self.id,
                outcome=outcome,
                stop=stop,
                terminated=not truncated,
                truncated=truncated,
                final_output=why,
                steps=self._steps,
                tool_calls=self._tool_calls,
                usage=self._usage,
                seconds=self.clock.seconds,
            )
        )
