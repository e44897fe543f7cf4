"""Tools that take all their calls of one turn together, as far as the loop of an agent knows of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast, runtime_checkable

from swarm.types import ToolCall, ToolResult
from swarm.values import value


@value(frozen=True, slots=True)
class Gathered:
    """The answer to one call. `child` is the trajectory that it started, `artifact` what holds the whole result."""

    result: ToolResult
    child: str = ""
    artifact: str = ""


@runtime_checkable
class Gathering(Protocol):
    """A tool box with such tools."""

    def gathers(self, name: str) -> bool:
        """Whether this tool's calls are taken together."""
        ...

    async def gather(self, calls: Sequence[ToolCall], recorded: Sequence[ToolResult | None]) -> Sequence[Gathered]:
        """Answer all such calls of one turn, in their order. `recorded` are the answers that the journal holds."""
        ...


def as_gathering(tools: object) -> Gathering | None:
    """A tool box, if it has such tools. Its class is asked, which Python does once; an object it asks each time."""
    return cast(Gathering, tools) if issubclass(type(tools), Gathering) else None
