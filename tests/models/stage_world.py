"""What the scheduler is given in its state machine: attempts that do as they are told, and a record of what was said,
of which a next process makes what it knows."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import anyio
from anyio.lowlevel import checkpoint

from swarm.errors import BudgetExhausted, EndpointError, EndpointFault, SandboxError
from swarm.events import AgentEnded, AgentStarted, Event
from swarm.journal.course import Turn
from swarm.journal.past import Past
from swarm.journal.redaction import Redactor
from swarm.journal.said import Unsaid
from swarm.types import AgentLimits, AgentResult, AgentSpec, Outcome, Role, SubTask
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

    def emit(self, event: Event) -> None:
        vars(event).update(seq=len(self), mono=self._clock())
        self.append(event)

    async def flush(self) -> None:
        await checkpoint()


@dataclass
class World:
    """The record, and what the attempts of this process do. A `dead` process says nothing any more. `turns` are what
    was recorded before it and has not come again so far, of which `begun` had begun and not ended."""

    paper: PaperStage
    manners: Sequence[str]
    unprepared: dict[tuple[str, int], str]
    events: Record
    turns: deque[Turn] = field(default_factory=deque)
    begun: set[tuple[str, int]] = field(default_factory=set)
    live: dict[str, Live] = field(default_factory=dict)
    arrived: list[str] = field(default_factory=list)
    dead: bool = False
    fatal: bool = False
    _said: Record | Unsaid = field(init=False)

    def __post_init__(self) -> None:
        self._said = self.events

    def go_on(self) -> Past:
        """Say so, as the product does: what is known is not said again. Gives what is known."""
        past, said = Past(self.events), Unsaid(self.events, self.events, Redactor({}))
        resumed = past.reopened("1")
        self.events.emit(resumed)
        past.observe(resumed)
        said.forget(resumed)
        self._said = said
        self.turns.extend(past.turns(1))
        self._come_again()
        return past

    def _come_again(self) -> None:
        """Each skip that was recorded decides when all has ended again that had ended before it."""
        while self.turns:
            turn = self.turns[0]
            name, over = turn.subtask_id, self.paper.subtasks[turn.subtask_id].result is not None
            if not turn.trajectory_id:
                if not over and name not in {each for each, _ in self.begun}:
                    self.paper.decide(name, End(turn.outcome.value))
            elif not turn.ended:
                self.begun |= set() if over else {(name, turn.attempt)}
            elif (name, turn.attempt) in self.begun:
                return
            self.turns.popleft()

    def emit(self, event: Event) -> None:
        if not self.dead:
            self._said.emit(event)

    async def flush(self) -> None:
        await checkpoint()

    def expect(self, count: int, commit: str | None) -> None:
        """Nothing is prepared for."""

    async def prepare(self, subtask: SubTask, attempt: int, needed: Sequence[AgentResult]) -> AgentSpec:
        self.paper.began(subtask.id, attempt)
        assert all(self.paper.good(need) for need in self.paper.subtasks[subtask.id].needs)
        assert {result.subtask_id for result in needed} == self.paper.handed(subtask.id)
        assert all(result.outcome is Outcome.COMPLETED for result in needed)
        try:
            await checkpoint()
            failure = self.unprepared.get((subtask.id, attempt), "")
            if failure:
                self._ended(subtask.id, attempt, ENDS[failure])
                raise RAISED[failure]
        except anyio.get_cancelled_exc_class():
            self._ended(subtask.id, attempt, End("cancelled"))
            raise
        name = subtask.id if attempt == 1 else f"{subtask.id}#{attempt}"
        return AgentSpec(name, subtask, 1, attempt, 0, "", "", None, AgentLimits())

    def _ended(self, name: str, number: int, end: End) -> None:
        if self.dead:
            return
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
            manner = self.manners[sum(map(ord, live.spec.trajectory_id)) % len(self.manners)]
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
        self._ended(spec.subtask.id, spec.attempt, end)
        if how in RAISED:
            self.fatal = self.fatal or (how == "wrong key" and not self.dead)
            raise RAISED[how]
        stop = STOPS.get(how, end.outcome)
        return AgentResult(spec.subtask.id, spec.trajectory_id, Outcome(end.outcome), "", stop, keep=end.keep)

    async def _record(self, live: Live, how: str, end: End) -> None:
        stop = type(RAISED[how]).__name__ if how in RAISED else STOPS.get(how, end.outcome)
        self.emit(AgentEnded(trajectory_id=live.spec.trajectory_id, outcome=Outcome(end.outcome), stop=stop,
                             keep=end.keep, terminated=True, truncated=False))  # fmt: skip
        with anyio.CancelScope(shield=True):
            await self.flush()
