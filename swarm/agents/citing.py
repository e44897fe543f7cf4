"""What an agent hands in where documents are attached: told back once where its sources do not hold, then marked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from swarm.protocols import Sandbox
from swarm.types import AgentSpec, JsonObject, ToolErrorKind, ToolResult, ToolStatus
from swarm.values import value

if TYPE_CHECKING:
    from swarm.documents.audit import Auditor


class _Tools(Protocol):
    def schemas(self) -> Sequence[JsonObject]: ...

    async def call(self, name: str, raw_arguments: str, sandbox: Sandbox) -> ToolResult: ...


@value(frozen=True, slots=True)
class Citing:
    """The tools of one agent, whose submission is looked at first. Fulfils `swarm.agents.agent.ToolBox`, and
    `swarm.agents.agent.Reviewer`."""

    tools: _Tools
    auditor: Auditor
    spec: AgentSpec

    def schemas(self) -> Sequence[JsonObject]:
        """See `swarm.agents.agent.ToolBox`."""
        return self.tools.schemas()

    async def call(self, name: str, raw_arguments: str, sandbox: Sandbox) -> ToolResult:
        """Use a tool; a submission without sources is refused once."""
        result = await self.tools.call(name, raw_arguments, sandbox)
        given = result.submission
        if given is None or given.status == "failed":
            return result
        text, depends = given.summary, self.spec.subtask.depends_on
        told = await self.auditor.objection(text, self.spec.trajectory_id, depends, given.result)
        if not told:
            return result
        return ToolResult(f"Error: {told}", status=ToolStatus.FAILED, error=ToolErrorKind.BAD_ARGUMENTS)

    async def objection(self, text: str) -> str:
        """See `swarm.agents.agent.Reviewer`."""
        return await self.auditor.objection(text, self.spec.trajectory_id, self.spec.subtask.depends_on)

    async def marked(self, text: str, result: object, *, failed: bool = False) -> tuple[str, object]:
        """What the agent said last and handed in, with marks where its sources do not hold. Who has `failed` says why,
        for which there is no source."""
        name, depends = self.spec.trajectory_id, self.spec.subtask.depends_on
        if result is None:
            return (await self.auditor.audit(text, name, depends, lenient=failed)).text, None
        value = await self.auditor.marked(result, name, depends)
        return text.replace(json.dumps(result, ensure_ascii=False), json.dumps(value, ensure_ascii=False)), value
