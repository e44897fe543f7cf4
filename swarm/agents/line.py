"""How a role of a run reaches its model: what all conversations of that role share."""

from __future__ import annotations

import random
from dataclasses import field, replace
from weakref import ref

import anyio

from swarm.budgets.budget import Budget
from swarm.budgets.sizes import Sizes
from swarm.calls import StreamLimits
from swarm.config import Price
from swarm.documents.library import Pictures
from swarm.errors import EndpointError
from swarm.events import Notice
from swarm.journal.past import Past
from swarm.models.capture import gives_tokens
from swarm.models.fitting.windows import ContextWindow
from swarm.models.tokens import TokenRatio
from swarm.protocols import EventSink, ModelService
from swarm.retry import RetryPolicy
from swarm.stopping import unless_stopped
from swarm.values import value

QUIET_S = 5.0
"""Seconds after which the first wait for an endpoint is told."""


@value(frozen=True, slots=True)
class Line:
    """How a role reaches its model. `past` is what the journal held when this process took up the run."""

    service: ModelService
    budget: Budget
    sink: EventSink
    price: Price | None = None
    ratio: TokenRatio = field(default_factory=TokenRatio)
    sizes: Sizes = field(default_factory=Sizes)
    window: ContextWindow = field(default_factory=ContextWindow)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    temperature: float | None = None
    seed: int | None = None
    call_timeout: float = 600.0
    stream: StreamLimits | None = None
    rng: random.Random = field(default_factory=random.Random)
    past: Past = field(default_factory=Past)
    pictures: Pictures = field(default_factory=Pictures)
    capture: bool = False
    """Whether tokens are asked for; what learns from them is sampled as the model itself would."""
    learns: bool = False
    """Whether the trajectories on this line are to be trained on."""

    async def learning(self, *, replayed: bool, stop: anyio.Event) -> Line | None:
        """This line for what is to be trained on, where its endpoint gives tokens; else it stays as it is. A run that
        goes on does as it began. None where `stop` came before that was known: then nothing may begin.

        Raises:
            EndpointError: the endpoint cannot be asked.
        """
        began = [start.trainable for start in self.past.course.starts.values()]
        gives = any(began) if began else await unless_stopped(stop, self._gives_tokens)
        return None if gives is None else replace(self, capture=gives, learns=gives and not replayed)

    async def _gives_tokens(self) -> bool:
        """Whether the endpoint gives tokens; a long wait for that, be it tried again and again, is told."""
        gives: bool | EndpointError = False
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(self._tell_of_wait)
            try:
                gives = await gives_tokens((self.service,))
            except EndpointError as error:
                gives = error
            waiting.cancel_scope.cancel()
        if isinstance(gives, EndpointError):
            raise gives
        return gives

    async def _tell_of_wait(self) -> None:
        await anyio.sleep(QUIET_S)
        words = f"no answer yet from {self.service.name} at {self.service.endpoint}: what fails is tried again"
        self.sink.emit(Notice(message=words, level="warning"))


class Teller:
    """Tells the user of one run; equal to every other of that run. Whoever keeps one keeps no run that has ended."""

    __slots__ = ("_hash", "_sink")

    def __init__(self, sink: EventSink) -> None:
        self._sink = ref(sink)
        self._hash = id(sink)

    def __call__(self, text: str) -> None:
        sink = self._sink()
        if sink is not None:
            sink.emit(Notice(message=text, level="warning"))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Teller):
            return NotImplemented
        sink = self._sink()
        return other is self or (sink is not None and other._sink() is sink)

    def __hash__(self) -> int:
        return self._hash
