"""Where in a journal the events of each trajectory stand, so that they are read when they are asked for."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from heapq import merge

from swarm.events import Event
from swarm.journal.records import Records
from swarm.journal.standing import DECIDE, standing


class Trails:
    """Told each event of `events`, in order, and then those that come after them. What belongs to no trajectory is
    that of "". Keeps the events of a file (`Records`) by their places alone, but those that decide: they are few, may
    name all trajectories, and are asked for with each."""

    def __init__(self, events: Records | Sequence[Event]) -> None:
        self._events = events
        self._more: list[Event] = []
        self._count = 0
        self._places: dict[str, array[int]] = {}
        self._deciding: dict[int, Event] = {}

    def __repr__(self) -> str:
        return f"<Trails: {self._count} events of {len(self._places)} trajectories>"

    def take(self, event: Event) -> None:
        """The next event."""
        if self._count >= len(self._events):
            self._more.append(event)
        place, self._count = self._count, self._count + 1
        name = getattr(event, "trajectory_id", "")
        if (places := self._places.get(name)) is None:
            places = self._places[name] = array("q")
        places.append(place)
        if isinstance(event, DECIDE):
            self._deciding[place] = event

    def at(self, place: int) -> Event:
        """The event with this number."""
        if (deciding := self._deciding.get(place)) is not None:
            return deciding
        known = len(self._events)
        return self._events[place] if place < known else self._more[place - known]

    @property
    def last(self) -> int:
        """The number of the event that was told last."""
        return self._count - 1

    def of(self, trajectory_id: str) -> Iterator[Event]:
        """The events of a trajectory, and among them those that decide which of its own count."""
        before = -1
        for place in merge(self._places.get(trajectory_id, ()), self._deciding):
            if place > before:
                yield self.at(place)
            before = place

    def standing(self, trajectory_id: str, *more: Event) -> list[Event]:
        """The events of a trajectory that still count, once these `more` have happened."""
        if trajectory_id not in self._places:
            return []
        of = standing([*self.of(trajectory_id), *more])
        return [event for event in of if getattr(event, "trajectory_id", "") == trajectory_id]
