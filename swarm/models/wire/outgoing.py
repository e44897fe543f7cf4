"""A request of the HTTP library as it is sent: where it goes, who is there, how long it may take, its first lines."""

from __future__ import annotations

import asyncio
import ipaddress

import httpx2

Origin = tuple[str, str, int]
"""Scheme, host and port."""


def origin_of(request: httpx2.Request) -> Origin:
    """Where a request goes."""
    url = request.url
    return url.scheme, url.raw_host.decode("ascii"), url.port or (443 if url.scheme == "https" else 80)


def connect_limit(request: httpx2.Request) -> float | None:
    """Seconds that its connection may take."""
    told: dict[str, float | None] = request.extensions.get("timeout", {})
    return told.get("connect")


def is_near(connection: asyncio.BaseTransport | None) -> bool:
    """Whether the other side stands on this machine or in a private network."""
    peer = connection.get_extra_info("peername") if connection is not None else None
    try:
        return ipaddress.ip_address(peer[0]).is_private if peer else False
    except ValueError:
        return False  # no address at all


def head_of(request: httpx2.Request) -> bytes:
    """The request line and all headers, each with its line end. Raises: httpx2.LocalProtocolError."""
    lines = [name + b": " + value for name, value in request.headers.raw]
    head = b"\r\n".join([request.method.encode("ascii") + b" " + request.url.raw_path + b" HTTP/1.1", *lines])
    if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines):
        raise httpx2.LocalProtocolError("a line break in a header")
    return head + b"\r\n"
