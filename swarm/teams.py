"""Sub-agents of sub-agents: an agent with `create_subagent` and `assign_task` of its own, as deep as a run allows.

Its group runs like a stage, by the same executor, out of the same funds and places. The agent waits meanwhile, and
lends its place to others; what the group has changed is merged into its own tree before it goes on. It alone answers
for what they did: to those above there is one sub-task with one result.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from swarm.agents.agent import ToolBox
from swarm.agents.board import has_siblings
from swarm.agents.gathering import Gathered
from swarm.budgets.headcount import Headcount
from swarm.errors import MachineError
from swarm.events import GroupEnded, GroupStarted, PatchMerged
from swarm.executors.leads import Post
from swarm.orchestrators.delegation import ASSIGN, CREATE, SCHEMAS, Delegation, Refused
from swarm.prompts.briefing import Briefing, Occasion
from swarm.prompts.messages import agent_report
from swarm.protocols import EventSink, Pausable, Repository, Sandbox
from swarm.scheduling.controls import Controls
from swarm.scheduling.scheduler import Scheduler
from swarm.scheduling.stragglers import StragglerPolicy
from swarm.scheduling.width import Loan, Width
from swarm.stages import Merged, StageReport
from swarm.steering import RESUME_S
from swarm.types import (
    AgentResult,
    AgentSpec,
    JsonObject,
    Outcome,
    Plan,
    SubTask,
    ToolCall,
    ToolErrorKind,
    ToolResult,
    ToolStatus,
)

TRIES = 3
"""How often a group's changes are merged anew because the agent's tree changed meanwhile."""


@dataclass(frozen=True, slots=True)
class Staff:
    """What all groups of a run have in common. `repository` is None for a task without one."""

    briefing: Briefing
    headcount: Headcount
    width: Width
    sink: EventSink
    repository: Repository | None
    stragglers: StragglerPolicy = field(default_factory=StragglerPolicy)
    controls: Controls = field(default_factory=Controls)


@dataclass(frozen=True, slots=True)
class Teams:
    """`swarm.executors.leads.Leads`: agents above `max_depth` may have agents of their own."""

    staff: Staff
    max_depth: int

    def schemas(self, spec: AgentSpec) -> Sequence[JsonObject]:
        """See `Leads.schemas`."""
        return SCHEMAS if spec.depth < self.max_depth else ()

    def lead(self, spec: AgentSpec, tools: ToolBox, post: Post) -> ToolBox:
        """See `Leads.lead`."""
        return Team(spec, tools, post, self.staff) if self.schemas(spec) else tools


class Team:
    """`swarm.agents.agent.ToolBox` and `swarm.agents.gathering.Gathering` of an agent that leads others."""

    def __init__(self, spec: AgentSpec, tools: ToolBox, post: Post, staff: Staff) -> None:
        self._spec = spec
        self._tools = tools
        self._post = post
        self._staff = staff
        self._delegation = Delegation(staff.headcount, spec.trajectory_id)
        self._failed: set[str] = set()
        self._groups = 0

    def __repr__(self) -> str:
        return f"<Team of {self._spec.trajectory_id}: {self._groups} groups>"

    def schemas(self) -> Sequence[JsonObject]:
        """See `swarm.agents.agent.ToolBox`."""
        return [*SCHEMAS, *self._tools.schemas()]

    async def call(self, name: str, raw_arguments: str, sandbox: Sandbox) -> ToolResult:
        """See `swarm.agents.agent.ToolBox`."""
        return await self._tools.call(name, raw_arguments, sandbox)

    def gathers(self, name: str) -> bool:
        """See `swarm.agents.gathering.Gathering`."""
        return name in (CREATE, ASSIGN)

    async def gather(self, calls: Sequence[ToolCall], recorded: Sequence[ToolResult | None]) -> Sequence[Gathered]:
        """See `swarm.agents.gathering.Gathering`. All assign_task calls of the turn are one group."""
        asked = [self._follow(call) for call in calls]
        group = {each.id: call.id for each, call in zip(asked, calls, strict=True) if isinstance(each, SubTask)}
        answers: Mapping[str, Gathered] = {}
        if group:
            self._groups += 1
            subtasks = [each for each in asked if isinstance(each, SubTask)]
            known = [held for each, held in zip(asked, recorded, strict=True) if isinstance(each, SubTask)]
            if not all(known):
                answers = await self._work(Plan(subtasks=tuple(subtasks)), group)
            self._failed |= {s.id for s, held in zip(subtasks, known, strict=True) if held and _failed(held)}
            self._failed |= {i for i, answer in answers.items() if _failed(answer.result)}
        return [
            Gathered(held) if held else answers[each.id] if isinstance(each, SubTask) else Gathered(each)
            for each, held in zip(asked, recorded, strict=True)
        ]

    def _follow(self, call: ToolCall) -> SubTask | ToolResult:
        """What a call asks for, or its answer."""
        try:
            if call.name == ASSIGN:
                return self._delegation.assign(call.arguments, frozenset(self._failed))
            return ToolResult(self._delegation.create(call.arguments))
        except Refused as refused:
            return ToolResult(str(refused), status=ToolStatus.FAILED, error=ToolErrorKind.BAD_ARGUMENTS)

    async def _work(self, plan: Plan, calls: Mapping[str, str]) -> Mapping[str, Gathered]:
        """Let a group work, and take over what it changed; the answer to each of its sub-tasks."""
        spec, staff, clock = self._spec, self._staff, self._post.conversation.clock
        running = clock.running
        clock.stop()
        try:
            onto, failure = await self._tree(spec.base, "before its agents begin")
            if failure:
                text = f"not started: your changed files cannot be recorded: {failure}"
                return {i: Gathered(ToolResult(text, status=ToolStatus.FAILED)) for i in calls}
            staff.sink.emit(
                GroupStarted(
                    trajectory_id=spec.trajectory_id,
                    stage=spec.stage,
                    group=self._groups,
                    subtasks=list(plan.subtasks),
                    commit=onto or "",
                )
            )
            async with staff.width.lent() as loan:
                results = await self._run(plan, calls, onto, loan)
            merged = await self._merge(results, onto)
            staff.sink.emit(
                GroupEnded(
                    trajectory_id=spec.trajectory_id,
                    stage=spec.stage,
                    group=self._groups,
                    commit=merged.commit or onto or "",
                )
            )
        finally:
            if running:
                clock.start()
        report = StageReport(spec.stage, plan, results, merged, None)
        return {result.subtask_id: _answer(result, report) for result in results}

    async def _run(self, plan: Plan, calls: Mapping[str, str], onto: str | None, loan: Loan) -> tuple[AgentResult, ...]:
        staff, spec = self._staff, self._spec
        left = spec.limits.max_steps - self._post.conversation.steps
        siblings = staff.width.count > 1 and has_siblings(plan)
        occasion = Occasion(spec.stage, onto, max(1, left), calls, siblings, spec.depth + 1)
        staff.briefing.announce(plan)

        async def prepare(subtask: SubTask, attempt: int, needed: Sequence[AgentResult]) -> AgentSpec:
            return await staff.briefing.spec(subtask, attempt, needed, occasion)

        executor = self._post.executor(self._groups)
        scheduler = Scheduler(executor, prepare, staff.sink, loan, staff.stragglers, staff.controls)
        before = self._post.conversation.line.past.turns(spec.stage)
        outcome = await scheduler.run(plan, spec.stage, anyio.Event(), before)
        if outcome.fault is not None:
            raise outcome.fault
        return outcome.results

    async def _tree(self, parent: str | None, when: str) -> tuple[str | None, str]:
        """The commit of what the agent's tree holds on top of `parent`, or why there is none. Whoever works in it must
        stand still, else a fork is read: who does not could lead us out of it meanwhile."""
        repository, copy = self._staff.repository, self._post.copy
        if parent is None or repository is None or copy is None:
            return None, ""
        author, message = self._spec.trajectory_id, f"{self._spec.trajectory_id} {when}"
        if isinstance(self._post.sandbox, Pausable):
            async with _still(self._post.sandbox):
                captured = await repository.capture(copy.tree, parent, author=author, message=message)
        else:
            async with copy.fork() as frozen:
                captured = await repository.capture(frozen.tree, parent, author=author, message=message)
        return captured.commit or parent, captured.failure

    async def _merge(self, results: Sequence[AgentResult], onto: str | None) -> Merged:
        """Bring the agent's own tree to what it is with the changes of its group."""
        if onto is None or not any(result.keep and result.commit for result in results):
            return Merged("")
        failure = "its sandbox cannot stand still meanwhile"
        for _ in range(TRIES if isinstance(self._post.sandbox, Pausable) else 0):
            now, failure = await self._tree(onto, "when its agents had ended")
            if failure or now is None:
                break
            merged = await self._merged(results, now)
            try:
                await self._bring(now, merged.commit or now)
            except MachineError as error:  # it changed since, or holds what a change would write over
                failure = error.message
                continue
            await self._tell(results, merged)
            return merged
        why = f"your own files cannot be brought together with it: {failure}"
        merged = Merged("", evicted={result.subtask_id: why for result in results if result.keep and result.commit})
        await self._tell(results, merged)
        return merged

    async def _merged(self, results: Sequence[AgentResult], now: str) -> Merged:
        """Three-way merges in the order of the calls; what conflicts is left out."""
        repository, merged = self._staff.repository, now
        assert repository is not None
        evicted: dict[str, str] = {}
        for result in results:
            if result.keep and result.commit:
                message = f"Merge {result.subtask_id} for {self._spec.trajectory_id}"
                commit, conflict = await repository.merge(merged, result.commit, message=message)
                if commit is None:
                    evicted[result.subtask_id] = f"conflict with what was there before in {conflict}"
                merged = commit or merged
        return Merged("", merged, evicted)

    async def _bring(self, now: str, commit: str) -> None:
        copy, sandbox = self._post.copy, self._post.sandbox
        if copy is not None and commit != now and isinstance(sandbox, Pausable):
            async with _still(sandbox):
                await copy.move_to(commit, as_changes=True, shows=now)
            self._post.keeper.brought_to(commit)

    async def _tell(self, results: Sequence[AgentResult], merged: Merged) -> None:
        repository = self._staff.repository
        assert repository is not None
        for result in results:
            if result.keep and result.commit:
                reason = merged.evicted.get(result.subtask_id, "")
                files = await repository.changed_files(f"{result.commit}^", result.commit)
                self._staff.sink.emit(
                    PatchMerged(
                        stage=self._spec.stage,
                        subtask_id=result.subtask_id,
                        merged=not reason,
                        commit="" if reason else merged.commit or "",
                        files=list(files),
                        reason=reason,
                    )
                )


@asynccontextmanager
async def _still(sandbox: Pausable) -> AsyncIterator[None]:
    """Let whatever runs in a sandbox stand still for the length of the block."""
    try:
        await sandbox.pause()
        yield
    finally:
        with anyio.move_on_after(RESUME_S, shield=True):
            await sandbox.resume()


def _answer(result: AgentResult, report: StageReport) -> Gathered:
    status = ToolStatus.COMPLETED if result.outcome is Outcome.COMPLETED else ToolStatus.FAILED
    return Gathered(ToolResult(agent_report(result, report), status=status), result.trajectory_id, result.artifact)


def _failed(result: ToolResult) -> bool:
    return result.status is not ToolStatus.COMPLETED
