"""What the journal of a run holds already: whoever goes through the run again is answered from here, and does not do
again what was done."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
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
    StageStarted,
    ToolFinished,
    ToolStarted,
    TreeKept,
)
from swarm.journal.course import Course, Turn
from swarm.protocols import EventSink
from swarm.types import JsonObject, Message, Role, ToolStatus


class Past:
    """Fed with all events of the journal, in order. One without events knows nothing: that of a new run."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.course = Course()
        self._accepted: dict[str, CallFinished] = {}
        self._asides: defaultdict[str, list[CallFinished]] = defaultdict(list)
        self._tries: dict[str, int] = {}
        self._tokens: Counter[str] = Counter()
        self._in_flight: dict[tuple[str, int], CallSent] = {}
        self._tools: defaultdict[tuple[str, str], deque[ToolFinished]] = defaultdict(deque)
        self._used: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        self._kept: dict[str, TreeKept] = {}
        self._told: defaultdict[str, list[AgentTold]] = defaultdict(list)
        self._gates: dict[tuple[str, str, int], GateFinished] = {}
        self._answers: dict[tuple[str, int], Answered] = {}
        self._worked: dict[str, float] = {}
        self._seen: dict[str, float] = {}  # when a trajectory was heard of last, in the same process
        self._other_prompts = False
        for event in events:
            self.observe(event)

    def __repr__(self) -> str:
        return f"<Past: {len(self._accepted)} calls, {self.course!r}>"

    # ── calls and tools ─────────────────────────────────────────────────────────────────────────────────────────────

    def call(self, call_id: str) -> CallFinished | None:
        """The accepted attempt at a call."""
        return self._accepted.get(call_id)

    def tries(self, call_id: str) -> int:
        """The number of the last attempt at a call."""
        return self._tries.get(call_id, 0)

    def prompt(self, call: CallFinished) -> list[Message]:
        """All messages that a call was made with.

        Raises:
            JournalError: its calls go on from one another in a circle.
        """
        chain, seen = [call], {call.call_id}
        while (before := self._accepted.get(chain[-1].prefix_call_id)) is not None:
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
        return list(self._asides.get(call_id, ()))

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
        found = self._tools.get((call_id, tool_call_id))
        return found.popleft() if found else None

    def tools_used(self, trajectory_id: str, since: int) -> frozenset[str]:
        """The names of the tools that a trajectory used after a turn."""
        return frozenset(name for turn, name in self._used.get(trajectory_id, ()) if turn > since)

    def kept(self, trajectory_id: str) -> TreeKept | None:
        """The last checkpoint of a trajectory's tree."""
        return self._kept.get(trajectory_id)

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
        heard = [each for each in self._accepted.values() if told and each.trajectory_id == trajectory_id]
        said = {message["content"] for call in heard for message in call.new_messages if message["role"] == "user"}
        return bool(told), tuple(each.text for each in told if each.text not in said)

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
        if isinstance(event, RunResumed):
            self._resume(event)
        self._time(event)
        self.course.observe(event)
        match event:
            case CallSent() | CallFinished():
                self._call(event)
            case ToolStarted() | ToolFinished():
                self._used[event.trajectory_id].append((_turn_of(event.call_id), event.name))
                if isinstance(event, ToolFinished):
                    self._tools[event.call_id, event.tool_call_id].append(event)
            case TreeKept():
                self._kept[event.trajectory_id] = event
            case AgentTold():
                self._told[event.trajectory_id].append(event)
            case GateFinished():
                look = event.attempt if event.purpose == "search" else 1
                self._gates[event.commit, event.command, look] = event
            case Answered() if event.yes:
                self._answers[event.kind, event.stage] = event
            case _:
                pass

    def _time(self, event: Event) -> None:
        for name in {"", getattr(event, "trajectory_id", "")}:
            since = self._seen.get(name, event.mono)
            self._worked[name] = self._worked.get(name, 0.0) + max(0.0, event.mono - since)
            self._seen[name] = event.mono

    def _call(self, event: CallSent | CallFinished) -> None:
        self._tries[event.call_id] = max(self.tries(event.call_id), event.attempt)
        if isinstance(event, CallSent):
            self._in_flight[event.call_id, event.attempt] = event
            return
        self._in_flight.pop((event.call_id, event.attempt), None)
        self._tokens[event.trajectory_id] += event.usage.total_tokens
        if event.accepted:
            self._accepted[event.call_id] = event
            turn = f"{event.trajectory_id}/{event.turn}"
            if event.call_id != turn:
                self._asides[turn].append(event)

    def _resume(self, event: RunResumed) -> None:
        self._seen = {}  # nobody was at work in between
        end = self.course.stage_end(event.stage)
        for key, ended in self._tools.items():
            self._tools[key] = deque(each for each in ended if not is_undone(each, event, end, self.course.starts))


def _turn_of(call_id: str) -> int:
    turn = call_id.rpartition("/")[2]
    return int(turn) if turn.isdecimal() else 0


def is_undone(tool: ToolFinished, resumed: RunResumed, stage_end: int | None, starts: dict[str, AgentStarted]) -> bool:
    """Whether a use of a tool was cut off with its trajectory, or gave an orchestrator the results of a stage that is
    gone through again."""
    if tool.trajectory_id not in resumed.again:
        return False
    start = starts.get(tool.trajectory_id)
    of_orchestrator = start is not None and start.role == Role.ORCHESTRATOR
    if of_orchestrator and resumed.stage and stage_end is not None and tool.seq > stage_end:
        return True
    return tool.status is ToolStatus.CANCELLED and not tool.result
