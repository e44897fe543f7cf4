"""For tests of what is built on swarm: a scripted model without HTTP, a sandbox without a machine, a sink that
remembers, and a clock that jumps.

    model = ScriptedModel([plan_turn, "the answer"])
    async with Swarm(config=RunConfig(), parts=Parts(model=model, backend=FakeBackend())) as swarm:
        result = await swarm.run("...")
"""

from __future__ import annotations

import asyncio
import errno
import inspect
import selectors
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar, TypeVarTuple, Unpack

import anyio
import anyio.lowlevel
from pydantic_core import to_json

from swarm.calls import Ask, ModelReply, ModelRequest
from swarm.errors import EndpointError
from swarm.events import Event
from swarm.protocols import Model
from swarm.types import ExecResult, SandboxRequest, ToolCall, Usage

E = TypeVar("E")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Turn = str | ToolCall | Sequence[ToolCall] | Mapping[str, Any] | EndpointError | ModelReply
"""What a scripted model does at one call: say a text, use tools, answer a JSON object, fail, or reply as given."""

Answer = Callable[[ModelRequest], Turn | Awaitable[Turn]]
"""Makes a turn of the request; an async one may take its time."""


def tool_call(name: str, /, **arguments: Any) -> ToolCall:
    """The use of a tool with arguments that are JSON."""
    return ToolCall(f"call-{name}", name, to_json(arguments).decode())


class ScriptedModel:
    """`swarm.protocols.Model` that plays turns one after the other, or those that a function makes of each request.

    `requests` holds all requests so far. More calls than turns raise AssertionError. It is its own service
    (`swarm.protocols.ModelService`), which lets everybody in at once.
    """

    def __init__(self, turns: Sequence[Turn] | Answer, *, name: str = "scripted") -> None:
        self.name = name
        self.endpoint = "nowhere"
        self.requests: list[ModelRequest] = []
        self._turns = turns

    @asynccontextmanager
    async def admit(self, ask: Ask) -> AsyncIterator[Model]:
        """See `swarm.protocols.ModelService.admit`: at once."""
        yield self

    async def complete(self, request: ModelRequest) -> ModelReply:
        """See `swarm.protocols.Model.complete`."""
        self.requests.append(replace(request, messages=list(request.messages)))  # the list of a conversation grows
        sent = time.monotonic()
        turn = await self._turn(request)
        if isinstance(turn, EndpointError):
            raise turn
        if isinstance(turn, ModelReply):
            return turn
        calls: tuple[ToolCall, ...] = (turn,) if isinstance(turn, ToolCall) else ()
        if not isinstance(turn, str | ToolCall | Mapping):
            calls = tuple(turn)
        content = turn if isinstance(turn, str) else to_json(turn).decode() if isinstance(turn, Mapping) else ""
        return self._reply(request, content, calls, sent)

    async def _turn(self, request: ModelRequest) -> Turn:
        if callable(self._turns):
            made = self._turns(request)
            return await made if inspect.isawaitable(made) else made
        number = len(self.requests)
        assert number <= len(self._turns), f"{self.name} was asked {number} times and has {len(self._turns)} turns"
        return self._turns[number - 1]

    def _reply(self, request: ModelRequest, content: str, calls: tuple[ToolCall, ...], sent: float) -> ModelReply:
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in calls
            ]
        usage = Usage(
            prompt_tokens=len(to_json(request.messages)) // 4, completion_tokens=len(to_json(message)) // 4, calls=1
        )
        now = time.monotonic()
        reason = "tool_calls" if calls else "stop"
        return ModelReply(message, content, calls, reason, usage, self.name, sent, now, now)


@dataclass
class RecordingSink:
    """`swarm.protocols.EventSink` that keeps all events in memory."""

    events: list[Event] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        self.events.append(event)

    async def flush(self) -> None:
        await anyio.lowlevel.checkpoint()

    def of(self, kind: type[E]) -> list[E]:
        """The events of one type, in order."""
        return [event for event in self.events if isinstance(event, kind)]


Shell = Callable[[str], ExecResult]


def _nothing(command: str) -> ExecResult:
    return ExecResult(0, b"", b"")


@dataclass
class FakeSandbox:
    """`swarm.protocols.Sandbox` with files in memory. `shell` answers commands; without one they do nothing, well.

    Nothing is run and nothing is isolated; the host's workspace stays as it is.
    """

    id: str = "fake"
    workdir: str = "/workspace"
    files: dict[str, bytes] = field(default_factory=dict)
    shell: Shell = _nothing
    commands: list[str] = field(default_factory=list)

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
        await anyio.lowlevel.checkpoint()
        self.commands.append(command)
        return self.shell(command)

    async def read_file(self, path: str, *, most: int | None = None) -> bytes:
        """See `swarm.protocols.Sandbox.read_file`."""
        await anyio.lowlevel.checkpoint()
        try:
            data = self.files[self._absolute(path)]
        except KeyError:
            raise FileNotFoundError(path) from None
        if most is not None and len(data) > most:
            raise OSError(errno.EFBIG, f"larger than {most} bytes", path)
        return data

    async def list_folder(self, path: str = ".") -> list[str]:
        """See `swarm.protocols.Sandbox.list_folder`."""
        await anyio.lowlevel.checkpoint()
        folder = PurePosixPath(self._absolute(path))
        below = [
            PurePosixPath(name).relative_to(folder) for name in self.files if folder in PurePosixPath(name).parents
        ]
        if not below and str(folder) != self.workdir:
            raise FileNotFoundError(path)
        return sorted({each.parts[0] + ("/" if len(each.parts) > 1 else "") for each in below})

    async def write_file(self, path: str, data: bytes) -> None:
        """See `swarm.protocols.Sandbox.write_file`."""
        await anyio.lowlevel.checkpoint()
        self.files[self._absolute(path)] = data

    def _absolute(self, path: str) -> str:
        return str(PurePosixPath(self.workdir) / path)


@dataclass
class FakeBackend:
    """`swarm.protocols.SandboxBackend` of fake sandboxes; `opened` holds all, by their owners."""

    shell: Shell = _nothing
    name: str = "fake"
    owner: tuple[int, int] | None = None
    opened: dict[str, FakeSandbox] = field(default_factory=dict)

    async def check(self, lease: Path) -> None:
        """It works everywhere."""
        await anyio.lowlevel.checkpoint()

    @asynccontextmanager
    async def open(self, request: SandboxRequest) -> AsyncIterator[FakeSandbox]:
        """See `swarm.protocols.SandboxBackend.open`."""
        await anyio.lowlevel.checkpoint()
        sandbox = FakeSandbox(f"fake-{request.owner}", request.workdir, shell=self.shell)
        self.opened[request.owner] = sandbox
        yield sandbox


class VirtualClock(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next deadline when all tasks wait: sleeps and time limits take no time.

    For pytest's anyio fixture: `return "asyncio", {"loop_factory": VirtualClock}` from `anyio_backend`. While a thread
    of anyio, of asyncio's executors or of aiosqlite is at work, time passes as it does. A process, a peer or another
    thread is given 20 ms before each jump: one that answers later loses against any time limit. `time.monotonic` is not
    changed: it is `anyio.current_time` that jumps.
    """

    def __init__(self) -> None:
        self._ahead = 0.0
        self._at_work = 0
        super().__init__(_Jumping(self))

    def create_future(self) -> asyncio.Future[Any]:
        """A future; aiosqlite waits in such a one for its thread."""
        future = super().create_future()
        if sys._getframe(1).f_globals.get("__name__", "").partition(".")[0] == "aiosqlite":
            self._wait_for(future)
        return future

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """See `asyncio.loop.run_in_executor`."""
        future = super().run_in_executor(executor, func, *args)
        self._wait_for(future)
        return future

    def busy(self) -> bool:
        """Whether a thread is at work, whose answer is sure to come."""
        return self._at_work > 0 or anyio.to_thread.current_default_thread_limiter().borrowed_tokens > 0

    def _wait_for(self, answer: asyncio.Future[Any]) -> None:
        self._at_work += 1
        answer.add_done_callback(self._answered)

    def _answered(self, answer: asyncio.Future[Any]) -> None:
        self._at_work -= 1

    def time(self) -> float:
        """Seconds, those included that were jumped over."""
        return super().time() + self._ahead

    def jump(self, seconds: float) -> None:
        """Let so much time have passed."""
        self._ahead += max(0.0, seconds)


_GRACE_S = 0.02
_POOLS = ("AnyIO worker thread", "asyncio_")


class _Jumping(selectors.DefaultSelector):
    """Jumps in place of waiting for a deadline."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout is None or timeout <= 0:
            return ready if ready or timeout is not None else super().select(None)
        if self._clock.busy():
            return super().select(timeout)
        grace = min(timeout, _GRACE_S) if len(self.get_map()) > 1 or _strangers() else 0.0  # one is the loop's own
        ready = super().select(grace)
        if not ready:
            self._clock.jump(timeout - grace)
        return ready


def _strangers() -> bool:
    """Whether there are threads of which nobody knows what they do: asyncio's wait for a process, a library's own."""
    usual = {threading.main_thread(), threading.current_thread()}
    return any(
        not thread.name.startswith(_POOLS) and "_connection_worker" not in thread.name
        for thread in threading.enumerate()
        if thread not in usual
    )
