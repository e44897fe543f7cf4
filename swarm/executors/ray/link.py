"""The line from a run to one of its outposts: what is said there is taken in order, what is heard there is sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import anyio
from anyio.abc import TaskGroup

from swarm.errors import JournalError, MachineError
from swarm.events import CallFinished, EventBase, Notice, ToolFinished
from swarm.executors.ray.cluster import Node
from swarm.executors.ray.errand import Errand
from swarm.executors.ray.mail import Outbox
from swarm.executors.ray.messages import (
    Answer,
    Arrived,
    ArtifactKept,
    ArtifactWanted,
    BoardUsed,
    Clocks,
    Commits,
    Ended,
    Flush,
    Steered,
    Taken,
)
from swarm.executors.ray.outpost import BUDGET
from swarm.executors.ray.packing import unpack
from swarm.executors.ray.wire import Ear
from swarm.journal.artifacts import Artifacts
from swarm.protocols import EventSink

_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Packing(Protocol):
    """The run's store, as commits come and go."""

    async def pack(self, commits: Sequence[str], known: Sequence[str]) -> bytes: ...

    async def unpack(self, data: bytes) -> None: ...


class Desk(Protocol):
    """What an outpost's words are about, at home."""

    @property
    def sink(self) -> EventSink: ...

    @property
    def store(self) -> Packing | None: ...

    @property
    def artifacts(self) -> Artifacts: ...

    def use_board(self, asked: BoardUsed) -> str: ...

    def notice(self, notice: Notice) -> None: ...


class Link:
    """A line that stands. `talk` and `listen` run as long as it does."""

    def __init__(self, node: Node, line: Ear, arrived: Arrived, desk: Desk, known: set[str]) -> None:
        self.node = node
        self.arrived = arrived
        self.known = known
        """The commits that are there."""
        self._line = line
        self._desk = desk
        self._outbox = Outbox()
        self._errands: dict[str, Errand] = {}
        self._hears: dict[str, Callable[[Any], None]] = {}
        self._later = self._offset(arrived)
        self._taken = 0
        self._supplying = anyio.Lock()

    def __repr__(self) -> str:
        return f"<Link to {self.node.name}: {len(self._errands)} errands>"

    @property
    def errands(self) -> tuple[Errand, ...]:
        """Those under way."""
        return tuple(self._errands.values())

    def post(self, message: Any) -> None:
        """Tell the outpost something."""
        self._outbox.put(message)

    def say(self, channel: str, message: Any) -> None:
        """Say a word of a channel there."""
        self._outbox.say(channel, message)

    async def supply(self, commits: Sequence[str]) -> None:
        """Let it have commits."""
        store = self._desk.store
        async with self._supplying:
            missing = [each for each in dict.fromkeys(commits) if each not in self.known]
            if store is not None and missing:
                self.post(Commits(await store.pack(missing, sorted(self.known))))
                self.known.update(missing)

    def hear(self, channel: str, hears: Callable[[Any], None]) -> None:
        """Let somebody hear the words of a channel, of which there are some for each call."""
        self._hears[channel] = hears

    def begin(self, errand: Errand) -> None:
        """Follow an attempt from now on."""
        self._errands[errand.id] = errand
        if errand.lessor is not None:
            self.hear(BUDGET + errand.id, errand.lessor.hear)

    def steer(self, errand: Errand) -> None:
        """Let its steering be heard there, where it was sent now."""

        def forward(text: str | None, held: bool | None) -> None:
            self.post(Steered(errand.id, text, held))

        errand.steering.forward = forward

    def end(self, errand: Errand) -> None:
        """Follow it no longer."""
        errand.steering.forward = None
        self._errands.pop(errand.id, None)
        self._hears.pop(BUDGET + errand.id, None)

    def lose(self, why: MachineError) -> None:
        """The outpost is gone."""
        for errand in self.errands:
            errand.lose(why)

    async def listen(self, group: TaskGroup) -> None:
        """Take what is said, for ever. Raises what the line does where the outpost is gone."""
        while True:
            _, data = await self._line.speak(self._outbox.close())
            if data:
                await self._take_all(unpack(data), group)

    async def talk(self) -> None:
        """Send what cannot wait until the outpost speaks next."""
        while True:
            await self._outbox.gathered()
            await self._line.hear(self._outbox.close())

    async def _take_all(self, messages: Sequence[Any], group: TaskGroup) -> None:
        if self._desk.store is not None:  # before what names them
            for message in messages:
                if isinstance(message, Commits):
                    await self._desk.store.unpack(message.pack)
        flush = False
        for message in messages:
            if type(message) is tuple:
                channel, word = message
                if (hears := self._hears.get(channel)) is not None:
                    hears(word)
            elif isinstance(message, EventBase):
                self._happened(message)
            else:
                flush = flush or isinstance(message, Flush)
                await self._take(message)
        self._taken += len(messages)
        self.post(Taken(self._taken))
        if flush:
            group.start_soon(self._flush, self._taken)

    async def _take(self, message: Any) -> None:
        match message:
            case Clocks():
                for name, (seconds, running) in message.seconds.items():
                    if (errand := self._errands.get(name)) is not None:
                        errand.clock.told(seconds, running=running)
            case Ended():
                if (errand := self._errands.get(message.trajectory_id)) is not None:
                    errand.end(message)
            case ArtifactKept():
                artifacts = self._desk.artifacts
                await artifacts.keep(artifacts.arrived(message.handle, message.text))
            case ArtifactWanted():
                self.post(Answer(message.number, await self._desk.artifacts.read(message.handle)))
            case BoardUsed():
                try:
                    self.post(Answer(message.number, self._desk.use_board(message)))
                except ValueError as refused:
                    self.post(Answer(message.number, refused=str(refused)))
            case _:  # a flush, or commits
                pass

    def _happened(self, event: Any) -> None:
        if self._later:  # its clock began at another time than ours
            for field in _TIMES.get(type(event), ()):
                if moment := getattr(event, field):
                    setattr(event, field, moment + self._later)
        if type(event) is CallFinished and event.accepted:
            self._outbox.answered(event.t_done - event.t_sent)
        name = getattr(event, "trajectory_id", "")
        if (errand := self._errands.get(name)) is not None:
            errand.take(event)
        elif isinstance(event, Notice) and not name:
            self._desk.notice(event)

    async def _flush(self, count: int) -> None:
        try:
            await self._desk.sink.flush()
        except JournalError as error:
            self.lose(error)
        self.post(Taken(count, synced=True))

    @staticmethod
    def _offset(arrived: Arrived) -> float:
        """What is to be added to its times: nothing on the same machine."""
        here = _BOOT.read_text() if _BOOT.exists() else ""
        return 0.0 if here and here == arrived.boot else time.monotonic() - arrived.mono


_TIMES: dict[type, tuple[str, ...]] = {
    CallFinished: ("t_sent", "t_first_token", "t_done"),
    ToolFinished: ("t_start", "t_end"),
}
