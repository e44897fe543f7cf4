"""News of an endpoint for the users of all runs that have calls there: once an episode each, in their own thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from math import inf

from swarm.models.admission.waiting import Admission, Waiter, in_loop

EPISODE_S = 60.0
"""After so many seconds without news of a kind, the next one is told again."""

RUNS = 10_000
"""Runs that are remembered: an episode may last for hours, in which a Swarm makes any number of them."""


class Announcements:
    """What was told last, and to whom. Pure, but for the telling; the clock is passed in."""

    def __init__(self) -> None:
        self._news = ""
        self._at = -inf
        self._told: dict[Callable[[str], None], None] = {}

    def __repr__(self) -> str:
        return f"<Announcements: {self._news or 'none'}>"

    def announce(self, text: str, calls: Iterable[Waiter | Admission], now: float, *, again: bool = False) -> None:
        """Tell every run that has one of these calls, once an episode. `again`: it is news in any case."""
        if again or now - self._at > EPISODE_S:
            self._told.clear()
            self._news = text
        self._at = now
        for call in calls:
            self.tell(call, now)

    def tell(self, call: Waiter | Admission, now: float) -> None:
        """Tell the run of a call what was announced lately."""
        if now - self._at > EPISODE_S:  # as a rule
            return
        tell = call.ask.tell
        if tell is not None and tell not in self._told:
            self._told[tell] = None
            if len(self._told) > RUNS:
                del self._told[next(iter(self._told))]
            in_loop(call.loop, partial(tell, self._news))
