"""What the journal of a run holds already: whoever goes through the run again is answered from here, and does not do
again what was done."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from swarm.errors import JournalError
from swarm.events import (
    AgentEnded,
    AgentStarted,
    AgentTold,
    Answered,
    CallFinished,
    CallSent,
    Event,
    GateFinished,
    Notice,
    RunResumed,
    RunStarted,
    StageStarted,
    ToolFinished,
    TreeKept,
)
from swarm.journal.course import Course, Turn
from swarm.journal.records import Records
from swarm.journal.token_log import Stains
from swarm.journal.trail import Trail
from swarm.journal.trails import Trails
from swarm.protocols import EventSink
from swarm.types import JsonObject, Message


class Past:
    """Fed with all events of the journal, in order. One without events knows nothing: that of a new run. Of a file
    (`Records`) it keeps how far everything came; what was said it reads again, one trajectory at a time, where it is
    asked for it, as long as the file is held."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        events = events if isinstance(events, Records) else tuple(events)
        self.course = Course()
        self.trails = Trails(events)
        self.stains = Stains()
        self.configured: list[RunStarted | RunResumed] = []
        """The events that hold a configuration."""
        self._trails: dict[str, Trail] = {}  # those that were asked for
        self._resumes: list[tuple[RunResumed, int | None]] = []  # each with the end of its stage, as it stood then
        self._calls = 0
        self._tokens: Counter[str] = Counter()
        self._in_flight: dict[tuple[str, int], CallSent] = {}
        self._kept: dict[str, int] = {}
        self._told: defaultdict[str, list[AgentTold]] = defaultdict(list)
        self._gates: dict[tuple[str, str, int], GateFinished] = {}
        self._answers: dict[tuple[str, int], Answered] = {}
        self._worked: dict[str, float] = {}
        self._seen: dict[str, float] = {}  # when a trajectory was heard of last, in the same process
        self._other_prompts = False
        self.anything = False
        """Whether anything is known: else each question is answered at once."""
        for event in events:
            self.observe(event)

    def __repr__(self) -> str:
        return f"<Past: {self._calls} calls, {self.course!r}>"

    # ── calls and tools ─────────────────────────────────────────────────────────────────────────────────────────────

    def call(self, call_id: str) -> CallFinished | None:
        """The accepted attempt at a call."""
        if not self.anything:
            return None
        return self._trail_of(call_id).accepted.get(call_id)

    def tries(self, call_id: str) -> int:
        """The number of the last attempt at a call."""
        return self._trail_of(call_id).tries[call_id] if self.anything else 0

    def prompt(self, call: CallFinished) -> list[Message]:
        """All messages that a call was made with.

        Raises:
            JournalError: its calls go on from one another in a circle.
        """
        chain, seen = [call], {call.call_id}
        while (before := self.call(chain[-1].prefix_call_id)) is not None:
            if before.call_id in seen:
                raise JournalError(f"{call.call_id}: the calls that its prompt goes on from are a circle")
            seen.add(before.call_id)
            chain.append(before)
        messages: list[Message] = []
        for each in reversed(chain):
            messages = [*messages[: each.prefix_messages], *each.new_messages]
            if each is not call:
                messages.append(each.response)
        return messages

    def asides(self, call_id: str) -> list[CallFinished]:
        """The calls that were made for a call beforehand, and are no turns."""
        return list(self._trail_of(call_id).asides.get(call_id, ()))

    def tokens(self, trajectory_id: str) -> int:
        """What the calls of a trajectory used."""
        return self._tokens[trajectory_id]

    def lost(self) -> list[CallSent]:
        """The calls that were in flight when the process died."""
        return list(self._in_flight.values())

    def tell_of_prompts(self, sink: EventSink) -> None:
        """Say, once, that prompts are made in another way than they were."""
        if not self._other_prompts:
            self._other_prompts = True
            message = "prompts are not made as they were when the run began: what was answered stays as it was asked"
            sink.emit(Notice(level="warning", message=message))

    def tool(self, call_id: str, tool_call_id: str) -> ToolFinished | None:
        """The end of a use of a tool, each given once: a model may give two the same id."""
        if not self.anything:
            return None
        return self._trail_of(call_id).tool(call_id, tool_call_id)

    def tools_used(self, trajectory_id: str, since: int) -> frozenset[str]:
        """The names of the tools that a trajectory used after a turn."""
        return frozenset(name for turn, name in self._trail(trajectory_id).used if turn > since)

    def kept(self, trajectory_id: str) -> TreeKept | None:
        """The last checkpoint of a trajectory's tree."""
        place = self._kept.get(trajectory_id)
        found = self.trails.at(place) if place is not None else None
        return found if isinstance(found, TreeKept) else None

    # ── trajectories and stages ─────────────────────────────────────────────────────────────────────────────────────

    def start(self, trajectory_id: str) -> AgentStarted | None:
        """How a trajectory began."""
        return self.course.starts.get(trajectory_id)

    def result(self, trajectory_id: str) -> AgentEnded | None:
        """How a trajectory ended, if that stands."""
        return self.course.ends.get(trajectory_id)

    def goes_on(self, trajectory_id: str) -> bool:
        """Whether a trajectory began and has no end that stands."""
        return trajectory_id in self.course.starts and trajectory_id not in self.course.ends

    @property
    def unended(self) -> set[str]:
        """The trajectories that have no end that stands."""
        return {each for each in self.course.starts if each not in self.course.ends}

    def name_for(self, name: str) -> str:
        """The name of a trajectory, or the next one where it stands for results that have changed since."""
        return self.course.name_for(name)

    def seconds(self, trajectory_id: str = "") -> float:
        """How long a trajectory has been at work; the run itself, for none."""
        return self._worked.get(trajectory_id, 0.0)

    def plan(self, stage: int) -> StageStarted | None:
        """How a stage began."""
        return self.course.plans.get(stage)

    def decision(self, stage: int) -> str | None:
        """The commit with which an orchestrator began a stage, or ended the run instead; None where it did not."""
        if (plan := self.plan(stage)) is not None:
            return plan.commit
        last = stage > max(self.course.plans, default=0)
        return self.course.finished.commit if self.course.finished is not None and last else None

    def turns(self, stage: int) -> list[Turn]:
        """The beginnings and ends of the attempts of a stage, in the order in which they happened."""
        turns = []
        for _, turn in self.course.turns(stage):
            end = self.result(turn.trajectory_id)
            seconds = end.seconds if end is not None else self.seconds(turn.trajectory_id)
            told, unheard = self._was_told(turn.trajectory_id)
            turns.append(turn._replace(seconds=seconds, told=told, unheard=unheard))
        return turns

    def _was_told(self, trajectory_id: str) -> tuple[bool, tuple[str, ...]]:
        """Whether an attempt was told to finish, and the texts that did not reach its model."""
        told = self._told.get(trajectory_id, [])
        heard = self._trail(trajectory_id).accepted.values() if told else ()
        said = [message["content"] for call in heard for message in call.new_messages if message["role"] == "user"]
        return bool(told), tuple(each.text for each in told if each.text not in said)

    def only(self, trajectory_id: str) -> Past:
        """What there is of one trajectory, and nothing else: in memory, to be sent elsewhere."""
        return Past(self.trails.of(trajectory_id))

    # ── the run ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def config(self) -> JsonObject:
        """The run's configuration, with what was given when it was resumed."""
        return (self.course.started.config if self.course.started else {}) | self.course.given

    def gate(self, commit: str, command: str, look: int = 1) -> GateFinished | None:
        """What a gate said of a commit; `look` counts those of a search that do not follow from one another."""
        return self._gates.get((commit, command, look))

    def answer(self, kind: str, stage: int) -> Answered | None:
        """What the user agreed to."""
        return self._answers.get((kind, stage))

    def asked_at(self) -> float:
        """The dollars that the run had cost when going on was last agreed to."""
        spent = [each.spent_usd or 0.0 for each in self._answers.values() if each.kind == "spending"]
        return max(spent, default=0.0)

    def reopened(self, version: str) -> RunResumed:
        """The record with which the run goes on; observe it before anything else."""
        return self.course.reopened(version).model_copy(update={"lost_calls": len(self._in_flight)})

    # ── the fold ────────────────────────────────────────────────────────────────────────────────────────────────────

    def observe(self, event: Event) -> None:
        """Take in the next event."""
        self.anything = True
        self.trails.take(event)
        self.stains.observe(event)
        if isinstance(event, RunResumed):
            self._resume(event)
        self._time(event)
        self.course.observe(event)
        if self._trails and (trail := self._trails.get(getattr(event, "trajectory_id", ""))) is not None:
            trail.observe(event)
        match event:
            case CallSent() | CallFinished():
                self._call(event)
            case TreeKept():
                self._kept[event.trajectory_id] = self.trails.last
            case AgentTold():
                self._told[event.trajectory_id].append(event)
            case GateFinished():
                look = event.attempt if event.purpose == "search" else 1
                self._gates[event.commit, event.command, look] = event
            case Answered() if event.yes:
                self._answers[event.kind, event.stage] = event
            case RunStarted() | RunResumed():
                self.configured.append(event)
            case _:
                pass

    def _time(self, event: Event) -> None:
        self._count("", event.mono)
        if name := getattr(event, "trajectory_id", ""):
            self._count(name, event.mono)

    def _count(self, name: str, now: float) -> None:
        since = self._seen.get(name)
        self._worked[name] = self._worked.get(name, 0.0) + (max(0.0, now - since) if since is not None else 0.0)
        self._seen[name] = now

    def _call(self, event: CallSent | CallFinished) -> None:
        if isinstance(event, CallSent):
            self._in_flight[event.call_id, event.attempt] = event
            return
        self._in_flight.pop((event.call_id, event.attempt), None)
        self._tokens[event.trajectory_id] += event.usage.total_tokens
        self._calls += event.accepted

    def _resume(self, event: RunResumed) -> None:
        self._seen = {}  # nobody was at work in between
        end = self.course.stage_end(event.stage)
        self._resumes.append((event, end))
        for trail in self._trails.values():
            trail.undo(event, end, self.course.starts)

    # ── what was said ───────────────────────────────────────────────────────────────────────────────────────────────

    def _trail_of(self, call_id: str) -> Trail:
        return self._trail(call_id.rpartition("/")[0])

    def _trail(self, trajectory_id: str) -> Trail:
        """What a trajectory said, read when it is first asked for."""
        if (found := self._trails.get(trajectory_id)) is not None:
            return found
        trail = self._trails[trajectory_id] = Trail()
        resumes = iter(self._resumes)
        for event in self.trails.of(trajectory_id):
            trail.observe(event)
            if isinstance(event, RunResumed):
                resumed, end = next(resumes)
                trail.undo(resumed, end, self.course.starts)
        return trail
