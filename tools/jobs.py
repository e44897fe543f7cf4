"""Background jobs of one agent: commands that run on in its sandbox while it does something else.

A job is one long `Sandbox.exec`, held open by a task. So it needs nothing of the sandbox but what every backend gives,
its processes are ended as those of any command are, and none outlives the agent. The task belongs to a group of the
run: one of each agent's own would cost thousands of agents 3 kB each, of whom few have jobs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Annotated, Protocol, runtime_checkable

import anyio
from anyio.abc import TaskGroup
from pydantic import Field

from swarm.errors import MachineError
from swarm.protocols import Sandbox
from swarm.stopping import companions
from swarm.tools.output import LIMIT, failed, readable
from swarm.tools.registry import tool
from swarm.tools.session import FOLDER, script
from swarm.types import ExecResult, ToolErrorKind, ToolResult, ToolStatus

MOST_JOBS = 8
LONGEST_WAIT = 600.0
_SECONDS = 24 * 3600.0
_TAIL = LIMIT - 400


@dataclass(slots=True)
class Job:
    """One background command. `result` is None while it runs; `error` what broke the machine under it."""

    number: int
    title: str
    output: str
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    ended: anyio.Event = field(default_factory=anyio.Event)
    result: ExecResult | None = None
    error: MachineError | None = None


@runtime_checkable
class JobRunner(Protocol):
    """A sandbox in which commands can run in the background."""

    def running(self) -> int: ...

    def job(self, number: int) -> Job | None: ...

    async def start(self, command: str, title: str) -> tuple[int, str]:
        """Start a command; its number, and the path of its output inside."""
        ...


class Bench(AbstractAsyncContextManager["Bench"]):
    """A sandbox as one agent uses it: the same, and jobs, which are tasks of `group`. At the end of the block they are
    ended, before anything else is."""

    __slots__ = ("_fault", "_group", "_jobs", "_sandbox")

    def __init__(self, sandbox: Sandbox, group: TaskGroup) -> None:
        self._sandbox = sandbox
        self._group = group
        self._jobs: dict[int, Job] = {}
        self._fault: Exception | None = None

    def __repr__(self) -> str:
        return f"<bench {self.id}: {self.running()} of {len(self._jobs)} jobs running>"

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for job in self._jobs.values():
            job.scope.cancel()
        with anyio.CancelScope(shield=True):  # what ends a command is bounded in time
            for job in self._jobs.values():
                await job.ended.wait()
        if self._fault is not None and error is None:
            raise self._fault

    @property
    def id(self) -> str:
        return self._sandbox.id  # known late where it opens late

    @property
    def workdir(self) -> str:
        return self._sandbox.workdir

    async def exec(
        self,
        command: str,
        *,
        timeout: float = 120.0,
        cwd: str | None = None,
        stdin: bytes = b"",
        max_output: int = 1 << 20,
    ) -> ExecResult:
        """See `swarm.protocols.Sandbox.exec`."""
        return await self._sandbox.exec(command, timeout=timeout, cwd=cwd, stdin=stdin, max_output=max_output)

    async def read_file(self, path: str, *, most: int | None = None) -> bytes:
        """See `swarm.protocols.Sandbox.read_file`."""
        return await self._sandbox.read_file(path, most=most)

    async def write_file(self, path: str, data: bytes) -> None:
        """See `swarm.protocols.Sandbox.write_file`."""
        await self._sandbox.write_file(path, data)

    async def list_folder(self, path: str = ".") -> list[str]:
        """See `swarm.protocols.Sandbox.list_folder`."""
        return await self._sandbox.list_folder(path)

    def running(self) -> int:
        return sum(not job.ended.is_set() for job in self._jobs.values())

    def job(self, number: int) -> Job | None:
        return self._jobs.get(number)

    async def start(self, command: str, title: str) -> tuple[int, str]:
        """See `JobRunner.start`."""
        place = await self._sandbox.exec(f"printf %s {FOLDER}", timeout=30)
        number = len(self._jobs) + 1
        output = f"{place.stdout.decode('utf-8', 'replace')}/job-{number}.log"
        job = self._jobs[number] = Job(number, title, output)
        self._group.start_soon(self._run, job, command)
        return number, output

    async def _run(self, job: Job, command: str) -> None:
        text = f'__swarm_d={FOLDER}; mkdir -p -m 700 "$__swarm_d"; exec >"$__swarm_d/job-{job.number}.log"; '
        text += script()
        try:
            with job.scope:
                job.result = await self._sandbox.exec(text, timeout=_SECONDS, stdin=command.encode(), max_output=4096)
        except MachineError as error:
            job.error = error  # told to whoever asks for the job; the agent's own next command meets it as well
        except Exception as error:  # noqa: BLE001  it is this agent's, not the group's: raised at the end of its block
            self._fault = self._fault or error
        finally:
            job.ended.set()


@asynccontextmanager
async def open_bench(sandbox: Sandbox) -> AsyncIterator[Bench]:
    """A bench over a sandbox, with a group of its own."""
    async with companions() as group, Bench(sandbox, group) as bench:
        yield bench


@tool
async def job(
    id: Annotated[int, Field(description="The number of the job.")],
    sandbox: Sandbox,
    wait: Annotated[
        float, Field(ge=0, le=LONGEST_WAIT, description="Seconds to wait for its end, at most 600. Default 0.")
    ] = 0.0,
    kill: Annotated[bool, Field(description="End it, with all its processes.")] = False,
) -> ToolResult:
    """See how a background job of `bash` fares: whether it runs, its exit code, and the end of its output."""
    found = sandbox.job(id) if isinstance(sandbox, JobRunner) else None
    if found is None:
        return failed(ToolErrorKind.NOT_FOUND, f"there is no job {id}. Start one: bash with background.")
    if kill and not found.ended.is_set():
        found.scope.cancel()
        await found.ended.wait()
    with anyio.move_on_after(wait):
        await found.ended.wait()
    if found.error is not None:
        raise found.error
    path = f'{FOLDER}"/job-{found.number}.log"'
    listed = await sandbox.exec(f"tail -c {_TAIL + 1} {path} 2>/dev/null", timeout=30, max_output=_TAIL + 1)
    text = readable(listed.stdout).rstrip("\n")
    cut = len(listed.stdout) > _TAIL
    if cut:
        text = f"[only the end; all is in {found.output}: use read or grep]\n{text[-_TAIL:]}"
    end = f"[job {found.number} ({found.title}) {_state(found)}]"
    code = found.result.exit_code if found.result is not None else None
    return ToolResult(f"{text}\n{end}" if text else end, ToolStatus.COMPLETED, exit_code=code, truncated=cut)


def _state(found: Job) -> str:
    if found.result is not None:
        return f"ended with exit code {found.result.exit_code}"
    return "was killed" if found.ended.is_set() else "is running"
