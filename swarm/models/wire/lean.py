"""The `openai` package's client and the HTTP library's under it, without what a chat API does not use: redirections,
cookies, auth flows, hooks, and making the same request anew for every call.

More than half of what a call costs the client goes there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple

import anyio
import httpx2
import openai
from openai._models import FinalRequestOptions  # what makes a request of the package's; no other module names it

from swarm.models.wire.bounded import CLOSE_S, Counted, bound
from swarm.models.wire.outgoing import Origin, connect_limit, head_of, origin_of
from swarm.models.wire.transport import DirectTransport, response_of


class LeanClient(httpx2.AsyncClient):
    """Sends requests as they were built, by a transport of ours."""

    def __init__(self, direct: DirectTransport, timeout: httpx2.Timeout) -> None:
        super().__init__(transport=direct, timeout=timeout)
        self.direct = direct

    async def send(self, request: httpx2.Request, *, stream: bool = False, **options: Any) -> httpx2.Response:
        """Raises: httpx2.TransportError."""
        response = await self.direct.handle_async_request(request)
        response.request = request
        await bound(response)
        if not stream:
            try:
                await response.aread()
            finally:
                await response.aclose()
        return response


class Opened:
    """An answer that has begun: its `headers`, and the `parts` of its body as they come, decoded and bounded. Close
    it."""

    __slots__ = ("_ended", "_stream", "headers", "parts")

    def __init__(
        self,
        headers: list[tuple[bytes, bytes]],
        stream: httpx2.AsyncByteStream,
        ended: Callable[[], bool] | None = None,
    ) -> None:
        self.headers = headers
        self._ended = ended
        self.parts: AsyncIterator[bytes] = aiter(stream)
        self._stream: httpx2.AsyncByteStream | None = stream

    def header(self, name: bytes) -> str:
        """The value of a header, by its name in lower case; empty where there is none."""
        for key, value in self.headers:
            if key.lower() == name:
                return value.decode("latin-1")
        return ""

    @property
    def ended(self) -> bool:
        """Whether all of it has come and was taken, as far as is known without reading on."""
        return self._ended is not None and self._ended()

    async def aclose(self) -> None:
        """Let the connection go; nothing where that was done."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.aclose()


def _coded(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    for name, _ in headers:  # noqa: SIM110  a generator costs more, and each answer has many headers
        if len(name) == _CODING and name.lower() == b"content-encoding":
            return True
    return False


_CODING = len(b"content-encoding")


class _Way(NamedTuple):
    """How requests to a path begin: as the package makes them, and as they are sent where the transport is ours."""

    request: httpx2.Request
    origin: Origin
    head: bytes
    limit: float | None


class LeanOpenAI(openai.AsyncOpenAI):
    """The package's client, with one kind of call that costs little: `send`. Its options are those of the client."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._ways: dict[str, _Way] = {}

    async def send(
        self,
        path: str,
        content: Sequence[bytes],
        timeout: httpx2.Timeout,
        sent: Callable[[], None] | None = None,
    ) -> Opened:
        """POST JSON, given in parts. The answer's body is not read yet. `sent` is called when the request goes out.

        Raises: openai.OpenAIError, httpx2.HTTPError, ssl.SSLError, anyio.EndOfStream.
        """
        way = self._ways.get(path) or await self._way(path, timeout)
        if not isinstance(self._client, LeanClient):
            return await self._send_by_library(way, b"".join(content), sent)
        data: list[bytes] = [way.head, b"content-length: %d\r\n\r\n" % sum(map(len, content)), *content]
        del content  # hundreds wait here for their answers
        status, headers, body = await self._client.direct.exchange(way.origin, data, way.limit, sent)
        if 200 <= status < 300 and not _coded(headers):
            return Opened(headers, Counted(body), body.ended)
        response = response_of(status, headers, body)
        response.request = way.request
        return await self._checked(response)

    async def _way(self, path: str, timeout: httpx2.Timeout) -> _Way:
        """The request as the package makes it, all but the body."""
        if self._platform is None:
            self._platform = await anyio.to_thread.run_sync(openai._base_client.get_platform)  # it may read files
        # A key for idempotency is for retries, which are off.
        options = FinalRequestOptions.construct(
            method="post", url=path, timeout=timeout, idempotency_key="", content=b"{}"
        )
        request = self._build_request(await self._prepare_options(options))
        request.headers.pop("content-length", None)
        way = self._ways[path] = _Way(request, origin_of(request), head_of(request), connect_limit(request))
        return way

    async def _send_by_library(self, way: _Way, content: bytes, sent: Callable[[], None] | None) -> Opened:
        async def traced(event: str, info: object) -> None:
            if sent is not None and event.endswith(".send_request_headers.started"):
                sent()

        request = httpx2.Request(
            way.request.method,
            way.request.url,
            headers=way.request.headers,
            stream=httpx2.ByteStream(content),
            extensions={**way.request.extensions, "trace": traced},
        )
        request.headers["content-length"] = str(len(content))
        return await self._checked(await self._client.send(request, stream=True))

    async def _checked(self, response: httpx2.Response) -> Opened:
        """An answer, bounded. Raises: openai.APIStatusError, with what is said of the failure."""
        try:
            if isinstance(self._client, LeanClient):  # else a hook of the client's did it
                await bound(response)
            if response.is_success:
                assert isinstance(response.stream, httpx2.AsyncByteStream)
                return Opened(response.headers.raw, response.stream)
            await response.aread()
            raise self._make_status_error_from_response(response)
        except BaseException:
            with anyio.move_on_after(CLOSE_S, shield=True):
                await response.aclose()
            raise
