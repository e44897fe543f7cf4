"""Our client's connections: made, kept, lost, refused, behind proxies, a thousand at once."""

from __future__ import annotations

import asyncio
import json
import resource
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.abc
import httpx2
import pytest
from anyio.abc import ByteStream

from swarm.calls import StreamLimits
from swarm.embedded.server import running_endpoint
from swarm.errors import EndpointFault, UsageError
from swarm.models.wire import transport
from swarm.models.wire.client import OpenAIModel, open_client
from swarm.models.wire.transport import DirectTransport, _Connection
from tests.integration.raw_server import POLICIES, answers, ask, fault, hangs_after, model_at, raw_server, whole

pytestmark = pytest.mark.anyio


async def test_an_endpoint_that_dies_and_comes_back() -> None:
    async with running_endpoint(POLICIES) as url:
        port = int(url.split(":")[2].removesuffix("/v1"))
        async with model_at(url) as model:
            await ask(model)
    async with model_at(url) as model:
        assert (await fault(model)).kind is EndpointFault.UNREACHABLE
        for _ in range(2):  # the second time a kept connection is of no use any more
            async with running_endpoint(POLICIES, port=port):
                assert (await ask(model)).content == "pong"


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_large_answers(framing: str) -> None:
    text = "x" * (5 << 20)
    body = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
    parts = [body[at : at + 100_000] for at in range(0, len(body), 100_000)]
    data = {
        "length": whole(body),
        "chunked": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
        + b"0\r\n\r\n",
        "close": b"HTTP/1.1 200 OK\r\n\r\n" + body,
    }
    async with raw_server(answers(data[framing], close=framing == "close")) as (url, _), model_at(url) as model:
        assert len((await ask(model)).content) == len(text)
        assert len((await ask(model)).content) == len(text)


async def test_a_kept_connection_that_was_closed_costs_no_call() -> None:
    async def closes_at_the_second(request: bytes, stream: ByteStream, number: int) -> None:
        if number in (2, 4):
            await stream.aclose()
        else:
            await stream.send(whole())

    async with raw_server(closes_at_the_second) as (url, server), model_at(url) as model:
        for _ in range(3):
            assert (await ask(model)).content == "pong"
        assert len(server.requests) == 5


async def test_a_new_connection_that_ends_is_not_tried_again() -> None:
    async with raw_server(answers(b"", close=True)) as (url, server), model_at(url) as model:
        assert (await fault(model)).kind is EndpointFault.CUT
    assert len(server.requests) == 1


async def test_an_answer_that_began_is_not_asked_for_again() -> None:
    async def cut_at_the_second(request: bytes, stream: ByteStream, number: int) -> None:
        await stream.send(whole() if number == 1 else b"HTTP/1.1 200")
        if number > 1:
            await stream.aclose()

    async with raw_server(cut_at_the_second) as (url, server), model_at(url) as model:
        await ask(model)
        assert (await fault(model)).kind is EndpointFault.CUT
    assert len(server.requests) == 2


async def test_a_handshake_that_never_ends_is_a_connection_that_timed_out() -> None:
    async def silent(stream: ByteStream) -> None:
        async with stream:
            await anyio.sleep_forever()

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as group,
        httpx2.AsyncClient(transport=DirectTransport(), timeout=httpx2.Timeout(None, connect=0.05)) as client,
    ):
        group.start_soon(listener.serve, silent)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        with pytest.raises(httpx2.ConnectTimeout):
            await client.get(f"https://127.0.0.1:{port}/")
        group.cancel_scope.cancel()


async def test_a_crowd_does_not_wait_in_turn_for_a_connection_that_is_never_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[object] = []

    async def nowhere(self: DirectTransport, origin: object) -> _Connection:
        tried.append(origin)
        await anyio.sleep_forever()
        raise AssertionError

    async def call() -> None:
        with pytest.raises(httpx2.ConnectTimeout):
            await client.get("http://127.0.0.1:1/")

    monkeypatch.setattr(DirectTransport, "_open_connection", nowhere)
    monkeypatch.setattr(transport, "CONNECTS_AT_ONCE", 4)
    limits = httpx2.Timeout(None, connect=0.05)
    async with httpx2.AsyncClient(transport=DirectTransport(), timeout=limits) as client:
        for rounds in (1, 2):  # later calls try it again
            async with anyio.create_task_group() as group:
                for _ in range(12):
                    group.start_soon(call)
            assert len(tried) == 4 * rounds


async def test_whoever_admits_calls_hears_how_long_each_connection_took() -> None:
    told: list[float] = []
    async with raw_server(answers(whole(b"{}"))) as (url, server), open_client(url, None, told.append) as client:
        for _ in range(2):
            async with aclosing(await client.send("/chat/completions", [b"{}"], httpx2.Timeout(5.0))) as opened:
                assert b"".join([part async for part in opened.parts]) == b"{}"
    assert len(server.requests) == 2
    assert len(told) == 1, "the second call took the connection of the first"
    assert 0 < told[0] < 5


@pytest.mark.parametrize(
    ("scheme", "peer", "tells"),
    [
        ("http", ("127.0.0.1", 80), True),
        ("http", ("10.1.2.3", 80), True),
        ("http", ("fe80::1%2", 80, 0, 2), True),
        ("http", ("8.8.8.8", 80), False),
        ("http", ("2606:4700::1111", 80, 0, 0), False),
        ("http", None, False),
        ("https", ("10.1.2.3", 443), False),
    ],
)
async def test_a_connection_to_somebody_elses_edge_tells_nothing_of_how_fast_it_refuses(
    monkeypatch: pytest.MonkeyPatch, scheme: str, peer: tuple[object, ...] | None, tells: bool
) -> None:
    class Wire(asyncio.Transport):
        def get_extra_info(self, name: str, default: object = None) -> object:
            return peer if name == "peername" else default

    async def opened(self: DirectTransport, origin: object) -> _Connection:
        connection = _Connection(lambda _: None)
        connection.connection_made(Wire())
        return connection

    monkeypatch.setattr(DirectTransport, "_open_connection", opened)
    told: list[float] = []
    await DirectTransport(reached=told.append)._connect((scheme, "host", 80), None)
    assert bool(told) is tells


async def test_a_redirection_is_not_followed_with_the_key() -> None:
    moved = whole(b"", status="301 Moved", headers="location: http://127.0.0.1:1/v1\r\n")
    async with raw_server(answers(moved)) as (url, server), model_at(url, "key") as model:
        assert (await fault(model)).kind is EndpointFault.UNREACHABLE
    assert len(server.requests) == 1


async def test_a_key_that_is_no_header_is_not_sent() -> None:
    async with raw_server(answers(whole())) as (url, server), model_at(url, "sk-secret\r\nx: y") as model:
        error = await fault(model)
    assert error.kind is EndpointFault.BAD_REQUEST and "sk-secret" not in str(error)
    assert not server.requests


@pytest.fixture
def certificate(tmp_path: Path, require: Callable[[object, str], None]) -> Path:
    """A certificate for 127.0.0.1 that signed itself, with its key."""
    require(shutil.which("openssl"), "the program openssl is missing")
    path = tmp_path / "own.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=swarm"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out", str(tmp_path / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + (tmp_path / "cert.pem").read_bytes())
    return path


async def test_certificates_are_checked(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    async with raw_server(answers(whole()), tls) as (url, server):
        async with model_at(url) as model:
            error = await fault(model)
            assert error.kind is EndpointFault.UNTRUSTED and "SSL_CERT_FILE" in error.remedy
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        async with model_at(url) as model:
            for _ in range(2):
                assert (await ask(model)).content == "pong"
        async with model_at(url.replace("127.0.0.1", "localhost")) as model:
            assert (await fault(model)).kind is EndpointFault.UNTRUSTED  # another name than the certificate's
    assert len(server.requests) == 2


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "gopher://127.0.0.1:9"])
async def test_a_proxy_that_cannot_be_used_is_named(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv("all_proxy", proxy)
    with pytest.raises(UsageError, match="the proxy that the environment names") as raised:
        async with model_at("http://model.invalid/v1"):
            pass
    assert "ALL_PROXY" in raised.value.remedy


async def test_proxies_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    async with raw_server(answers(whole())) as (proxy, server):
        monkeypatch.setenv("HTTP_PROXY", proxy.removesuffix("/v1"))
        monkeypatch.setenv("http_proxy", proxy.removesuffix("/v1"))
        async with model_at("http://model.invalid/v1") as model:
            assert (await ask(model)).content == "pong"
            assert server.requests[0].startswith(b"POST http://model.invalid/v1/chat/completions")
        async with raw_server(hangs_after(b"")) as (hangs, _):
            monkeypatch.setenv("HTTP_PROXY", hangs.removesuffix("/v1"))
            monkeypatch.setenv("http_proxy", hangs.removesuffix("/v1"))
            async with model_at("http://model.invalid/v1") as model:
                limits = StreamLimits(first_token=0.05, stall=60)
                assert (await fault(model, stream=limits, timeout=1)).kind is EndpointFault.NO_FIRST_TOKEN
        monkeypatch.setenv("NO_PROXY", "model.invalid")
        monkeypatch.setenv("no_proxy", "model.invalid")
        async with model_at("http://model.invalid/v1") as model:
            assert (await fault(model)).kind is EndpointFault.UNREACHABLE
        async with running_endpoint(POLICIES) as url, model_at(url) as model:
            assert (await ask(model)).content == "pong"  # this machine is never behind a proxy
    assert len(server.requests) == 1


@pytest.fixture
def many_files(require: Callable[[object, str], None]) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    require(hard == resource.RLIM_INFINITY or hard >= 4096, "not enough file descriptors for 1,000 calls")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_thousand_calls_at_once(many_files: None) -> None:
    everybody_is_there = anyio.Event()

    async def waits_for_all(request: bytes, stream: ByteStream, number: int) -> None:
        if number == 1000:
            everybody_is_there.set()
        await everybody_is_there.wait()
        await stream.send(whole())

    contents = []

    async def call(model: OpenAIModel) -> None:
        contents.append((await ask(model)).content)

    async with raw_server(waits_for_all) as (url, server), model_at(url) as model:
        async with anyio.create_task_group() as group:
            for _ in range(1000):
                group.start_soon(partial(call, model))
        assert contents == ["pong"] * 1000
        assert repr(model._client._client._transport) == "<DirectTransport 0 active, 1000 idle>"
    assert len(server.requests) == 1000


class Foreign:
    """A transport as uvloop's are: of no class of asyncio's."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


async def test_transports_of_another_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    made = _Connection.connection_made
    monkeypatch.setattr(
        _Connection, "connection_made", lambda connection, transport: made(connection, cast(Any, Foreign(transport)))
    )
    async with raw_server(answers(whole())) as (url, server), model_at(url) as model:
        for _ in range(2):
            assert (await ask(model)).content == "pong"
    assert len(server.requests) == 2


async def test_a_cancelled_call_takes_its_connection_with_it() -> None:
    async with raw_server(hangs_after(b"")) as (url, server), model_at(url) as model:
        async with anyio.create_task_group() as group:
            group.start_soon(partial(ask, model))
            with anyio.fail_after(300):
                while not server.requests:
                    await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        assert repr(model._client._client._transport) == "<DirectTransport 0 active, 0 idle>"
