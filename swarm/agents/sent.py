"""A call that was sent, as its record will tell of it: made when it has ended, as hundreds are in flight at once."""

from __future__ import annotations

from typing import NamedTuple

from swarm.calls import WHOLE, ModelRequest
from swarm.types import JsonObject


class Sent(NamedTuple):
    """`at` is when it was sent, in `time.monotonic` seconds, after a wait of `wait`; `window` as it was known then."""

    request: ModelRequest
    call_id: str
    attempt: int
    window: int
    at: float
    wait: float

    @property
    def sampling(self) -> JsonObject:
        """How an answer was asked for, but for messages and tools."""
        request = self.request
        form = request.response_format or {}
        return {
            "temperature": request.temperature,
            "top_p": request.top_p,
            "seed": request.seed,
            "max_tokens": request.max_tokens,
            "response_format": form.get("type"),
            "stream": request.stream is not None,
            **(WHOLE if request.tokens else {}),
        }
