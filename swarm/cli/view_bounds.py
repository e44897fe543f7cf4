"""What bounds a run, as its record tells: limits, width, and how the endpoint takes its calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from swarm.cli.text import line
from swarm.errors import EndpointFault

_LASTS = 30.0
"""Seconds for which a refusal is shown that nothing followed."""

_PARKED = {EndpointFault.QUOTA_EXHAUSTED.value, EndpointFault.WRONG_KEY.value}
_LIMITED = {EndpointFault.RATE_LIMITED.value, EndpointFault.OVERLOADED.value}
_SHOWN = _PARKED | _LIMITED | {EndpointFault.UNREACHABLE.value, EndpointFault.CONNECT_TIMED_OUT.value}


@dataclass
class BoundsView:
    """The limits of a run; 0 where there is none. `seconds` count from `since` (Unix seconds). `width` sub-agents are
    at work at once, `in_flight` calls at most."""

    tokens: float = 0
    usd: float = 0
    steps: float = 0
    seconds: float = 0
    since: float = 0
    width: int = 0
    in_flight: int = 0
    park: float = 0

    def read(self, config: Mapping[str, Any]) -> None:
        """Take over what a configuration sets."""
        for name, key in _KEYS.items():
            if key in config:
                value = config[key]
                setattr(self, name, value if isinstance(value, int | float) else 0)

    def budget(self, tokens: int | None, usd: float | None) -> None:
        """The whole run may use so much from now on; None: as it was."""
        self.tokens = self.tokens if tokens is None else tokens
        self.usd = self.usd if usd is None else usd


_KEYS = {
    "tokens": "budget_tokens",
    "usd": "budget_usd",
    "steps": "max_critical_steps",
    "seconds": "timeout",
    "width": "concurrency",
    "in_flight": "max_in_flight",
    "park": "park",
}


@dataclass(slots=True)
class EndpointView:
    """How the endpoint takes calls: the last refusal that no answer followed, and when a rate limit was met last. Times
    are Unix seconds."""

    kind: str = ""
    message: str = ""
    at: float = 0.0
    limited_at: float = 0.0

    def refused(self, kind: str, message: str, at: float) -> None:
        if kind in _SHOWN:
            self.kind, self.message, self.at = kind, message, at
        if kind in _LIMITED:
            self.limited_at = at

    def answered(self) -> None:
        self.kind = ""

    def trouble(self, now: float, park: float) -> Literal["", "limited", "parked"]:
        """Why whoever waits for a call does. `park`: seconds between two tries of a used-up quota."""
        if self.kind in _PARKED and park > 0:
            return "parked"
        return "limited" if now - self.limited_at < _LASTS else ""

    def state(self, now: float, park: float) -> str:
        """Why no call is answered, in words; empty where calls are."""
        parked = self.kind in _PARKED and park > 0
        if not self.kind or (now - self.at > _LASTS and not parked):
            return ""
        return f"{'parked' if parked else self.kind.replace('_', ' ')}: {line(self.message, 160)}"
