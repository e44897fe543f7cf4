"""How far a run is, in a form that another program reads."""

from __future__ import annotations

from dataclasses import dataclass, field

from swarm.events import AgentEnded, AgentStarted, Event, GateFinished, Notice, RunEnded, StageStarted
from swarm.journal.totals import Totals
from swarm.types import JsonObject, Role

_NOTICES = 5


@dataclass
class Progress:
    """Feed it every event of a run, in order, with `observe`."""

    totals: Totals = field(default_factory=Totals)
    ended: RunEnded | None = None
    _at_work: dict[str, str] = field(default_factory=dict)
    _notices: list[str] = field(default_factory=list)

    def observe(self, event: Event) -> str:
        """Take an event in; gives a line where it is one that people want to see."""
        self.totals.observe(event)
        match event:
            case StageStarted():
                names = ", ".join(subtask.id for subtask in event.plan.subtasks)
                return f"stage {event.stage}: {names}"
            case AgentStarted() if event.role == Role.SUBAGENT:
                self._at_work[event.trajectory_id] = event.name
                return f"{event.name}: started"
            case AgentEnded():
                name = self._at_work.pop(event.trajectory_id, "")
                return f"{name}: {event.outcome.value}" if name else ""
            case GateFinished():
                return f"gate {event.purpose}: {'passed' if event.passed else 'not passed'}"
            case Notice():
                self._notices = [*self._notices, event.message][-_NOTICES:]
                return event.message
            case RunEnded():
                self.ended = event
        return ""

    @property
    def at_work(self) -> list[str]:
        """The sub-tasks that somebody works on."""
        return sorted(self._at_work.values())

    @property
    def done(self) -> tuple[int, int]:
        """Sub-tasks that came to an end, and all that are known."""
        wanted = self.totals.subtasks.keys() - self.totals.dropped
        return len(wanted & self.totals.outcome_of.keys()), len(wanted)

    def as_json(self) -> JsonObject:
        """What is known of the run while it is at work."""
        totals = self.totals
        done, known = self.done
        return {
            "stage": totals.stage,
            "subtasks": {name: subtask.title for name, subtask in totals.subtasks.items()},
            "outcomes": {name: outcome.value for name, outcome in totals.outcome_of.items()},
            "done": done,
            "known": known,
            "at_work": self.at_work,
            "usage": {
                "prompt_tokens": totals.prompt_tokens,
                "completion_tokens": totals.completion_tokens,
                "cached_tokens": totals.cached_tokens,
                "calls": totals.calls,
            },
            "cost_usd": None if totals.unpriced else totals.cost_usd,
            "notices": list(self._notices),
        }
