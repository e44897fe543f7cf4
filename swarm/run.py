"""One run: its folder, its record, and its envelope, whatever happens in between."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import field
from pathlib import Path

import anyio
from anyio.abc import TaskGroup
from pydantic_core import to_json

from swarm.approval import Approve
from swarm.budgets.budget import Budget
from swarm.config import RunConfig, home
from swarm.documents.sources import gather
from swarm.elsewhere import refuse_elsewhere
from swarm.errors import EndpointError, JournalError, MachineError, SwarmError, UsageError
from swarm.events import Event, Notice, RunEnded
from swarm.executors.substance import says
from swarm.forecast.measured import Measured
from swarm.forecast.previewer import keep
from swarm.ground import Ground
from swarm.journal.parl import StageClock, about_learning
from swarm.journal.parquet import on_close
from swarm.journal.past import Past
from swarm.journal.reader import Held
from swarm.journal.redaction import Redactor, secrets_of
from swarm.journal.said import Unsaid
from swarm.journal.seal import key_folders, sealer
from swarm.journal.totals import UNCOUNTED, Totals
from swarm.journal.writer import Journal, open_journal
from swarm.mishap import fault_of
from swarm.mission import Mission
from swarm.models.providers import secrets_in
from swarm.new_folder import make_folder
from swarm.parts import Parts
from swarm.prompts.texts import Prompts, load_prompts
from swarm.result import RunResult, Spent
from swarm.resuming import go_on
from swarm.scheduling.controls import Controls
from swarm.session import Session
from swarm.shortage import remedy_for
from swarm.stopping import Stops
from swarm.types import Outcome
from swarm.values import value
from swarm.verdict import EndedBy, coverage_note, gate_note, gate_verdict, judge, only_planned
from swarm.whole_file import write_whole
from swarm.wiring import Models, find_repository, run_tools

EventHandler = Callable[[Event], None]


@value(frozen=True, slots=True)
class Order:
    """What a caller asks for: the task, a folder inside its repository (None: without one), and how."""

    task: str
    repo: str | Path | None
    config: RunConfig
    dry_run: bool = False
    parts: Parts = field(default_factory=Parts)
    approve: Approve | None = None
    controls: Controls = field(default_factory=Controls)
    purse: Budget | None = None
    attach: tuple[str, ...] = ()


async def begin(order: Order, folder: Path, models: Models, ground: Ground, held: Held | None = None) -> Mission:
    """Check the task and its repository, and make the run's folder; `held` is what there is of it already.

    Raises:
        UsageError: they cannot be used; nothing was made.
        MachineError: the folder cannot be made for want of permission or room.
    """
    task = order.task.strip()
    if not task:
        raise UsageError("the task is empty", remedy="say in a sentence what is to be done")
    root = Path(order.repo) if order.repo is not None else None
    if root is not None and held is None:
        root = await find_repository(root)
    run_tools(order.config, root is not None, order.parts.tools)
    refuse_elsewhere(order.config, order.parts, attached=bool(order.attach))
    if order.attach and order.config.worker:
        raise UsageError(
            "--attach with --worker: other people's agents have no attached documents", remedy="leave out one of both"
        )
    if held is None and order.attach:
        await anyio.to_thread.run_sync(gather, order.attach)

    def prepare() -> Prompts:
        prompts = load_prompts(order.config.prompts)
        make_folder(folder, again=held is not None)
        return prompts

    prompts = await anyio.to_thread.run_sync(prepare)
    return Mission(
        run_id=folder.name,
        folder=folder,
        task=task,
        repo=root,
        config=order.config,
        models=models,
        ground=ground,
        dry_run=order.dry_run,
        parts=order.parts,
        approve=order.approve,
        controls=order.controls,
        purse=order.purse,
        attach=order.attach,
        prompts=prompts,
        past=held.past if held is not None else Past(),
        held=held,
    )


async def execute(mission: Mission, on_event: EventHandler | None, asked_to_stop: anyio.Event | None) -> RunResult:
    """Go through the loop to the envelope. When the caller's scope is cancelled the run still ends in order.

    Raises:
        JournalError: the record can no longer be written.
    """
    totals = Totals()
    redactor = Redactor(secrets_of(os.environ) | secrets_in(mission.config, os.environ))
    watch = _Watch(asked_to_stop, mission.config.timeout)
    results: list[RunResult] = []

    async def to_the_end(watching: TaskGroup, journal: Journal) -> None:
        with anyio.CancelScope(shield=True):  # the watch asks the loop to stop; nobody tears it apart
            results.append(await _to_the_envelope(mission, journal, totals, watch, redactor))
        watching.cancel_scope.cancel()

    try:
        path = mission.folder / "events.jsonl"
        seal = sealer(mission.folder, key_folders(home(os.environ), os.environ))
        async with open_journal(path, mission.run_id, redactor, mission.held, seal) as journal:
            journal.subscribe(totals.observe, UNCOUNTED)
            if on_event is not None:
                journal.subscribe(watch.shown_to(on_event))
            async with anyio.create_task_group() as watching:
                # In a task of its own: a native cancellation of the caller's task passes by every shield.
                watching.start_soon(watch.run)
                watching.start_soon(to_the_end, watching, journal)
        with anyio.CancelScope(shield=True):  # bounded in time
            failure = await on_close(mission.folder)
        if failure and on_event is not None:
            watch.shown_to(on_event)(Notice(message=failure, level="warning"))  # the record is closed
        return results[0]
    except BaseExceptionGroup as group:  # not `except*`: what that raises may come in a group again
        failures, rest = group.split(JournalError)
        if failures is None or rest is not None:
            raise
        raise _innermost(failures) from None


async def _to_the_envelope(
    mission: Mission, journal: Journal, totals: Totals, watch: _Watch, redactor: Redactor
) -> RunResult:
    started = time.monotonic()
    measured = Measured()
    sink = Unsaid(journal, mission.past, redactor) if mission.held is not None else journal
    session = Session(mission, sink, totals, watch.stops)
    clock = StageClock()
    reducers: tuple[EventHandler, ...]
    reducers = (measured.observe, clock.observe, session.board.observe, session.headcount.observe)
    journal.subscribe(measured.observe)
    for reducer in (*reducers[1:], session.funds.observe):
        journal.subscribe(reducer, UNCOUNTED)
    if mission.attach:
        journal.subscribe(session.readings.observe)
        reducers = (*reducers, session.readings.observe)
    if isinstance(sink, Unsaid):
        await go_on(mission, journal, sink, (totals.observe, *reducers), session.funds)
    await session.run()
    if isinstance(sink, Unsaid):
        sink.end_what_is_open()
    await journal.flush()  # a journal that can no longer be written has ended the run: nothing more is claimed
    watch.done = True
    session.fault = session.fault or watch.fault
    try:
        patch = await session.write_patch()
    except (OSError, MachineError) as error:
        broken = error if isinstance(error, MachineError) else MachineError(f"the patch cannot be written: {error}")
        patch, session.fault = None, session.fault or broken
    sources = await session.look_at_sources()
    gate, gate_told = gate_verdict(totals, session.commit), gate_note(totals, session.commit)
    ended_by = EndedBy[session.declined.upper()] if session.declined else watch.ended_by
    verdict = judge(
        totals,
        session.fault,
        ended_by,
        gate,
        gated=mission.config.test is not None and not totals.gate_left_out,
        dry_run=mission.dry_run,
        empty=patch is None and (session.void or not says(session.answer)),
        note=gate_told,
    )
    if only_planned(totals, session.fault, ended_by, dry_run=mission.dry_run):
        gate = None
    note = "" if mission.dry_run else coverage_note(totals)
    tests = f"The test command {'passed' if gate.passed else 'failed'}: {gate_told}." if gate and gate_told else ""
    answer = "\n\n".join(part for part in (session.answer, note, tests) if part)
    result = RunResult(
        run_id=mission.run_id,
        status=verdict.status,
        exit_code=verdict.exit_code,
        answer=redactor.redact(answer)[0],
        patch_path=str(patch) if patch else None,
        coverage=totals.coverage,
        usage=Spent(**totals.usage.model_dump(include=set(Spent.model_fields))),
        cost_usd=totals.cost,
        wall_s=mission.past.seconds() + time.monotonic() - started,
        critical_steps=totals.critical_steps,
        total_steps=totals.total_steps,
        n_subagents=totals.n_subagents,
        peak_concurrency=totals.peak_concurrency,
        outcomes=dict(totals.outcomes),
        gate=gate,
        sources=sources,
        run_dir=str(mission.folder),
    )
    if not mission.config.rollout.group_id:  # nobody looks at the forecast of a rollout, nor should it shape others
        await keep(mission.folder, measured, result, journal)
    details = session.fault.details if session.fault else ""
    why = "\n".join(filter(None, (verdict.reason, details)))
    ended = _run_ended(result, why, totals.attempts)
    if (fault := session.fault) is not None:
        ended.fault = fault.kind.value if isinstance(fault, EndpointError) else type(fault).__name__
    for record in about_learning(ended, clock, totals, mission.config.rollout):
        journal.emit(record)
    await journal.flush()
    data = to_json(result.model_dump(mode="json"), indent=2)
    target = mission.folder / "result.json"
    try:
        await anyio.to_thread.run_sync(write_whole, target, data)
    except OSError as error:
        remedy = remedy_for(error)
        raise JournalError(f"{target} cannot be written: {error.strerror or error}", remedy=remedy) from error
    return result


def _run_ended(result: RunResult, error: str, attempts: Counter[str]) -> RunEnded:
    completed, cancelled = attempts[Outcome.COMPLETED], attempts[Outcome.CANCELLED]
    return RunEnded(
        status=result.status,
        exit_code=result.exit_code,
        result=result.model_dump(mode="json"),
        error=error,
        spawned=result.n_subagents,
        finished=completed,
        failed=attempts.total() - completed - cancelled,
        cancelled=cancelled,
        peak_concurrency=result.peak_concurrency,
        total_steps=result.total_steps,
        critical_steps=result.critical_steps,
        wall_s=result.wall_s,
    )


class _Watch:
    """Sets `stop` when the caller asks for it; `halt` too when time is up, or when the caller's scope is cancelled:
    then nothing is tested any more either."""

    def __init__(self, asked: anyio.Event | None, timeout: float | None) -> None:
        self.stops = Stops()
        self.ended_by = EndedBy.NOTHING
        self.done = False
        self.fault: SwarmError | None = None
        """What whoever is shown the events has raised."""
        self._asked = asked or anyio.Event()
        self._timeout = timeout

    async def run(self) -> None:
        why = EndedBy.CALLER
        try:
            with anyio.move_on_after(self._timeout) as limit:
                await self._asked.wait()
                self._end(why)
                await anyio.sleep_forever()
            if limit.cancelled_caught:
                why = EndedBy.TIME
        finally:
            self._end(why)
            self.stops.halt.set()

    def _end(self, why: EndedBy) -> None:
        if not self.done and not self.stops.stop.is_set():
            self.ended_by = why
            if why is EndedBy.TIME:
                self.stops.late.set()
        self.stops.stop.set()

    def shown_to(self, on_event: EventHandler) -> EventHandler:
        """The handler, until it raises: then it is shown no more, and the run ends. Where an event comes from is no
        place for it to fail."""

        def show(event: Event) -> None:
            if self.fault is None:
                try:
                    on_event(event)
                except Exception as error:  # noqa: BLE001  it is the caller's, and kept as the run's fault
                    self.fault = fault_of(error)
                    self.stops.stop.set()

        return show


def _innermost(group: BaseExceptionGroup[JournalError]) -> JournalError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, JournalError)
    return error
