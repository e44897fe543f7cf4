"""Faults that the embedded endpoint commits on purpose, so that what swarm does about them can be seen.

They belong to the server: a policy never knows. Chat requests are counted from 1 as they reach the server,
those that are refused and those that a client sends again included.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from swarm.embedded.lacks import Lack
from swarm.embedded.limits import Limit, Window
from swarm.embedded.wire import ApiError


class FaultKind(StrEnum):
    """What goes wrong."""

    RATE_LIMIT = "rate_limit"
    """429 with Retry-After."""
    QUOTA = "quota"
    """429, the account is empty: waiting does not help."""
    WRONG_KEY = "wrong_key"
    """401."""
    ERROR = "error"
    """500."""
    OVERLOADED = "overloaded"
    """503."""
    SLOW = "slow"
    """The right answer, `seconds` later."""
    HANG = "hang"
    """No answer until the client leaves or the server stops."""
    CUT = "cut"
    """The connection is closed in the middle of a body or stream."""
    MALFORMED = "malformed"
    """Status 200 and broken JSON."""


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, int) else value


class Fault(BaseModel):
    """One fault and when it strikes: at the given positions, or at a share `rate` of all requests."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: FaultKind
    position: Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(_one_or_many)] = ()
    rate: float | None = Field(default=None, gt=0, le=1)
    seconds: Annotated[float, Field(ge=0, description="what `slow` adds")] = 1.0
    retry_after: Annotated[float, Field(ge=0)] | Literal["none"] | None = None

    @model_validator(mode="after")
    def _strikes_one_way(self) -> Fault:
        if bool(self.position) == (self.rate is not None):
            raise ValueError("a fault needs either `position` or `rate`")
        return self

    def refusal(self) -> ApiError | None:
        """The error answer, for the kinds that are one."""
        match self.kind:
            case FaultKind.RATE_LIMIT:
                text = "Rate limit reached (injected fault)."
                headers = self._retry_header(default=1.0)
                return ApiError(429, text, type="requests", code="rate_limit_exceeded", headers=headers)
            case FaultKind.QUOTA:
                text = "You exceeded your current quota (injected fault)."
                return ApiError(429, text, type="insufficient_quota", code="insufficient_quota")
            case FaultKind.WRONG_KEY:
                return ApiError(401, "Incorrect API key provided (injected fault).", code="invalid_api_key")
            case FaultKind.ERROR:
                return ApiError(500, "The server had an error (injected fault).", type="server_error")
            case FaultKind.OVERLOADED:
                text = "The engine is currently overloaded (injected fault)."
                return ApiError(503, text, type="server_error", headers=self._retry_header(default=None))
            case _:
                return None

    def _retry_header(self, *, default: float | None) -> dict[str, str]:
        seconds = default if self.retry_after is None else self.retry_after
        return {"retry-after": f"{seconds:g}"} if isinstance(seconds, float) else {}


@dataclass(frozen=True, slots=True)
class Faults:
    """All faults of a server, what it lacks, the limit that it keeps, and the window of its models. Which request is
    struck depends on its position and the seed alone; the limit counts those that are not."""

    faults: tuple[Fault, ...]
    seed: int = 0
    limit: Limit | None = None
    lacks: tuple[Lack, ...] = ()
    window: Window | None = None

    def taken(self, body: dict[str, Any]) -> dict[str, Any]:
        """The request without what the server takes no notice of.

        Raises:
            ApiError: it wants what the server lacks.
        """
        for lack in self.lacks:
            body = lack.apply(body)
        return body

    def at(self, position: int) -> Fault | None:
        """The fault for the `position`-th request: the first of the list that strikes."""
        for index, fault in enumerate(self.faults):
            if position in fault.position:
                return fault
            if fault.rate is not None and random.Random(f"{self.seed}:{index}:{position}").random() < fault.rate:
                return fault
        return None
