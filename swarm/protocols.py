"""The seams of the program: small contracts that any class of the right shape fulfils.

Whoever implements one needs nothing of swarm but `swarm.types` and `swarm.errors`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol, runtime_checkable

from swarm.calls import Ask, ModelReply, ModelRequest
from swarm.events import Event
from swarm.stages import Dispatch, Finish, Merged, RunState
from swarm.types import AgentResult, AgentSpec, ExecResult, JsonObject, SandboxRequest, ToolResult


class Model(Protocol):
    """A chat model behind some endpoint. One call is one attempt: no retries in here."""

    @property
    def name(self) -> str: ...

    @property
    def endpoint(self) -> str:
        """The host that answers, for the record; never with credentials."""
        ...

    async def complete(self, request: ModelRequest) -> ModelReply:
        """Answer one request.

        Raises:
            EndpointError: the call failed; its `kind` says how.
        """
        ...


class ModelService(Protocol):
    """A model by name with the admission to it, wherever it is served: one endpoint, or several replicas."""

    @property
    def name(self) -> str: ...

    @property
    def endpoint(self) -> str:
        """The hosts that answer, for the record; never with credentials."""
        ...

    def admit(self, ask: Ask) -> AbstractAsyncContextManager[Model]:
        """Wait until one more call may be in flight, and hold its place for the length of the block.

        Gives the model to call, at the replica that was chosen. How the call ends is seen by the service itself.

        Raises on entering:
            EndpointError: no call will be answered any more (a wrong key, a used-up quota).
        """
        ...


class Sandbox(Protocol):
    """What one can do inside a running sandbox. Paths are absolute, or relative to `workdir`."""

    @property
    def id(self) -> str: ...

    @property
    def workdir(self) -> str: ...

    async def exec(
        self,
        command: str,
        *,
        timeout: float = 120.0,
        cwd: str | None = None,
        stdin: bytes = b"",
        max_output: int = 1 << 20,
    ) -> ExecResult:
        """Run a command in a fresh shell until its main process ends.

        What it leaves running lives on until the sandbox is closed if it let go of the command's streams, and is killed
        if it holds them. After `timeout` seconds all of the command is killed.

        At most `max_output` bytes of each stream are kept: the first and the last half.

        Raises:
            SandboxError: the sandbox itself is gone; the command's own failure is a value.
        """
        ...

    async def read_file(self, path: str) -> bytes:
        """Raises: FileNotFoundError, IsADirectoryError, PermissionError; SandboxError as for `exec`."""
        ...

    async def write_file(self, path: str, data: bytes) -> None:
        """Write a whole file, making its folders. Raises as `read_file`."""
        ...


@runtime_checkable
class Pausable(Protocol):
    """A sandbox that can stand still, so that it costs no CPU while nobody uses it."""

    async def pause(self) -> None:
        """Stop everything that runs inside. Until `resume`, `exec` raises SandboxError."""
        ...

    async def resume(self) -> None:
        """Let it go on where it was stopped."""
        ...


class SandboxBackend(Protocol):
    """Where sandboxes run: docker, bubblewrap, process, or a third party's."""

    @property
    def name(self) -> str: ...

    @property
    def owner(self) -> tuple[int, int] | None:
        """User and group that run inside, where this process can give them files (root can); None: this process's own.

        A workspace whose top folder belongs to them is taken to be theirs altogether.
        """
        ...

    async def check(self, lease: Path) -> None:
        """Prove that a sandbox can be opened here. `lease` as in `SandboxRequest`.

        Raises:
            SandboxError: it cannot; the remedy names what to install or start.
        """
        ...

    def open(self, request: SandboxRequest) -> AbstractAsyncContextManager[Sandbox]:
        """Start a sandbox, prove that it is closed, and remove all of it at the end of the block."""
        ...


@runtime_checkable
class Tool(Protocol):
    """Something a sub-agent can use. `parameters` is the JSON schema of its arguments."""

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str: ...

    @property
    def parameters(self) -> JsonObject: ...

    async def call(self, arguments: JsonObject, sandbox: Sandbox) -> ToolResult:
        """Use the tool. What the model did wrong is told in the result; only a broken machine raises."""
        ...


class Repository(Protocol):
    """The run's own store of trees, apart from the user's checkout. Commits are named by their hash."""

    @property
    def base(self) -> str:
        """The commit that holds the user's tree, uncommitted changes included."""
        ...

    async def listing(self, commit: str, limit: int) -> str:
        """The files of a commit, one a line, at most `limit` lines with a note on what was left out."""
        ...

    async def checkout(self, commit: str, folder: Path) -> None:
        """Write the tree of `commit` into the empty `folder`."""
        ...

    async def capture(self, folder: Path, parent: str, *, author: str, message: str) -> str | None:
        """Commit what now stands in `folder` on top of `parent`; None where nothing changed."""
        ...

    async def merge(self, ours: str, theirs: str, *, message: str) -> tuple[str | None, str]:
        """Three-way merge: the merged commit and "", or None and which files conflict."""
        ...

    async def diff(self, old: str, new: str) -> bytes:
        """The patch from one commit to another, binary safe, as `git apply` takes it."""
        ...

    async def changed_files(self, old: str, new: str) -> Sequence[str]: ...


class EventSink(Protocol):
    """Where everything that happens is told. `emit` never blocks; `flush` waits until it is on disk."""

    def emit(self, event: Event) -> None: ...

    async def flush(self) -> None: ...


class Orchestrator(Protocol):
    """The role that plans, delegates and finishes."""

    async def decide(self, state: RunState) -> Dispatch | Finish:
        """Say what is to be done next.

        Raises:
            PlanError: the model gave no usable decision, also when told why.
        """
        ...


class Executor(Protocol):
    """Makes one attempt at a sub-task, here or elsewhere. Never raises for the work's failure."""

    async def run(self, spec: AgentSpec) -> AgentResult:
        """Raises: MachineError where the machine, not the work, failed."""
        ...


class Aggregator(Protocol):
    """Merges the results of a stage. `onto` is the commit that was merged so far."""

    async def merge(self, results: Sequence[AgentResult], titles: Mapping[str, str], onto: str | None) -> Merged: ...
