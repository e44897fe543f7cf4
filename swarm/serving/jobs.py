"""Runs that go on while nobody waits for them: a server's, for as long as it lives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup, TaskStatus

from swarm.approval import Approve
from swarm.config import RunConfig
from swarm.errors import SwarmError, UsageError
from swarm.events import Event
from swarm.parts import Own, Parts
from swarm.result import RunResult
from swarm.run_folders import new_run_id, run_folder
from swarm.runtime import Swarm
from swarm.serving.progress import Progress

STOPPING_S = 20.0
"""So long runs are given to come to their end when the server ends; what does not is stopped, and can be resumed."""


@dataclass
class Job:
    """One run. `fault` says why it was not begun, or could not be recorded."""

    run_id: str
    task: str
    progress: Progress = field(default_factory=Progress)
    stop: anyio.Event = field(default_factory=anyio.Event)
    over: anyio.Event = field(default_factory=anyio.Event)
    result: RunResult | None = None
    fault: SwarmError | None = None

    @property
    def status(self) -> str:
        """That of its result, or `running`; `errored` where it was not begun."""
        if self.result is not None:
            return self.result.status.value
        return "errored" if self.fault is not None else "running"


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done: a task, on a repository or none, with keys of the configuration that differ."""

    task: str
    repo: Path | None = None
    config: Mapping[str, Any] = field(default_factory=dict)


FindGate = Callable[[RunConfig, Path, Path], RunConfig]
"""Puts in the test command that is found for a repository; blocks. The last is the folder that was named."""


class Jobs:
    """The runs of a server; use `open_jobs`."""

    def __init__(self, config: RunConfig, parts: Parts, find_gate: FindGate | None, group: TaskGroup) -> None:
        self._config = config
        self._parts = parts
        self._find_gate = find_gate
        self._group = group
        self._swarm: Swarm | None = None
        self._opening = anyio.Lock()
        self._closing = anyio.Event()
        self.jobs: dict[str, Job] = {}

    async def start(
        self, work: Work, on_event: Callable[[Event], None] | None = None, approve: Approve | None = None
    ) -> Job:
        """Begin a run, and do not wait for it.

        Raises:
            UsageError: a key of the configuration is not allowed, or no model or endpoint is named.
            SwarmError: models or sandboxes cannot be opened.
        """
        if not work.task.strip():
            raise UsageError("the task is empty", remedy="say what is to be done")
        swarm = await self._opened()
        config = RunConfig(**{**self._config.model_dump(), "api_key": self._config.api_key, **work.config})
        if work.repo is not None and self._find_gate is not None:
            config = await anyio.to_thread.run_sync(self._find_gate, config, work.repo, work.repo)
        job = Job(new_run_id(), work.task)
        self.jobs[job.run_id] = job
        self._group.start_soon(self._run, swarm, job, work, config, on_event, approve)
        return job

    async def _run(
        self,
        swarm: Swarm,
        job: Job,
        work: Work,
        config: RunConfig,
        on_event: Callable[[Event], None] | None,
        approve: Approve | None,
    ) -> None:
        def tell(event: Event) -> None:
            job.progress.observe(event)
            if on_event is not None:
                on_event(event)

        try:
            job.result = await swarm.run(
                work.task,
                repo=work.repo,
                test=config.test,
                on_event=tell,
                stop=job.stop,
                approve=approve,
                own=Own(folder=run_folder(job.run_id), config=config),
            )
        except SwarmError as fault:
            job.fault = fault
        finally:
            job.over.set()

    async def _opened(self) -> Swarm:
        """The one `Swarm`, opened when it is first wanted: a server says what it can do before a model is named."""
        async with self._opening:
            if self._swarm is None:
                opened = await self._group.start(self._hold)
                if isinstance(opened, SwarmError):
                    raise opened
                self._swarm = opened
            return self._swarm

    async def _hold(self, *, task_status: TaskStatus[Swarm | SwarmError]) -> None:
        """Hold it open in a task of its own: who asks for it first may be gone before the others."""
        try:
            async with Swarm(config=self._config, parts=self._parts) as swarm:
                task_status.started(swarm)
                await self._closing.wait()
        except SwarmError as fault:
            if self._swarm is not None:
                raise
            task_status.started(fault)

    async def close(self) -> None:
        """Ask all runs to end in order, and wait for that a while."""
        for job in self.jobs.values():
            job.stop.set()
        with anyio.move_on_after(STOPPING_S):
            for job in self.jobs.values():
                await job.over.wait()
        self._closing.set()


@asynccontextmanager
async def open_jobs(
    config: RunConfig, parts: Parts | None = None, find_gate: FindGate | None = None
) -> AsyncIterator[Jobs]:
    """Runs for as long as the block lasts; those that are at work then end in order, and can be resumed."""
    async with anyio.create_task_group() as group:
        jobs = Jobs(config, parts or Parts(), find_gate, group)
        try:
            yield jobs
        finally:
            with anyio.CancelScope(shield=True):
                await jobs.close()
            group.cancel_scope.cancel()
