"""Records every exchange with the models of a run, for `swarm.models.tapes.replay`."""

from __future__ import annotations

import json
import math
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from pydantic_core import to_json

from swarm.calls import Ask, ModelReply, ModelRequest
from swarm.errors import EndpointError, JournalError, UsageError
from swarm.journal.redaction import Redactor, redact_with
from swarm.models.admission.bulletin import Tell
from swarm.models.capture import gives_tokens
from swarm.models.tapes.cassette import (
    Done,
    End,
    Head,
    Key,
    Line,
    Sent,
    Told,
    Tools,
    fault_line,
    key_of,
    options_of,
    reply_line,
    sha256_of,
)
from swarm.protocols import Model, ModelService


class Recorder:
    """Takes what happens and writes it; use `open_recorder`."""

    def __init__(self, path: Path, redactor: Redactor, lines: MemoryObjectSendStream[bytes]) -> None:
        self._path = path
        self._redactor = redactor
        self._lines = lines
        self._began = time.monotonic()
        self._runs: dict[Tell | None, int] = {}  # by the teller itself: its address may be used again
        self._requests: dict[tuple[int, str], list[bytes]] = {}
        self._tools: set[str] = set()
        self._taken = self._written = 0
        self._waiting: deque[tuple[int, anyio.Event]] = deque()
        self.failure: JournalError | None = None

    def __repr__(self) -> str:
        return f"<Recorder {self._path.name}: {len(self._requests)} trajectories>"

    def add(self, line: Line) -> None:
        """Take one line. It never waits; a disk that fails is told with the next call.

        Raises:
            JournalError: what was added before cannot be written.
        """
        if self.failure is not None:
            raise self.failure
        data = line.model_dump(mode="json")
        text = json.dumps(data, separators=(",", ":")).encode()
        finders = self._redactor.suspects(text)
        if finders:
            text = json.dumps(_without(data, finders), separators=(",", ":")).encode()
        self._taken += 1
        self._lines.send_nowait(text + b"\n")

    async def flush(self) -> None:
        """Wait until the system has what was taken so far: it is not lost when this process is killed. Those who wait
        go on in the order in which they came, which is that of the file.

        Raises:
            JournalError: it cannot be written.
        """
        if self.failure is None and self._written < self._taken:
            written = anyio.Event()
            self._waiting.append((self._taken, written))
            await written.wait()
        if self.failure is not None:
            raise self.failure

    def _wake(self) -> None:
        while self._waiting and (self.failure is not None or self._waiting[0][0] <= self._written):
            self._waiting.popleft()[1].set()

    def run_of(self, tell: Tell | None) -> int:
        """The number of the run that is told so; from 1, in the order in which they come."""
        return self._runs.setdefault(tell, len(self._runs) + 1)

    def sent(self, key: Key, request: ModelRequest) -> None:
        encoded = list(request.encoded)
        if len(encoded) != len(request.messages):
            encoded = [to_json(message) for message in request.messages]
        before = self._requests.get(key[:2], [])
        kept = 0
        while kept < min(len(before), len(encoded)) and before[kept] == encoded[kept]:
            kept += 1
        encoded[:kept] = before[:kept]  # the same, in memory once
        self._requests[key[:2]] = encoded
        tools = request.encoded_tools or (to_json(list(request.tools)) if request.tools else b"")
        named = sha256_of([tools]) if tools else ""
        if tools and named not in self._tools:
            self._tools.add(named)
            self.add(Tools(sha256=named, tools=list(request.tools)))
        options = options_of(request)
        self.add(
            Sent(
                key=key,
                kept=kept,
                messages=list(request.messages[kept:]),
                tools=named,
                options=options,
                sha256=sha256_of([*encoded, tools, to_json(options)]),
            )
        )

    def done(self, key: Key, end: ModelReply | EndpointError | None) -> None:
        now = time.monotonic() - self._began
        if isinstance(end, ModelReply):
            first, sent = end.t_first_token - self._began, end.t_sent - self._began
            self.add(Done(key=key, reply=reply_line(end), t_sent=sent, t_first_token=first, t_done=now))
        else:
            self.add(Done(key=key, fault=fault_line(end) if end is not None else None, t_done=now))

    def told(self, run: int, text: str) -> None:
        self.add(Told(run=run, text=text))

    async def write(self, lines: MemoryObjectReceiveStream[bytes], fd: int) -> None:
        """Write until the other end is closed; the task of `open_recorder`."""
        async for line in lines:
            batch = [line]
            while lines.statistics().current_buffer_used:
                batch.append(lines.receive_nowait())
            try:
                await anyio.to_thread.run_sync(_append, fd, b"".join(batch))
            except OSError as error:
                self.failure = JournalError(f"{self._path} cannot be written: {error.strerror or error}")
                self._wake()
                return
            self._written += len(batch)
            self._wake()


@asynccontextmanager
async def open_recorder(
    path: Path, head: Head, redactor: Redactor, windows: Callable[[], dict[str, int]] = dict
) -> AsyncIterator[Recorder]:
    """A recorder whose file is whole when the block is left. `windows`: see `End`, as they are known then.

    Raises:
        UsageError: the file is there already, or cannot be made.
        JournalError: not all of it could be written.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise UsageError(f"{path} is there already", remedy="remove it, or give --record another file") from None
    except OSError as error:
        raise UsageError(
            f"{path} cannot be made: {error.strerror or error}", remedy="give --record another file"
        ) from None
    send, receive = anyio.create_memory_object_stream[bytes](math.inf)
    recorder = Recorder(path, redactor, send)
    try:
        async with anyio.create_task_group() as writers:
            writers.start_soon(_write_shielded, recorder, receive, fd)
            with send:
                recorder.add(head)
                try:
                    yield recorder
                finally:
                    if recorder.failure is None:
                        recorder.add(End(windows=windows()))
    finally:
        os.close(fd)
    if recorder.failure is not None:
        raise recorder.failure


async def _write_shielded(recorder: Recorder, lines: MemoryObjectReceiveStream[bytes], fd: int) -> None:
    with lines, anyio.CancelScope(shield=True):
        await recorder.write(lines, fd)


def _append(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def _without(value: Any, finders: Any) -> Any:
    """The data without secrets in any of its strings."""
    if isinstance(value, str):
        return redact_with(finders, value)[0]
    if isinstance(value, dict):
        return {name: each if name == "sha256" else _without(each, finders) for name, each in value.items()}
    return [_without(each, finders) for each in value] if isinstance(value, list) else value


class RecordedService:
    """`swarm.protocols.ModelService` around one that is recorded."""

    def __init__(self, service: ModelService, recorder: Recorder) -> None:
        self.name = service.name
        self.endpoint = service.endpoint
        self._service = service
        self._recorder = recorder

    def __repr__(self) -> str:
        return f"<RecordedService {self._service!r}>"

    async def gives_tokens(self) -> bool:
        """See `swarm.models.capture.TokenGiver`."""
        return await gives_tokens((self._service,))

    @asynccontextmanager
    async def admit(self, ask: Ask) -> AsyncIterator[Model]:
        """See `swarm.protocols.ModelService.admit`."""
        run = self._recorder.run_of(ask.tell)
        key = key_of(ask, run)
        if ask.tell is not None:
            ask = replace(ask, tell=_Told(self._recorder, run, ask.tell))
        admitted = False
        try:
            async with self._service.admit(ask) as model:
                admitted = True
                yield _RecordedModel(model, self._recorder, key)
        except EndpointError as error:
            if not admitted:
                self._recorder.done(key, error)
            raise


@dataclass(frozen=True, slots=True)
class _Told:
    """Records what a run is told; equal for all of that run."""

    recorder: Recorder
    run: int
    tell: Tell

    def __call__(self, text: str) -> None:
        self.recorder.told(self.run, text)
        self.tell(text)


class _RecordedModel:
    def __init__(self, model: Model, recorder: Recorder, key: Key) -> None:
        self.name = model.name
        self.endpoint = model.endpoint
        self._model = model
        self._recorder = recorder
        self._key = key

    async def complete(self, request: ModelRequest) -> ModelReply:
        self._recorder.sent(self._key, request)
        end: ModelReply | EndpointError | None = None
        try:
            end = await self._model.complete(request)
        except EndpointError as error:
            end = error
        finally:
            self._recorder.done(self._key, end)
        await self._recorder.flush()  # nobody acts on an answer that is not in the file
        if isinstance(end, EndpointError):
            raise end
        return end
