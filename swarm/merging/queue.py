"""The merge queue of a run: patches are merged on trial as they arrive, and in the queue's own order when all of a
stage are there; what the gate does not let pass, or does not apply, is repaired and comes back, or is left out.

    all patches of a stage ─▶ order ─▶ chain ─▶ gate ─▶ merged
              ▲                          │        │ red: bisection names the culprit
              └──── repair sub-agents ◀──┴────────┘ evicted, with the reason

A repair is a further round within the stage: its steps come after those of all sub-tasks of the stage.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from swarm.errors import MachineError
from swarm.events import MergeTried, Notice, PatchMerged
from swarm.gating.affected import Affected
from swarm.gating.gate import Gate
from swarm.merging.chain import Chain, Picker
from swarm.merging.order import in_order
from swarm.merging.patch import Eviction, Patch, patch_of
from swarm.merging.proof import Proven, Prover
from swarm.merging.repairs import Crew, Repaired, Repairs
from swarm.protocols import EventSink, Repository
from swarm.stages import Change, GateReport, Harvest
from swarm.types import AgentResult, Plan

_AGAIN = ("held", "conflict", "untested")
"""What may apply when others have been merged."""

Arrived = Callable[[AgentResult], None]
"""Told of every result of a stage as it comes."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of the patches of a stage: the merged ones in their order, with the commit that holds them all (that
    of the stage's beginning where none is), and those that are not. `report`: the gate's verdict on the commit."""

    commit: str
    merged: tuple[Patch, ...]
    evicted: tuple[Eviction, ...]
    report: GateReport | None = None
    repairs: int = 0
    fault: MachineError | None = None

    @property
    def reasons(self) -> Mapping[str, str]:
        """Why which sub-task's patch is not merged."""
        return {each.patch.subtask_id: each.reason for each in self.evicted}


class MergeQueue:
    """One for a run. `stop` ends repairing, `halt` (or `stop`, where there is none) testing; what is there is merged
    all the same. `command`: the gate's, of which the tests that a change reaches are run first, where it is given."""

    def __init__(
        self,
        repository: Repository,
        sink: EventSink,
        stop: anyio.Event,
        gate: Gate | None = None,
        command: str | None = None,
        halt: anyio.Event | None = None,
    ) -> None:
        self._repository = repository
        self._sink = sink
        self._stop = stop
        self._halt = halt or stop
        self._picker = Picker(repository)
        affected = Affected(repository, command) if command is not None else None
        self._prover = Prover(self._picker, gate, sink, repository.base, affected) if gate is not None else None
        self._repairs: Repairs | None = None
        self._changes: dict[str, tuple[Change, ...]] = {}
        self._told: dict[tuple[int, str], str] = {}

    def __repr__(self) -> str:
        return f"<MergeQueue: {len(self._changes)} patches, {self._picker!r}>"

    def forget_gate(self) -> None:
        """The run goes on without a gate."""
        self._prover = None

    def repair_with(self, crew: Crew, most: int) -> None:
        """Let evicted patches be repaired, each at most so often."""
        self._repairs = Repairs(crew, self._picker, most, self._stop) if most else None

    @asynccontextmanager
    async def trials(self, plan: Plan, stage: int, onto: str | None) -> AsyncIterator[Arrived]:
        """Merge on trial whatever the block hands over, while it goes on. Nothing waits for it but the block's end."""
        send, receive = anyio.create_memory_object_stream[AgentResult](math.inf)
        failure: Exception | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(self._try_all, receive, plan, stage, onto or self._repository.base)
            with send:
                try:
                    yield send.send_nowait
                except Exception as error:  # noqa: BLE001  raised again below, outside of the group
                    failure = error
                    group.cancel_scope.cancel()
            if self._stop.is_set():
                group.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def settle(self, harvest: Harvest) -> Settled:
        """Merge the patches of a stage.

        Raises:
            MachineError: the repository or the gate's sandbox failed.
        """
        stage, tip = harvest.stage, harvest.onto or self._repository.base
        there = [(result, result.commit) for result in harvest.results if result.keep and result.commit]
        names = frozenset(result.subtask_id for result, _ in there)
        waiting = [patch_of(harvest.plan, result, await self._changed(commit), names) for result, commit in there]
        merged, report, count = list[Patch](), None, 0
        repaired = Repaired()
        while True:
            proven = await self._proven(tip, waiting, merged, stage, first=not count)
            tip, merged = proven.chain.tip, [*merged, *(link.patch for link in proven.chain.links)]
            report = proven.report if proven.chain.steps else report
            evicted = [*proven.evicted, *repaired.evicted]
            self._tell(proven.chain, evicted, stage)
            fault = proven.fault or repaired.fault
            wave = self._repairs.next(evicted) if self._repairs is not None and fault is None else []
            if self._repairs is None or not wave:
                return Settled(tip, tuple(merged), tuple(evicted), report, count, fault)
            try:
                repaired = await self._repairs.run(wave, tip, stage, merged, harvest.plan)
            except MachineError as error:  # what is merged is not lost for it
                return Settled(tip, tuple(merged), tuple(evicted), report, count, error)
            count += repaired.count
            gone = {each.patch.subtask_id for each in wave}
            left = [each for each in evicted if each.patch.subtask_id not in gone]
            again = [each.patch for each in left if each.kind in _AGAIN and not each.tried]
            repaired.evicted += [each for each in left if each.patch not in again]
            waiting = [*repaired.patches, *again]

    async def _changed(self, commit: str) -> tuple[Change, ...]:
        if commit not in self._changes:
            self._changes[commit] = tuple(await self._repository.changes(commit))
        return self._changes[commit]

    async def _proven(self, tip: str, waiting: list[Patch], merged: list[Patch], stage: int, *, first: bool) -> Proven:
        """Where the gate could not be run to its end, and nothing was seen red, the sub-agents' own patches are merged
        all the same: untested. What was seen red is not, nor is a repair put untested on a tree that was seen green."""
        if self._prover is None:
            chain = await self._picker.chain(tip, in_order(waiting), merged)
            return Proven(chain, None, chain.evicted)
        proven = await self._prover.prove(tip, waiting, merged, stage, self._stop, self._halt)
        if not proven.rest or proven.red:
            return proven
        known = [each for each in proven.evicted if each.kind != "untested"]
        if not first:
            unseen = [replace(each, red=False) for each in proven.evicted if each.kind == "untested"]
            return replace(proven, evicted=(*known, *unseen))
        inside = [*merged, *(link.patch for link in proven.chain.links)]
        plain = await self._picker.chain(proven.chain.tip, in_order(proven.rest), inside)
        chain = Chain(tip, (*proven.chain.links, *plain.links), plain.evicted)
        return replace(proven, chain=chain, report=None, evicted=(*known, *plain.evicted), rest=())

    async def _try_all(self, receive: MemoryObjectReceiveStream[AgentResult], plan: Plan, stage: int, tip: str) -> None:
        arrived: dict[str, frozenset[str]] = {}
        with receive:
            async for result in receive:
                if not (result.keep and result.commit):
                    continue
                try:
                    patch = patch_of(plan, result, await self._changed(result.commit))
                    picked = await self._picker.pick(tip, patch)
                except MachineError:  # the queue itself will meet it, and say so
                    continue
                files = set(picked.conflicts)
                against = [name for name, own in arrived.items() if files & own]
                self._sink.emit(
                    MergeTried(
                        stage=stage,
                        subtask_id=patch.subtask_id,
                        clean=picked.commit is not None,
                        files=sorted(patch.files),
                        conflicts=list(picked.conflicts),
                        against=against,
                    )
                )
                if picked.commit is not None:
                    tip = picked.commit
                    arrived[patch.subtask_id] = patch.files

    def _tell(self, chain: Chain, evicted: Sequence[Eviction], stage: int) -> None:
        for link in chain.links:
            patch = link.patch
            self._sink.emit(
                PatchMerged(
                    stage=stage,
                    subtask_id=patch.subtask_id,
                    merged=True,
                    commit=link.commit,
                    files=sorted(patch.files),
                    repair=patch.repair,
                )
            )
            for word in patch.undid:
                self._sink.emit(Notice(level="warning", message=f"{patch.repair} {word}"))
        for each in evicted:
            patch = each.patch
            if self._told.get((stage, patch.subtask_id)) != each.reason:
                self._told[stage, patch.subtask_id] = each.reason
                self._sink.emit(
                    PatchMerged(
                        stage=stage,
                        subtask_id=patch.subtask_id,
                        merged=False,
                        files=sorted(patch.files),
                        reason=each.reason,
                        kind=each.kind,
                        against=list(each.against),
                        tests=list(each.tests),
                        repair=patch.repair,
                    )
                )
