"""Which hosts a sandbox may reach: `a.org`, `*.a.org` (all below it), `a.org:8443`, `10.0.0.5`, `[::1]:8080`.

An entry without a port stands for 80 and 443. A name leads to public addresses only: to another one (loopback, private,
link-local, a cloud's metadata) it leads where that address is listed too, whatever the name's owner lets it resolve to.
The name `localhost` is this machine's loopback, and never asked of a resolver.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

import idna

from swarm.errors import UsageError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Host = str | Address
"""A name in its normal form, or an address."""

LOOPBACK: tuple[Address, ...] = (ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1"))
USUAL = (80, 443)
REMEDY = "give HOST, *.HOST, HOST:PORT or an address, such as --network a.org"

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORT = re.compile(r"[0-9]{1,5}")
_UNICAST = ipaddress.IPv6Network("2000::/3")
_6TO4 = ipaddress.IPv6Network("2002::/16")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_SPECIAL = tuple(map(ipaddress.IPv4Network, ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32")))
"""Not everyone's, though Python says so: kept for protocols, and Azure's own service for its machines."""


class AllowList:
    """What may be reached, as names and as addresses."""

    def __init__(self, entries: Sequence[str]) -> None:
        """Raises: UsageError for an entry that is none of the forms above."""
        self._hosts: set[tuple[Host, int]] = set()
        self._below: set[tuple[str, int]] = set()
        for entry in entries:
            below = entry.strip().startswith("*.")
            if "://" in entry:
                raise _url_given(entry.strip())
            try:
                host, port = split(entry.strip().removeprefix("*."))
                if below and not isinstance(host, str):
                    raise ValueError("an address has nothing below it")
            except ValueError as error:
                raise UsageError(f"network host {entry!r}: {error}", remedy=REMEDY) from None
            for each in USUAL if port is None else (port,):
                if below:
                    self._below.add((str(host), each))
                else:
                    self._hosts.add((host, each))

    def __repr__(self) -> str:
        return f"AllowList({len(self._hosts)} hosts, {len(self._below)} domains)"

    def permits(self, host: Host, port: int) -> bool:
        """Whether a connection may be asked for by this name or address."""
        if (host, port) in self._hosts:
            return True
        if not isinstance(host, str):
            return False
        labels = host.split(".")
        return any((".".join(labels[at:]), port) in self._below for at in range(1, len(labels)))

    def mentions(self, host: Host) -> bool:
        """Whether it is listed itself, for whatever port."""
        return any(host == listed for listed, _ in self._hosts)

    def reachable(self, found: Iterable[Address], port: int) -> list[Address]:
        """Those of a permitted name's addresses to which it may lead."""
        plain = (simple(address) for address in found)
        return [address for address in plain if is_public(address) or (address, port) in self._hosts]


def split(text: str) -> tuple[Host, int | None]:
    """The host and the port, None where there is none, of `HOST`, `HOST:PORT`, `ADDRESS` or `[ADDRESS]:PORT`.

    Raises:
        ValueError: it is none of these; the message says why.
    """
    host, port = text, None
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in host or (rest and not rest.startswith(":")):
            raise ValueError("the brackets must hold an IPv6 address")
        port = _port(rest[1:]) if rest else None
    elif text.count(":") == 1:
        host, _, number = text.partition(":")
        port = _port(number)
    return _host(host), port


def joined(host: Host, port: int) -> str:
    """`HOST:PORT`, as it stands in a request."""
    return f"[{host}]:{port}" if isinstance(host, ipaddress.IPv6Address) else f"{host}:{port}"


def entry_for(host: Host, port: int) -> str:
    """The entry that would permit it."""
    return joined(host, port) if port not in USUAL else str(host)


def simple(address: Address) -> Address:
    """An IPv4 address that is written as an IPv6 one, as what it is."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def is_public(address: Address) -> bool:
    """Whether it is everyone's: a name may lead there without more ado."""
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not address.is_multicast and not any(address in network for network in _SPECIAL)
    if address in _NAT64:  # a gateway would go on to the address inside
        return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return address.is_global and address in _UNICAST and address not in _6TO4 and not address.scope_id


def _url_given(text: str) -> UsageError:
    """What to give instead of a URL, of which nothing else is told: it may hold a password."""
    try:
        url = urlsplit(text)
        host, port = split(url.netloc.rpartition("@")[2])
    except ValueError:
        return UsageError("network host: a URL is no host", remedy=REMEDY)
    entry = str(host) if port is None else joined(host, port)
    return UsageError(f"network host: a URL is no host, such as {entry} is", remedy=f"give --network {entry}")


def _host(text: str) -> Host:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return _name(text)
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id:
        raise ValueError("an address with a zone is not reached")
    return simple(address)


def _name(text: str) -> str:
    """A name as it is compared: ASCII, lower case, without the dot at the end."""
    try:
        name = text if text.isascii() else idna.encode(text, uts46=True).decode("ascii")
    except idna.IDNAError:
        raise ValueError("it is no name of a host") from None
    name = name.lower().removesuffix(".")
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("it is no name of a host")
    if _NUMBER.fullmatch(labels[-1]):  # some resolvers read it as an address
        raise ValueError("it is neither a name nor an address")
    return name


def _port(text: str) -> int:
    if not _PORT.fullmatch(text) or not 0 < int(text) < 1 << 16:
        raise ValueError("the port must be a number from 1 to 65535")
    return int(text)
