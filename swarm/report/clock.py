"""The time of a run at work: that in which no process worked on it is left out."""

from __future__ import annotations

from swarm.events import Event, RunResumed


class Clock:
    """Tell it every event, in order. `now` is that of the last one, in milliseconds since the run began."""

    def __init__(self) -> None:
        self.now = 0
        self._zero: float | None = None
        self._before = 0

    def __repr__(self) -> str:
        return f"<Clock at {self.now} ms>"

    def observe(self, event: Event) -> int:
        """When it happened. The monotonic clock of a process that goes on with the run begins anew."""
        if self._zero is None or isinstance(event, RunResumed):
            self._zero, self._before = event.mono, self.now
        self.now = max(self.now, self.at(event.mono))
        return self.now

    def at(self, mono: float) -> int:
        """A time of the monotonic clock of the process whose events are being told, as milliseconds of the run."""
        zero = mono if self._zero is None else self._zero
        return self._before + max(0, round((mono - zero) * 1000))
