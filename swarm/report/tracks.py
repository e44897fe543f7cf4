"""What each trajectory did, and when: the rows of the timeline and of the table of agents."""

from __future__ import annotations

from dataclasses import dataclass, field

from swarm.events import (
    AgentEnded,
    AgentStarted,
    AgentTold,
    CallFinished,
    CallSent,
    ContextEdited,
    Event,
    GroupEnded,
    GroupStarted,
    RunResumed,
    ToolFinished,
    ToolStarted,
    WorkerSaid,
)
from swarm.report.model import FAILED_CALL, GROUP, MODEL, TOOL, WAIT, Agent
from swarm.report.talk import Systems, Talk

_LONGEST_S = 1e11


def ms(seconds: float) -> int:
    """Whole milliseconds; 0 where a record of others tells what can be no time of a run."""
    return round(seconds * 1000) if 0 < seconds < _LONGEST_S else 0


class Clock:
    """The time of a run at work: that in which no process worked on it is left out. Tell it every event, in order.
    `now` is that of the last one, in milliseconds since the run began."""

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
        return self._before + ms(mono - zero)


@dataclass(slots=True)
class Track:
    """One trajectory on its way. `open` holds when each call, tool or group began that has not ended."""

    agent: Agent
    talk: Talk
    number: int
    ended: bool = False
    open: dict[tuple[int, str], int] = field(default_factory=dict)

    def span(self, kind: int, start: int, end: int) -> int:
        """Take down a span; its length."""
        length = max(0, end - start)
        if length:
            self.agent.spans += (kind, start, length)
        return length


class Tracks:
    """Tell it every event, in order, with the clock at it."""

    def __init__(self, clock: Clock, systems: Systems) -> None:
        self._clock = clock
        self._systems = systems
        self.by_id: dict[str, Track] = {}

    def __repr__(self) -> str:
        return f"<Tracks: {len(self.by_id)}>"

    @property
    def all(self) -> list[Track]:
        """In the order in which they began."""
        return list(self.by_id.values())

    def number(self, trajectory_id: str) -> int:
        """The index of a trajectory's agent, -1 for none."""
        track = self.by_id.get(trajectory_id)
        return track.number if track else -1

    def observe(self, event: Event) -> None:
        """Take in the next event."""
        now = self._clock.now
        if isinstance(event, AgentStarted):
            self._start(event, now)
            return
        if isinstance(event, RunResumed):
            self._go_on(event)
            return
        track = self.by_id.get(getattr(event, "trajectory_id", ""))
        if track is None:
            return
        agent = track.agent
        match event:
            case CallSent():
                track.open[MODEL, f"{event.call_id} {event.attempt}"] = now
            case CallFinished():
                self._call(track, event, now)
            case ToolStarted():
                track.open[TOOL, f"{event.call_id} {event.tool_call_id}"] = now
                track.talk.started(event, now)
            case ToolFinished():
                track.open.pop((TOOL, f"{event.call_id} {event.tool_call_id}"), None)
                start = self._clock.at(event.t_start)
                length = track.span(TOOL, start, self._clock.at(event.t_end))
                agent.tool_calls += 1
                track.talk.finished(event, start, length)
            case GroupStarted():
                track.open[GROUP, str(event.group)] = now
            case GroupEnded():
                track.span(GROUP, track.open.pop((GROUP, str(event.group)), now), now)
            case ContextEdited():
                track.talk.edited(event, now)
            case AgentTold():
                agent.told = event.reason
                track.talk.hurried(event, now)
            case WorkerSaid() if event.text:
                track.talk.told_of(event, now)
            case AgentEnded():
                self._end(track, event, now)
            case _:
                pass

    def close(self, live: bool) -> None:
        """The record ends here: what has not ended is shown up to now. `live`: the run is at work."""
        for track in self.all:
            track.agent.tool_ms = _covered(track.agent.spans, TOOL)
            if track.ended:
                continue
            track.agent.outcome = "working" if live else "lost"
            track.agent.end = self._clock.now
            for (kind, _), start in track.open.items():
                track.span(kind, start, self._clock.now)
            track.agent.lost = len(track.open)

    def _start(self, event: AgentStarted, now: int) -> None:
        if event.trajectory_id in self.by_id:  # told again by a run that goes on
            return
        subtask = event.subtask
        parent = self.by_id.get(event.parent_trajectory_id)
        agent = Agent(
            id=event.trajectory_id,
            name=(subtask.id if subtask else "") or event.name or event.trajectory_id,
            role=event.role,
            title=subtask.title if subtask else "",
            subtask=subtask.id if subtask else "",
            stage=event.stage,
            attempt=event.attempt,
            parent=parent.agent.subtask if parent else "",
            model=event.model,
            sandbox=event.sandbox,
            start=now,
        )
        self.by_id[event.trajectory_id] = Track(agent, Talk(self._systems), len(self.by_id))

    def _call(self, track: Track, event: CallFinished, now: int) -> None:
        agent, usage = track.agent, event.usage
        sent = track.open.pop((MODEL, f"{event.call_id} {event.attempt}"), None)
        began = self._clock.at(event.t_sent) if event.t_sent else now
        asked = began if sent is None else sent
        agent.wait_ms += track.span(WAIT, max(agent.start, asked - ms(event.wait_s)), asked)
        length = track.span(
            MODEL if event.accepted else FAILED_CALL, began, self._clock.at(event.t_done) if event.t_done else now
        )
        agent.model_ms += length
        agent.failed_calls += not event.accepted
        agent.steps += event.accepted
        agent.prompt += usage.prompt_tokens
        agent.completion += usage.completion_tokens
        agent.cached += usage.cached_tokens
        if event.cost_usd is None:
            agent.cost = None if usage.calls or event.estimated else agent.cost
        elif agent.cost is not None:
            agent.cost += event.cost_usd
        track.talk.called(event, began, length)

    def _end(self, track: Track, event: AgentEnded, now: int) -> None:
        agent = track.agent
        agent.outcome, agent.stop, agent.end = event.outcome.value, event.stop, now
        agent.summary = event.final_output
        for (kind, _), start in track.open.items():
            track.span(kind, start, now)
        track.open.clear()
        track.ended = True

    def _go_on(self, event: RunResumed) -> None:
        for track in self.all:
            for (kind, _), start in track.open.items():  # it was cut off where the process before ended
                track.span(kind, start, self._clock.now)
            track.open.clear()
            track.talk.cut_off()
            if track.agent.id in event.going_on:
                track.ended = False
                track.agent.outcome = track.agent.stop = ""


def _covered(spans: list[int], kind: int) -> int:
    """The time in which there was at least one span of a kind."""
    total, until = 0, 0
    each = zip(spans[0::3], spans[1::3], spans[2::3], strict=True)
    for _, start, length in sorted(span for span in each if span[0] == kind):
        total += max(0, start + length - max(start, until))
        until = max(until, start + length)
    return total
