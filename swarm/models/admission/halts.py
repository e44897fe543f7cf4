"""Faults that meet every call: then nothing is admitted, or one call after a while to see whether it is over. Pure."""

from __future__ import annotations

from math import inf

from swarm.errors import EndpointError, EndpointFault

STOP_S = 5.0
"""Seconds for which calls are refused without being sent, after a fault that will not pass by itself. Then one is let
through: the next run may find a quota that was topped up."""

STOP_UNREACHED_S = 1.0
FIRST_TRIES = 4
"""Times that nobody answers at an endpoint that has not answered before, until it is given up; ..."""

FIRST_S = 10.0
"""... or seconds, where each try takes long."""

OUTAGE_S = 60.0
"""Seconds after which an endpoint that had answered before is given up."""

PATIENCE_S = 900.0
"""A rate limit that answers nobody for so long, while a call wants to be made, is as good as a used-up quota."""

_BACKOFF_S = (0.25, 8.0)
_TOLD_S = (1.0, 4.0)
"""Pauses that are told to the user: from the first on where the endpoint never answered, and again the longer ones."""

_OUTAGE = frozenset({EndpointFault.UNREACHABLE, EndpointFault.CONNECT_TIMED_OUT})


class Halt:
    """What keeps all calls from being sent, if anything does."""

    def __init__(self, park: float = 0.0) -> None:
        self._park = park
        self._fault: EndpointError | None = None
        self._stopped = False
        self._met_at = self._until = 0.0
        self._trial_out = False
        self._unknown: dict[str, tuple[EndpointError, float]] = {}
        self._ever_reached = False
        self._tries = 0
        self._outage_since = 0.0
        self._tried_at = -inf

    def __repr__(self) -> str:
        return f"<Halt: {self._fault.kind if self._fault else 'none'}>"

    @property
    def clear(self) -> bool:
        """Whether nothing was met that did not pass."""
        return self._fault is None and not self._unknown

    def met(self, error: EndpointError, model: str, now: float, sent_at: float) -> str:
        """A call failed. Gives the news for the user, or ""."""
        match error.kind:
            case EndpointFault.WRONG_KEY | EndpointFault.QUOTA_EXHAUSTED if self._park > 0:
                news = "" if self._fault else f"{error.message}; parked: one call tries it every {self._park:g} s"
                self._hold(error, now, self._park, stopped=False)
                return news
            case EndpointFault.WRONG_KEY | EndpointFault.QUOTA_EXHAUSTED | EndpointFault.UNTRUSTED:
                self._hold(error, now, STOP_S, stopped=True)
            case EndpointFault.UNKNOWN_MODEL:
                self._unknown[model] = (error, now + STOP_S)
            case EndpointFault.UNREACHABLE | EndpointFault.CONNECT_TIMED_OUT if sent_at >= self._tried_at:
                return self._unreachable(error, now, sent_at)
            case _:
                pass
        return ""

    def _unreachable(self, error: EndpointError, now: float, sent_at: float) -> str:
        if self._tries == 0:
            self._outage_since = now if self._ever_reached else sent_at
        self._tries += 1
        self._tried_at = now
        so_long = now - self._outage_since
        if so_long > OUTAGE_S if self._ever_reached else self._tries >= FIRST_TRIES or so_long > FIRST_S:
            self._tries = 0
            self._hold(error, now, STOP_UNREACHED_S, stopped=True)
            return ""
        wait = min(_BACKOFF_S[1], _BACKOFF_S[0] * 2.0 ** (self._tries - 1))
        self._hold(error, now, wait, stopped=False)
        if self._ever_reached and self._tries == 1:
            return f"{error.message}; again in {wait:g} s, for {OUTAGE_S:g} s; calls wait for it to come back"
        if wait >= _TOLD_S[self._ever_reached] and self._tries < 7:  # not every 8 s
            return f"{error.message}; again in {wait:g} s"
        return ""

    def _hold(self, error: EndpointError, now: float, seconds: float, *, stopped: bool) -> None:
        self._fault, self._met_at, self._until, self._stopped = error, now, now + seconds, stopped

    def reached(self) -> None:
        """The endpoint gave some answer, if only an error."""
        self._ever_reached, self._tries = True, 0
        if self._fault is not None and self._fault.kind in _OUTAGE:
            self._fault = None

    def ended(self, sent_at: float) -> bool:
        """A call was answered: all is well, unless it was sent before the fault. Gives whether calls had been waiting
        for that."""
        if self._fault is not None and sent_at < self._met_at:
            return False
        waited = self._fault is not None and (self._ever_reached or self._fault.kind not in _OUTAGE)
        self._fault = None
        self._unknown.clear()
        self.reached()
        return waited

    def stopped(self, now: float) -> EndpointError | None:
        """The fault to refuse every call with."""
        return self._fault if self._stopped and now < self._until else None

    def unknown(self, model: str, now: float) -> EndpointError | None:
        """The fault to refuse calls to this model with."""
        error, until = self._unknown.get(model, (None, 0.0))
        return error if now < until else None

    def reason(self, now: float) -> str:
        """Why nothing is admitted, or ""."""
        if self._fault is None or (self._stopped and now >= self._until):
            return ""
        return f"{'stopped' if self._stopped else 'waiting'}: {self._fault.message}"

    def delay(self, now: float) -> float | None:
        """Seconds until a call may be admitted; None: the one that tries it is on its way."""
        if self._fault is None:
            return 0.0
        if now < self._until:
            return self._until - now
        return None if self._trial_out else 0.0

    def try_one(self) -> bool:
        """A call is admitted. Gives whether it is the one that tries it, after which `tried` is due."""
        if self._fault is None:
            return False
        self._trial_out = True
        return True

    def tried(self) -> None:
        self._trial_out = False


def again(error: EndpointError) -> EndpointError:
    """The same for another call: an exception collects the traces of whoever raises it."""
    return EndpointError(error.kind, error.message, remedy=error.remedy, status=error.status)


def as_quota(error: EndpointError, patience: float) -> EndpointError:
    """What a rate limit is that answers nobody for so many seconds."""
    text = f"{error.message}; nobody is answered for {patience:.0f} s or more"
    return EndpointError(EndpointFault.QUOTA_EXHAUSTED, text, remedy="try again later", status=error.status)
