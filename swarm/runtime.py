"""`Swarm`: what a program embeds, and what the command line runs."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
from anyio.abc import TaskGroup

from swarm.config import RunConfig, load_config
from swarm.errors import SwarmError, UsageError
from swarm.events import Event
from swarm.result import RunResult
from swarm.run import Order, begin, execute, new_run_id
from swarm.wiring import Models, open_lease, open_models, open_sandboxes


class Swarm:
    """Runs tasks. One instance serves many runs, also at once; they share the admission to the endpoint.

    Use it as an async context manager. `model`, `base_url` and `sandbox` stand for the keys of the same name in
    `RunConfig`; with a `config` given, nothing is read from the environment or from files.

    Raises on entering:
        UsageError: no model or no endpoint is named.
        SandboxError: the sandbox cannot be used on this machine.
    """

    def __init__(
        self,
        model: str | None = None,
        base_url: str | None = None,
        sandbox: str | None = None,
        *,
        config: RunConfig | None = None,
    ) -> None:
        given: dict[str, Any] = {"model": model, "base_url": base_url, "sandbox": sandbox}
        given = {key: value for key, value in given.items() if value is not None}
        if config is None:
            config = load_config(given)
        elif given:
            config = RunConfig(**{**config.model_dump(), "api_key": config.api_key, **given})
        self.config = config
        self._stack = AsyncExitStack()
        self._models: Models | None = None
        self._streams: TaskGroup | None = None  # runs whose events are being streamed

    async def __aenter__(self) -> Self:
        await self._stack.__aenter__()
        try:
            self._models = await self._stack.enter_async_context(open_models(self.config))
            self._streams = await self._stack.enter_async_context(anyio.create_task_group())
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._streams is not None:
            self._streams.cancel_scope.cancel()
        self._models, self._streams = None, None
        await self._stack.aclose()  # without the error: the task groups in there would wrap it in a group

    async def run(
        self,
        task: str,
        *,
        repo: str | Path | None = None,
        test: str | None = None,
        on_event: Callable[[Event], None] | None = None,
        stop: anyio.Event | None = None,
        dry_run: bool = False,
    ) -> RunResult:
        """Run one task to its end.

        `repo` is a folder inside the git repository to work on (None: a task without one); its checkout is not
        touched. `test` is the gate. `on_event` sees every event as it happens; `stop`, when set, ends the run
        early with what is there; `dry_run` ends it with the first plan. A run that was begun always gives a
        result, also when the machine failed.

        Raises:
            UsageError: the task or its repository cannot be used; no run was begun.
            SandboxError: the sandbox cannot be used on this machine; no run was begun.
            JournalError: the run's record can no longer be written.
        """
        if self._models is None:
            raise UsageError("this Swarm is not open", remedy="use it in `async with Swarm(...) as swarm:`")
        config = self.config if test is None else self.config.model_copy(update={"test": test})
        run_id = new_run_id()
        async with open_lease(run_id) as ground, open_sandboxes(config, ground.lease) as backend:
            mission = await begin(Order(task, repo, config, dry_run), run_id, self._models, backend, ground)
            return await execute(mission, on_event, stop)

    async def stream(
        self, task: str, *, repo: str | Path | None = None, test: str | None = None
    ) -> AsyncIterator[Event]:
        """The events of one run as they happen; the last one, `RunEnded`, holds the result.

        A consumer that breaks off asks the run to stop. Raises as `run`.
        """
        stop = anyio.Event()
        told, events = anyio.create_memory_object_stream[Event](math.inf)
        faults: list[SwarmError] = []

        def tell(event: Event) -> None:
            if not stop.is_set():
                told.send_nowait(event)

        async def work() -> None:
            with told:
                try:
                    await self.run(task, repo=repo, test=test, on_event=tell, stop=stop)
                except SwarmError as fault:
                    faults.append(fault)

        if self._streams is None:
            raise UsageError("this Swarm is not open", remedy="use it in `async with Swarm(...) as swarm:`")
        self._streams.start_soon(work)
        try:
            with events:
                async for event in events:
                    yield event
        finally:
            stop.set()
        for fault in faults:
            raise fault

    def run_sync(self, task: str, *, repo: str | Path | None = None, test: str | None = None) -> RunResult:
        """`run` for programs without an event loop: opens this Swarm, runs one task, closes it again."""

        async def whole() -> RunResult:
            async with self:
                return await self.run(task, repo=repo, test=test)

        return anyio.run(whole)
