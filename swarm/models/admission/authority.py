"""The one authority over the calls to an endpoint that are admitted in several processes.

Places are those of the governor: each that is held elsewhere is a call in flight here, or was one and is kept for the
next. So all together never have more than the governor would admit. While nothing but the window bounds calls, one call
follows the other in a place and nobody is asked; a limit of their rate, or a fault, and each call is admitted here, in
the governor's own order. Where places are short everybody keeps a share of them, by how many calls there are, and what
is left over goes from hand to hand.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isinf

import anyio
from anyio.abc import TaskGroup

from swarm.calls import Ask
from swarm.errors import EndpointError
from swarm.models.admission.governor import Governor
from swarm.models.admission.lease_messages import (
    Began,
    Call,
    Conditions,
    Ended,
    Failed,
    Fault,
    Given,
    News,
    Refused,
    Report,
    Returned,
    Ruling,
    Unwanted,
    Wanted,
)
from swarm.models.admission.statistics import GovernorStatistics
from swarm.models.admission.waiting import Admission, Loop, in_loop, running_loop
from swarm.types import Role

_PLAIN = Ask(Role.SUBAGENT, 1)

LOOKS_S = 1.0
"""Seconds between two looks at an endpoint that nobody may use: a halt ends by itself, and nothing tells of it."""


@dataclass(slots=True)
class _Place:
    admission: Admission
    left: anyio.Event = field(default_factory=anyio.Event)


@dataclass(slots=True, eq=False)
class _Desk:
    """What one of those who admit calls has: places, of which so many are idle, and calls that want one."""

    send: Callable[[Ruling], None]
    places: dict[int, _Place] = field(default_factory=dict)
    wanted: dict[int, anyio.CancelScope] = field(default_factory=dict)
    idle: int = 0
    waiting: int = 0
    heard: int = 0
    offset: float | None = None
    """Of our clock from that one, as it was at the first call: it stays, for times name calls."""
    told: Conditions | None = None

    @property
    def demand(self) -> int:
        """Calls that are in flight there, or would be."""
        return len(self.places) - self.idle + self.waiting


class AdmissionAuthority:
    """Hands out the places of a governor. `run` as long as anybody has one; `clock` is the governor's."""

    def __init__(self, governor: Governor, clock: Callable[[], float] = time.monotonic) -> None:
        self._governor = governor
        self._clock = clock
        self._desks: dict[str, _Desk] = {}
        self._numbers = 0
        self._tasks: TaskGroup | None = None
        self._changed = anyio.Event()
        self._dirty = False
        self._loop: Loop | None = None

    def __repr__(self) -> str:
        places = {name: len(desk.places) for name, desk in self._desks.items()}
        return f"<AdmissionAuthority: places {places} of {self._governor!r}>"

    async def run(self) -> None:
        """Work. Ends by being cancelled; then all places are free."""
        self._loop = running_loop()
        try:
            async with anyio.create_task_group() as self._tasks:
                self._governor.watchers.append(self._watch)
                while True:
                    stopped = any(desk.told is not None and isinf(desk.told.wait_s) for desk in self._desks.values())
                    with anyio.move_on_after(LOOKS_S if stopped else None):
                        await self._changed.wait()
                    self._changed = anyio.Event()
                    self._dirty = False
                    self._rule()
        finally:
            self._governor.watchers.remove(self._watch)
            self._tasks = None

    def join(self, node: str, send: Callable[[Ruling], None]) -> None:
        """One more who admits calls. `send` takes messages for it, in order; to be called while it runs."""
        self._desks[node] = _Desk(send)
        self._rule()

    def lost(self, node: str) -> None:
        """One is gone; what it had is free."""
        desk = self._desks.pop(node, None)
        if desk is not None:
            while desk.wanted:
                desk.wanted.popitem()[1].cancel()
            for place in desk.places.values():
                place.admission.sent = True
                place.left.set()
            self._rule()

    def hear(self, node: str, message: Report) -> None:
        """A message of one of them; what it says of places that it does not have is of no account."""
        desk = self._desks.get(node)
        if desk is None or self._tasks is None:
            return
        match message:
            case Wanted():
                desk.waiting = message.waiting
                scope = desk.wanted[message.number] = anyio.CancelScope()
                self._tasks.start_soon(self._admit, desk, message, scope)
            case Unwanted():
                desk.waiting = message.waiting
                for number in message.numbers:
                    if number in desk.wanted:
                        desk.wanted.pop(number).cancel()
            case Began():
                desk.waiting = message.waiting
                if (place := desk.places.get(message.place)) is not None:
                    admission, ask = place.admission, self._ask(desk, message.call)
                    if admission.idle:
                        desk.idle -= 1
                        self._governor.follow(admission, ask)
                    admission.ask, admission.model = ask, message.call.model
            case Failed():
                desk.heard += 1
                place = desk.places.get(message.place)
                if place is not None:
                    self._sent(place.admission, message.age)
                self._governor.failed(message.fault.error(), place.admission if place is not None else None)
            case Ended():
                desk.waiting = message.waiting
                if message.place in desk.places:
                    self._end(desk, message)
            case Returned():
                for number in message.places:
                    if (place := desk.places.pop(number, None)) is not None:
                        desk.idle -= place.admission.idle
                        place.left.set()
        if isinstance(message, Failed):
            self._rule()  # at once; else when all that came with it is heard

    # calls

    async def _admit(self, desk: _Desk, wanted: Wanted, scope: anyio.CancelScope) -> None:
        """Wait for a place, and hold it until it is given back."""
        with scope:
            try:
                async with self._governor.admit(self._ask(desk, wanted.call), wanted.call.model) as admission:
                    if desk.wanted.pop(wanted.number, None) is None:
                        return  # taken back, too late to be cancelled
                    place = _Place(admission)
                    self._numbers += 1
                    desk.places[self._numbers] = place
                    desk.send(Given(self._numbers, wanted.number))
                    await place.left.wait()
            except EndpointError as error:
                if desk.wanted.pop(wanted.number, None) is not None:
                    desk.send(Refused(wanted.number, Fault.of(error)))

    def _end(self, desk: _Desk, ended: Ended) -> None:
        admission = desk.places[ended.place].admission
        admission.sent = ended.sent
        if (answered := ended.answered) is not None:
            self._sent(admission, answered.age)
            self._governor.answered(answered.seconds, answered.tokens, answered.limits, admission.at, admission)
        if ended.kept:
            desk.idle += 1
            self._governor.rest(admission)
        else:
            desk.places.pop(ended.place).left.set()

    def _sent(self, admission: Admission, age: float) -> None:
        """When a call was sent that ended. What was on its way must not count as younger than it is."""
        admission.at, admission.sent = min(admission.at, self._clock() - age), True

    def _ask(self, desk: _Desk, call: Call) -> Ask:
        if desk.offset is None:
            desk.offset = self._clock() - call.at
        since = None if call.since is None else call.since + desk.offset
        return Ask(
            call.role,
            call.tokens,
            turn=call.turn,
            since=since,
            tell=self._tell,
            trajectory_id=call.trajectory_id,
            attempt=call.attempt,
        )

    def _tell(self, text: str) -> None:
        """News: by one of them, for the same run has calls at all."""
        desk = max(self._desks.values(), key=lambda desk: desk.demand, default=None)
        if desk is not None:
            desk.send(News(text))

    # conditions

    def _watch(self) -> None:
        """Something changed at the governor, in whatever thread."""
        if not self._dirty:
            self._dirty = True
            in_loop(self._loop, self._wake)

    def _wake(self) -> None:
        self._changed.set()

    def _rule(self) -> None:
        """Tell everybody what holds now, where that is news."""
        state, free = self._governor.statistics(), self._governor.free()
        wait_s = 0.0 if free else self._governor.estimated_wait(_PLAIN)
        shares = self._shares(state)
        for desk in self._desks.values():
            share = shares.get(desk)
            most = share if share is not None and share < len(desk.places) else None
            news, told = Conditions(free, most, desk.heard, wait_s), desk.told
            if told is None or _what_counts(told) != _what_counts(news):
                desk.told = news
                desk.send(news)

    def _shares(self, state: GovernorStatistics) -> Mapping[_Desk, int]:
        """How many places each may keep, where there are fewer than are wanted."""
        if not state.waiting and state.in_flight <= state.window:
            return {}
        held = sum(len(desk.places) for desk in self._desks.values())
        wanted = sum(len(desk.wanted) for desk in self._desks.values())
        here = state.in_flight - held + max(0, state.waiting - wanted)
        whole = max(state.window, here + sum(desk.demand for desk in self._desks.values()))
        return {desk: desk.demand * state.window // whole for desk in self._desks.values()}


def _what_counts(told: Conditions) -> tuple[bool, int | None, int, bool]:
    """All but the seconds to wait: they run by themselves."""
    return told.free, told.most, told.heard, isinf(told.wait_s)
