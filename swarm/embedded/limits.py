"""A hard limit on requests, as endpoints keep them, so that a client's pacing can be measured."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import anyio
from pydantic import BaseModel, ConfigDict, Field

from swarm.embedded.wire import ApiError


class Limit(BaseModel):
    """At most `requests` in `per_s` seconds. A `window` begins anew each time; a `bucket` fills steadily, holds
    `burst` at most (default: `requests`), and begins full. `retry_after` and `headers` (`x-ratelimit-*`) say what the
    client is told; `in_flight` limits the requests at once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    requests: int = Field(ge=1)
    per_s: float = Field(default=60.0, gt=0)
    kind: Literal["window", "bucket"] = "window"
    burst: int | None = Field(default=None, ge=1)
    in_flight: int | None = Field(default=None, ge=1)
    retry_after: bool = True
    headers: bool = False


class Window(BaseModel):
    """At most `tokens` of prompt and answer together, as the model of a real server has them: a prompt alone that has
    as many is refused, and so is a `max_tokens` that would not fit beside it. `told`: `GET /models` says so."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: int = Field(ge=1)
    told: bool = True

    def check(self, prompt: int, answer: int | None) -> None:
        """Raises: ApiError 400, `context_length_exceeded`."""
        if prompt + (answer or 1) > self.tokens:
            beside = f" and {answer} for the answer" if answer else ""
            raise ApiError(
                400,
                f"This model's maximum context length is {self.tokens} tokens. However, you requested {prompt} tokens "
                f"in the messages{beside}.",
                param="messages",
                code="context_length_exceeded",
            )


class Meter:
    """Counts the requests to one server against its limit."""

    def __init__(self, limit: Limit | None) -> None:
        self._limit = limit
        self._began: float | None = None
        self._left = 0.0
        self._at = 0.0
        self.verdicts: Counter[str] = Counter()

    def take(self, in_flight: int) -> dict[str, str]:
        """Let one request through; gives the headers of its answer.

        Raises:
            ApiError: 429.
        """
        limit = self._limit
        if limit is None:
            return {}
        now = anyio.current_time()
        self._refill(limit, now)
        text = "" if self._left >= 1 else "Rate limit reached for requests."
        if limit.in_flight is not None and in_flight > limit.in_flight:
            text = f"Too many requests at once: the limit of concurrency is {limit.in_flight}."
        if not text:
            self._left -= 1
        self.verdicts["refused" if text else "let through"] += 1
        headers = self._told(limit, now) if limit.headers else {}
        if text:
            if limit.retry_after:
                headers["retry-after"] = f"{self._next(limit, now):.3f}"
            raise ApiError(429, text, type="requests", code="rate_limit_exceeded", headers=headers)
        return headers

    def _refill(self, limit: Limit, now: float) -> None:
        most = limit.requests if limit.kind == "window" else limit.burst or limit.requests
        if self._began is None:
            self._began = self._at = now
            self._left = most
        elif limit.kind == "window":
            if now - self._began >= limit.per_s:
                self._began += (now - self._began) // limit.per_s * limit.per_s
                self._left = most
        else:
            self._left = min(float(most), self._left + (now - self._at) * limit.requests / limit.per_s)
            self._at = now

    def _next(self, limit: Limit, now: float) -> float:
        """Seconds until there is room again."""
        if self._left >= 1:
            return 0.0
        if limit.kind == "window":
            return limit.per_s - (now - (self._began or now))
        return (1 - self._left) * limit.per_s / limit.requests

    def _told(self, limit: Limit, now: float) -> dict[str, str]:
        if limit.kind == "window":
            whole = limit.per_s - (now - (self._began or now))
        else:
            whole = ((limit.burst or limit.requests) - self._left) * limit.per_s / limit.requests
        return {
            "x-ratelimit-limit-requests": str(limit.requests),
            "x-ratelimit-remaining-requests": str(max(0, int(self._left))),
            "x-ratelimit-reset-requests": f"{whole * 1000:.0f}ms",
        }
