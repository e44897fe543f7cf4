"""What runs on a node: an actor with one event loop, in which hundreds of attempts are made at once.

It tells home all that happens by `speak`, which is asked again and again, and hears by that and by `hear`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import TaskGroup

from swarm.budgets.lease_messages import Granting
from swarm.budgets.leased import LeasedBudget
from swarm.executors.local import LocalExecutor
from swarm.executors.ray.freight import Shipment, Store
from swarm.executors.ray.mail import Bundle, Inbox
from swarm.executors.ray.messages import (
    Answer,
    Arrived,
    Clocks,
    Commits,
    Ended,
    Expected,
    Fault,
    Steered,
    Supplies,
    Taken,
    Work,
    fault_from,
)
from swarm.executors.ray.relay import Relay, RelayedBoard
from swarm.executors.ray.station import OpenStation, Station
from swarm.executors.ray.wire import address, open_door
from swarm.journal.past import Past
from swarm.steering import Steering
from swarm.tuning import quiet_collector
from swarm.types import AgentSpec

CLOCKS_S = 0.5
"""Seconds between two words about the clocks of attempts."""

SPEAKS_S = 10.0
"""Seconds after which an outpost that has nothing to say is asked again, so that each side knows of the other."""

SILENCE_S = 60.0
"""Seconds after which an outpost that nobody asks any more ends by itself."""

_BOOT = Path("/proc/sys/kernel/random/boot_id")

ADMISSION, BUDGET = "admission ", "budget "
"""How channels begin."""


@dataclass(slots=True, eq=False)
class _Attempt:
    """One at work."""

    steering: Steering
    scope: anyio.CancelScope
    budget: LeasedBudget
    told: tuple[float, float, bool] = (0.0, 0.0, False)
    """When home was told of its clock, the seconds, and whether it ran."""


class Outpost:
    """The actor. `open_station` puts together what it works with."""

    def __init__(self, open_station: OpenStation) -> None:
        self._open_station = open_station
        self._relay = Relay()
        self._inbox = Inbox(self._take)
        self._arrived = anyio.Event()
        self._greeting: Arrived | Fault | None = None
        self._leave = anyio.Event()
        self._over = anyio.Event()
        self._running: dict[str, _Attempt] = {}
        self._waiting: deque[Commits | Work] = deque()  # what comes from home, in its order
        self._early: dict[str, list[Granting | Steered]] = {}  # what is said to attempts among it
        self._some = anyio.Event()
        self._station: Station | None = None
        self._board = False
        self._heard_at = time.monotonic()
        self._freight = Store()

    def __repr__(self) -> str:
        return f"<Outpost: {len(self._running)} at work>"

    async def stock(self, shipment: Shipment) -> str:
        """See `Store.stock`."""
        return await self._freight.stock(shipment)

    async def wants(self) -> bool:
        """See `Store.wants`."""
        return await self._freight.wants()

    async def take(self, part: bytes) -> bool:
        """See `Store.take`."""
        return await self._freight.take(part)

    async def serve(self, supplies: Supplies, store: Any) -> Fault | None:
        """Be there until `leave`; what went wrong, if anything did."""
        try:
            self._board = supplies.board
            opened = self._open_station(replace(supplies, store=store), self._relay)
            async with opened as station, open_door(address(), self) as door:
                self._station = station
                self._greeting = Arrived(
                    boot=_BOOT.read_text() if _BOOT.exists() else "",
                    mono=time.monotonic(),
                    sandbox=station.pool.workshop.backend.name,
                    slots=station.slots,
                    notices=station.notices,
                    door=door,
                )
                self._arrived.set()
                with quiet_collector():  # the process is its own
                    async with anyio.create_task_group() as attempts:
                        attempts.start_soon(self._work, attempts, station)
                        attempts.start_soon(self._tell_clocks)
                        await self._leave.wait()
                        attempts.cancel_scope.cancel()
        except Exception as error:  # noqa: BLE001  nobody else would tell home
            self._greeting = fault_from(error)
            self._arrived.set()
            return self._greeting
        finally:
            self._over.set()
        return None

    async def ended(self) -> None:
        """Wait until all that it used is put away."""
        await self._over.wait()

    async def arrived(self) -> Arrived | Fault:
        """Wait until it is ready; why it never will be, otherwise."""
        await self._arrived.wait()
        assert self._greeting is not None
        return replace(self._greeting, mono=time.monotonic()) if isinstance(self._greeting, Arrived) else self._greeting

    async def speak(self, bundle: Bundle) -> Bundle:
        """Hear, and then say what there is to be said, as soon as there is something; nothing, after a while."""
        self._hear(bundle)
        outbox = self._relay.outbox
        with anyio.move_on_after(SPEAKS_S):
            await outbox.gathered()
        self._heard_at = time.monotonic()
        return outbox.close()

    async def hear(self, bundle: Bundle) -> None:
        """Hear something meanwhile."""
        self._hear(bundle)

    async def leave(self) -> None:
        """End all that is at work, and let `serve` come to its end."""
        self._leave.set()

    def _hear(self, bundle: Bundle) -> None:
        self._heard_at = time.monotonic()
        self._inbox.open(bundle)

    def _take(self, messages: Sequence[Any]) -> None:
        for message in messages:
            match message:
                case Taken() | Answer():
                    self._relay.hear(message)
                case (str(channel), said) if channel.startswith(BUDGET):
                    self._reach(channel.removeprefix(BUDGET), said)
                case (str(channel), said) if self._station is not None:
                    self._station.told(channel, said)
                case Steered():
                    self._reach(message.trajectory_id, message)
                case Expected() if self._station is not None:
                    self._station.pool.expect(message.count, message.commit, sure=message.commit is not None)
                case Commits() | Work():
                    if isinstance(message, Work):
                        self._early[_id(message)] = []
                    self._waiting.append(message)
                    self._some.set()
                case _:  # nothing is here yet that it is about
                    pass

    def _reach(self, name: str, message: Granting | Steered) -> None:
        """Say something to an attempt, as soon as it has begun; one that is over hears nothing."""
        if (attempt := self._running.get(name)) is not None:
            self._say(attempt, message)
        elif (early := self._early.get(name)) is not None:
            early.append(message)

    def _say(self, attempt: _Attempt, message: Granting | Steered) -> None:
        if not isinstance(message, Steered):
            attempt.budget.hear(message)
            return
        if message.text is not None:
            attempt.steering.tell(message.text)
        if message.held is not None:
            (attempt.steering.hold if message.held else attempt.steering.release)()
        if message.cancelled:
            attempt.scope.cancel()

    async def _work(self, attempts: TaskGroup, station: Station) -> None:
        """Take up what comes from home, in order: commits before the work that stands on them."""
        while True:
            while self._waiting:
                message = self._waiting.popleft()
                if isinstance(message, Commits):
                    await station.learn(message.pack)
                else:
                    self._begin(message, attempts, station)
            self._some = anyio.Event()
            await self._some.wait()

    def _begin(self, work: Work, attempts: TaskGroup, station: Station) -> None:
        name, steering = _id(work), Steering()
        for text in work.texts:
            steering.tell(text)
        if work.held:
            steering.hold()
        budget = LeasedBudget(work.lease, partial(self._relay.outbox.say, BUDGET + name))
        self._running[name] = _Attempt(steering, anyio.CancelScope(), budget)
        for message in self._early.pop(name, ()):
            self._say(self._running[name], message)
        attempts.start_soon(self._make, work, station, self._running[name])

    async def _make(self, work: Work, station: Station, attempt: _Attempt) -> None:
        name, relay = _id(work), self._relay
        line = replace(station.line, budget=attempt.budget, past=work.past or Past())
        line = replace(line, capture=work.capture, learns=work.learns)
        executor = LocalExecutor(
            station.pool,
            line,
            station.tools,
            work.parent,
            RelayedBoard(relay) if self._board else None,
            station.context,
            station.pace,
        )
        ended = Ended(name)
        try:
            with attempt.scope:
                ended = Ended(name, await executor.run(AgentSpec(**work.spec, steering=attempt.steering)))
        except Exception as error:  # noqa: BLE001  it is told at home, and ends no other attempt
            ended = Ended(name, fault=fault_from(error))
        finally:
            del self._running[name]
            relay.put(ended)

    async def _tell_clocks(self) -> None:
        """Tell how long attempts have worked; and end, when home has been silent for too long."""
        while time.monotonic() - self._heard_at < SILENCE_S:
            await anyio.sleep(CLOCKS_S)
            moved: dict[str, tuple[float, bool]] = {}
            now = time.monotonic()
            for name, attempt in self._running.items():
                clock, (since, seconds, ran) = attempt.steering.clock, attempt.told
                known = seconds + (now - since if ran else 0.0)
                if clock.running != ran or abs(clock.seconds - known) > CLOCKS_S / 2:
                    attempt.told = (now, clock.seconds, clock.running)
                    moved[name] = (clock.seconds, clock.running)
            if moved:
                self._relay.put(Clocks(moved))
        self._leave.set()


def _id(work: Work) -> str:
    return str(work.spec["trajectory_id"])
