"""A proxy request's head: read strictly, so that no server behind us can read it otherwise, and written anew."""

from __future__ import annotations

import re

from swarm.sandboxes.network.allowed import Host, joined, split
from swarm.values import value

LONGEST = 1 << 15
"""Bytes of a head."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(r"[\x21-\x7e]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_LENGTH = re.compile(r"[0-9]{1,15}")
_VERSIONS = ("HTTP/1.0", "HTTP/1.1")
_HOP = frozenset(
    {"connection", "proxy-connection", "keep-alive", "te", "trailer", "upgrade", "proxy-authorization"}
    | {"proxy-authenticate", "http2-settings", "host", "content-length", "transfer-encoding"}
)
"""Headers that are for us, or that we write ourselves."""


class BadRequest(Exception):
    """What cannot be read in one way only; the message says why."""


@value(frozen=True, slots=True)
class ProxyRequest:
    """`length`: bytes of the body, None where it comes in chunks. `path` is empty for CONNECT."""

    method: str
    host: Host
    port: int
    path: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    length: int | None = 0

    @property
    def tunnel(self) -> bool:
        """Whether it asks for a bare connection."""
        return self.method == "CONNECT"

    def head(self) -> bytes:
        """The head for the server: one request of its own, after which the connection ends."""
        place = joined(self.host, self.port)
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {place.removesuffix(':80')}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.length is None:
            lines.append("Transfer-Encoding: chunked")
        elif self.length or self.method not in ("GET", "HEAD", "OPTIONS", "DELETE"):
            lines.append(f"Content-Length: {self.length}")
        return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1")


def read_head(head: bytes) -> ProxyRequest:
    """Read a head, without the empty line at its end.

    Raises:
        BadRequest: it is no request to a proxy, or could be read in two ways.
    """
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not _TOKEN.fullmatch(words[0]) or not _TARGET.fullmatch(words[1]):
        raise BadRequest("the request line cannot be read")
    method, target, version = words
    if version not in _VERSIONS:
        raise BadRequest("only HTTP/1.0 and HTTP/1.1 are spoken here")
    headers = [_header(line) for line in lines]
    length = _length([(name.lower(), value) for name, value in headers], version)
    if method == "CONNECT":
        host, port = _authority(target, None)
        _same_host(headers, (host, port), port, "HTTP/1.0")
        if length != 0:
            raise BadRequest("CONNECT has no body")
        return ProxyRequest(method, host, port)
    host, port, path = _absolute(method, target)
    _same_host(headers, (host, port), 80, version)
    named = {
        word.strip().lower() for name, value in headers if name.lower() == "connection" for word in value.split(",")
    }
    kept = tuple((name, value) for name, value in headers if name.lower() not in _HOP | named)
    return ProxyRequest(method, host, port, path, kept, length)


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
        raise BadRequest("a header cannot be read")
    return name, value.strip(" \t")


def _length(headers: list[tuple[str, str]], version: str) -> int | None:
    lengths = [value for name, value in headers if name == "content-length"]
    codings = [value.lower() for name, value in headers if name == "transfer-encoding"]
    if codings:
        if lengths or codings != ["chunked"] or version != "HTTP/1.1":
            raise BadRequest("the body's length can be read in two ways")
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise BadRequest("the body's length can be read in two ways")
    return int(lengths[0])


def _authority(text: str, port: int | None) -> tuple[Host, int]:
    try:
        host, given = split(text)
    except ValueError as error:
        raise BadRequest(f"the host cannot be reached: {error}") from None
    if given is None and port is None:
        raise BadRequest("CONNECT needs HOST:PORT")
    return host, given or port or 0


def _absolute(method: str, target: str) -> tuple[Host, int, str]:
    scheme, colon, rest = target.partition("://")
    if not colon or target.startswith("/"):
        raise BadRequest("this is a proxy: ask for http://HOST/PATH, or CONNECT HOST:PORT")
    if scheme.lower() != "http":
        raise BadRequest("only http:// addresses are fetched; for others use CONNECT HOST:PORT")
    cut = re.search(r"[/?#]|$", rest)
    at = cut.start() if cut else len(rest)
    authority, path = rest[:at], rest[at:]
    if "#" in path or "@" in authority:
        raise BadRequest("the address may hold neither a user nor a fragment")
    if not path:
        path = "*" if method == "OPTIONS" else "/"
    host, port = _authority(authority, 80)
    return host, port, path if path[0] in "/*" else f"/{path}"


def _same_host(headers: list[tuple[str, str]], target: tuple[Host, int], default: int, version: str) -> None:
    """The Host header must be there, once, and name what the request line names."""
    hosts = [value for name, value in headers if name.lower() == "host"]
    if len(hosts) > 1 or (not hosts and version != "HTTP/1.0"):
        raise BadRequest("there must be one Host header")
    if hosts and _authority(hosts[0], default) != target:
        raise BadRequest("the Host header names another host than the request")
