"""Calls that are refused time and again while others pass: each is put apart, and given up in the end. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from swarm.calls import Ask
from swarm.errors import EndpointError, EndpointFault

TRIES = 8
"""Refusals of one call, each while others passed, until it is given up: then it is the call, and not the rate."""

MOSTLY = 4
"""Others must have passed so many times as often as they were refused: else it is the rate after all."""

_DISTANCE_S = (1.0, 30.0)
_FORGET_S = 900.0
_MANY = 4096


class _Name(NamedTuple):
    trajectory_id: str
    since: float


@dataclass(slots=True)
class _Refused:
    at: float
    passed: int  # calls that had passed in all when it was first refused
    refused: int  # and that had been refused
    times: int = 0
    alone: int = 0  # of these, while others passed
    until: float = -inf


class Apart:
    """What each call met that was refused by a rate limit and wants to be sent again."""

    def __init__(self) -> None:
        self._calls: dict[_Name, _Refused] = {}
        self._passed = self._refusals = 0
        self._passed_sent_at = -inf

    def __repr__(self) -> str:
        return f"<Apart: {len(self._calls)} calls were refused>"

    @property
    def any(self) -> bool:
        """Whether any call was refused that did not pass since."""
        return bool(self._calls)

    def passed(self, ask: Ask, sent_at: float) -> None:
        """A call was answered."""
        self._passed += 1
        self._passed_sent_at = max(self._passed_sent_at, sent_at)
        if self._calls and ask.since is not None:
            self._calls.pop(_Name(ask.trajectory_id, ask.since), None)

    def refused(self, ask: Ask, now: float, pause: float | None, jitter: float) -> bool:
        """A call met a rate limit. Gives whether that is its own affair: it was refused before, again and again, and
        others that were sent in between passed."""
        self._refusals += 1
        if ask.since is None or not ask.trajectory_id:
            return False
        if len(self._calls) > _MANY:
            self._calls = {name: call for name, call in self._calls.items() if call.at > now - _FORGET_S}
        call = self._calls.setdefault(
            _Name(ask.trajectory_id, ask.since), _Refused(now, self._passed, self._refusals - 1)
        )
        others_pass = call.times > 0 and self._passed_sent_at > call.at
        call.at, call.times = now, call.times + 1
        if call.times < 2:
            return False
        # From the second refusal on others go first, so that it is not always this call that tries it after a pause.
        distance = min(_DISTANCE_S[1], _DISTANCE_S[0] * 2.0 ** (call.times - 2))
        call.until = now + max(distance, pause or 0.0) + jitter
        call.alone += others_pass
        return others_pass and call.times > 2

    def delay(self, ask: Ask, now: float) -> float:
        """Seconds until the call may join the others that wait."""
        call = self._of(ask)
        return max(0.0, call.until - now) if call else 0.0

    def hopeless(self, ask: Ask) -> int:
        """How often the call was refused, where it makes no sense to send it again; else 0."""
        call = self._of(ask)
        if call is None or call.alone < TRIES:
            return 0
        refused = self._refusals - call.refused - call.times
        return call.times if self._passed - call.passed > MOSTLY * refused else 0

    def allowed_in(self, ask: Ask, now: float) -> float:
        """See `delay`. Raises: EndpointError, where the call is hopeless."""
        if times := self.hopeless(ask):
            text = f"the endpoint limits the rate of this call: refused {times} times while other calls pass"
            raise EndpointError(EndpointFault.RATE_LIMITED, text, remedy="it may be larger than the limit allows")
        return self.delay(ask, now)

    def _of(self, ask: Ask) -> _Refused | None:
        if not self._calls or ask.since is None:
            return None
        return self._calls.get(_Name(ask.trajectory_id, ask.since))
