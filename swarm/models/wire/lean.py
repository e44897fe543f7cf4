"""The `openai` package's client and the HTTP library's under it, without what a chat API does not use: redirections,
cookies, auth flows, hooks, and making the same request anew for every call.

More than half of what a call costs the client goes there.
"""

from __future__ import annotations

from typing import Any, cast

import httpx2
import openai
from openai._models import FinalRequestOptions  # what the public `request` takes; its own module is all that names it

from swarm.models.wire.bounded import bound
from swarm.models.wire.transport import DirectTransport


class LeanClient(httpx2.AsyncClient):
    """Sends requests as they were built, by a transport of ours."""

    def __init__(self, transport: DirectTransport, timeout: httpx2.Timeout) -> None:
        super().__init__(transport=transport, timeout=timeout)
        self._direct = transport

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


class LeanOpenAI(openai.AsyncOpenAI):
    """The package's client, with one kind of call that costs little: `send`. Its options are those of the client."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._options: dict[str, FinalRequestOptions] = {}
        self._heads: dict[str, httpx2.Request] = {}

    async def send(self, path: str, content: bytes, timeout: httpx2.Timeout) -> httpx2.Response:
        """POST JSON. The answer's body is not read yet.

        Raises: openai.OpenAIError.
        """
        known = self._options.get(path)
        if known is None:
            # A key for idempotency is for retries, which are off.
            known = FinalRequestOptions.construct(method="post", url=path, timeout=timeout, idempotency_key="")
            self._options[path] = known
        stream = await self.request(
            httpx2.Response,
            known.model_copy(update={"content": content}),
            stream=True,
            stream_cls=openai.AsyncStream[object],
        )
        return cast(httpx2.Response, stream)  # what the package gives for this `cast_to`

    def _build_request(self, options: FinalRequestOptions, *, retries_taken: int = 0) -> httpx2.Request:
        """As the package's, which makes it the first time; then all but the body is the same."""
        content = options.content
        if options.url not in self._options or not isinstance(content, bytes):
            return super()._build_request(options, retries_taken=retries_taken)
        head = self._heads.get(options.url)
        if head is None:
            head = self._heads[options.url] = super()._build_request(options, retries_taken=retries_taken)
        request = httpx2.Request(
            head.method, head.url, headers=head.headers, stream=httpx2.ByteStream(content), extensions=head.extensions
        )
        request.headers.encoding = "iso-8859-1"  # which the library would look for in every header
        request.headers["content-length"] = str(len(content))
        return request
