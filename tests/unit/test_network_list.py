"""The list of hosts that a sandbox may reach, and the reading of what a sandbox asks its proxy for."""

from __future__ import annotations

import contextlib
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import UsageError
from swarm.sandboxes.network.allowed import AllowList, is_public, split
from swarm.sandboxes.network.gateway import proxy_environment
from swarm.sandboxes.network.request import BadRequest, read_head

LIST = AllowList(["a.org", "*.b.org", "c.org:8443", "Bücher.Example.", "127.0.0.1:9000", "[::1]:9000", "10.0.0.5"])


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        ("a.org:443", True),
        ("A.ORG.:80", True),
        ("a.org:8443", False),
        ("www.a.org:443", False),
        ("aa.org:443", False),
        ("b.org:443", False),
        ("x.b.org:443", True),
        ("x.y.b.org:80", True),
        ("xb.org:443", False),
        ("b.org.evil.net:443", False),
        ("c.org:8443", True),
        ("c.org:443", False),
        ("xn--bcher-kva.example:443", True),
        ("127.0.0.1:9000", True),
        ("[::ffff:127.0.0.1]:9000", True),
        ("127.0.0.1:80", False),
        ("[0:0:0:0:0:0:0:1]:9000", True),
        ("10.0.0.5:443", True),
        ("10.0.0.50:443", False),
    ],
)
def test_what_the_list_permits(asked: str, allowed: bool) -> None:
    host, port = split(asked)
    assert port is not None
    assert LIST.permits(host, port) is allowed


@pytest.mark.parametrize(
    "entry",
    (
        *("", "*", "*.", "a b", "http://a.org", "a.org/", "a.org:", "a.org:0", "a.org:65536", "a.org:x", "-a.org"),
        *("a..org", "u@a.org", "*.10.0.0.1", "*.*.a.org", "a.*.org", "127.1", "0x7f.1", "2130706433", "1.2.3.4."),
        *("1.2.3.0/24", "[::1", "[a.org]:80", "[1.2.3.4]:80", "fe80::1%eth0", "a\0.org", "a" * 64 + ".org"),
        "\uff11\uff12\uff17.0.0.1",
    ),
)
def test_entries_that_are_none(entry: str) -> None:
    with pytest.raises(UsageError, match="network host") as raised:
        AllowList([f"{entry}"])
    assert "--network" in raised.value.remedy


@pytest.mark.parametrize(
    ("url", "entry"),
    [
        ("http://a.org", "a.org"),
        (" HTTPS://user:password@A.org:8443/path?query#part", "a.org:8443"),
        ("http://[::1]:80/", "[::1]:80"),
        ("http://[::1]", "::1"),
        ("http://:password@", "HOST:PORT"),
        ("http://[password", "HOST:PORT"),
    ],
)
def test_a_url_is_told_to_be_none_and_what_to_give(url: str, entry: str) -> None:
    with pytest.raises(UsageError, match="a URL is no host") as raised:
        AllowList([url])
    assert entry in raised.value.remedy
    assert "password" not in str(raised.value)


@given(st.text(max_size=40) | st.from_regex(r"[\[\]*.:0-9a-fx-]{0,24}", fullmatch=True))
def test_any_entry_is_taken_or_refused(entry: str) -> None:
    with contextlib.suppress(UsageError):
        taken = AllowList([entry])
        assert repr(taken)
        assert proxy_environment([entry])


@pytest.mark.parametrize(
    "address",
    (
        *("127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254", "100.100.100.200", "0.0.0.0"),
        *("255.255.255.255", "224.0.0.1", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fe80::1", "ff02::1"),
        *("::", "::1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1", "2002:7f00:1::", "::7f00:1", "::ffff:0:7f00:1"),
    ),
)
def test_a_name_leads_to_no_address_that_is_not_public(address: str) -> None:
    found = ip_address(address)
    assert AllowList(["a.org", "a.org:8443"]).reachable([found], 443) == []
    assert AllowList(["a.org", address if ":" not in address else f"[{address}]"]).reachable([found], 443) == [found]


def test_addresses_that_are_public() -> None:
    for address in ("1.1.1.1", "2606:4700::1111", "64:ff9b::101:101"):
        assert is_public(ip_address(address))
    assert LIST.reachable([ip_address("::ffff:1.1.1.1")], 443) == [ip_address("1.1.1.1")]
    assert LIST.reachable([ip_address("::ffff:127.0.0.1")], 443) == []
    assert LIST.reachable([ip_address("127.0.0.1")], 9000) == [ip_address("127.0.0.1")]


def test_what_is_asked_for_directly() -> None:
    assert proxy_environment([]) == {}
    assert proxy_environment(["a.org"])["NO_PROXY"] == "localhost,127.0.0.1,::1"
    assert proxy_environment(["localhost:8080", "[::1]:1"])["no_proxy"] == "127.0.0.1"


def head(*lines: str) -> bytes:
    return "\r\n".join(lines).encode("latin-1")


def test_a_request_is_written_anew() -> None:
    request = read_head(
        head(
            "POST HTTP://A.org:8080?q=1 HTTP/1.1",
            "host: a.ORG:8080",
            "Connection: keep-alive, X-Mine",
            "X-Mine: 1",
            "X-Other:  2 ",
            "Proxy-Authorization: Basic eA==",
            "Upgrade: h2c",
            "Content-Length: 3",
        )
    )
    assert request.head() == (
        b"POST /?q=1 HTTP/1.1\r\nHost: a.org:8080\r\nX-Other: 2\r\nContent-Length: 3\r\nConnection: close\r\n\r\n"
    )
    tunnel = read_head(head("CONNECT [::1]:443 HTTP/1.0"))
    assert (tunnel.tunnel, str(tunnel.host), tunnel.port) == (True, "::1", 443)
    assert read_head(head("CONNECT a.org:443 HTTP/1.1", "Host: a.org")).host == "a.org"


@pytest.mark.parametrize(
    "lines",
    [
        ("",),
        ("GET / HTTP/1.1", "Host: a.org"),
        ("GET //a.org/ HTTP/1.1", "Host: a.org"),
        ("GET https://a.org/ HTTP/1.1", "Host: a.org"),
        ("GET http://a.org/ HTTP/2.0", "Host: a.org"),
        ("GET  http://a.org/ HTTP/1.1", "Host: a.org"),
        ("GET\thttp://a.org/ HTTP/1.1", "Host: a.org"),
        ("GET http://a.org/", "Host: a.org"),
        ("GET http://a.org/ HTTP/1.1"),
        ("GET http://a.org/ HTTP/1.1", "X: 1"),
        ("GET http://a.org/ HTTP/1.1", "Host: b.org"),
        ("GET http://a.org/ HTTP/1.1", "Host: a.org", "Host: b.org"),
        ("GET http://a.org/ HTTP/1.1", "Host: a.org", "Host: a.org"),
        ("GET http://a.org/ HTTP/1.1", "Host: a.org:8080"),
        ("GET http://b.org@a.org/ HTTP/1.1", "Host: a.org"),
        ("GET http://a.org#@b.org/ HTTP/1.1", "Host: a.org"),
        ("GET http://a.org\\@b.org/ HTTP/1.1", "Host: a.org"),
        ("GET http://a.org%2eb.org/ HTTP/1.1", "Host: a.org"),
        ("GET http://2130706433/ HTTP/1.1", "Host: 2130706433"),
        ("GET http:///x HTTP/1.1", "Host: "),
        ("GET http://a.org:/ HTTP/1.1", "Host: a.org:"),
        ("GET http://a.org/ HTTP/1.1", "Host : a.org"),
        ("GET http://a.org/ HTTP/1.1", "Host: a.org", " folded: 1"),
        ("GET http://a.org/ HTTP/1.1", "Host: a.org\nX: 1"),
        ("GET http://a.org/ HTTP/1.1", "Host: a.org", "X: a\rb"),
        ("GET http://a.org/ HTTP/1.1", "Host: a.org", "X: a\0b"),
        ("GET http://a.org/\nX HTTP/1.1", "Host: a.org"),
        ("POST http://a.org/ HTTP/1.1", "Host: a.org", "Content-Length: 3", "Transfer-Encoding: chunked"),
        ("POST http://a.org/ HTTP/1.1", "Host: a.org", "Content-Length: 3", "Content-Length: 3"),
        ("POST http://a.org/ HTTP/1.1", "Host: a.org", "Content-Length: 3, 3"),
        ("POST http://a.org/ HTTP/1.1", "Host: a.org", "Content-Length: +3"),
        ("POST http://a.org/ HTTP/1.1", "Host: a.org", "Content-Length: 0x3"),
        ("POST http://a.org/ HTTP/1.1", "Host: a.org", "Content-Length: -1"),
        ("POST http://a.org/ HTTP/1.1", "Host: a.org", "Transfer-Encoding: gzip, chunked"),
        ("POST http://a.org/ HTTP/1.1", "Host: a.org", "Transfer-Encoding: xchunked"),
        ("POST http://a.org/ HTTP/1.1", "Host: a.org", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ("POST http://a.org/ HTTP/1.1", "Host: a.org", "Transfer-Encoding : chunked"),
        ("POST http://a.org/ HTTP/1.0", "Host: a.org", "Transfer-Encoding: chunked"),
        ("CONNECT a.org HTTP/1.1", "Host: a.org"),
        ("CONNECT http://a.org:443 HTTP/1.1", "Host: a.org"),
        ("CONNECT a.org:443 HTTP/1.1", "Host: b.org:443"),
        ("CONNECT a.org:443 HTTP/1.1", "Host: a.org:80"),
        ("CONNECT a.org:443 HTTP/1.1", "Content-Length: 5"),
        ("CONNECT a.org:443:80 HTTP/1.1",),
        ("CONNECT u@a.org:443 HTTP/1.1",),
    ],
)
def test_requests_that_could_be_read_in_two_ways(lines: tuple[str, ...]) -> None:
    with pytest.raises(BadRequest):
        read_head(head(*lines))


@given(
    st.binary(max_size=200)
    | st.builds(
        lambda target, host, more: b"GET http://" + target + b" HTTP/1.1\r\nHost: " + host + b"\r\n" + more,
        st.from_regex(rb"[a.:@/?#\[\]%\\0-9 \r\n\t]{0,12}", fullmatch=True),
        st.from_regex(rb"[a.:@\[\] ,0-9\r\n]{0,12}", fullmatch=True),
        st.binary(max_size=40),
    )
)
def test_any_head_is_one_request_or_refused(data: bytes) -> None:
    try:
        request = read_head(data)
    except BadRequest:
        return
    if request.tunnel:
        return
    written = request.head()
    assert written.endswith(b"\r\n\r\n")
    assert written.count(b"\r\n\r\n") == 1
    lines = written[:-4].split(b"\r\n")
    assert all(b"\n" not in line and b"\r" not in line and b"\0" not in line for line in lines)
    assert sum(line.lower().startswith(b"host:") for line in lines) == 1
    first, path = lines[0], request.path.encode()
    assert first.split(b" ")[1] == path
    assert path.startswith((b"/", b"*"))
