"""The HTTP library's client without what a chat API does not use: redirections, cookies, auth flows, hooks.

Half of what the client spends on a call goes there, and into reading the same URL again.
"""

from __future__ import annotations

from typing import Any

import httpx2

from swarm.models.bounded import bound
from swarm.models.transport import DirectTransport


class LeanClient(httpx2.AsyncClient):
    """Sends requests as they were built, by a transport of ours."""

    def __init__(self, transport: DirectTransport, timeout: httpx2.Timeout) -> None:
        super().__init__(transport=transport, timeout=timeout)
        self._direct = transport
        self._urls: dict[str, httpx2.URL] = {}

    def build_request(self, method: str, url: httpx2.URL | str, **options: Any) -> httpx2.Request:
        """As the library's, where only headers, a body as bytes and a time limit are given."""
        content, timeout = options.get("content"), options.get("timeout")
        if options.get("params") or options.get("files") or not isinstance(content, bytes):
            return super().build_request(method, url, **options)
        known = self._urls.get(str(url))
        if known is None:
            known = self._urls[str(url)] = httpx2.URL(url)
        limits = (timeout if isinstance(timeout, httpx2.Timeout) else self.timeout).as_dict()
        return httpx2.Request(
            method, known, headers=options.get("headers"), content=content, extensions={"timeout": limits}
        )

    async def send(self, request: httpx2.Request, *, stream: bool = False, **options: Any) -> httpx2.Response:
        """Raises: httpx2.TransportError."""
        response = await self._direct.handle_async_request(request)
        response.request = request
        await bound(response)
        if not stream:
            try:
                await response.aread()
            finally:
                await response.aclose()
        return response
