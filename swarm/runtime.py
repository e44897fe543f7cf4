"""`Swarm`: what a program embeds, and what the command line runs."""

from __future__ import annotations

import asyncio
import inspect
import math
import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import anyio
import anyio.to_thread

from swarm.config import Rollout, RunConfig, load_config
from swarm.errors import UsageError
from swarm.loading import THE_RUN, lightly, load
from swarm.parts import Own, Parts
from swarm.run_folders import new_run_id, run_folder
from swarm.scheduling.controls import Controls

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from swarm.approval import Approve
    from swarm.events import Event
    from swarm.ground import Grounds
    from swarm.result import RunResult
    from swarm.wiring import Models


class Swarm:
    """Runs tasks. One instance serves many runs, also at once; they share the admission to the endpoint.

    Use it as an async context manager: runs that are still at work when the block is left are ended in order, as
    cancelled ones are, before it ends. `model`, `base_url` and `sandbox` stand for the keys of the same name in
    `RunConfig`; with a `config` given, nothing is read from the environment or from files. `parts` are models,
    orchestrators, aggregators, tools and sandboxes of your own.

    Raises on entering:
        UsageError: no model or no endpoint is named, or it is open already.
        SandboxError: the sandbox cannot be used on this machine.
    """

    def __init__(
        self,
        model: str | None = None,
        base_url: str | None = None,
        sandbox: str | None = None,
        *,
        config: RunConfig | None = None,
        parts: Parts | None = None,
    ) -> None:
        given: dict[str, Any] = {"model": model, "base_url": base_url, "sandbox": sandbox}
        given = {key: value for key, value in given.items() if value is not None}
        if config is None:
            config = load_config(given)
        elif given:
            config = RunConfig(**{**config.model_dump(), "api_key": config.api_key, **given})
        self.config = config
        self._parts = parts or Parts()
        self._stack = AsyncExitStack()
        self._models: Models | None = None
        self._grounds: Grounds | None = None
        self._streams: TaskGroup | None = None  # runs whose events are being streamed
        self._entered = False
        self._at_work: set[anyio.CancelScope] = set()
        self._idle = anyio.Event()

    async def __aenter__(self) -> Self:
        if self._entered:
            raise UsageError(
                "this Swarm is open already", remedy="open it once, for all runs at once, or make one for each block"
            )
        self._entered = True
        with lightly():
            from swarm.ground import open_grounds
            from swarm.wiring import open_models

        await self._stack.__aenter__()
        try:
            self._models = await self._stack.enter_async_context(open_models(self.config, self._parts.model))
            self._grounds = await self._stack.enter_async_context(open_grounds(self._parts.backend))
            self._streams = await self._stack.enter_async_context(anyio.create_task_group())
        except BaseException:
            self._entered = False
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._streams is not None:
            self._streams.cancel_scope.cancel()
        self._models, self._grounds, self._streams = None, None, None
        try:
            with anyio.CancelScope(shield=True):  # bounded: a cancelled run ends in order
                await self._end_runs()
            await self._stack.aclose()  # without the error: the task groups in there would wrap it in a group
        finally:
            self._entered = False

    async def _end_runs(self) -> None:
        """End the runs that tasks of the caller's are still waiting for."""
        while self._at_work:
            for scope in self._at_work:
                scope.cancel()
            await self._idle.wait()

    @asynccontextmanager
    async def _working(self) -> AsyncIterator[tuple[Models, Grounds]]:
        """For the length of a run. Raises UsageError where this Swarm is not open, or is closed meanwhile."""
        opened = self._opened()
        with anyio.CancelScope() as scope:
            self._at_work.add(scope)
            try:
                yield opened
            finally:
                self._at_work.discard(scope)
                if not self._at_work:
                    self._idle.set()
                    self._idle = anyio.Event()
        if scope.cancelled_caught:
            raise UsageError(
                "this Swarm was closed while the run was at work", remedy="wait for its runs before the block is left"
            )

    async def run(
        self,
        task: str,
        *,
        repo: str | Path | None = None,
        test: str | None = None,
        on_event: Callable[[Event], None] | None = None,
        stop: anyio.Event | None = None,
        dry_run: bool = False,
        approve: Approve | None = None,
        controls: Controls | None = None,
        rollout: Rollout | None = None,
        seed: int | None = None,
        own: Own | None = None,
        attach: Sequence[str | Path] = (),
    ) -> RunResult:
        """Run one task to its end.

        `repo` is a folder inside the git repository to work on (None: a task without one); its checkout is not
        touched. `test` is the gate. `on_event` sees every event as it happens; `stop`, when set, ends the run
        early with what is there; `dry_run` ends it with the first plan. `approve` is asked before each stage, about
        the plan and about spending over `ask_usd`, and at the end about the patch; a no ends the run as cancelled.
        Without it nothing is asked. `controls` pause it, change its width and stop single agents while it runs.
        `rollout` and `seed` take the place of those of the configuration: runs of one `Swarm` differ in them; `own` is
        what else they differ in. `attach` are files and folders of documents and images that agents read, search and
        must cite; see docs/documents.md. A run
        that was begun always gives a result, also when the machine failed, or when a part of your own or `on_event`
        raised: it is errored then, and the traceback is in the `error` of `RunEnded`.

        Raises:
            UsageError: the task, its repository or a document cannot be used; no run was begun.
            SandboxError: the sandbox cannot be used on this machine; no run was begun.
            JournalError: the run's record can no longer be written.
        """
        _refuse_async(on_event)
        own = own or Own()
        given = {"test": test, "rollout": rollout, "seed": seed}
        given = {key: value for key, value in given.items() if value is not None}
        config = (own.config or self.config).model_copy(update=given)
        folder = own.folder or run_folder(new_run_id())
        beside = partial(load, *THE_RUN)
        async with self._working() as (models, grounds), grounds.ground(_lease_of(folder), config, beside) as ground:
            with lightly():  # much, which is wanted only when a run starts
                from swarm.run import Order, begin, execute

            parts = self._parts.with_tools(own.tools)
            given_to_read = tuple(str(Path(each).absolute()) for each in attach)
            order = Order(task, repo, config, dry_run, parts, approve, controls or Controls(), own.purse, given_to_read)
            mission = await begin(order, folder, models, ground)
            return await execute(mission, on_event, stop)

    async def resume(
        self,
        run: str,
        *,
        config: RunConfig | None = None,
        on_event: Callable[[Event], None] | None = None,
        stop: anyio.Event | None = None,
        approve: Approve | None = None,
        controls: Controls | None = None,
        own: Own | None = None,
        trust: bool = False,
    ) -> RunResult:
        """Go on with a run that was killed, stopped, or ended for want of budget or of a machine: what was done is not
        done again, and no answered model call is paid again. One that came to its end gives its result.

        `run` is its id or its folder. It keeps its own configuration (see `resumed_config` for one with other limits)
        and goes on with the models of this Swarm. `on_event` sees what happens from now on. The rest is as in `run`;
        of `own` the tools and the budget are taken. One that was begun elsewhere is refused without `trust`: its record
        says where keys are sent and what is loaded.

        Raises:
            RunAtWork: it is at work already.
            UsageError: there is no such run, or it cannot be gone on with.
            SandboxError: the sandbox cannot be used on this machine.
            JournalError: the run's record cannot be read, or no longer be written.
        """
        with lightly():
            from swarm.journal.reader import hold_journal
            from swarm.resuming import config_of, finished, require_own, resumable
            from swarm.run import Order, begin, execute
            from swarm.whole_file import drop_partial

        _refuse_async(on_event)
        folder = run_folder(run)
        async with self._working() as (models, grounds):
            with hold_journal(folder / "events.jsonl") as held:
                past = held.past
                started = resumable(past, folder)
                for place in (folder, folder / "artifacts"):
                    await anyio.to_thread.run_sync(drop_partial, place)
                if not trust and not past.course.over:
                    await anyio.to_thread.run_sync(require_own, held, folder, os.environ)
                config = config or config_of(past, {}, os.environ)
                past.course.widen(config.model_dump())
                if past.course.over:
                    await grounds.reap()  # it may have been killed after its last word
                    return await anyio.to_thread.run_sync(finished, past, folder)
                repo, controls = started.repo or None, controls or Controls()
                async with grounds.ground(_lease_of(folder), config, partial(load, *THE_RUN)) as ground:
                    own = own or Own()
                    parts = self._parts.with_tools(own.tools)
                    attach = tuple(started.attached)
                    order = Order(
                        started.task, repo, config, started.dry_run, parts, approve, controls, own.purse, attach
                    )
                    mission = await begin(order, folder, models, ground, held)
                    return await execute(mission, on_event, stop)

    async def stream(
        self,
        task: str,
        *,
        repo: str | Path | None = None,
        test: str | None = None,
        approve: Approve | None = None,
        controls: Controls | None = None,
        attach: Sequence[str | Path] = (),
    ) -> AsyncGenerator[Event, None]:
        """The events of one run as they happen; the last one, `RunEnded`, holds the result.

        A consumer that breaks off asks the run to stop. Raises as `run`.
        """
        stop = anyio.Event()
        told, events = anyio.create_memory_object_stream["Event"](math.inf)
        faults: list[Exception] = []

        def tell(event: Event) -> None:
            if not stop.is_set():
                told.send_nowait(event)

        async def work() -> None:
            with told:
                try:
                    await self.run(
                        task,
                        repo=repo,
                        test=test,
                        on_event=tell,
                        stop=stop,
                        approve=approve,
                        controls=controls,
                        attach=attach,
                    )
                except Exception as fault:  # noqa: BLE001  raised below: it is this stream's, not the others'
                    faults.append(fault)

        self._opened()
        assert self._streams is not None
        self._streams.start_soon(work)
        try:
            with events:
                async for event in events:
                    yield event
        finally:
            stop.set()
        for fault in faults:
            raise fault

    def _opened(self) -> tuple[Models, Grounds]:
        if self._models is None or self._grounds is None:
            raise UsageError("this Swarm is not open", remedy="use it in `async with Swarm(...) as swarm:`")
        return self._models, self._grounds

    def run_sync(
        self,
        task: str,
        *,
        repo: str | Path | None = None,
        test: str | None = None,
        attach: Sequence[str | Path] = (),
    ) -> RunResult:
        """`run` for programs without an event loop: opens this Swarm, runs one task, closes it again.

        Raises as `run`, and UsageError where an event loop is running in this thread.
        """
        with suppress(RuntimeError):
            asyncio.get_running_loop()
            raise UsageError("run_sync was called where an event loop runs", remedy="`await swarm.run(...)` there")

        async def whole() -> RunResult:
            async with self:
                return await self.run(task, repo=repo, test=test, attach=attach)

        return anyio.run(whole)


def _refuse_async(on_event: Callable[[Event], None] | None) -> None:
    if inspect.iscoroutinefunction(on_event) or inspect.iscoroutinefunction(getattr(on_event, "__call__", None)):  # noqa: B004
        raise UsageError(
            "on_event is a coroutine function, which nobody would await",
            remedy="give a plain function, or take the events from `swarm.stream(...)`",
        )


def _lease_of(folder: Path) -> str:
    """A name for the lease of a run; folders of one name may be at work at once."""
    return f"{folder.name}.{secrets.token_hex(3)}"
