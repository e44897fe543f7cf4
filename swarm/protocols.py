"""The seams of the program: small contracts that any class of the right shape fulfils.

Whoever implements one needs nothing of swarm but `swarm.types` and `swarm.errors`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol, runtime_checkable

from swarm.calls import Ask, ModelReply, ModelRequest
from swarm.events import Event
from swarm.stages import Captured, Change, Dispatch, Finish, Harvest, Merged, Picked, RunState
from swarm.types import AgentResult, AgentSpec, BoardAction, ExecResult, JsonObject, SandboxRequest, ToolResult


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

    async def read_file(self, path: str, *, most: int | None = None) -> bytes:
        """Read a whole file of at most `most` bytes (None: 256 MiB).

        Raises: FileNotFoundError, IsADirectoryError, PermissionError; OSError with EFBIG where it is larger, found out
        without reading it; SandboxError as for `exec`.
        """
        ...

    async def list_folder(self, path: str = ".") -> list[str]:
        """The names in a folder, sorted; those of folders end with a slash.

        Raises: FileNotFoundError, NotADirectoryError, PermissionError; SandboxError as for `exec`.
        """
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


class Seat(Protocol):
    """One agent's place at the board that agents of a run share."""

    def use(self, action: BoardAction, key: str, text: str) -> str | Awaitable[str]:
        """Do something at once; gives the answer for the model, or what to await for it: the board may be elsewhere.

        Raises:
            ValueError: it cannot be done; the message tells the model how to mend it.
        """
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

    async def capture(self, folder: Path, parent: str, *, author: str, message: str) -> Captured:
        """Commit what now stands in `folder` on top of `parent`, whatever was made there."""
        ...

    async def merge(self, ours: str, theirs: str, *, message: str) -> tuple[str | None, str]:
        """Three-way merge: the merged commit and "", or None and which files conflict."""
        ...

    async def pick(self, onto: str, patch: str, *, message: str, author: str) -> Picked:
        """Put what a commit changed of the one below it on top of `onto`, by a three-way merge, as one commit."""
        ...

    async def record(self, tree: str, parent: str, *, message: str, author: str) -> str:
        """Commit a tree (or that of a commit) on top of another commit. Gives the same name for the same content."""
        ...

    async def changes(self, patch: str) -> Sequence[Change]:
        """What a commit changed of the one below it; a file that was moved is there twice."""
        ...

    async def holding(self, commit: str, words: Sequence[str]) -> Sequence[str]:
        """Which files of a commit hold one of the words."""
        ...

    async def diff(self, old: str, new: str) -> bytes:
        """The patch from one commit to another, binary safe, as `git apply` takes it."""
        ...

    async def changed_files(self, old: str, new: str) -> Sequence[str]: ...

    async def contents(self, commit: str) -> Mapping[str, str]:
        """The regular files of a commit, each with the name of its content."""
        ...

    async def links(self, commit: str) -> Mapping[str, str]:
        """The symbolic links of a commit, each with the name of its content, which is where it leads."""
        ...

    async def texts(self, blobs: Iterable[str], most: int) -> Mapping[str, bytes]:
        """Contents by their names; one of more than `most` bytes is left out."""
        ...


class WorkingCopy(Protocol):
    """A folder of the host with the files of a commit (or none), private to whoever opened it: the state of a sandbox.

    It holds the workspace only: neither what a sandbox has in /tmp nor its processes. All of it may be asked for while
    commands run; for a state that is consistent, pause the sandbox first (`Pausable`).
    """

    @property
    def tree(self) -> Path:
        """The folder: `SandboxRequest.workspace`."""
        ...

    @property
    def commit(self) -> str | None:
        """What it began as, or was moved to; None: an empty folder."""
        ...

    async def patch(self) -> bytes:
        """What is different now from what it began as: a patch as `Repository.diff` gives.

        Raises:
            MachineError: it cannot be made.
        """
        ...

    async def snapshot(self) -> str:
        """Freeze the present state; gives its name, which is good for `WorkingCopies` as long as the lease is held.

        Raises:
            MachineError: it cannot be made.
        """
        ...

    def fork(self, snapshot: str | None = None) -> AbstractAsyncContextManager[WorkingCopy]:
        """A new working copy that starts from the present state, or from a snapshot, whoever made that.

        Neither sees what the other does from then on. It `began as` the same commit, so its patch holds all changes.

        Raises on entering:
            MachineError: it cannot be made, or there is no such snapshot.
        """
        ...

    async def move_to(self, commit: str, *, as_changes: bool = False, shows: str | None = None) -> None:
        """Bring an unchanged copy to another commit, also under an open sandbox; only files that differ are touched.

        `as_changes`: it still began as what it began as, and what differs counts as changed in it. `shows`: it was
        changed since, and this commit is what it was recorded as; whoever works in it must stand still.

        Raises:
            MachineError: it was changed, or it is no copy of a commit.
        """
        ...


class WorkingCopies(Protocol):
    """Where working copies come from, for one lease."""

    def open(self, commit: str | None) -> AbstractAsyncContextManager[WorkingCopy]:
        """A copy of a commit, or an empty one; gone at the end of the block.

        Raises on entering:
            MachineError: it cannot be made.
        """
        ...

    def restore(self, snapshot: str) -> AbstractAsyncContextManager[WorkingCopy]:
        """A new copy that starts from a snapshot, whether or not the copy that it was taken of is still there.

        Raises on entering:
            MachineError: it cannot be made, or there is no such snapshot.
        """
        ...


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

    def expect(self, count: int, commit: str | None) -> None:
        """So many attempts are to come in all, most on `commit`: time to get ready for them. Takes the place of what
        was said before."""
        ...

    async def run(self, spec: AgentSpec) -> AgentResult:
        """Raises: MachineError where the machine, not the work, failed."""
        ...


class Aggregator(Protocol):
    """Makes one answer of the results of a stage. It keeps nothing between stages: a run may be resumed."""

    async def merge(self, harvest: Harvest) -> Merged: ...
