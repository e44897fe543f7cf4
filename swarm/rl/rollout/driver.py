"""Drives rollouts: an iteration begins with what the one before left unfinished, and hands over what is done."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, cast

import anyio
import anyio.to_thread
from anyio.streams.memory import MemoryObjectSendStream
from pydantic_core import to_jsonable_python

from swarm.config import Rollout
from swarm.errors import UsageError
from swarm.events import RewardGiven
from swarm.journal.late_rewards import give_rewards
from swarm.result import RunResult
from swarm.rl.rollout.batch import Batch, Bounds, Rolled
from swarm.rl.rollout.book import Book, Slot, open_book, ready
from swarm.rl.rollout.keeping import begin_or_go_on, for_a_segment, keep_at
from swarm.rl.rollout.segment import Segment
from swarm.rl.tasks.task import Task, Verify
from swarm.run_folders import run_folder
from swarm.runtime import Swarm
from swarm.types import RunStatus


class RolloutStatistics(NamedTuple):
    """Of the present iteration: all rollouts of it, those done, those at work."""

    size: int
    done: int
    running: int


class Rollouts:
    """Makes rollouts with a `Swarm` that is open; its configuration is that of every run, with its own seed for each
    where one is set. `folder` keeps what is not done, for this process and later ones. `verify` judges each run that
    ended, if not by the machine; what it gives is written to that run's `rewards.jsonl`."""

    def __init__(self, swarm: Swarm, folder: Path, bounds: Bounds | None = None, verify: Verify | None = None) -> None:
        self._swarm = swarm
        self._folder = folder
        self._bounds = bounds or Bounds()
        self._verify = verify
        self._limiter = anyio.CapacityLimiter(self._bounds.at_once)
        self._batch = Batch((), self._bounds)

    def __repr__(self) -> str:
        s = self.statistics()
        return f"<Rollouts {s.done} of {s.size} done, {s.running} at work>"

    def statistics(self) -> RolloutStatistics:
        return RolloutStatistics(self._batch.size, self._batch.done, self._batch.running)

    @asynccontextmanager
    async def iteration(
        self, tasks: Sequence[Task], *, weights: Rollout | None = None
    ) -> AsyncIterator[AsyncIterator[Rolled]]:
        """Work on what is left of earlier iterations, those that were begun first, and then on `k` runs of each task.
        Gives the rollouts as they are done; the iterator ends when the iteration does. Leaving the block brings the
        others to rest. One that was not handed over is so in the next iteration, without being run again.

        `weights` are those of PARL's rewards for the runs that begin now; its group and index are not looked at.

        Raises:
            UsageError: the state cannot be used, or a task; what could go on is kept.
            JournalError: the state cannot be written.
        """
        failure: Exception | None = None
        _check(tasks)
        async with open_book(self._folder) as book:
            batch = self._batch = self._begin(book, tasks, weights or Rollout())
            send, done = anyio.create_memory_object_stream[Rolled]()
            async with anyio.create_task_group() as group:
                group.start_soon(self._all, book, batch, send)
                with done:
                    try:
                        yield done
                    except Exception as error:  # noqa: BLE001  raised below, outside of the groups
                        failure = error
                    finally:
                        batch.pause()
        if failure or batch.fault:
            raise failure or cast(Exception, batch.fault)

    def _begin(self, book: Book, tasks: Sequence[Task], weights: Rollout) -> Batch:
        book.iteration += 1
        for task in tasks:
            for index in range(self._bounds.k):
                group, base = f"{book.iteration}/{task.id}", self._swarm.config.seed
                own = weights.model_copy(update={"group_id": f"{book.id}/{group}", "index": index})
                seed = None if base is None else _seed(f"{base}/{group}/{index}")
                book.slots[own.group_id, index] = Slot(task=task, rollout=own, seed=seed)
        book.note()
        return Batch(list(book.slots.values()), self._bounds)

    async def _all(self, book: Book, batch: Batch, send: MemoryObjectSendStream[Rolled]) -> None:
        with send:
            async with anyio.create_task_group() as clock:
                clock.start_soon(self._watch, batch)
                async with anyio.create_task_group() as runs:
                    for slot in ready(list(book.slots.values())):
                        runs.start_soon(self._one, book, batch, slot, send)
                clock.cancel_scope.cancel()

    async def _watch(self, batch: Batch) -> None:
        if self._bounds.seconds is not None:
            await anyio.sleep(self._bounds.seconds)
            batch.pause()

    async def _one(self, book: Book, batch: Batch, slot: Slot, send: MemoryObjectSendStream[Rolled]) -> None:
        try:
            async with self._limiter:
                if batch.over(slot).is_set():
                    return
                batch.running += 1
                try:
                    rolled = await self._to_its_end(book, batch, slot)
                finally:
                    batch.running -= 1
                    book.note()
            if rolled is None:
                return
            batch.count(slot)
            await send.send(rolled)
            book.slots.pop((slot.group_id, slot.rollout.index), None)
            book.note()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return  # nobody takes it any more: it is handed over in the next iteration
        except Exception as error:  # noqa: BLE001  the verifier may be anyone's; raised when all are at rest
            batch.fail(error)

    async def _to_its_end(self, book: Book, batch: Batch, slot: Slot) -> Rolled | None:
        """Work on a rollout until it is done; None where it is to pause."""
        over = batch.over(slot)
        kept = await keep_at(slot, partial(self._segment, book, over, slot), over, self._bounds.patience)
        if kept is None:
            return None
        result, error = kept
        failed = result is None or result.status is RunStatus.ERRORED
        rewards: Sequence[RewardGiven] = ()
        folder = Path(slot.run) if slot.run else None
        if self._verify is not None and result is not None and folder is not None and not failed:
            rewards = await _judged(self._verify, slot.task, result)
            if rewards:
                await anyio.to_thread.run_sync(give_rewards, folder, rewards)
        return Rolled(
            slot.task,
            slot.group_id,
            slot.rollout.index,
            result,
            folder,
            tuple(rewards),
            tuple(map(tuple, slot.segments)),
            slot.failures + (not failed),
            error,
        )

    async def _segment(self, book: Book, over: anyio.Event, slot: Slot) -> tuple[RunResult | None, str]:
        """Begin the run of a rollout, or go on with it; the result, or why the machine gave none.

        Raises:
            UsageError: the task, or the configuration, cannot be used.
        """

        def begun(run_id: str) -> None:
            slot.run = str(run_folder(run_id))
            book.note()

        segment = Segment(begun)
        slot.segments.append(segment.versions)
        try:
            return await for_a_segment(segment, partial(self._run, slot), over, self._bounds.grace)
        except Exception:
            for key, each in list(book.slots.items()):  # what would fail again in each iteration
                if each is slot or (each.group_id == slot.group_id and not each.run):
                    del book.slots[key]
            raise
        finally:
            slot.segments = [versions for versions in slot.segments if versions]

    async def _run(self, slot: Slot, segment: Segment) -> RunResult:
        async def go_on() -> RunResult:
            resume = partial(self._swarm.resume, slot.run, on_event=segment.observe)
            return await resume(stop=segment.stop, controls=segment.controls)

        async def begin() -> RunResult:
            slot.run = ""
            return await self._swarm.run(
                slot.task.prompt,
                repo=slot.task.repo,
                test=slot.task.test,
                on_event=segment.observe,
                stop=segment.stop,
                controls=segment.controls,
                rollout=slot.rollout,
                seed=slot.seed,
            )

        return await begin_or_go_on(slot.run, go_on, begin)


def _check(tasks: Sequence[Task]) -> None:
    """Whether tasks can be told apart, and are the same when they are read back."""
    if len({task.id for task in tasks}) < len(tasks):
        raise UsageError("two tasks of one iteration have the same id", remedy="raise k for more runs of a task")
    for task in tasks:
        try:
            kept = Task.model_validate_json(task.model_dump_json()).model_dump()
            same = kept == to_jsonable_python(task.model_dump())
        except ValueError:
            same = False
        if not same:
            remedy = "answer and about hold text, finite numbers, lists and objects"
            raise UsageError(f"the task {task.id!r} cannot be kept as JSON", remedy=remedy)


def _seed(of: str) -> int:
    """One for each run, in the 31 bits that every endpoint takes."""
    return int.from_bytes(sha256(of.encode()).digest()[:4]) >> 1


async def _judged(verify: Verify, task: Task, result: RunResult) -> Sequence[RewardGiven]:
    """Raises UsageError where the verifier gives something else than rewards."""
    found: object
    if inspect.iscoroutinefunction(verify):
        found = await verify(task, result)
    else:
        found = await anyio.to_thread.run_sync(verify, task, result)
        found = await found if inspect.isawaitable(found) else found
    if isinstance(found, Sequence) and all(isinstance(each, RewardGiven) for each in found):
        return found
    remedy = "it gives a sequence of RewardGiven, an empty one where it cannot tell"
    raise UsageError(f"of the task {task.id!r} the verifier gave {found!r:.80}", remedy=remedy)
