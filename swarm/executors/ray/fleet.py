"""The outposts of one run: one on each node of the cluster, for as long as the run lasts. Nodes that join are taken up,
those that are gone are let go of."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import TaskGroup

from swarm.agents.board import Board
from swarm.errors import MachineError, SwarmError
from swarm.events import Notice
from swarm.executors.ray.cluster import Cluster, Node, open_cluster
from swarm.executors.ray.freight import Shipment, ship
from swarm.executors.ray.link import Link, Packing
from swarm.executors.ray.messages import Arrived, BoardUsed, Expected, Fault, Supplies, error_of
from swarm.executors.ray.outpost import ADMISSION, Outpost
from swarm.executors.ray.placement import Placement
from swarm.executors.ray.station import OpenStation
from swarm.executors.ray.wire import LineLost, RayLine, open_line
from swarm.journal.artifacts import Artifacts
from swarm.protocols import EventSink
from swarm.stopping import companions
from swarm.types import AgentSpec

if TYPE_CHECKING:
    from swarm.models.admission.authority import AdmissionAuthority

LOOKS_S = 5.0
"""Seconds between two looks at which nodes there are."""

ARRIVES_S = 120.0
"""Seconds in which an outpost must be ready."""

LEAVES_S = 10.0
"""Seconds that an outpost has to put away what it used."""

SETTLES_S = 10.0
"""Seconds at the beginning in which work is left for outposts that are on their way; twice as long as the first took,
where that is more."""

NOBODY_S = 60.0
"""Seconds that an attempt waits for a node where there is none."""

TELLS_S = 3.0
"""Seconds in which an outpost whose connection ended may tell why."""

TRIES = 3
"""How often an outpost is placed on a node where it died."""


@dataclass(frozen=True, slots=True)
class Home:
    """What outposts are connected with: `link.Desk`. `authorities` admit calls, by the address of the endpoint; `image`
    is what sandboxes there are made of, if it is one."""

    sink: EventSink
    store: Packing | None
    artifacts: Artifacts
    board: Board
    authorities: Mapping[str, AdmissionAuthority]
    image: Shipment | None = None
    _told: set[str] = field(default_factory=set)

    def use_board(self, asked: BoardUsed) -> str:
        """An agent uses the board, whose records are made here."""
        return self.board.seat(asked.trajectory_id, self.sink).use(asked.action, asked.key, asked.text)

    def notice(self, notice: Notice) -> None:
        """What one node has told is not told by each."""
        if notice.message not in self._told:
            self._told.add(notice.message)
            self.sink.emit(notice)


class Fleet:
    """Use `open_fleet`."""

    def __init__(self, cluster: Cluster, home: Home, supplies: Supplies, open_station: OpenStation) -> None:
        self.home = home
        self._cluster = cluster
        self._supplies = supplies
        self._open_station = open_station
        self._links: dict[str, Link] = {}
        self._placement = Placement()
        self._tried: set[str] = set()
        self._expected = Expected(0, None)
        self._faults: list[MachineError] = []
        self._coming = 0
        self._began = anyio.current_time()
        self._settles_s = SETTLES_S
        self._joined: dict[str, int] = {}
        """How often an outpost was ready on a node."""
        self._changed = anyio.Event()
        self._store: Any = None
        self._base: set[str] = set()

    def __repr__(self) -> str:
        return f"<Fleet of {len(self._links)} outposts, {self._coming} on their way>"

    def expect(self, count: int, commit: str | None) -> None:
        """So many attempts are to come; each outpost prepares for its part."""
        self._expected = Expected(count, commit)
        for link in self._links.values():
            self._prepare(link)

    async def choose(self, spec: AgentSpec) -> Link:
        """Where an attempt is to be made.

        Raises:
            MachineError: there is no node that could be used, nor does one come.
        """
        waits = NOBODY_S
        while (node := self._placement.choose(spec)) is None or self._full(self._links[node]):
            if self._faults and not self._coming and not self._joined:
                raise self._faults[-1]
            changed, began = self._changed, anyio.current_time()
            with anyio.move_on_after(SETTLES_S if self._coming else waits):
                await changed.wait()
            waits -= anyio.current_time() - began
            if waits <= 0 and not self._coming:
                raise MachineError("the cluster has no node left that works", remedy="look at `ray status`")
        return self._links[node]

    def _full(self, link: Link) -> bool:
        """Whether an outpost has its part, while others are still on their way at the beginning."""
        part = -(-self._expected.count // (len(self._links) + self._coming))
        settling = self._coming > 0 and anyio.current_time() < self._began + self._settles_s
        return settling and len(link.errands) >= max(1, part)

    def took(self, link: Link) -> None:
        """An attempt has begun at an outpost."""
        self._placement.took(link.node.id)

    def gave(self, link: Link) -> None:
        """It is over."""
        self._placement.gave(link.node.id)
        self._move()

    async def keep(self, group: TaskGroup, store: Any, base: str) -> None:
        """Keep an outpost on each node."""
        if store is not None:
            self._store, self._base = await self._cluster.put(store), {base}
        for authority in self.home.authorities.values():
            group.start_soon(authority.run)
        while True:
            nodes = await self._cluster.nodes()
            for node in nodes:
                if node.id not in self._tried and self._joined.get(node.id, 0) < TRIES:
                    self._tried.add(node.id)
                    self._coming += 1
                    group.start_soon(self._hold, node)
            await anyio.sleep(LOOKS_S)

    async def _hold(self, node: Node) -> None:
        """An outpost on a node, from its beginning to its end."""
        cluster, actor, served, link = self._cluster, None, None, None
        try:
            actor = await cluster.place(node, Outpost, self._open_station)
            if self.home.image is not None and (refused := await ship(actor, self.home.image)):
                text = f"the image could not be sent to {node.name}: {refused}"
                self.home.notice(Notice(level="warning", message=text))
            with anyio.fail_after(ARRIVES_S):
                served = actor.serve.remote(self._supplies, self._store)
                greeting: Arrived | Fault = await actor.arrived.remote()
            if isinstance(greeting, Fault):
                self._refused(node, error_of(greeting))
                return
            async with open_line(actor, greeting.door, node.name) as line:
                if greeting.door is not None and isinstance(line, RayLine):
                    text = "nodes are spoken to by Ray alone, which takes more of the processor"
                    self.home.notice(Notice(message=text))
                link = Link(node, line, greeting, self.home, set(self._base))
                self._join(link)
                await self._converse(link, served)
        except TimeoutError:
            self._refused(node, MachineError(f"the node {node.name} was not ready within {ARRIVES_S:.0f} s"))
        except cluster.lost as error:
            why = MachineError(f"the node {node.name} is lost ({type(error).__name__})")
            if link is None:
                self._refused(node, _explained(node, error, why))
            else:
                self._lost(link, why)
        except MachineError as error:  # the journal cannot be written, or the store
            if link is not None:
                self._lost(link, error)
        finally:
            if link is None:
                self._coming -= 1
            elif node.id in self._links:
                self._lost(link, MachineError(f"the outpost on {node.name} was given up"), quiet=True)
            self._move()
            if actor is not None:
                with anyio.CancelScope(shield=True):
                    await self._dismiss(actor, served is not None)

    async def _converse(self, link: Link, served: Any) -> None:
        """Talk and listen until one side is gone."""
        failure: Exception | None = None
        ends: tuple[type[Exception], ...] = (SwarmError, *self._cluster.lost)
        async with anyio.create_task_group() as group:

            async def follow(way: Callable[[], Awaitable[None]]) -> None:
                """A bundle that is lost either way is waited for in vain: then no way is of use any more."""
                nonlocal failure
                try:
                    await way()
                except LineLost as error:
                    failure = failure or error
                    group.cancel_scope.deadline = min(group.cancel_scope.deadline, anyio.current_time() + TELLS_S)
                    return
                except ends as error:
                    failure = error if failure is None or isinstance(failure, LineLost) else failure
                group.cancel_scope.cancel()

            async def serves() -> None:
                """Whether it is there is told by Ray, too: of a machine without power no connection tells."""
                fault: Fault | None = await served
                why = f": {error_of(fault)}" if fault is not None else ""
                raise MachineError(f"the outpost on {link.node.name} ended{why}")

            group.start_soon(follow, partial(link.listen, group))
            group.start_soon(follow, link.talk)
            group.start_soon(follow, serves)
        if failure is not None:
            raise failure

    def _join(self, link: Link) -> None:
        self._coming -= 1
        if not self._joined:
            self._settles_s = max(SETTLES_S, 2 * (anyio.current_time() - self._began))
        self._joined[link.node.id] = self._joined.get(link.node.id, 0) + 1
        self._links[link.node.id] = link
        self._placement.join(link.node.id, link.arrived.slots)
        for url, authority in self.home.authorities.items():
            link.hear(ADMISSION + url, partial(authority.hear, link.node.id))
            authority.join(link.node.id, partial(link.say, ADMISSION + url))
        for text in link.arrived.notices:
            self.home.notice(Notice(message=text))
        for each in self._links.values():
            self._prepare(each)
        self._move()

    def _prepare(self, link: Link) -> None:
        share = -(-self._expected.count // max(1, len(self._links)))
        commit = self._expected.commit
        if commit is None or commit in link.known:
            link.post(Expected(share, commit))

    def _lost(self, link: Link, why: MachineError, *, quiet: bool = False) -> None:
        if self._links.pop(link.node.id, None) is None:
            return
        self._tried.discard(link.node.id)  # the machine may be there, and only the outpost gone
        self._placement.lost(link.node.id)
        for authority in self.home.authorities.values():
            authority.lost(link.node.id)
        self._faults.append(why)
        if not quiet:
            count = len(link.errands)
            self.home.sink.emit(
                Notice(level="warning", message=f"{why.message}; {count} sub-agents were at work there")
            )
        link.lose(why)
        self._move()

    def _refused(self, node: Node, why: MachineError) -> None:
        self._faults.append(why)
        self.home.sink.emit(Notice(level="warning", message=f"the node {node.name} is not used: {why}"))

    async def _dismiss(self, actor: Any, serving: bool) -> None:
        """Let an outpost put away what it used, and end it."""
        with anyio.move_on_after(LEAVES_S):
            try:
                if serving:
                    await actor.leave.remote()
                    await actor.ended.remote()
            except self._cluster.lost:
                return
        try:
            await self._cluster.end(actor)
        except self._cluster.lost:
            return

    def _move(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


@asynccontextmanager
async def open_fleet(
    address: str | None, home: Home, supplies: Supplies, store: tuple[Any, str] | None, open_station: OpenStation
) -> AsyncIterator[Fleet]:
    """The outposts of a run, on their way when the block begins, and gone when it is left. `store`: the run's store as
    it travels, and its base.

    Raises on entering:
        UsageError: Ray is missing, or there is no way to the address.
        MachineError: nobody answers there.
    """
    async with open_cluster(address) as cluster:
        fleet = Fleet(cluster, home, supplies, open_station)
        async with companions() as group:
            group.start_soon(fleet.keep, group, *(store or (None, "")))
            yield fleet


def _explained(node: Node, error: Exception, why: MachineError) -> MachineError:
    """Why an outpost could not begin, where that is known."""
    text = str(error)
    if "ModuleNotFoundError" in text or "No module named" in text:
        missing = re.search(r"No module named \S+", text)
        return MachineError(
            f"the node {node.name} cannot run swarm: {missing[0] if missing else 'a module is missing'}",
            remedy="install the same swarm there, with its extra ray",
        )
    return why
