"""board: what agents that work at the same time tell each other, so that no two do the same work."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationError

from swarm.protocols import Sandbox, Seat
from swarm.tools.output import failed
from swarm.tools.schema import parameters_of
from swarm.types import BoardAction, JsonObject, ToolErrorKind, ToolResult
from swarm.values import value

NAME = "board"


def _form(
    action: BoardAction,
    key: Annotated[str, Field(description="What it is about, as all would name it: a path, an item.")] = "",
    text: Annotated[str, Field(description="find: the fact. read: only what holds these words.")] = "",
) -> None:
    """The arguments."""


class Nobody:
    """A seat at no board: for definitions that all agents of a run share."""

    def use(self, action: BoardAction, key: str, text: str) -> str:
        """See `swarm.protocols.Seat`."""
        raise ValueError("there is no board")


_PARAMETERS = parameters_of(_form)  # once: agents are many, and their prompts must be the same to the byte


@value(frozen=True, slots=True)
class BoardTool:
    """A seat at the board as a tool."""

    seat: Seat

    @property
    def name(self) -> str:
        return NAME

    @property
    def description(self) -> str:
        return (
            "The board of all agents at work. claim a thing before work that another agent may do too; if it is taken, "
            "go on elsewhere. find posts what spares others work. read tells claims and what is new. release ends a "
            "claim. Not needed where your work is clearly yours alone."
        )

    @property
    def parameters(self) -> JsonObject:
        return _PARAMETERS.schema

    async def call(self, arguments: JsonObject, sandbox: Sandbox) -> ToolResult:
        """Use it; nothing is waited for, so that no other agent comes in between."""
        try:
            values = _PARAMETERS.bind(arguments)
        except ValidationError as error:
            return failed(ToolErrorKind.BAD_ARGUMENTS, f"{NAME}: {_PARAMETERS.complaint(error)}")
        key = values["key"].strip().removeprefix(sandbox.workdir.rstrip("/") + "/")
        try:
            said = self.seat.use(values["action"], key, values["text"])
            return ToolResult(said if isinstance(said, str) else await said)
        except ValueError as refused:
            return failed(ToolErrorKind.BAD_ARGUMENTS, f"{NAME}: {refused}.")
