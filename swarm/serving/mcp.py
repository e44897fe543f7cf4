"""`swarm mcp`: an MCP server with which any client starts, watches and collects runs.

What a client may choose is the work, not the machine: repositories below the folders that the server was started for,
and limits not beyond the server's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, Field

from swarm import __version__
from swarm.config import RunConfig
from swarm.errors import SwarmError, UsageError
from swarm.result import RunResult
from swarm.run_folders import run_folder
from swarm.serving.jobs import Job, Jobs, Work
from swarm.whole_file import open_plain

_ABOUT = """Give `swarm_start` a task that can be split into parts which several agents work on at once: a fix or a
change in a repository, a question that wants many look-ups. It answers at once with a run_id. `swarm_watch` waits and
tells how far it is; `swarm_collect` gives the answer and the patch. The user's checkout is never touched: applying the
patch is up to you and the user. `swarm_stop` ends a run with what is there."""
_LONGEST_PATCH = 200_000  # characters
_LONGEST_WAIT = 600.0


class Watched(BaseModel):
    """How far a run is. `status` is `running`, or that of its end; `progress` what happened so far."""

    run_id: str
    status: str
    progress: dict[str, Any] = Field(default_factory=dict)
    error: str = ""


class Collected(BaseModel):
    """What a run gave: the envelope of `swarm run --json`, and the patch as `git apply` takes it. A longer patch is
    left out: it lies at `result.patch_path`."""

    run_id: str
    status: str
    result: RunResult | None = None
    patch: str = ""
    patch_left_out: bool = False
    error: str = ""


class Desk:
    """What the tools do. `folders`: where repositories may be."""

    def __init__(self, jobs: Jobs, config: RunConfig, folders: Sequence[Path]) -> None:
        self._jobs = jobs
        self._config = config
        self._folders = [folder.resolve() for folder in folders]

    async def start(
        self,
        task: str,
        repo: str | None,
        test: str | None,
        mode: Literal["plan", "parl", "single"] | None,
        limits: dict[str, float | None],
    ) -> Watched:
        changed: dict[str, Any] = {"mode": mode} if mode else {}
        if test is not None and repo is None:
            raise UsageError("test needs a repository", remedy="give repo")
        changed |= {"test": test, "find_test": False} if test is not None else {}
        for name, wanted in limits.items():
            if wanted is not None:
                most = getattr(self._config, name)
                changed[name] = wanted if most is None else min(wanted, most)
        place = await self._repository(repo) if repo is not None else None
        return self._watched(await self._jobs.start(Work(task, place, changed)))

    async def watch(self, run_id: str, wait_s: float, context: Context[Any, Any]) -> Watched:
        job = self._job(run_id)
        with anyio.move_on_after(min(max(wait_s, 0.0), _LONGEST_WAIT)):
            while not job.over.is_set():
                done, known = job.progress.done
                await context.report_progress(done, known or None, f"{done} of {known} sub-tasks")
                with anyio.move_on_after(2.0):
                    await job.over.wait()
        return self._watched(job)

    async def collect(self, run_id: str) -> Collected:
        job = self._job(run_id)
        if job.result is None:
            return Collected(run_id=run_id, status=job.status, error=str(job.fault or ""))
        patch = await anyio.to_thread.run_sync(_text_of, job.result.patch_path)
        fits = len(patch) <= _LONGEST_PATCH
        return Collected(
            run_id=run_id,
            status=job.status,
            result=job.result,
            patch=patch if fits else "",
            patch_left_out=not fits,
        )

    def stop(self, run_id: str) -> Watched:
        job = self._job(run_id)
        job.stop.set()
        return self._watched(job)

    def runs(self) -> list[Watched]:
        return [self._watched(job) for job in reversed(self._jobs.jobs.values())]

    def _job(self, run_id: str) -> Job:
        if run_id not in self._jobs.jobs:
            where = run_folder(run_id) if run_id.replace("-", "").isalnum() else None
            other = where is not None and where.is_dir()
            remedy = f"it is another program's: swarm show {run_id}" if other else "see swarm_runs"
            raise UsageError(f"no run {run_id} of this server", remedy=remedy)
        return self._jobs.jobs[run_id]

    def _watched(self, job: Job) -> Watched:
        return Watched(
            run_id=job.run_id, status=job.status, progress=job.progress.as_json(), error=str(job.fault or "")
        )

    async def _repository(self, given: str) -> Path:
        place = Path(given).resolve()
        if not any(place.is_relative_to(folder) for folder in self._folders):
            allowed = ", ".join(map(str, self._folders))
            raise UsageError(f"{given} is not below {allowed}", remedy="start `swarm mcp --repos DIR` for others")
        return place


def _text_of(path: str | None) -> str:
    if path is None:
        return ""
    with open_plain(Path(path)) as file:
        return file.read(4 * _LONGEST_PATCH + 1).decode("utf-8", "replace")


@contextmanager
def _one_line() -> Iterator[None]:
    """An error of ours is the client's to read: one line with its remedy, no crash."""
    try:
        yield
    except SwarmError as error:
        raise ToolError(str(error)) from None


def server_of(desk: Desk) -> MCPServer[Any]:
    """The server with its tools; errors of ours go to the client as one line with the remedy."""
    server: MCPServer[Any] = MCPServer("swarm", instructions=_ABOUT, version=__version__, log_level="ERROR")

    @server.tool()
    async def swarm_start(
        task: str,
        repo: str | None = None,
        test: str | None = None,
        mode: Literal["plan", "parl", "single"] | None = None,
        budget_usd: float | None = None,
        budget_tokens: int | None = None,
        timeout_s: float | None = None,
        max_agents: int | None = None,
    ) -> Watched:
        """Start a run and answer at once. `repo`: path of a git repository to work on, left out for tasks without one.
        `test`: the command that the result must pass; run in a sandbox. Limits may only be narrower than the server's.
        """
        limits = {"budget_usd": budget_usd, "budget_tokens": budget_tokens}
        with _one_line():
            return await desk.start(task, repo, test, mode, {**limits, "timeout": timeout_s, "max_agents": max_agents})

    @server.tool()
    async def swarm_watch(run_id: str, context: Context[Any, Any], wait_s: float = 30.0) -> Watched:
        """Wait until a run is over, at most `wait_s` seconds (600 at most), and tell how far it is."""
        with _one_line():
            return await desk.watch(run_id, wait_s, context)

    @server.tool()
    async def swarm_collect(run_id: str) -> Collected:
        """What a run gave: answer, status, cost, and the patch. Before its end only the status."""
        with _one_line():
            return await desk.collect(run_id)

    @server.tool()
    async def swarm_stop(run_id: str) -> Watched:
        """Ask a run to end with what is there; watch it to its end then."""
        with _one_line():
            return desk.stop(run_id)

    @server.tool()
    async def swarm_runs() -> list[Watched]:
        """All runs that this server started, newest first."""
        with _one_line():
            return desk.runs()

    return server
