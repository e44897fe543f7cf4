"""Mode `parl`: the orchestrator is an agent with tools of its own; `create_subagent` and `assign_task` delegate.

All assign_task calls of one turn are one stage (critical steps: parl.md). What an agent gives back is the answer to the
call that started it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace

from swarm.agents.agent import ToolKit, ToolUser
from swarm.agents.checkpoints import Keeper, Pace
from swarm.agents.context import Context, ContextPolicy
from swarm.agents.conversation import Conversation
from swarm.agents.landing import FINISH_ANSWER, Landing
from swarm.agents.late import LatePlace, open_place
from swarm.agents.repetition import Repetition
from swarm.budgets.headcount import Headcount
from swarm.documents.audit import Auditor
from swarm.errors import PlanError
from swarm.orchestrators.delegation import ASSIGN, CREATE, SCHEMAS, Delegation, Refused
from swarm.places.pool import Place, Pool
from swarm.prompts.messages import added_report, agent_report, board_report, gate_report, orchestrator_request
from swarm.protocols import EventSink, Sandbox, WorkingCopy
from swarm.stages import Dispatch, Finish, RunState, StageReport
from swarm.steering import Steering
from swarm.types import JsonObject, Outcome, Plan, SubTask, ToolCall, ToolErrorKind, ToolResult, ToolStatus

ORCHESTRATOR = "orchestrator"

_NUDGE = "You gave neither an answer nor a tool call. Go on with the task, or give the answer."

_MOST_NAMED = 4


@dataclass(frozen=True, slots=True)
class Bench:
    """Where an orchestrator uses its own tools, which it has, and what it does at the end of its window."""

    pool: Pool
    kit: ToolKit
    context: ContextPolicy = field(default_factory=ContextPolicy)
    pace: Pace = field(default_factory=Pace)
    auditor: Auditor | None = None


_NONE = ToolResult("")


@dataclass(frozen=True, slots=True)
class _Asked:
    """One call of a turn: a sub-task whose result is its answer, or an answer."""

    call: ToolCall
    started: float
    subtask: SubTask | None = None
    answer: ToolResult = _NONE


def own_schemas(kit: ToolKit) -> Sequence[JsonObject]:
    """All tools of an orchestrator; their order never changes."""
    return [*SCHEMAS, *kit.orchestrators().schemas()]


class ParlOrchestrator:
    """Turns of a model until it delegates or answers. `conversation` holds the system prompt alone at first."""

    def __init__(
        self, conversation: Conversation, bench: Bench, sink: EventSink, headcount: Headcount, max_steps: int
    ) -> None:
        self._conversation = conversation
        self._context = Context(conversation, bench.context)
        self._bench = bench
        self._sink = sink
        self._max_steps = max_steps
        self._delegation = Delegation(headcount)
        self._schemas = own_schemas(bench.kit)
        self._user = ToolUser(conversation, bench.kit.orchestrators(), sink)
        self._waiting: list[_Asked] = []
        self._repetition = Repetition()
        self._landing = Landing(conversation, Steering(), max_steps, FINISH_ANSWER)

    async def decide(self, state: RunState) -> Dispatch | Finish:
        if state.stages:
            self._answer_waiting(state.stages[-1])
            if state.closing:
                self._delegation.close(state.closing)
                self._say(f"{state.closing}. {FINISH_ANSWER}")
        else:
            self._say(orchestrator_request(state, self._delegation.most))
        async with _open_hands(self._bench, state, self._conversation) as hands:
            self._user = ToolUser(self._conversation, self._bench.kit.orchestrators(), self._sink, hands.keeper)
            decision = await self._turns(hands, state)
            commit = await hands.changes()
        if isinstance(decision, Finish):
            return replace(decision, commit=commit)
        calls = {asked.subtask.id: asked.call.id for asked in self._waiting if asked.subtask is not None}
        return Dispatch(Plan(subtasks=tuple(decision)), commit, calls)

    async def _turns(self, hands: _Hands, state: RunState) -> list[SubTask] | Finish:
        nudged = False
        while self._conversation.steps < self._max_steps:
            if text := self._landing():
                self._say(text)
            async with self._user.beside():
                reply = await self._context.ask(self._schemas)
            if reply.tool_calls:
                asked = [await self._follow(call, hands, _without_success(state)) for call in reply.tool_calls]
                subtasks = [each.subtask for each in asked if each.subtask is not None]
                if subtasks:
                    self._repetition.forget()
                    self._waiting = asked
                    return subtasks
                for each in asked:
                    self._user.say(each.call, each.answer)
                if repeated := self._repeated(asked):
                    raise PlanError(f"the orchestrator went round in circles: {repeated}, with the same results")
            elif reply.content.strip() and reply.finish_reason != "length":
                if told := await self._objection(reply.content):
                    self._say(told)
                    continue
                return Finish(reply.content.strip())
            elif nudged:
                raise PlanError(
                    "the orchestrator gave neither an answer nor a tool call",
                    remedy="--planner-model names another model for it",
                )
            else:
                nudged = True
                self._say(_NUDGE)
        return Finish("", limit=f"the orchestrator used all its {self._max_steps} steps and gave no answer")

    async def _objection(self, text: str) -> str:
        """What is to be said of an answer about attached documents; where the journal goes on, it stands there."""
        if (auditor := self._bench.auditor) is None or self._conversation.recorded:
            return "go on" if auditor is not None else ""
        return await auditor.objection(text, self._conversation.trajectory_id, scope="")

    def _repeated(self, asked: Sequence[_Asked]) -> str:
        """What is repeated, by the rule for sub-agents: but a whole turn is one use, for only its end is answered."""
        names = list(dict.fromkeys(each.call.name for each in asked))
        more = [f"{len(names) - _MOST_NAMED} more"] if len(names) > _MOST_NAMED else []
        what = (text for each in asked for text in (each.call.name, each.call.arguments, each.answer.content))
        return self._repetition.after(" and ".join([*names[:_MOST_NAMED], *more]), *what)

    async def _follow(self, call: ToolCall, hands: _Hands, failed: frozenset[str]) -> _Asked:
        """Do what a call asks for; delegation is told in the journal when its answer is known."""
        started = time.monotonic()
        if call.name not in (CREATE, ASSIGN):
            return _Asked(call, started, answer=await hands.use(call, self._user))
        try:
            if call.name == ASSIGN:
                return _Asked(call, started, self._delegation.assign(call.arguments, failed))
            answer = ToolResult(self._delegation.create(call.arguments))
        except Refused as refused:
            answer = ToolResult(str(refused), status=ToolStatus.FAILED, error=ToolErrorKind.BAD_ARGUMENTS)
        self._user.record(call, answer, started)
        return _Asked(call, started, answer=answer)

    def _answer_waiting(self, stage: StageReport) -> None:
        """Answer the calls of the last turn, in their order; then come the results of what the user added to it, and
        what the gate said."""
        results = {result.subtask_id: result for result in stage.results}
        asked_for = {asked.subtask.id for asked in self._waiting if asked.subtask is not None}
        self._delegation.take(results)
        for asked in self._waiting:
            answer = asked.answer
            if asked.subtask is not None:
                result = results.get(asked.subtask.id)
                if result is None:
                    answer = ToolResult("not started: the user took it out of the plan", status=ToolStatus.DENIED)
                else:
                    good = result.outcome is Outcome.COMPLETED
                    status = ToolStatus.COMPLETED if good else ToolStatus.FAILED
                    answer = ToolResult(agent_report(result, stage), status=status)
                child, whole = (result.trajectory_id, result.artifact) if result is not None else ("", "")
                self._user.record(asked.call, answer, asked.started, child=child, artifact=whole)
            self._user.say(asked.call, answer)
        self._waiting = []
        if added := [result for result in stage.results if result.subtask_id not in asked_for]:
            self._say(added_report(added, stage))
        if stage.posted:
            self._say(board_report(stage.posted))
        if stage.gate is not None:
            self._say(gate_report(stage.gate))

    def _say(self, text: str) -> None:
        self._conversation.say({"role": "user", "content": text})


class _Hands:
    """The place where the orchestrator's own tools work, opened when the first of them is used."""

    def __init__(
        self, bench: Bench, state: RunState, conversation: Conversation, place: AsyncExitStack, jobs: AsyncExitStack
    ) -> None:
        self._bench = bench
        self._commit = state.commit
        self._place_stack = place
        self._jobs = jobs
        self._place: Place | LatePlace | None = None
        self._sandbox: Sandbox | None = None
        self._done = conversation.line.past.decision(len(state.stages) + 1)
        repository, since = bench.pool.workshop.repository, conversation.steps
        self.keeper = Keeper(conversation, repository, self, state.commit, bench.pace, since)

    async def use(self, call: ToolCall, user: ToolUser) -> ToolResult:
        """Use a tool; of a turn whose changes are known, what the journal holds of it."""
        recorded = user.recorded(call) if self._done is not None else None
        return recorded or await user.use(call, await self._opened())

    @property
    def copy(self) -> WorkingCopy | None:
        """See `swarm.agents.checkpoints.HasCopy`."""
        return self._place.copy if self._place is not None else None

    async def _opened(self) -> Sandbox:
        if self._sandbox is None:
            opening = open_place(self._bench.pool, ORCHESTRATOR, self._commit)
            self._place = await self._place_stack.enter_async_context(opening)
            self._sandbox = await self._jobs.enter_async_context(self._bench.kit.bench(self._place.sandbox))
            await self.keeper.restore()
        return self._sandbox

    async def changes(self) -> str | None:
        """The commit with what the orchestrator changed itself; None where it changed nothing. Ends its commands."""
        repository = self._bench.pool.workshop.repository
        if self._done is not None:
            return None if self._done in ("", self._commit) else self._done
        copy = self.copy
        if self._place is None or copy is None or repository is None or self._commit is None:
            return None
        await self._jobs.aclose()
        await self._place.close_sandbox()
        captured = await repository.capture(
            copy.tree, self._commit, author=ORCHESTRATOR, message="Changes of the orchestrator itself"
        )
        return captured.commit


@asynccontextmanager
async def _open_hands(bench: Bench, state: RunState, conversation: Conversation) -> AsyncIterator[_Hands]:
    async with AsyncExitStack() as place, AsyncExitStack() as jobs:
        yield _Hands(bench, state, conversation, place, jobs)


def _without_success(state: RunState) -> frozenset[str]:
    results = (result for stage in state.stages for result in stage.results)
    return frozenset(result.subtask_id for result in results if result.outcome is not Outcome.COMPLETED)
