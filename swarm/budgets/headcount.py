"""How many sub-tasks a run has asked for, and may: whoever asks, in whatever stage, at whatever depth."""

from __future__ import annotations

from collections.abc import Collection

from swarm.events import Event, GroupStarted, RepairsStarted, StageStarted


class Headcount:
    """Counts sub-tasks by their ids, each once. Feed it the run's records too: those of the past count as well."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._asked: set[str] = set()

    def __repr__(self) -> str:
        return f"<Headcount {len(self._asked)} of {self.most}>"

    @property
    def room(self) -> int:
        """How many more may be asked for."""
        return max(0, self.most - len(self._asked))

    def allows(self, subtask_id: str) -> bool:
        """Whether this one may be asked for, or was already."""
        return subtask_id in self._asked or self.room > 0

    def excess(self, subtask_ids: Collection[str]) -> int:
        """How many would be too many, were all of these asked for."""
        return max(0, len(self._asked.union(subtask_ids)) - self.most)

    def add(self, subtask_id: str) -> None:
        """This one is asked for."""
        self._asked.add(subtask_id)

    def observe(self, event: Event) -> None:
        """Take in one event of the run."""
        if isinstance(event, StageStarted):
            self._asked |= {subtask.id for subtask in event.plan.subtasks}
        elif isinstance(event, GroupStarted | RepairsStarted):
            self._asked |= {subtask.id for subtask in event.subtasks}
