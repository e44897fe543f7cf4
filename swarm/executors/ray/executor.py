"""Attempts made on the nodes of a cluster: `swarm.protocols.Executor` over a fleet of outposts."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import partial

import anyio

from swarm.budgets.lessor import Lessor
from swarm.budgets.levels import Limits
from swarm.budgets.shares import stage_budget, subtask_budget
from swarm.errors import MachineError
from swarm.executors.local import LocalExecutor, recorded
from swarm.executors.ray.errand import LOST, Errand
from swarm.executors.ray.fleet import Fleet
from swarm.executors.ray.link import Link
from swarm.executors.ray.messages import Steered, Work, error_of
from swarm.executors.ray.outpost import BUDGET
from swarm.stopping import companions
from swarm.types import AgentResult, AgentSpec, Outcome

CANCELS_S = 10.0
"""Seconds that an outpost has to end an attempt that is not wanted any more."""

_SENT = tuple(each.name for each in fields(AgentSpec) if each.name != "steering")


@dataclass(frozen=True, slots=True)
class RayExecutor:
    """Makes attempts elsewhere that `local` would make here."""

    fleet: Fleet
    local: LocalExecutor

    def expect(self, count: int, commit: str | None) -> None:
        """See `swarm.protocols.Executor.expect`."""
        self.fleet.expect(count, commit)

    async def run(self, spec: AgentSpec) -> AgentResult:
        """See `swarm.protocols.Executor.run`."""
        line = self.local.line
        ended = line.past.result(spec.trajectory_id)
        if ended is not None:
            return recorded(spec, ended)
        if (began := line.past.start(spec.trajectory_id)) is not None:  # it goes on where it is at work
            spec = replace(spec, base=began.base or None)
        shared = self.local.board is not None and spec.siblings
        seat = self.local.board.seat(spec.trajectory_id, line.sink) if self.local.board and shared else None
        started = self.local.started(spec, self.local.tools.fitted(spec.subtask, seat))
        errand = Errand(started, spec.steering, line.sink, line.price)
        errand.begin()
        stop, why = Outcome.CANCELLED, "cancelled"
        try:
            return await self._make(spec, errand)
        except MachineError as error:
            stop, why = Outcome.ERRORED, error.message
            raise
        finally:
            errand.close(stop, "cancelled" if stop is Outcome.CANCELLED else LOST, why)
            with anyio.CancelScope(shield=True):
                await line.sink.flush()

    async def _make(self, spec: AgentSpec, errand: Errand) -> AgentResult:
        link = await self.fleet.choose(spec)
        line = self.local.line
        subtask = subtask_budget(stage_budget(line.budget, spec.stage), spec.subtask.id)
        budget = subtask.child(Limits(), errand.id)  # the limits of the attempt itself are kept there
        lessor = Lessor(budget, partial(link.say, BUDGET + errand.id))
        errand.lessor = lessor
        self.fleet.took(link)
        try:
            async with companions() as group:
                group.start_soon(lessor.run)
                await self._follow(spec, link, errand)
        finally:
            self.fleet.gave(link)
            if errand.ended is not None:
                lessor.close()
            else:
                lessor.lost()
        if errand.lost is not None:
            raise errand.lost
        assert errand.ended is not None
        if errand.ended.fault is not None:
            raise error_of(errand.ended.fault)
        return errand.ended.result or _cancelled(spec)

    async def _follow(self, spec: AgentSpec, link: Link, errand: Errand) -> None:
        """Send an attempt on its way, until it is over; cancelled, it is ended there too."""
        past = self.local.line.past
        goes_on = past.start(errand.id) is not None
        kept = past.kept(errand.id) if goes_on else None
        link.begin(errand)
        try:
            await link.supply([each for each in (spec.base, kept.commit if kept else None) if each])
            self._send(spec, link, errand, goes_on=goes_on)
            try:
                await errand.over.wait()
            except anyio.get_cancelled_exc_class():
                with anyio.move_on_after(CANCELS_S, shield=True):
                    link.post(Steered(errand.id, cancelled=True))
                    await errand.over.wait()
                raise
        finally:
            link.end(errand)

    def _send(self, spec: AgentSpec, link: Link, errand: Errand, *, goes_on: bool) -> None:
        line, steering = self.local.line, spec.steering
        assert errand.lessor is not None
        link.post(
            Work(
                spec={key: getattr(spec, key) for key in _SENT},
                parent=self.local.parent,
                lease=errand.lessor.first(),
                past=line.past.only(errand.id) if goes_on else None,
                texts=tuple(steering.take_texts()),
                held=steering.held,
                capture=line.capture,
                learns=line.learns,
            )
        )
        steering.clock = errand.clock
        link.steer(errand)


def _cancelled(spec: AgentSpec) -> AgentResult:
    return AgentResult(spec.subtask.id, spec.trajectory_id, Outcome.CANCELLED, "cancelled on its node", "cancelled")
