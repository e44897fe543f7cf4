"""Who may speak to a server of ours: programs, not the pages of a web browser, and none without the token.

A page can make a browser send requests to this machine. It cannot hide whose it is: the browser sends `Origin`, and,
where a name of the page's own was made to lead here (DNS rebinding), that name as `Host`.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from swarm.embedded.wire import ApiError
from swarm.errors import UsageError

OPEN = "/health"
"""The one path that needs no token."""


class Guard:
    """An application behind its door. `token` is wanted as a bearer's, where there is one; without, on the loopback, it
    answers to names of that alone, and to `host`, where it listens."""

    def __init__(self, app: ASGIApp, host: str, token: str | None = None) -> None:
        self._app = app
        self._host = host.lower()
        self._local = leads_here(host)
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await JSONResponse(refusal.body, refusal.status)(scope, receive, send)

    def _refusal(self, scope: Scope) -> ApiError | None:
        given = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        named = _host_in(f"//{given.get(b'host', '')}")
        if self._token is not None and scope["path"] != OPEN:  # who has it may come by any name, a proxy's too
            if not hmac.compare_digest(bearer(given.get(b"authorization", "")).encode(), self._token.encode()):
                return ApiError(401, "Incorrect API key provided.", code="invalid_api_key")
        elif self._local and not (is_loopback(named) or named == self._host):
            return ApiError(421, "Without --api-key-env this endpoint is asked by an address such as 127.0.0.1 alone.")
        origin = given.get(b"origin")
        if given.get(b"sec-fetch-site") == "cross-site" or not (origin is None or is_loopback(_host_in(origin))):
            return ApiError(403, "This endpoint is not for pages of the web.")
        return None


def bearer(authorization: str) -> str:
    """The key in a header; it may stand there without its scheme."""
    scheme, _, key = authorization.strip().partition(" ")
    return key.strip() if scheme.lower() == "bearer" else authorization.strip()


def is_loopback(host: str) -> bool:
    """Whether a name or an address is this machine's own."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def leads_here(host: str) -> bool:
    """Whether all that a name stands for are this machine's own addresses, as the resolver of this machine says; never
    asked of a name that a client sends. May block."""
    if is_loopback(host):
        return True
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return bool(found) and all(is_loopback(str(address[4][0])) for address in found)


def require_closed(host: str, token: str | None) -> None:
    """Raises: UsageError where others could reach the endpoint, and no token is wanted of them."""
    if token is None and not leads_here(host):
        raise UsageError(
            f"--host {host}: whoever reaches this machine could use the endpoint",
            remedy="export a key, and name its variable: --api-key-env NAME",
        )


def _host_in(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
