"""An outpost's side of the line home: where its agents' events, artifacts and uses of the board go."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import anyio

from swarm.calls import Ask, ModelReply, ModelRequest
from swarm.events import Event
from swarm.executors.ray.mail import Outbox
from swarm.executors.ray.messages import Answer, ArtifactKept, ArtifactWanted, BoardUsed, Commits, Flush, Taken
from swarm.journal.artifacts import Artifact, Artifacts
from swarm.journal.redaction import Redactor
from swarm.protocols import Model, ModelService, Repository
from swarm.stages import Captured
from swarm.types import BoardAction


class Relay:
    """`swarm.protocols.EventSink` of an outpost: what is emitted goes into the run's journal."""

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.emit: Callable[[Event], None] = self.outbox.put
        """See `swarm.protocols.EventSink`."""
        self.put: Callable[[Any], None] = self.outbox.put
        """Send a message."""
        self._taken = self._synced = 0
        self._waiting: deque[_Waiting] = deque()
        self._moved = anyio.Event()
        self._asked: dict[int, tuple[anyio.Event, list[Answer]]] = {}
        self._number = 0

    def __repr__(self) -> str:
        return f"<Relay: {self._taken} of {self.outbox.count} messages taken>"

    async def flush(self) -> None:
        """See `swarm.protocols.EventSink`."""
        self.outbox.put(Flush())
        target = self.outbox.count
        while self._synced < target:
            await self._moved.wait()

    async def taken(self) -> None:
        """Wait until all so far is in the journal, though perhaps not on disk: it survives this process. Those whose
        messages go home in one bundle wait together, for it is taken as a whole."""
        outbox, waiting = self.outbox, self._waiting
        if self._taken >= outbox.count:
            return
        if not waiting or waiting[-1].number != outbox.number:
            waiting.append(_Waiting(outbox.number, anyio.Event()))
        last = waiting[-1]
        last.count = outbox.count
        await last.taken.wait()

    async def ask(self, question: Callable[[int], Any]) -> Any:
        """What is answered at home.

        Raises:
            ValueError: it is refused.
        """
        self._number += 1
        number = self._number
        asked = self._asked[number] = (anyio.Event(), [])
        self.outbox.put(question(number))
        try:
            await asked[0].wait()
        finally:
            del self._asked[number]
        answer = asked[1][0]
        if answer.refused:
            raise ValueError(answer.refused)
        return answer.value

    def hear(self, message: Taken | Answer) -> None:
        """What became of what was sent."""
        if isinstance(message, Answer):
            if (asked := self._asked.get(message.number)) is not None:
                asked[1].append(message)
                asked[0].set()
            return
        self._taken = max(self._taken, message.count)
        while self._waiting and self._waiting[0].count <= self._taken:
            self._waiting.popleft().taken.set()
        if message.synced:
            self._synced = max(self._synced, message.count)
            self._moved.set()
            self._moved = anyio.Event()


@dataclass(slots=True)
class _Waiting:
    """Those who wait until all messages up to a count are taken, the last of which was put in after the bundle of this
    number was closed."""

    number: int
    taken: anyio.Event
    count: int = 0


class RelayedArtifacts(Artifacts):
    """Artifacts that are kept at home."""

    def __init__(self, relay: Relay, redactor: Redactor) -> None:
        super().__init__(Path("/nonexistent"), redactor)
        self._relay = relay
        self._own: set[str] = set()

    async def keep(self, artifact: Artifact) -> None:
        """See `Artifacts.keep`. It is there before whatever names it."""
        if artifact.handle not in self._own:
            self._own.add(artifact.handle)
            self._relay.put(ArtifactKept(artifact.handle, artifact.text))

    async def read(self, handle: str) -> str | None:
        """See `Artifacts.read`."""
        text: str | None = await self._relay.ask(lambda number: ArtifactWanted(number, handle))
        return text


@dataclass(frozen=True, slots=True)
class RelayedSeat:
    """`swarm.protocols.Seat` at the board at home."""

    relay: Relay
    trajectory_id: str

    def use(self, action: BoardAction, key: str, text: str) -> Awaitable[str]:
        """See `swarm.protocols.Seat.use`."""
        return self.relay.ask(lambda number: BoardUsed(number, self.trajectory_id, action, key, text))


@dataclass(frozen=True, slots=True)
class RelayedBoard:
    """Where agents of an outpost get their seats."""

    relay: Relay

    def seat(self, trajectory_id: str, sink: object) -> RelayedSeat:
        """An agent's place at the board."""
        return RelayedSeat(self.relay, trajectory_id)


class RecordedService:
    """`swarm.protocols.ModelService` whose calls are made when the journal holds that they are: else one might be paid
    that nobody knows of."""

    def __init__(self, service: ModelService, relay: Relay) -> None:
        self.name = service.name
        self.endpoint = service.endpoint
        self._service = service
        self._relay = relay

    def admit(self, ask: Ask) -> AbstractAsyncContextManager[Model]:
        """See `swarm.protocols.ModelService.admit`."""
        return _Admitted(self._service.admit(ask), self._relay)


class _Admitted(AbstractAsyncContextManager[Model]):
    """One admission, from the wait for it to its end."""

    __slots__ = ("_place", "_relay")

    def __init__(self, place: AbstractAsyncContextManager[Model], relay: Relay) -> None:
        self._place = place
        self._relay = relay

    async def __aenter__(self) -> Model:
        return _Recorded(await self._place.__aenter__(), self._relay)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._place.__aexit__(kind, error, trace)


class _Recorded:
    """The model for one call."""

    def __init__(self, model: Model, relay: Relay) -> None:
        self.name = model.name
        self.endpoint = model.endpoint
        self._model = model
        self._relay = relay

    async def complete(self, request: ModelRequest) -> ModelReply:
        await self._relay.taken()
        reply = await self._model.complete(request)
        self._relay.outbox.answered(reply.t_done - reply.t_sent)
        return reply


class SentRepository:
    """A repository whose new commits are sent home before anything names them. `pack` makes up a commit, for whoever
    has the one that it was made on."""

    def __init__(
        self, repository: Repository, relay: Relay, pack: Callable[[str, Collection[str]], Awaitable[bytes]]
    ) -> None:
        self._repository = repository
        self._relay = relay
        self._pack = pack
        self._sent: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._repository, name)

    async def capture(self, folder: Path, parent: str, *, author: str, message: str) -> Captured:
        """See `swarm.protocols.Repository.capture`."""
        captured = await self._repository.capture(folder, parent, author=author, message=message)
        if captured.commit is not None and captured.commit not in self._sent:
            self._relay.put(Commits(await self._pack(captured.commit, {parent})))
            self._sent.add(captured.commit)
        return captured
