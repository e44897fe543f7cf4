"""What comes in where we listen: requests to the embedded endpoint and its proxy, to the proxy of a sandbox, frames
that a hostile sandbox writes into its channel, messages of a hostile MCP server, strangers at an outpost's door."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from swarm.embedded.proxy_sessions import Sessions, session_name
from swarm.embedded.tokenizer import prompt_ids
from swarm.embedded.wire import ApiError, parse_request
from swarm.errors import MachineError, UsageError
from swarm.executors.ray.mail import Bundle
from swarm.executors.ray.wire import open_door, open_line
from swarm.models.fitting.text_calls import find_calls
from swarm.models.fitting.text_tools import protocol_text
from swarm.sandboxes.channel.channel import Channel
from swarm.sandboxes.channel.slot import Slot
from swarm.sandboxes.network.allowed import AllowList
from swarm.sandboxes.network.body import carry
from swarm.sandboxes.network.request import LONGEST, BadRequest, read_head
from swarm.tools.mcp import open_servers
from swarm.tools.mcp_config import McpServer
from swarm.tools.registry import Toolset
from swarm.types import ToolResult, ToolStatus
from tests.effort import examples
from tests.fuzz.hostile import BYTES, DIGITS, bent_json, mutated, nested

pytestmark = pytest.mark.anyio

CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
REQUESTS: list[Any] = [
    {
        "model": "m",
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": "hi"}], "name": "me"},
            {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_content": "hm"},
            {"role": "tool", "tool_call_id": "c", "content": "done"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
        "stop": ["a"],
        "max_tokens": 5,
        "user": "session",
        "seed": 3,
    }
]


@settings(max_examples=examples(40))
@given(
    bent_json(REQUESTS).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | mutated([json.dumps(REQUESTS[0]).encode()])
)
@example(nested().encode())
@example(b'{"messages": [{"role": "user", "content": ' + nested().encode() + b"}]}")
@example(b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "seed": ' + DIGITS.encode() + b"}")
@example(b'{"model": "m", "messages": [{"role": "user", "content": "\\ud800"}], "user": "\\ud800"}')
@example(b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "temperature": NaN}')
@example(b'{"model": "m", "messages": [{"role": "assistant", "content": "x", "tool_calls": [[]]}]}')
def test_a_request_is_taken_or_refused(body: bytes) -> None:
    try:
        _, raw = parse_request(body)
    except ApiError as error:
        assert error.status == 400
        json.dumps(error.body)
        return
    assert prompt_ids(raw)
    sessions = Sessions()
    name = session_name({}, raw)
    for client in ("1", "2"):
        strand = sessions.find(name, client, raw["messages"]) or sessions.begin(name, client)
        strand.accept(0, raw["messages"], {"role": "assistant", "content": "x"}, "c")
        assert sessions.find(name, client, [*raw["messages"], *raw["messages"]]) in (None, strand)


HEADS = [
    b"GET http://a.org:80/x?y HTTP/1.1\r\nHost: a.org\r\nConnection: x, close\r\nX: 1\r\nContent-Length: 3",
    b"CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443",
    b"POST http://b.org HTTP/1.1\r\nHost: b.org\r\nTransfer-Encoding: chunked",
]
SEPARATORS = (b"\r\n", b" ", b":", b"\t", b"\x0b", b"\x85", b"\xa0", b"@", b"#", b"HTTP/1.1", b"Host: c.org\r\n", b"//")


@settings(max_examples=examples(40))
@given(mutated(HEADS, (*BYTES, *SEPARATORS)))
@example(b"GET http://a.org/ HTTP/1.1\r\nHost: a.org\r\nContent-Length: \xb2")
@example(b"GET http://a.org:" + DIGITS.encode() + b"/ HTTP/1.1\r\nHost: a.org")
@example(b"CONNECT \xb2:443 HTTP/1.1\r\nHost: \xb2:443")
@example(b"POST http://a.org/ HTTP/1.1\r\nHost: a.org\r\nContent-Length: " + DIGITS.encode())
def test_a_request_to_the_sandboxes_proxy_is_one_request_or_refused(data: bytes) -> None:
    with contextlib.suppress(BadRequest):
        request = read_head(data)
        AllowList(["a.org"]).permits(request.host, request.port)
        if not request.tunnel:
            written = request.head()
            again = read_head(written.removesuffix(b"\r\n\r\n").replace(b" /", b" http://%s/" % _host(written), 1))
            assert (again.host, again.port, again.length) == (request.host, request.port, request.length)


def _host(written: bytes) -> bytes:
    return next(line[6:] for line in written.split(b"\r\n") if line.startswith(b"Host: "))


BODIES = [b"5\r\nhello\r\n3;x=y\r\nabc\r\n0\r\nT: 1\r\n\r\n", b"hello"]


@settings(max_examples=examples(40))
@given(
    mutated(BODIES, (b"\r\n", b"ffffffffffffffff", b"0\r\n", b"-1", b"\x00", DIGITS.encode())),
    st.sampled_from([None, 0, 3, 10**14]),
)
@example(b"0\r\n" + b"T: 1\r\n" * 10_000, None)
@example(b"fffffffffffffff\r\nx", None)
async def test_a_body_is_passed_on_as_it_is_or_broken_off(data: bytes, length: int | None) -> None:
    send, receive = anyio.create_memory_object_stream[bytes](1 << 12)
    for at in range(0, len(data), 100):
        send.send_nowait(data[at : at + 100])
    send.close()
    passed: list[bytes] = []

    async def take(piece: bytes) -> None:
        passed.append(piece)

    with receive, contextlib.suppress(BadRequest, anyio.EndOfStream, anyio.IncompleteRead, anyio.DelimiterNotFound):
        await carry(BufferedByteReceiveStream(receive), length, take)
    assert sum(map(len, passed)) <= 3 * len(data) + LONGEST


async def test_what_follows_the_chunks_of_a_body_has_an_end() -> None:
    send, receive = anyio.create_memory_object_stream[bytes](1 << 12)
    for piece in (b"0\r\n", *[b"T: 1\r\n" * 100] * (LONGEST // 100), b"\r\n"):
        send.send_nowait(piece)
    send.close()

    async def take(piece: bytes) -> None:
        pytest.fail("it was passed on")

    with receive, pytest.raises(BadRequest):
        await carry(BufferedByteReceiveStream(receive), None, take)


FRAMES = [b"hello\n", b"1 0\n2 5\n", b"77\n", b"token 0\n"]


@settings(max_examples=examples(10), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(mutated(FRAMES, (*BYTES, b"1 ", b"999999999999999 999999999\n")), max_size=5),
    st.lists(mutated(FRAMES), max_size=3),
)
@example([b"x\n" * 2_000] * 5, [])
@example([b"1 9999999999\n", b"1 -1\n", b"\xb2 \xb2\n", b"1 0\n1 0\n"], [b"1 9999999999\n", "٣ 1\n".encode()])
async def test_a_channel_believes_no_frame_that_is_not_its_agents(
    tmp_path_factory: pytest.TempPathFactory, frames: list[bytes], again: list[bytes]
) -> None:
    folder = tmp_path_factory.mktemp("channel") / "c"
    channel = Channel(folder, "box")
    held: list[int] = []
    said = b"".join(frame[:4_000] for frame in frames)
    answers, orders = (os.open(folder / name, os.O_RDWR | os.O_NONBLOCK) for name in ("answers", "orders"))
    try:
        os.write(answers, said + b"hello\n")
        hear = channel._hear

        async def heard() -> bool:
            more = await hear()
            held.append(len(channel._heard))
            return more

        channel._hear = heard  # type: ignore[method-assign]  # to see how much it holds
        with anyio.fail_after(60):
            assert await channel.greet()
        assert max(held) <= 4_200
        os.write(answers, b"".join(frame[:4_000] for frame in again) + b"\n1 3\n2 4\n")
        with anyio.fail_after(60):
            assert await channel._ask("ping") >= 0
            assert await channel._ask("ping") >= 0
    finally:
        channel.close()
        os.close(answers)
        os.close(orders)


@settings(max_examples=examples(10), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mutated([b"4242\n"], (*BYTES, b"1\n", b" 0\n", b"0\n")))
@example(b"1\n")
@example(b"9" * 63 + b"\n")
@example("٣\n".encode())
async def test_a_shell_that_tells_anything_is_ready_or_not(
    tmp_path_factory: pytest.TempPathFactory, told: bytes
) -> None:
    folder = tmp_path_factory.mktemp("slot")
    slot = Slot(folder, "s", "box")
    try:
        status = os.open(folder / "s" / "status", os.O_WRONLY | os.O_NONBLOCK)
        os.write(status, told[:4_000])
        os.close(status)
        with anyio.fail_after(30):
            ready = await slot.ready()
        assert not ready or (slot.leader.isascii() and slot.leader.isdigit() and slot.leader not in ("0", "1"))
        slot._told = told + slot.token.encode() + told
        slot._is_told()
        assert len(slot._told) <= 64 and (slot.code is None or 0 <= slot.code <= 999)
    finally:
        slot.close()


SERVER = """
import json, sys
script = json.loads(sys.argv[1])
unknown = {"error": {"code": -32601, "message": "unknown"}}
for line in sys.stdin:
    asked = json.loads(line)
    tool = asked.get("params", {}).get("name")
    for piece in script.get(tool) or script.get(asked.get("method"), [unknown]):
        if isinstance(piece, dict) and "jsonrpc" not in piece:
            piece = {"jsonrpc": "2.0", "id": asked.get("id"), **piece}
        if "id" in asked:
            print(piece if isinstance(piece, str) else json.dumps(piece), flush=True)
"""
INITIALIZED = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "s", "version": "1"},
}
TOOL: dict[str, Any] = {"name": "t", "inputSchema": {"type": "object", "properties": {"a": {"type": "string"}}}}
PIECES: list[list[Any]] = [
    ["not json", {"result": {"content": [{"type": "text", "text": "a\x1b[2J\ud83d"}]}}],
    [nested(), {"result": {"content": [], "structuredContent": {"a": 1}}}],
    [{"result": {"content": [{"type": "text", "text": "x"}]}}],
    [{"result": {"content": "no"}}],
    [{"result": [1]}],
    [{"result": None}],
    [{"error": {"code": "x", "message": 3}}],
    [{"error": {"code": -32000, "message": "m" * 10_000}}],
    [{"jsonrpc": "2.0", "id": 999, "result": {}}, {"jsonrpc": "2.0", "method": "notifications/x"}],
    [{"jsonrpc": "2.0", "id": "0", "method": "roots/list"}, {"result": {"content": [{"type": "image", "data": "!"}]}}],
]
"""What a server answers to a call."""


@asynccontextmanager
async def hostile_server(script: dict[str, Any], folder: Path) -> AsyncIterator[Any]:
    path = folder / "server.py"
    path.write_text(SERVER)
    whole = {"initialize": [{"result": INITIALIZED}], **script}
    given = McpServer(command=sys.executable, args=(str(path), json.dumps(whole)), tools=("*",))
    async with open_servers({"s": given}, lambda text: None) as tools:
        yield tools


async def test_an_mcp_server_that_answers_anything_fails_its_own_calls_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swarm.tools.mcp.CALL_SECONDS", 1.0)
    box: Any = None
    names = [f"t{number}" for number in range(len(PIECES))]
    listed = {"result": {"tools": [TOOL | {"name": name} for name in names]}}
    script = {"tools/list": [listed], **dict(zip(names, PIECES, strict=True))}
    script["t2"] = [{"result": {"content": [{"type": "text", "text": "x" * 50_000}]}}]
    results: dict[str, ToolResult] = {}
    async with hostile_server(script, tmp_path) as tools, anyio.create_task_group() as calls:

        async def call(name: str) -> None:
            results[name] = await Toolset(tools).call(f"s__{name}", "{}", box)

        for name in names:
            calls.start_soon(call, name)
    assert len(results) == len(names)
    for name, result in results.items():
        assert result.status in (ToolStatus.COMPLETED, ToolStatus.FAILED, ToolStatus.TIMEOUT), name
        assert "\x1b" not in result.content and len(result.content) < 60_000


@pytest.mark.parametrize(
    "listed",
    [
        {"tools": [{"name": "\x1b" * 9_000, "description": "d" * 50_000, "inputSchema": {"properties": ["a"]}}]},
        {"tools": [{"name": "", "inputSchema": {"type": 5, "properties": "x"}}]},
        {"tools": [TOOL] * 300},
        {"tools": "x"},
        {"tools": [{"name": "t"}]},
    ],
    ids=range(5),
)
async def test_an_mcp_server_that_lists_anything_is_used_or_refused(
    listed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swarm.tools.mcp.START_SECONDS", 8.0)
    with contextlib.suppress(MachineError, UsageError):
        async with hostile_server({"tools/list": [{"result": listed}]}, tmp_path) as tools:
            assert len(tools) <= 400
            for tool in tools:
                assert len(tool.name) <= 64 and len(tool.description) <= 8_000
                schemas = {tool.name: tool.parameters}
                function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
                protocol_text([{"type": "function", "function": function}]).encode("utf-8", "surrogatepass")
                call = f"<tool_call><function={tool.name}>\n<parameter=a>1</parameter></function></tool_call>"
                find_calls(call, schemas)


class _Heard:
    """An outpost of Ray, as far as its door knows of it."""

    def __init__(self) -> None:
        self.bundles: list[Bundle] = []

    async def speak(self, bundle: Bundle) -> Bundle:
        await self.hear(bundle)
        return bundle

    async def hear(self, bundle: Bundle) -> None:
        self.bundles.append(bundle)


@settings(max_examples=examples(20))
@given(st.lists(st.binary(max_size=120), min_size=1, max_size=6))
@example([b""])
@example([b"\x00" * 32 + b"\x01" + b"\xff" * 16 + b"x"])
async def test_what_strangers_say_at_an_outposts_door_is_not_heard(said: list[bytes]) -> None:
    outpost = _Heard()
    async with open_door("127.0.0.1", outpost) as door:
        assert door is not None
        for data in said:
            async with await anyio.connect_tcp(door.host, door.port) as stranger:
                await stranger.send(data)
                await stranger.send_eof()
                with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                    assert await stranger.receive() == b"", "nothing is said to one without the key"
        async with open_line(None, door, "node") as line:
            assert await line.speak((7, b"run")) == (7, b"run")
    assert outpost.bundles == [(7, b"run")]
