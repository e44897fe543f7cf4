"""The clock of one call: how long it may take to be sent, to begin, to go on, and in all."""

from __future__ import annotations

import time
from collections.abc import Callable

import anyio

from swarm.calls import StreamLimits
from swarm.errors import EndpointError, EndpointFault

_SLACK = 0.05
"""A limit between two pieces is moved when this share of it has gone by: not with every piece."""


class Watch:
    """Run the call inside `scope`; where that was cancelled, `fault` says which limit was met.

    The whole call has `timeout` seconds from when it is sent, which may take `unsent` seconds. `began` is called when
    the first piece of the answer comes.
    """

    def __init__(
        self, timeout: float, stream: StreamLimits | None, unsent: float, began: Callable[[], None] | None = None
    ) -> None:
        self._timeout = timeout
        self._stream = stream
        self._began = began
        self._end = anyio.current_time() + unsent + timeout
        self._limit = EndpointFault.TIMED_OUT
        self._seen = (0, 0)
        self._moved = 0.0
        self.scope = anyio.CancelScope(deadline=self._end)
        self.t_sent = time.monotonic()
        self.t_first_token = 0.0

    def sent(self) -> None:
        """The request goes out now."""
        self.t_sent = time.monotonic()
        now = anyio.current_time()
        self._end = now + self._timeout
        if self._stream is None:
            self._allow(now, self._timeout, EndpointFault.TIMED_OUT)
        else:
            self._allow(now, self._stream.first_token, EndpointFault.NO_FIRST_TOKEN)

    def came(self, events: int, heartbeats: int) -> None:
        """So many events and heartbeats have come. A heartbeat shows that an answer goes on, not a beginning."""
        if (events, heartbeats) == self._seen:
            return
        self._seen = (events, heartbeats)
        if not events:
            return
        if not self.t_first_token:
            self.t_first_token = time.monotonic()
            if self._began is not None:
                self._began()
        if self._stream is not None:
            now, stall = anyio.current_time(), self._stream.stall
            if now - self._moved >= stall * _SLACK or self._limit is not EndpointFault.STALLED:
                self._moved = now
                self._allow(now, stall * (1 + _SLACK), EndpointFault.STALLED)

    def fault(self, endpoint: str) -> EndpointError:
        """The error for a call that met its limit."""
        match self._limit:
            case EndpointFault.NO_FIRST_TOKEN:
                text, key = "sent nothing of the answer in time", "first_token_timeout"
            case EndpointFault.STALLED:
                text, key = "stopped in the middle of the answer", "stall_timeout"
            case _:
                text, key = "did not answer in time", "call_timeout"
        return EndpointError(self._limit, f"{endpoint} {text}", remedy=f"see {key}")

    def _allow(self, now: float, seconds: float, kind: EndpointFault) -> None:
        whole = now + seconds >= self._end
        self._limit = EndpointFault.TIMED_OUT if whole else kind
        self.scope.deadline = self._end if whole else now + seconds
