"""What the scheduler is given in its state machine: attempts that do as they are told, and a record of what was said,
of which a next process makes what it knows."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import anyio
from anyio.lowlevel import checkpoint

from swarm.errors import BudgetExhausted, EndpointError, EndpointFault, SandboxError
from swarm.events import AgentEnded, AgentStarted, AgentTold, Event, Notice, SubTaskSkipped
from swarm.journal.course import Turn
from swarm.journal.past import Past
from swarm.journal.redaction import Redactor
from swarm.journal.said import Unsaid
from swarm.types import AgentLimits, AgentResult, AgentSpec, Outcome, Role, SubTask
from tests.models.paper_late import PaperLate
from tests.models.paper_stage import End, PaperStage

ENDS = {
    "completed": End("completed", keep=True),
    "failed": End("failed"),
    "partial": End("failed", keep=True),
    "timed out": End("timed_out"),
    "unpaid": End("budget_exhausted"),
    "context": End("errored"),
    "overloaded": End("errored", passing=True),
    "sandbox": End("errored", passing=True),
    "disk": End("errored", passing=True),
    "wrong key": End("errored", passing=True),
}
RAISED: dict[str, Exception] = {
    "sandbox": SandboxError("it died"),
    "disk": OSError(28, "No space left on device"),
    "unpaid": BudgetExhausted("nothing is left", scope="run", what="tokens"),
    "wrong key": EndpointError(EndpointFault.WRONG_KEY, "no such key"),
}
STOPS = {"context": EndpointFault.CONTEXT_TOO_LONG.value, "overloaded": EndpointFault.OVERLOADED.value}
MANNERS = ("at once", "slowly", "completes", "breaks")
"""What an attempt does that is cancelled; all but the first once it is told to."""

Attempt = tuple[str, int]


@dataclass(eq=False)
class Live:
    """An attempt at work. `go`: it ends so, or cleans up."""

    spec: AgentSpec
    go: anyio.Event
    end: str = ""
    leaving: bool = False

    def __repr__(self) -> str:
        return self.spec.trajectory_id


class Record(list[Event]):
    """`swarm.protocols.EventSink` of which a next process makes what it knows."""

    def __init__(self, clock: Callable[[], float], events: Sequence[Event] = ()) -> None:
        super().__init__(events)
        self._clock = clock

    @property
    def now(self) -> float:
        return self._clock()

    def emit(self, event: Event) -> None:
        vars(event).update(seq=len(self), mono=self.now)
        self.append(event)

    async def flush(self) -> None:
        await checkpoint()


@dataclass(frozen=True)
class Script:
    """How attempts behave: what those do that are cancelled, which cannot be prepared, and which are so only when they
    are told to, whether they are cancelled (True) or not."""

    manners: Sequence[str]
    unprepared: Mapping[Attempt, str] = field(default_factory=dict)
    slow: Mapping[Attempt, bool] = field(default_factory=dict)


@dataclass
class World:
    """The record, and what the attempts of this process do. A `dead` process says nothing any more, one that is
    `ending` cancels what it likes; otherwise those were `unwanted` that it cancelled. `turns` are what was recorded
    before it and has not come again so far, of which `begun` had begun and not ended. `next` are those that may begin
    now, None: nobody knows. `wrong`: the sub-task whose last attempt met the fault that ends all."""

    paper: PaperStage
    late: PaperLate
    script: Script
    events: Record
    running: Callable[[], int] = int
    turns: deque[Turn] = field(default_factory=deque)
    begun: set[Attempt] = field(default_factory=set)
    live: dict[str, Live] = field(default_factory=dict)
    preparing: dict[Attempt, anyio.Event] = field(default_factory=dict)
    arrived: list[str] = field(default_factory=list)
    next: set[str] | None = None
    unwanted: list[Attempt] = field(default_factory=list)
    dead: bool = False
    ending: bool = False
    fatal: bool = False
    wrong: str = ""
    _said: Record | Unsaid = field(init=False)

    def __post_init__(self) -> None:
        self._said = self.events

    def go_on(self) -> Past:
        """Say so, as the product does: what is known is not said again. Gives what is known."""
        past = Past(self.events)
        said = Unsaid(self.events, past, Redactor({}))
        resumed = past.reopened("1")
        self.events.emit(resumed)
        past.observe(resumed)
        said.forget(resumed)
        self._said = said
        self.turns.extend(past.turns(1))
        self._go_on_being_late()
        self._come_again()
        return past

    def _go_on_being_late(self) -> None:
        for turn in self.turns:
            if turn.trajectory_id:
                key = turn.subtask_id, turn.attempt
                self.late.before[key] = turn.seconds
                if any(
                    isinstance(each, AgentTold) and each.trajectory_id == turn.trajectory_id for each in self.events
                ):
                    self.late.told.add(key)
        working: set[str] = set()
        for turn in self.turns:
            if turn.trajectory_id and not turn.ended:
                self.late.hedged |= working & {turn.subtask_id}
                working.add(turn.subtask_id)
            elif turn.trajectory_id:
                working.discard(turn.subtask_id)

    def _come_again(self) -> None:
        """Each skip that was recorded decides when all has ended again that had ended before it."""
        while self.turns:
            turn = self.turns[0]
            name, over = turn.subtask_id, self.paper.subtasks[turn.subtask_id].result is not None
            if not turn.trajectory_id:
                if not over and name not in {each for each, _ in self.begun}:
                    self.paper.decide(name, End(turn.outcome.value))
            elif not turn.ended and not over:
                self.begun.add((name, turn.attempt))
                self._begins(name, turn.attempt)
            elif turn.ended and (name, turn.attempt) in self.begun:
                return
            self.turns.popleft()

    def emit(self, event: Event) -> None:
        if self.dead:
            return
        if isinstance(event, AgentTold):
            self._told(event)
        elif isinstance(event, Notice) and event.message.endswith("a second attempt is made beside it"):
            self._hedges(event.message.partition(" ")[0])
        elif isinstance(event, SubTaskSkipped):
            assert not self.paper.subtasks[event.subtask_id].working, "it is given up, and at work"
        self._said.emit(event)

    def _told(self, event: AgentTold) -> None:
        spec = self.live[event.trajectory_id].spec
        attempt = spec.subtask.id, spec.attempt
        if event.reason == "straggler":
            self.late.tells(attempt, self.events.now, event.limit_s)
        self.late.told.add(attempt)

    def _hedges(self, name: str) -> None:
        """A second attempt begins beside another."""
        each, unprepared = self.paper.subtasks[name], self.running() - self.paper.working
        assert each.working and each.result is None and name in self.late.wanted, "nobody is late, or it is over"
        assert len(self.paper.ready()) <= unprepared, "others are ready that were not begun"
        self.late.wanted.discard(name)
        self._begins(name, each.made + 1)

    def _begins(self, name: str, number: int) -> None:
        self.paper.began(name, number)
        self.late.begins((name, number), self.events.now)

    async def flush(self) -> None:
        await checkpoint()

    def expect(self, count: int, commit: str | None) -> None:
        """Nothing is prepared for."""

    async def prepare(self, subtask: SubTask, attempt: int, needed: Sequence[AgentResult]) -> AgentSpec:
        key, each = (subtask.id, attempt), self.paper.subtasks[subtask.id]
        if attempt not in each.working:
            assert key in self.late.before or not each.working, "two are at work on it"
            assert key in self.late.before or self.next is None or subtask.id in self.next, "it is not its turn"
            self._begins(*key)
        assert all(self.paper.good(need) for need in each.needs)
        assert sorted(result.subtask_id for result in needed) == self.paper.handed(subtask.id)
        assert all(result.outcome is Outcome.COMPLETED for result in needed)
        try:
            await checkpoint()
            if key in self.script.slow and not self.dead and not self._has_ended(key):
                self.preparing[key] = go = anyio.Event()
                try:
                    with anyio.CancelScope(shield=self.script.slow[key]):
                        await go.wait()
                finally:
                    del self.preparing[key]
            failure = self.script.unprepared.get(key, "")
            if failure:
                self._ended(*key, ENDS[failure])
                raise RAISED[failure]
        except anyio.get_cancelled_exc_class():
            self._is_cancelled(*key)
            self._ended(*key, End("cancelled"))
            raise
        name = subtask.id if attempt == 1 else f"{subtask.id}#{attempt}"
        return AgentSpec(name, subtask, 1, attempt, 0, "", "", None, AgentLimits())

    def _has_ended(self, key: Attempt) -> bool:
        """In a process before this."""
        return any(turn.ended and (turn.subtask_id, turn.attempt) == key for turn in self.turns)

    def _is_cancelled(self, name: str, number: int) -> None:
        each = self.paper.subtasks[name]
        needless = each.result is not None or number in each.stopped
        if not (needless or self.dead or self.ending or self.fatal):
            self.unwanted.append((name, number))

    def _ended(self, name: str, number: int, end: End) -> None:
        if self.dead:
            return
        if end.outcome == "completed":
            self.late.completed((name, number), self.events.now)
        self.paper.ended(name, number, end)
        if self.turns and (name, number) == (self.turns[0].subtask_id, self.turns[0].attempt):
            self.begun.discard((name, number))
            self.turns.popleft()
            self._come_again()

    async def run(self, spec: AgentSpec) -> AgentResult:
        """See `swarm.protocols.Executor.run`. What ended in a process before this is answered from the record."""
        past, name = Past(self.events), spec.trajectory_id
        if (known := past.result(name)) is not None:
            end = End(
                known.outcome.value, known.outcome is Outcome.ERRORED and known.stop != STOPS["context"], known.keep
            )
            self._ended(spec.subtask.id, spec.attempt, end)
            return AgentResult(spec.subtask.id, name, known.outcome, "", known.stop, keep=known.keep)
        if self.paper.subtasks[spec.subtask.id].result is not None:
            assert anyio.current_effective_deadline() == -math.inf, "it begins though it is over"
        if past.start(name) is None:
            task = spec.subtask
            self.emit(AgentStarted(trajectory_id=name, role=Role.SUBAGENT, name=name, trainable=False, stage=1,
                                   attempt=spec.attempt, subtask=task))  # fmt: skip
        assert name not in self.live
        live = self.live[name] = Live(spec, anyio.Event())
        try:
            return await self._work(live)
        finally:
            del self.live[name]

    async def _work(self, live: Live) -> AgentResult:
        try:
            await live.go.wait()
        except anyio.get_cancelled_exc_class():
            manners = self.script.manners
            manner = manners[sum(map(ord, live.spec.trajectory_id)) % len(manners)]
            self._is_cancelled(live.spec.subtask.id, live.spec.attempt)
            if manner != "at once" and not self.dead:
                live.leaving, live.go = True, anyio.Event()
                with anyio.CancelScope(shield=True):
                    await live.go.wait()
            if manner == "completes":
                return await self._leave(live, "completed")
            if manner == "breaks":
                return await self._leave(live, "sandbox")
            await self._record(live, "cancelled", End("cancelled"))
            self._ended(live.spec.subtask.id, live.spec.attempt, End("cancelled"))
            raise
        return await self._leave(live, live.end)

    async def _leave(self, live: Live, how: str) -> AgentResult:
        spec, end = live.spec, ENDS[how]
        await self._record(live, how, end)
        if how == "wrong key" and not self.dead:
            each = self.paper.subtasks[spec.subtask.id]
            self.fatal, alone = True, each.result is None and each.working == {spec.attempt}
            self.wrong = self.wrong or (spec.subtask.id if alone and not each.lost else "")
        self._ended(spec.subtask.id, spec.attempt, end)
        if how in RAISED:
            raise RAISED[how]
        stop = STOPS.get(how, end.outcome)
        return AgentResult(spec.subtask.id, spec.trajectory_id, Outcome(end.outcome), "", stop, keep=end.keep)

    async def _record(self, live: Live, how: str, end: End) -> None:
        stop = type(RAISED[how]).__name__ if how in RAISED else STOPS.get(how, end.outcome)
        seconds = self.late.seconds((live.spec.subtask.id, live.spec.attempt), self.events.now)
        self.emit(AgentEnded(trajectory_id=live.spec.trajectory_id, outcome=Outcome(end.outcome), stop=stop,
                             keep=end.keep, terminated=True, truncated=False, seconds=seconds))  # fmt: skip
        with anyio.CancelScope(shield=True):
            await self.flush()
