"""Mode `parl`: the orchestrator is an agent with tools of its own; `create_subagent` and `assign_task` delegate.

All assign_task calls of one turn are one stage (critical steps: parl.md). What an agent gives back is the answer to the
call that started it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from swarm.agent import ToolKit, ToolUser
from swarm.conversation import Conversation
from swarm.errors import PlanError
from swarm.orchestrators.delegation import ASSIGN, CREATE, SCHEMAS, Delegation, Refused
from swarm.pool import Place, Pool
from swarm.prompting import agent_report, gate_report, orchestrator_request
from swarm.protocols import EventSink, Sandbox
from swarm.stages import Dispatch, Finish, RunState, StageReport
from swarm.types import JsonObject, Outcome, Plan, SubTask, ToolCall, ToolErrorKind, ToolResult, ToolStatus

ORCHESTRATOR = "orchestrator"

_NUDGE = "You gave neither an answer nor a tool call. Go on with the task, or give the answer."


@dataclass(frozen=True, slots=True)
class Bench:
    """Where an orchestrator uses its own tools, and which it has."""

    pool: Pool
    kit: ToolKit


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
        self, conversation: Conversation, bench: Bench, sink: EventSink, max_agents: int, max_steps: int
    ) -> None:
        self._conversation = conversation
        self._bench = bench
        self._sink = sink
        self._max_steps = max_steps
        self._delegation = Delegation(max_agents)
        self._schemas = own_schemas(bench.kit)
        self._user = ToolUser(conversation, bench.kit.orchestrators(), sink)
        self._waiting: list[_Asked] = []

    async def decide(self, state: RunState) -> Dispatch | Finish:
        if state.stages:
            self._answer_waiting(state.stages[-1])
        else:
            self._say(orchestrator_request(state, self._delegation.room))
        async with _open_hands(self._bench, state.commit) as hands:
            decision = await self._turns(hands, state)
            commit = await hands.changes()
        if isinstance(decision, Finish):
            return Finish(decision.answer, note=decision.note, commit=commit)
        calls = {asked.subtask.id: asked.call.id for asked in self._waiting if asked.subtask is not None}
        return Dispatch(Plan(subtasks=tuple(decision)), commit, calls)

    async def _turns(self, hands: _Hands, state: RunState) -> list[SubTask] | Finish:
        nudged = False
        while self._conversation.steps < self._max_steps:
            reply = await self._conversation.ask(self._schemas)
            if reply.tool_calls:
                asked = [await self._follow(call, hands, _without_success(state)) for call in reply.tool_calls]
                subtasks = [each.subtask for each in asked if each.subtask is not None]
                if subtasks:
                    self._waiting = asked
                    return subtasks
                for each in asked:
                    self._user.say(each.call, each.answer)
            elif reply.content.strip() and reply.finish_reason != "length":
                return Finish(reply.content.strip())
            elif nudged:
                raise PlanError("the orchestrator gave neither an answer nor a tool call")
            else:
                nudged = True
                self._say(_NUDGE)
        return Finish("", note=f"the orchestrator used all its {self._max_steps} steps")

    async def _follow(self, call: ToolCall, hands: _Hands, failed: frozenset[str]) -> _Asked:
        """Do what a call asks for; delegation is told in the journal when its answer is known."""
        started = time.monotonic()
        if call.name not in (CREATE, ASSIGN):
            return _Asked(call, started, answer=await self._user.use(call, await hands.sandbox()))
        try:
            if call.name == ASSIGN:
                return _Asked(call, started, self._delegation.assign(call.arguments, failed))
            answer = ToolResult(self._delegation.create(call.arguments))
        except Refused as refused:
            answer = ToolResult(str(refused), status=ToolStatus.FAILED, error=ToolErrorKind.BAD_ARGUMENTS)
        self._user.record(call, answer, started)
        return _Asked(call, started, answer=answer)

    def _answer_waiting(self, stage: StageReport) -> None:
        """Answer the calls of the last turn, in their order; what the gate said comes after them."""
        results = {result.subtask_id: result for result in stage.results}
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
                child = result.trajectory_id if result is not None else ""
                self._user.record(asked.call, answer, asked.started, child=child)
            self._user.say(asked.call, answer)
        self._waiting = []
        if stage.gate is not None:
            self._say(gate_report(stage.gate))

    def _say(self, text: str) -> None:
        self._conversation.say({"role": "user", "content": text})


class _Hands:
    """The place where the orchestrator's own tools work, opened when the first of them is used."""

    def __init__(self, bench: Bench, commit: str | None, place: AsyncExitStack, jobs: AsyncExitStack) -> None:
        self._bench = bench
        self._commit = commit
        self._place_stack = place
        self._jobs = jobs
        self._place: Place | None = None
        self._sandbox: Sandbox | None = None

    async def sandbox(self) -> Sandbox:
        if self._sandbox is None:
            taken = self._bench.pool.take(ORCHESTRATOR, self._commit)
            self._place = await self._place_stack.enter_async_context(taken)
            self._sandbox = await self._jobs.enter_async_context(self._bench.kit.bench(self._place.sandbox))
        return self._sandbox

    async def changes(self) -> str | None:
        """The commit with what the orchestrator changed itself; None where it changed nothing. Ends its commands."""
        repository = self._bench.pool.workshop.repository
        if self._place is None or repository is None or self._commit is None:
            return None
        await self._jobs.aclose()
        await self._place.close_sandbox()
        captured = await repository.capture(
            self._place.copy.tree, self._commit, author=ORCHESTRATOR, message="Changes of the orchestrator itself"
        )
        return captured.commit


@asynccontextmanager
async def _open_hands(bench: Bench, commit: str | None) -> AsyncIterator[_Hands]:
    async with AsyncExitStack() as place, AsyncExitStack() as jobs:
        yield _Hands(bench, commit, place, jobs)


def _without_success(state: RunState) -> frozenset[str]:
    results = (result for stage in state.stages for result in stage.results)
    return frozenset(result.subtask_id for result in results if result.outcome is not Outcome.COMPLETED)
