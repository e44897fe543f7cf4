"""open_artifact: what was too long to be handed over, read in pieces."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationError

from swarm.journal.artifacts import TOOL, Artifacts
from swarm.protocols import Sandbox
from swarm.tools.output import LIMIT, NOTE_ROOM, clip, failed, numbered, printable
from swarm.tools.schema import describe, parameters_of
from swarm.types import JsonObject, ToolErrorKind, ToolResult
from swarm.values import value

_MATCHES = 100
_WIDTH = 400
_WIDEST = 8_000


def _form(
    handle: Annotated[str, Field(description="The artifact's name, as it was told.")],
    offset: Annotated[int, Field(ge=1, description="First line, from 1. Default 1.")] = 1,
    limit: Annotated[int | None, Field(ge=1, description="How many lines. Default: as many as fit.")] = None,
    find: Annotated[
        str | None, Field(min_length=1, description="Only lines that hold this text, in whatever case.")
    ] = None,
) -> None:
    """Read an artifact: the whole of a result or output of which you were shown a part. Lines come with numbers."""


_PARAMETERS = parameters_of(_form)  # once: runs are many
_DESCRIPTION = describe(_form)[0]


@value(frozen=True, slots=True)
class OpenArtifact:
    """The tool, for the artifacts of a run."""

    artifacts: Artifacts

    @property
    def name(self) -> str:
        return TOOL

    @property
    def description(self) -> str:
        return _DESCRIPTION

    @property
    def parameters(self) -> JsonObject:
        return _PARAMETERS.schema

    async def call(self, arguments: JsonObject, sandbox: Sandbox) -> ToolResult:
        """Read what is asked for."""
        try:
            values = _PARAMETERS.bind(arguments)
        except ValidationError as error:
            return failed(ToolErrorKind.BAD_ARGUMENTS, f"{TOOL}: {_PARAMETERS.complaint(error)}")
        handle, offset, limit, find = (values[name] for name in ("handle", "offset", "limit", "find"))
        text = await self.artifacts.read(handle.strip().removeprefix("artifact ").removesuffix(".txt"))
        if text is None:
            named = clip(handle, 120)
            return failed(ToolErrorKind.NOT_FOUND, f"there is no artifact {named!r}. Copy the name exactly.")
        lines = text.split("\n")
        if find is not None:
            return _found(lines, find)
        if offset > len(lines):
            return failed(ToolErrorKind.BAD_ARGUMENTS, f"offset {offset} is past the end: it has {len(lines)} lines.")
        last = len(lines) if limit is None else min(len(lines), offset - 1 + limit)
        return numbered(lines, offset, last, lambda line: _line(line, _WIDEST))


def _found(lines: list[str], wanted: str) -> ToolResult:
    wanted = wanted.casefold()
    hits = [(number, line) for number, line in enumerate(lines, 1) if wanted in line.casefold()]
    if not hits:
        return ToolResult("No line holds it.")
    shown = [f"{number:>6}\t{_line(line, _WIDTH, line.casefold().find(wanted))}" for number, line in hits[:_MATCHES]]
    while sum(map(len, shown)) + len(shown) > LIMIT - NOTE_ROOM:
        shown.pop()
    if len(shown) < len(hits):
        shown.append(f"[only the first {len(shown)} of {len(hits)} lines; look for something rarer]")
    return ToolResult("\n".join(shown), truncated=len(shown) < len(hits))


def _line(line: str, width: int, at: int = 0) -> str:
    """A line of at most `width` characters, around the place `at`."""
    line = printable(line)
    if len(line) <= width:
        return line
    start = max(0, min(at - width // 4, len(line) - width))
    end = f"[... {len(line) - start - width} more characters]" if start + width < len(line) else ""
    return ("[...]" if start else "") + line[start : start + width] + end
