"""What an agent at work holds in memory, and what is let go of when it has ended. Counted in what Python allocates,
which does not depend on the machine."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from swarm import (
    Desk,
    Dialogue,
    Dispatch,
    Finish,
    Harvest,
    Merged,
    Parts,
    Plan,
    RunConfig,
    RunState,
    SubTask,
    Swarm,
    tool,
)
from swarm.agents.conversation import Conversation
from swarm.config import Capabilities
from swarm.events import StageEnded
from swarm.journal.parquet import write_parquet
from swarm.testing import FakeBackend

pytestmark = pytest.mark.anyio

FEW, MANY = 8, 32
MOST = 29_000
"""Bytes that each further agent may hold while it waits for its second answer."""

ROOMS = 14
"""Coroutines, one in the other, that may stand between an agent's task and its connection: each is 300 bytes of every
agent, and some of the time of every call."""

SCOPES = 3
"""Cancel scopes of an agent that waits for its model, each 600 bytes: of its task, of its limit, of its call."""

AT_ONCE = 2 << 20
"""Bytes of Python's that writing a log as Parquet may take, however long it is."""


@tool
async def lookup(key: str) -> str:
    """Look up a part of an item."""
    return f"{key}: " + "some words of a result " * 10


class OneForEachItem:
    def __init__(self, desk: Desk, dialogue: Dialogue) -> None:
        self._count = int(desk.task.split()[2])

    async def decide(self, state: RunState) -> Dispatch | Finish:
        if state.stages:
            return Finish("done")
        tasks = [SubTask(id=f"item-{n}", title="Look it up", instructions=f"Look up {n}.") for n in range(self._count)]
        return Dispatch(Plan(subtasks=tuple(tasks)))


class Joined:
    async def merge(self, harvest: Harvest) -> Merged:
        return Merged("\n".join(result.text for result in harvest.useful))


class Endpoint:
    """Answers the second calls of all agents together, when the last has come: then it calls `all_wait`."""

    def __init__(self) -> None:
        self.agents = 0
        self.all_wait: Callable[[], None] = lambda: None
        self.waiting: list[asyncio.Transport] = []


class Exchange(asyncio.Protocol):
    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
        if not found or len(body) < size:
            return
        self._data = b""
        if b'"role":"tool"' not in body:
            call = {"name": "lookup", "arguments": json.dumps({"key": "part"})}
            calls = [{"index": 0, "id": "call_1", "type": "function", "function": call}]
            answer(self._transport, {"tool_calls": calls}, "tool_calls")
            return
        waiting = self._endpoint.waiting
        waiting.append(self._transport)
        if len(waiting) == self._endpoint.agents:
            asyncio.get_running_loop().call_soon(self._all)

    def _all(self) -> None:
        self._endpoint.all_wait()
        for transport in self._endpoint.waiting:
            answer(transport, {"content": "The value is 42."}, "stop")
        self._endpoint.waiting.clear()


def answer(transport: asyncio.Transport, delta: dict[str, Any], reason: str) -> None:
    usage = {"prompt_tokens": 1200, "completion_tokens": 40, "total_tokens": 1240}
    choices = [{"index": 0, "delta": {"role": "assistant", **delta}, "finish_reason": reason}]
    chunk = json.dumps({"id": "1", "model": "m", "choices": choices, "usage": usage}).encode()
    body = b"data: " + chunk + b"\n\ndata: [DONE]\n\n"
    head = f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {len(body)}\r\n\r\n"
    transport.write(head.encode() + body)


@asynccontextmanager
async def opened(home: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Endpoint, Swarm]]:
    monkeypatch.setenv("SWARM_HOME", str(home))
    endpoint = Endpoint()
    server = await asyncio.get_running_loop().create_server(lambda: Exchange(endpoint), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    able = Capabilities(tools=True, parallel_tools=True, structured="json_schema", stream_usage=True)
    config = RunConfig(model="m", base_url=url, max_agents=MANY, concurrency=MANY, max_in_flight=200, capabilities=able)
    parts = Parts(tools=(lookup,), backend=FakeBackend(), orchestrator=OneForEachItem, aggregator=lambda desk: Joined())
    async with server, Swarm(config=config, parts=parts) as swarm:
        yield endpoint, swarm


@contextmanager
def traced() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


async def test_an_agent_that_waits_for_its_model_holds_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []

    def weigh() -> None:
        gc.collect()
        held.append(tracemalloc.get_traced_memory()[0])

    async with opened(tmp_path, monkeypatch) as (endpoint, swarm):
        endpoint.agents = 1
        await swarm.run("Look up 1 items.")  # imports, and what is made once for all
        with traced():
            for agents in (FEW, MANY):
                endpoint.agents, endpoint.all_wait = agents, weigh
                result = await swarm.run(f"Look up {agents} items.")
                assert result.outcomes == {"completed": agents}, result.answer
    each = (held[1] - held[0]) / (MANY - FEW)
    assert each < MOST, f"{each:.0f} bytes for each agent"


async def test_a_call_in_flight_stands_in_few_cancel_scopes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []

    def count() -> None:
        gc.collect()
        found.append(sum(isinstance(each, anyio.CancelScope) for each in gc.get_objects()))

    async with opened(tmp_path, monkeypatch) as (endpoint, swarm):
        for agents in (FEW, MANY):
            endpoint.agents, endpoint.all_wait = agents, count
            result = await swarm.run(f"Look up {agents} items.")
            assert result.outcomes == {"completed": agents}, result.answer
    assert (found[1] - found[0]) / (MANY - FEW) <= SCOPES


async def test_a_call_in_flight_stands_in_few_coroutines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rooms: list[list[str]] = []

    def walk() -> None:
        rooms.extend(filter(None, (coroutines_to("DirectTransport.exchange", task) for task in asyncio.all_tasks())))

    async with opened(tmp_path, monkeypatch) as (endpoint, swarm):
        endpoint.agents, endpoint.all_wait = FEW, walk
        result = await swarm.run(f"Look up {FEW} items.")
    assert result.outcomes == {"completed": FEW}, result.answer
    assert len(rooms) == FEW
    assert len(rooms[0]) <= ROOMS, rooms[0]


def coroutines_to(last: str, task: asyncio.Task[Any]) -> list[str]:
    """The names of the coroutines that a task stands in, where the last of them is this one."""
    names = list[str]()
    inner: Any = task.get_coro()
    while inspect.iscoroutine(inner):
        names.append(inner.__qualname__)
        inner = inner.cr_await
    return names if names and names[-1] == last else []


async def test_an_agent_that_has_ended_leaves_nothing_for_the_garbage_collector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def conversations() -> int:
        return sum(isinstance(each, Conversation) for each in gc.get_objects())

    left: list[int] = []
    async with opened(tmp_path, monkeypatch) as (endpoint, swarm):
        endpoint.agents = FEW
        gc.collect()
        gc.disable()
        try:
            before = conversations()
            result = await swarm.run(
                f"Look up {FEW} items.",
                on_event=lambda event: left.append(conversations()) if isinstance(event, StageEnded) else None,
            )
        finally:
            gc.enable()
    assert result.outcomes == {"completed": FEW}, result.answer
    assert left[0] - before <= 2, "conversations of agents that have ended"


async def test_a_run_that_has_ended_is_not_kept_by_its_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kept() -> int:
        gc.collect()
        return sum(isinstance(each, SubTask) for each in gc.get_objects())

    async with opened(tmp_path, monkeypatch) as (endpoint, swarm):
        before = kept()
        for agents in (FEW, 1):
            endpoint.agents = agents
            result = await swarm.run(f"Look up {agents} items.")
            assert result.outcomes == {"completed": agents}, result.answer
        assert kept() - before <= 1  # a thread that comes to its end may still know the second run


def log_of(folder: Path, lines: int) -> Path:
    folder.mkdir()
    line = {"type": "tool_finished", "trajectory_id": "a", "call_id": "a/1", "name": "lookup", "result": "word " * 200}
    with (folder / "events.jsonl").open("w") as log:
        for number in range(lines):
            log.write(json.dumps({**line, "seq": number, "artifacts": [f"artifact {number}"] * 20}) + "\n")
    (folder / "tokens.jsonl").touch()
    return folder


def test_a_log_is_written_as_parquet_in_bounded_memory(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="run by tests/interop/test_arrow.py")
    peaks = []
    for lines in (500, 3_000):
        folder = log_of(tmp_path / str(lines), lines)
        with traced():
            assert write_parquet(folder, folder)
            peaks.append(tracemalloc.get_traced_memory()[1])
        written = parquet.ParquetFile(folder / "events.parquet")
        groups = [written.metadata.row_group(n).num_rows for n in range(written.metadata.num_row_groups)]
        assert sum(groups) == lines
        assert max(groups) <= 2_000
        assert written.read(columns=["seq"])["seq"].to_pylist() == list(range(lines))
    assert peaks[1] < 1.5 * peaks[0], peaks
    assert peaks[1] < AT_ONCE, peaks
