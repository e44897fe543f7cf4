"""Attempts made in this process: a workspace, a sandbox, the agent's loop, and what changed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from swarm.agent import AgentLoop, LoopEnd, ToolBox, ToolKit
from swarm.budget import Limits
from swarm.conversation import Conversation, Line
from swarm.events import AgentStarted, Notice
from swarm.pool import Pool
from swarm.protocols import Pausable, Sandbox
from swarm.trajectory import Trajectory, open_trajectory, sha256
from swarm.types import AgentResult, AgentSpec, Message, Outcome, Role


@dataclass(frozen=True, slots=True)
class LocalExecutor:
    """Makes attempts here. `parent` is the orchestrator's trajectory, empty where one agent is the policy itself."""

    pool: Pool
    line: Line
    tools: ToolKit
    parent: str

    def expect(self, count: int, commit: str | None) -> None:
        """See `swarm.protocols.Executor.expect`."""
        self.pool.expect(count, commit)

    async def run(self, spec: AgentSpec) -> AgentResult:
        tools = self.tools.fitted(spec.subtask)
        async with (
            open_trajectory(self.line.sink, self._started(spec, tools)) as trajectory,
            self.pool.take(spec.trajectory_id, spec.base) as place,
        ):
            spec.steering.sandbox = place.sandbox if isinstance(place.sandbox, Pausable) else None
            async with self.tools.bench(place.sandbox) as bench:
                ended = await self._work(spec, tools, bench, trajectory)
            await place.close_sandbox()  # nothing writes any more
            trajectory.end(ended.outcome, ended.stop, ended.text)
            ended, commit = await self._capture(spec, ended, place.copy.tree)
            trajectory.end(ended.outcome, ended.stop, ended.text)
            trajectory.commit = commit or ""
        return AgentResult(
            subtask_id=spec.subtask.id,
            trajectory_id=spec.trajectory_id,
            outcome=ended.outcome,
            text=ended.text,
            stop=ended.stop,
            keep=ended.outcome is Outcome.COMPLETED or ended.partial,
            commit=commit,
            steps=trajectory.steps,
            tool_calls=trajectory.tool_calls,
            usage=trajectory.usage,
            seconds=trajectory.seconds,
            result=ended.result,
        )

    async def _work(self, spec: AgentSpec, tools: ToolBox, sandbox: Sandbox, trajectory: Trajectory) -> LoopEnd:
        messages: list[Message] = [
            {"role": "system", "content": spec.system_prompt},
            {"role": "user", "content": spec.instructions},
        ]
        line, own = self.line, spec.limits.max_tokens
        if own is not None:
            line = replace(line, budget=line.budget.child(Limits(tokens=own), spec.trajectory_id))
        conversation = Conversation(line, spec.trajectory_id, Role.SUBAGENT, messages)
        loop = AgentLoop(conversation, tools, sandbox, line.sink, spec.steering)
        try:
            return _honest(await loop.run(spec.limits), loop.tool_calls, spec)
        finally:
            trajectory.steps, trajectory.usage = conversation.steps, conversation.usage
            trajectory.tool_calls = loop.tool_calls

    async def _capture(self, spec: AgentSpec, ended: LoopEnd, copy: Path) -> tuple[LoopEnd, str | None]:
        """The commit of what was changed, and how the attempt ended where that could not be held whole."""
        repository = self.pool.workshop.repository
        if spec.base is None or repository is None:
            return ended, None
        message = f"{spec.subtask.title}\n\n{ended.text}\n\nSub-task: {spec.subtask.id}\n"
        captured = await repository.capture(copy, spec.base, author=spec.trajectory_id, message=message)
        if captured.failure:
            text = f"the changed files cannot be recorded: {captured.failure}\n\n{ended.text}"
            return replace(ended, outcome=Outcome.FAILED, stop="not_recorded", text=text, partial=False), None
        if captured.left_out:
            note = f"left out of the changes: {', '.join(captured.left_out)}"
            notice = Notice(level="warning", message=f"{spec.subtask.id}: {note}", trajectory_id=spec.trajectory_id)
            self.line.sink.emit(notice)
            ended = replace(ended, text=f"{ended.text}\n\n[{note}]")
        return ended, captured.commit

    def _started(self, spec: AgentSpec, tools: ToolBox) -> AgentStarted:
        return AgentStarted(
            trajectory_id=spec.trajectory_id,
            role=Role.SUBAGENT,
            name=spec.subtask.id,
            trainable=not self.parent,
            depth=1 if self.parent else 0,
            parent_trajectory_id=self.parent,
            spawned_by_tool_call_id=spec.spawned_by,
            stage=spec.stage,
            spawn_index=spec.spawn_index,
            attempt=spec.attempt,
            subtask=spec.subtask,
            model=self.line.service.name,
            system_prompt_sha256=sha256(spec.system_prompt),
            tools=list(tools.schemas()),
            max_steps=spec.limits.max_steps,
            timeout_s=spec.limits.timeout,
            sandbox=self.pool.workshop.backend.name,
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
    if schema is not None and ended.result in (None, "", [], {}):
        return LoopEnd(Outcome.FAILED, "empty_result", f"submitted an empty result: {ended.text}", result=ended.result)
    return ended
