"""The end of an attempt, in the sub-agent's own words."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from swarm.tools.output import failed
from swarm.tools.registry import tool
from swarm.types import Submission, ToolResult


@tool
def submit(
    status: Annotated[
        Literal["done", "partial", "failed"],
        Field(
            description="done: the sub-task is done and you saw it work. partial: not done, but your changes are right "
            "and worth keeping. failed: nothing worth keeping; your changes are thrown away."
        ),
    ],
    summary: Annotated[
        str, Field(description="The result itself, or what you changed and why, or what stood in the way.")
    ],
) -> ToolResult:
    """End your work and hand in the result. Call it once, last and alone."""
    if not summary.strip():
        return failed("the summary is empty. Say what you found or changed, or what stood in the way.")
    return ToolResult("Submitted.", submission=Submission(status, summary.strip()))
