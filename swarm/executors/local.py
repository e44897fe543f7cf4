"""Attempts made in this process: a workspace, a sandbox, the agent's loop, and what changed."""

from __future__ import annotations

from dataclasses import field, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol, cast

from swarm.agents.agent import AgentLoop, LoopEnd, ToolBox, ToolKit, ToolUser
from swarm.agents.checkpoints import Keeper, Pace
from swarm.agents.citing import Citing
from swarm.agents.context import Context, ContextPolicy
from swarm.agents.conversation import Conversation, Line
from swarm.agents.landing import Landing
from swarm.agents.late import LatePlace, open_place
from swarm.agents.trajectory import LIMITS, Trajectory, open_trajectory, sha256
from swarm.budgets.budget import Budget
from swarm.budgets.funds import attempt_budget, group_budget
from swarm.documents.library import with_pictures
from swarm.events import AgentEnded, AgentStarted, Notice
from swarm.executors.leads import Leads, Post
from swarm.executors.substance import holds, says
from swarm.executors.worker import Errand, Worker
from swarm.journal.artifacts import LONG_RESULT
from swarm.places.pool import Place, Pool
from swarm.protocols import EventSink, Pausable, Sandbox, Seat, WorkingCopy
from swarm.scheduling.stragglers import FINISH_WORK
from swarm.types import AgentResult, AgentSpec, Message, Outcome, Role
from swarm.values import value

if TYPE_CHECKING:
    from swarm.documents.audit import Auditor


class Seats(Protocol):
    """Who gives agents their places at the board."""

    def seat(self, trajectory_id: str, sink: EventSink) -> Seat:
        """An agent's place; what happens there is told to the sink."""
        ...


@value(frozen=True, slots=True)
class LocalExecutor:
    """Makes attempts here. `parent` is the orchestrator's trajectory, empty where one agent is the policy itself.
    `board`: what siblings share, None where they share nothing. `context`: what agents do at the end of their window,
    and where results are kept that are too long to be handed over. `pace`: how often trees are kept. `leads`: who may
    have sub-agents of its own, None: nobody. `worker`: somebody else's agent in the place of our loop.
    `auditor` looks at what is said of attached documents."""

    pool: Pool
    line: Line
    tools: ToolKit
    parent: str
    board: Seats | None = None
    context: ContextPolicy = field(default_factory=ContextPolicy)
    pace: Pace = field(default_factory=Pace)
    leads: Leads | None = None
    worker: Worker | None = None
    auditor: Auditor | None = None

    def expect(self, count: int, commit: str | None) -> None:
        """See `swarm.protocols.Executor.expect`."""
        self.pool.expect(count, commit, sure=commit is not None)

    async def run(self, spec: AgentSpec) -> AgentResult:
        before = self.line.past.result(spec.trajectory_id)
        if before is not None:
            return recorded(spec, before)
        if (began := self.line.past.start(spec.trajectory_id)) is not None:  # it goes on where it is at work
            spec = replace(spec, base=began.base or None)
        seat = self.board.seat(spec.trajectory_id, self.line.sink) if self.board and spec.siblings else None
        tools = self.tools.fitted(spec.subtask, seat)
        async with (
            open_trajectory(self.line.sink, self.started(spec, tools)) as trajectory,
            open_place(self.pool, spec.trajectory_id, spec.base, now=self.worker is not None) as place,
        ):
            if issubclass(type(place.sandbox), Pausable):  # of a class it is known, of an object looked for each time
                spec.steering.sandbox = cast(Pausable, place.sandbox)
            if self.worker is not None:
                ended = await self._hand_over(self.worker, spec, place.sandbox, trajectory)
            else:
                async with self.tools.bench(place.sandbox) as bench:
                    ended = await self._work(spec, tools, (place, bench), trajectory)
            await place.close_sandbox()  # nothing writes any more
            trajectory.end(ended.outcome, ended.stop, ended.text)
            ended, commit = await self._capture(spec, ended, place.copy)
            if ended.outcome is Outcome.COMPLETED and commit is None and not says(ended.text):
                ended = LoopEnd(Outcome.FAILED, "empty_result", f"ended with an empty result: {ended.text!r}")
            elif self.worker is not None and ended.outcome is Outcome.COMPLETED and not (commit or trajectory.steps):
                ended = LoopEnd(Outcome.FAILED, "did_nothing", f"changed nothing, asked no model: {ended.text}")
            trajectory.end(ended.outcome, ended.stop, ended.text)
            trajectory.commit, trajectory.submitted = commit or "", ended.result
            alone = not self.parent and ended.stop in LIMITS  # then there is nothing else
            trajectory.keep = ended.outcome is Outcome.COMPLETED or ended.partial or alone
            trajectory.artifact = await self._spilled(spec, ended.text)
        return AgentResult(
            subtask_id=spec.subtask.id,
            trajectory_id=spec.trajectory_id,
            outcome=ended.outcome,
            text=ended.text,
            stop=ended.stop,
            keep=trajectory.keep,
            commit=commit,
            steps=trajectory.steps,
            tool_calls=trajectory.tool_calls,
            usage=trajectory.usage,
            seconds=trajectory.seconds,
            result=ended.result,
            artifact=trajectory.artifact,
        )

    async def _work(
        self, spec: AgentSpec, tools: ToolBox, where: tuple[Place | LatePlace, Sandbox], trajectory: Trajectory
    ) -> LoopEnd:
        """The agent's loop in a place, by way of the sandbox as its tools use it."""
        place, sandbox = where
        messages: list[Message] = [
            {"role": "system", "content": spec.system_prompt},
            {"role": "user", "content": with_pictures(spec.instructions, self.line.pictures)},
        ]
        budget = attempt_budget(self.line.budget, spec, self.line.past.tokens(spec.trajectory_id))
        conversation = Conversation(self.line, spec.trajectory_id, Role.SUBAGENT, messages, budget)
        repository = self.pool.workshop.repository
        keeper = Keeper(conversation, repository, place, spec.base, self.pace)
        citing = Citing(tools, self.auditor, spec) if self.auditor is not None else None
        tools = citing or tools
        if self.leads is not None:
            below = partial(self._of_group, budget, spec.trajectory_id)
            tools = self.leads.lead(spec, tools, Post(below, conversation, keeper, place.copy, place.sandbox))
        user = ToolUser(conversation, tools, self.line.sink, keeper, citing)
        loop = AgentLoop(conversation, user, sandbox, spec.steering, Context(conversation, self.context))
        spec.steering.advice = Landing(conversation, spec.steering, spec.limits.max_steps, FINISH_WORK)
        trajectory.before = self.line.past.seconds(spec.trajectory_id)
        try:
            await keeper.restore()
            ended = await loop.run(spec.limits)
            if citing is not None and ended.outcome in (Outcome.COMPLETED, Outcome.FAILED):
                failed = ended.outcome is Outcome.FAILED
                text, result = await citing.marked(ended.text, ended.result, failed=failed)
                ended = replace(ended, text=text, result=result)
            return _honest(ended, loop.tool_calls, spec)
        finally:
            spec.steering.advice = None  # it would keep the conversation until the garbage collector comes by
            trajectory.steps, trajectory.usage = conversation.steps, conversation.usage
            trajectory.tool_calls = loop.tool_calls

    def _of_group(self, budget: Budget, parent: str, number: int) -> LocalExecutor:
        """Makes the attempts of the n-th group of an agent, which has this budget."""
        return replace(self, line=replace(self.line, budget=group_budget(budget, number)), parent=parent)

    async def _hand_over(self, worker: Worker, spec: AgentSpec, sandbox: Sandbox, trajectory: Trajectory) -> LoopEnd:
        """Somebody else's agent, which reaches its model through a conversation of ours."""
        budget = attempt_budget(self.line.budget, spec, self.line.past.tokens(spec.trajectory_id))
        conversation = Conversation(self.line, spec.trajectory_id, Role.SUBAGENT, (), budget)
        conversation.clock = spec.steering.clock
        trajectory.before = self.line.past.seconds(spec.trajectory_id)
        try:
            return await worker.work(Errand(spec, sandbox, conversation, trajectory))
        finally:
            trajectory.steps, trajectory.usage = conversation.steps, conversation.usage
            trajectory.tool_calls = conversation.tool_calls

    async def _spilled(self, spec: AgentSpec, text: str) -> str:
        """The handle of a text that is too long to be handed over as it is, empty for others."""
        if len(text) <= LONG_RESULT or self.context.artifacts is None:
            return ""
        artifact = self.context.artifacts.of(f"result-{spec.trajectory_id}", text)
        await self.context.artifacts.keep(artifact)
        return artifact.handle

    async def _capture(self, spec: AgentSpec, ended: LoopEnd, copy: WorkingCopy | None) -> tuple[LoopEnd, str | None]:
        """The commit of what was changed, and how the attempt ended where that could not be held whole."""
        repository = self.pool.workshop.repository
        if spec.base is None or repository is None or copy is None:
            return ended, None
        message = f"{spec.subtask.title}\n\n{ended.text}\n\nSwarm-Subtask: {spec.subtask.id}\n"
        captured = await repository.capture(copy.tree, spec.base, author=spec.trajectory_id, message=message)
        if captured.failure:
            text = f"the changed files cannot be recorded: {captured.failure}\n\n{ended.text}"
            return replace(ended, outcome=Outcome.FAILED, stop="not_recorded", text=text, partial=False), None
        if captured.left_out:
            note = f"left out of the changes: {', '.join(captured.left_out)}"
            notice = Notice(level="warning", message=f"{spec.subtask.id}: {note}", trajectory_id=spec.trajectory_id)
            self.line.sink.emit(notice)
            ended = replace(ended, text=f"{ended.text}\n\n[{note}]")
        return ended, captured.commit

    def started(self, spec: AgentSpec, tools: ToolBox) -> AgentStarted:
        """The record with which an attempt begins."""
        return AgentStarted(
            trajectory_id=spec.trajectory_id,
            role=Role.SUBAGENT,
            name=spec.subtask.id,
            trainable=self.line.learns,
            depth=spec.depth if self.parent else 0,
            parent_trajectory_id=self.parent,
            spawned_by_tool_call_id=spec.spawned_by,
            stage=spec.stage,
            spawn_index=spec.spawn_index,
            attempt=spec.attempt,
            subtask=spec.subtask,
            model=self.line.service.name,
            system_prompt_sha256=sha256("" if self.worker is not None else spec.system_prompt),
            worker=self.worker.name if self.worker is not None else "",
            tools=[]
            if self.worker is not None
            else [*(self.leads.schemas(spec) if self.leads is not None else ()), *tools.schemas()],
            max_steps=spec.limits.max_steps,
            timeout_s=spec.limits.timeout,
            sandbox=self.pool.workshop.backend.name,
            base=spec.base or "",
        )


def recorded(spec: AgentSpec, ended: AgentEnded) -> AgentResult:
    """The result of an attempt that ended before."""
    return AgentResult(
        subtask_id=spec.subtask.id,
        trajectory_id=spec.trajectory_id,
        outcome=ended.outcome,
        text=ended.final_output,
        stop=ended.stop,
        keep=ended.keep,
        commit=ended.commit or None,
        steps=ended.steps,
        tool_calls=ended.tool_calls,
        usage=ended.usage,
        seconds=ended.seconds,
        result=ended.submitted,
        artifact=ended.artifacts[0] if ended.artifacts else "",
    )


def _honest(ended: LoopEnd, tool_calls: int, spec: AgentSpec) -> LoopEnd:
    """What an agent calls done is not completed without a look at the repository, without the result in the form that
    was asked for, or with nothing in it."""
    if ended.outcome is not Outcome.COMPLETED:
        return ended
    if tool_calls == 0 and spec.base is not None:
        return LoopEnd(Outcome.FAILED, "did_nothing", f"ended without using any tool: {ended.text}")
    schema = spec.subtask.result_schema
    if schema is not None and ended.stop != "submitted":
        return LoopEnd(Outcome.FAILED, "no_result", f"ended without submitting the result asked for: {ended.text}")
    if schema is not None and not holds(ended.result, schema):
        return LoopEnd(Outcome.FAILED, "empty_result", f"submitted an empty result: {ended.text}", result=ended.result)
    return ended
