"""The proxy over real sockets on the loopback: what it carries, and what is tried against it."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketListener, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from swarm.sandboxes.network import proxy as module
from swarm.sandboxes.network.allowed import Address, AllowList
from swarm.sandboxes.network.proxy import CONNECTIONS, Proxy

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Serve = Callable[[SocketStream], Awaitable[None]]


class Origin:
    """A server that answers once it has read as far as `until`, and keeps all that ever reaches it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.host = f"127.0.0.1:{port}"
        self.until = b"\r\n\r\n"
        self.heard: list[bytearray] = []

    async def serve(self, stream: SocketStream) -> None:
        heard, told = bytearray(), False
        self.heard.append(heard)
        async with stream:
            async for piece in stream:
                heard += piece
                if heard.endswith(self.until) and not told:
                    told = True
                    await stream.send(OK)
                    await stream.send_eof()


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[int]:
    async with listening() as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        yield listener.extra(SocketAttribute.local_port)
        group.cancel_scope.cancel()


@asynccontextmanager
async def listening() -> AsyncIterator[SocketListener]:
    sock = socket.create_server(("127.0.0.1", 0))
    async with await SocketListener.from_socket(sock) as listener:
        yield listener


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with listening() as listener, anyio.create_task_group() as group:
        made = Origin(listener.extra(SocketAttribute.local_port))
        group.start_soon(listener.serve, made.serve)
        yield made
        group.cancel_scope.cancel()


@asynccontextmanager
async def open_proxy(proxy: Proxy) -> AsyncIterator[int]:
    async with listening() as listener, anyio.create_task_group() as group:
        group.start_soon(proxy.serve, listener)
        yield listener.extra(SocketAttribute.local_port)
        group.cancel_scope.cancel()


async def ask(port: int, data: bytes, *, end: bool = False) -> bytes:
    """All that the proxy answers."""
    answer = b""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(data)
        if end:
            await stream.send_eof()
        try:
            async for piece in stream:
                answer += piece
        except anyio.BrokenResourceError:
            return answer
    return answer


def request(target: str, *lines: str, method: str = "GET", body: bytes = b"") -> bytes:
    return "\r\n".join((f"{method} {target} HTTP/1.1", *lines, "", "")).encode() + body


async def test_a_request_goes_through_alone(origin: Origin) -> None:
    host = origin.host
    first = request(f"http://{host}/one?x", f"Host: {host}", "Proxy-Connection: keep-alive", "Accept: a")
    async with open_proxy(Proxy(AllowList([host]))) as port:
        answer = await ask(port, first + request(f"http://{host}/two", f"Host: {host}"))
    assert answer == OK
    assert [bytes(heard) for heard in origin.heard] == [
        f"GET /one?x HTTP/1.1\r\nHost: {host}\r\nAccept: a\r\nConnection: close\r\n\r\n".encode()
    ]


async def test_a_body_ends_where_it_was_said_to(origin: Origin) -> None:
    host = origin.host
    smuggled = b"GET http://evil/ HTTP/1.1\r\nHost: evil\r\n\r\n"
    counted = request(f"http://{host}/", f"Host: {host}", "Content-Length: 5", method="POST", body=b"hello")
    chunks = b"3;x=y\r\nhel\r\n02\r\nlo\r\n0\r\nTrailer: 1\r\n\r\n"
    chunked = request(f"http://{host}/", f"Host: {host}", "Transfer-Encoding: chunked", method="POST", body=chunks)
    async with open_proxy(Proxy(AllowList([host]))) as port:
        origin.until = b"hello"
        assert await ask(port, counted + smuggled) == OK
        origin.until = b"0\r\n\r\n"
        assert await ask(port, chunked + smuggled) == OK
    assert [bytes(heard).partition(b"\r\n\r\n")[2] for heard in origin.heard] == [
        b"hello",
        b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
    ]


@pytest.mark.parametrize(
    "body",
    (
        *(b"5\r\nhello0\r\n\r\n", b"5\nhello\r\n0\r\n\r\n", b"-1\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n"),
        *(b"5 5\r\n", b"5;\n0\r\n\r\n", b"f" * 16 + b"\r\n", b"5" * 5000, b"0\r\n" + b"a: b\r\n" * 9000, b"5\r\nhel"),
    ),
)
async def test_half_a_body_is_no_request(origin: Origin, body: bytes) -> None:
    data = request(f"http://{origin.host}/", f"Host: {origin.host}", "Transfer-Encoding: chunked", method="POST")
    origin.until = b"0\r\n\r\n"
    async with open_proxy(Proxy(AllowList([origin.host]))) as port:
        assert await ask(port, data + body, end=True) == b""
    assert not bytes(origin.heard[0]).endswith(b"0\r\n\r\n")


async def test_a_tunnel_with_either_end_half_closed() -> None:
    async def reverse(stream: SocketStream) -> None:
        async with stream:
            await stream.send(b"greeting ")
            await stream.send(b"".join([piece async for piece in stream])[::-1])

    async with serving(reverse) as there, open_proxy(Proxy(AllowList([f"127.0.0.1:{there}"]))) as port:
        early = request(f"127.0.0.1:{there}", method="CONNECT").replace(b"1.1", b"1.0") + b"abc"
        answer = await ask(port, early, end=True)
    assert answer == b"HTTP/1.1 200 Connection established\r\n\r\ngreeting cba"


@pytest.mark.parametrize(
    ("data", "status", "line"),
    [
        ("CONNECT {name}:22 HTTP/1.0\r\n\r\n", 403, "127.0.0.1:22 is not among"),
        ("CONNECT localhost:{port} HTTP/1.0\r\n\r\n", 403, "localhost:{port} is not among"),
        ("CONNECT 0:{port} HTTP/1.0\r\n\r\n", 400, "cannot be reached"),
        ("CONNECT 2130706433:{port} HTTP/1.0\r\n\r\n", 400, "cannot be reached"),
        ("CONNECT 0.0.0.0:{port} HTTP/1.0\r\n\r\n", 403, "0.0.0.0:{port} is not among"),
        ("CONNECT [::1]:{port} HTTP/1.0\r\n\r\n", 403, "[::1]:{port} is not among"),
        ("GET http://169.254.169.254/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n", 403, "--network 169.254.169.254`"),
        ("GET http://{name}:{port}/ HTTP/1.1\r\nHost: evil.org\r\n\r\n", 400, "another host"),
        ("GET http://evil.org/ HTTP/1.1\r\nHost: {name}:{port}\r\n\r\n", 400, "another host"),
        ("GET http://evil.org:8443/ HTTP/1.1\r\nHost: evil.org:8443\r\n\r\n", 403, "--network evil.org:8443`"),
        ("GET http://{name}:{port}@evil.org/ HTTP/1.1\r\nHost: {name}:{port}\r\n\r\n", 400, "neither a user"),
        ("GET / HTTP/1.1\r\nHost: {name}:{port}\r\n\r\n", 400, "this is a proxy"),
        ("POST http://{name}:{port}/ HTTP/1.1\r\nHost: {name}:{port}\r\nContent-Length: 1\r\n"
         "Transfer-Encoding: chunked\r\n\r\n", 400, "two ways"),
        ("GET http://{name}:{port}/ HTTP/1.1\r\nHost: {name}:{port}\r\nX: " + "x" * 70000 + "\r\n\r\n", 431, "longer"),
    ],
)  # fmt: skip
async def test_what_is_refused(origin: Origin, data: str, status: int, line: str) -> None:
    def fill(text: str) -> str:
        return text.replace("{name}", "127.0.0.1").replace("{port}", str(origin.port))

    told: list[str] = []
    async with open_proxy(Proxy(AllowList([origin.host]), refused=told.append)) as port:
        answers = [(await ask(port, fill(data).encode())).decode() for _ in range(2)]
    assert answers[0].startswith(f"HTTP/1.1 {status} ")
    assert fill(line) in answers[0].partition("\r\n\r\n")[2]
    assert origin.heard == []
    assert len(told) == (status == 403)  # once for each host


async def test_a_name_cannot_lead_inside(origin: Origin) -> None:
    """Whatever its owner lets it resolve to, and however often it changes."""
    asked: list[str] = []
    answers: list[Sequence[Address]] = []

    async def resolve(name: str, port: int) -> Sequence[Address]:
        asked.append(name)
        return answers.pop(0)

    local, metadata = ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("169.254.169.254")
    data = request(f"http://a.org:{origin.port}/", f"Host: a.org:{origin.port}")
    entry = f"a.org:{origin.port}"
    async with open_proxy(Proxy(AllowList([entry]), resolve=resolve)) as port:
        answers += [[local], [metadata], [ipaddress.ip_address("::ffff:127.0.0.1")]]
        for _ in range(3):
            assert b"which is not a public address" in await ask(port, data)
    assert origin.heard == []
    # Where the address is listed too it may: it is resolved once, and the judged address is the one that is used.
    async with open_proxy(Proxy(AllowList([entry, origin.host]), resolve=resolve)) as port:
        answers += [[metadata, local], [metadata]]
        assert await ask(port, data) == OK
    assert asked == ["a.org"] * 4
    assert origin.heard[0].startswith(f"GET / HTTP/1.1\r\nHost: a.org:{origin.port}\r\n".encode())


async def test_localhost_is_not_asked_of_a_resolver(origin: Origin) -> None:
    async def resolve(name: str, port: int) -> Sequence[Address]:
        raise AssertionError(name)

    name = f"localhost:{origin.port}"
    async with open_proxy(Proxy(AllowList([name]), resolve=resolve)) as port:
        assert await ask(port, request(f"http://{name}/", f"Host: {name}")) == OK


async def test_hosts_that_do_not_answer() -> None:
    async def resolve(name: str, port: int) -> Sequence[Address]:
        raise socket.gaierror("no such name")

    with socket.socket() as closed:  # bound and not listening: nobody else can be there
        closed.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{closed.getsockname()[1]}"
        async with open_proxy(Proxy(AllowList([nobody, "a.org"]), resolve=resolve)) as port:
            assert (await ask(port, request(nobody, f"Host: {nobody}", method="CONNECT"))).startswith(b"HTTP/1.1 502")
            assert b"is not known" in await ask(port, request("a.org:443", "Host: a.org:443", method="CONNECT"))


async def test_more_connections_than_are_served_at_once(origin: Origin) -> None:
    proxy = Proxy(AllowList([origin.host]))
    answers: list[bytes] = []
    async with open_proxy(proxy) as port, anyio.create_task_group() as group:
        idle = [await anyio.connect_tcp("127.0.0.1", port) for _ in range(CONNECTIONS)]

        async def one() -> None:
            answers.append(await ask(port, request(f"http://{origin.host}/", f"Host: {origin.host}")))

        for _ in range(100):
            group.start_soon(one)
        await anyio.wait_all_tasks_blocked()
        assert answers == []
        assert repr(proxy).startswith(f"Proxy({CONNECTIONS} open")
        for stream in idle:
            await stream.aclose()
    assert answers == [OK] * 100


async def test_those_that_say_nothing_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.05)

    async def silent(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()

    async with serving(_forgiving(silent)) as there, open_proxy(Proxy(AllowList([f"127.0.0.1:{there}"]))) as port:
        with monkeypatch.context() as patch:
            patch.setattr(module, "HEAD_S", 0.05)
            assert (await ask(port, b"GET http://")).startswith(b"HTTP/1.1 408 ")
        tunnel = await ask(port, request(f"127.0.0.1:{there}", f"Host: 127.0.0.1:{there}", method="CONNECT"))
        assert tunnel == b"HTTP/1.1 200 Connection established\r\n\r\n"


async def test_all_is_closed_when_it_ends() -> None:
    ended = anyio.Event()

    async def hold(stream: SocketStream) -> None:
        try:
            async with stream:
                await stream.receive()
        finally:
            ended.set()

    async with serving(_forgiving(hold)) as there:
        async with open_proxy(Proxy(AllowList([f"127.0.0.1:{there}"]))) as port:
            client = await anyio.connect_tcp("127.0.0.1", port)
            await client.send(request(f"127.0.0.1:{there}", f"Host: 127.0.0.1:{there}", method="CONNECT"))
            await BufferedByteReceiveStream(client).receive_until(b"\r\n\r\n", 100)
        with anyio.fail_after(300):
            await ended.wait()
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await client.receive()
        await client.aclose()


def _forgiving(serve: Serve) -> Serve:
    """A server whose client may go away."""

    async def serve_quietly(stream: SocketStream) -> None:
        try:
            await serve(stream)
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return

    return serve_quietly
