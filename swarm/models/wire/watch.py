"""The clock of one call: how long it may take to be sent, to begin, to go on, and in all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import anyio

from swarm.calls import StreamLimits
from swarm.errors import EndpointError, EndpointFault

_SLACK = 0.05
"""A limit between two pieces is moved when this share of it has gone by: not with every piece."""


class Watch:
    """Run the call inside `scope`, then `close`; where that was cancelled, `fault` says which limit was met.

    The whole call has `timeout` seconds from when it is sent, which may take `unsent` seconds. `began` is called when
    the first piece of the answer comes.
    """

    __slots__ = (
        "_began", "_due", "_end", "_limit", "_looks_at", "_loop", "_moved", "_seen", "_stream", "_timeout", "_timer",
        "scope", "t_first_token", "t_sent",
    )  # fmt: skip

    def __init__(
        self, timeout: float, stream: StreamLimits | None, unsent: float, began: Callable[[], None] | None = None
    ) -> None:
        self._timeout = timeout
        self._stream = stream
        self._began = began
        self._loop = asyncio.get_running_loop()
        now = self._loop.time()
        self._due = self._end = now + unsent + timeout
        self._limit = EndpointFault.TIMED_OUT
        self._seen = (0, 0)
        self._moved = 0.0
        self.scope = anyio.CancelScope()
        # One timer, that looks at the time at which a limit can be met first: most calls are over by then.
        first = timeout if stream is None else min(timeout, stream.first_token, stream.stall)
        self._look_at(now + first)
        self.t_sent = time.monotonic()
        self.t_first_token = 0.0

    def sent(self) -> None:
        """The request goes out now."""
        self.t_sent = time.monotonic()
        now = self._loop.time()
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
            now, stall = self._loop.time(), self._stream.stall
            if now - self._moved >= stall * _SLACK or self._limit is not EndpointFault.STALLED:
                self._moved = now
                self._allow(now, stall * (1 + _SLACK), EndpointFault.STALLED)

    def close(self) -> None:
        """The call is over."""
        self._timer.cancel()

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
        self._due = self._end if whole else now + seconds
        if self._due < self._looks_at:  # it was put off too far: the last limit was a longer one
            self._timer.cancel()
            self._look_at(self._due)

    def _look(self) -> None:
        if self._loop.time() >= self._due:
            self.scope.cancel()
        else:
            self._look_at(self._due)

    def _look_at(self, when: float) -> None:
        self._looks_at = when
        self._timer = self._loop.call_at(when, self._look)
