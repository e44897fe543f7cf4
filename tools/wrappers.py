"""Tools around tools: the same tool under another name, or asked for before it is used."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from swarm.protocols import Sandbox, Tool
from swarm.tools.output import failed
from swarm.types import JsonObject, ToolErrorKind, ToolResult

Approve = Callable[[str, JsonObject], Awaitable[bool]]
"""Says whether a tool, by its name, may be used with these arguments."""


@dataclass(frozen=True, slots=True)
class Prefixed:
    """A tool whose name begins with `prefix`, to keep the tools of several sources apart."""

    prefix: str
    tool: Tool

    @property
    def name(self) -> str:
        return self.prefix + self.tool.name

    @property
    def description(self) -> str:
        return self.tool.description

    @property
    def parameters(self) -> JsonObject:
        return self.tool.parameters

    async def call(self, arguments: JsonObject, sandbox: Sandbox) -> ToolResult:
        return await self.tool.call(arguments, sandbox)


@dataclass(frozen=True, slots=True)
class Approved:
    """A tool that is used only where `approve` agrees, each time."""

    approve: Approve
    tool: Tool

    @property
    def name(self) -> str:
        return self.tool.name

    @property
    def description(self) -> str:
        return self.tool.description

    @property
    def parameters(self) -> JsonObject:
        return self.tool.parameters

    async def call(self, arguments: JsonObject, sandbox: Sandbox) -> ToolResult:
        if await self.approve(self.tool.name, arguments):
            return await self.tool.call(arguments, sandbox)
        return failed(ToolErrorKind.DENIED, "this use was not approved. Go on without it.")
