"""search_documents and read_document: what a run was given to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import anyio.to_thread
from pydantic import Field, ValidationError

from swarm.documents.index import Found
from swarm.documents.library import Library
from swarm.documents.readings import READ, SEARCH
from swarm.events import AttachedDocument
from swarm.protocols import Sandbox, Tool
from swarm.tools.output import LIMIT, NOTE_ROOM, clip, failed
from swarm.tools.schema import Parameters, describe, parameters_of
from swarm.types import JsonObject, ToolErrorKind, ToolResult

_MOST_PASSAGES = 10


def _search_form(
    query: Annotated[
        str, Field(min_length=1, description='Words that the passage holds; "several words" as they stand.')
    ],
    document: Annotated[str | None, Field(description="Only in this one: its id (d3) or name.")] = None,
    most: Annotated[int, Field(ge=1, le=_MOST_PASSAGES, description="How many passages. Default 5.")] = 5,
) -> None:
    """Find passages in the attached documents by their words, the best first. Each comes whole, with its lines: what
    you were shown you may cite as [d3:120-145]."""


def _read_form(
    document: Annotated[str, Field(description="Its id (d3) or name.")],
    first: Annotated[int, Field(ge=1, description="First line, from 1. Default 1.")] = 1,
    last: Annotated[int | None, Field(ge=1, description="Last line. Default: as many as fit.")] = None,
    page: Annotated[int | None, Field(ge=1, description="A page in place of lines, where it has pages.")] = None,
) -> None:
    """Read lines of an attached document. What you were shown you may cite as [d3:120-145]."""


_SEARCH_PARAMETERS, _READ_PARAMETERS = parameters_of(_search_form), parameters_of(_read_form)
_SEARCH_DESCRIPTION, _READ_DESCRIPTION = describe(_search_form)[0], describe(_read_form)[0]


def document_tools(library: Library) -> Sequence[Tool]:
    """The tools for the documents of a run."""
    return (SearchDocuments(library), ReadDocument(library))


@dataclass(frozen=True, slots=True)
class SearchDocuments:
    """Finds passages in a library."""

    library: Library

    @property
    def name(self) -> str:
        return SEARCH

    @property
    def description(self) -> str:
        return _SEARCH_DESCRIPTION

    @property
    def parameters(self) -> JsonObject:
        return _SEARCH_PARAMETERS.schema

    async def call(self, arguments: JsonObject, sandbox: Sandbox) -> ToolResult:
        """Search."""
        values = _values(self.name, _SEARCH_PARAMETERS, arguments)
        if isinstance(values, ToolResult):
            return values
        within = None
        if values["document"] is not None:
            within = self.library.document(values["document"])
            if within is None:
                return _unknown(values["document"])
        found = await anyio.to_thread.run_sync(
            self.library.index.search, values["query"], within.id if within is not None else None, values["most"]
        )
        if not found:
            return ToolResult("No passage holds any of these words. Try others.")
        parts: list[str] = []
        for each in found:
            part = self._shown(each)
            if parts and sum(map(len, parts)) + len(part) > LIMIT - NOTE_ROOM:
                parts.append(f"[{len(found) - len(parts)} more found; ask for rarer words, or for one document]")
                break
            parts.append(part)
        return ToolResult("\n\n".join(parts))

    def _shown(self, found: Found) -> str:
        document, passage = self.library.document(found.document), found.passage
        name = document.name if document is not None else found.document
        page = f", page {passage.page}" if passage.page else ""
        under = f", under {passage.heading!r}" if passage.heading else ""
        head = f"[{found.document}:{passage.first}-{passage.last}] {name}{page}{under}"
        return "\n".join([head, *_numbered(dict(enumerate(passage.text.split("\n"), passage.first)))])


@dataclass(frozen=True, slots=True)
class ReadDocument:
    """Reads lines of a document in a library."""

    library: Library

    @property
    def name(self) -> str:
        return READ

    @property
    def description(self) -> str:
        return _READ_DESCRIPTION

    @property
    def parameters(self) -> JsonObject:
        return _READ_PARAMETERS.schema

    async def call(self, arguments: JsonObject, sandbox: Sandbox) -> ToolResult:
        """Read."""
        values = _values(self.name, _READ_PARAMETERS, arguments)
        if isinstance(values, ToolResult):
            return values
        document = self.library.document(values["document"])
        if document is None:
            return _unknown(values["document"])
        if document.is_image:
            return failed(
                ToolErrorKind.UNSUITABLE, f"{document.id} is an image: it stands in your task, if you can see"
            )
        place = self._place(document, values["first"], values["last"], values["page"])
        if isinstance(place, str):
            return failed(ToolErrorKind.BAD_ARGUMENTS, f"{document.id}: {place}")
        first, last = place
        lines = await anyio.to_thread.run_sync(self.library.index.lines, document.id, first, last)
        pages = {start: number for number, start in enumerate(document.page_starts, 1) if first < start <= last}
        kept: list[str] = []
        used, end = 0, first - 1
        for number in range(first, last + 1):
            part = [f"--- page {pages[number]} ---"] if number in pages else []
            part += _numbered({number: lines.get(number, "")})
            size = sum(map(len, part)) + len(part)
            if kept and used + size > LIMIT - 2 * NOTE_ROOM:
                break
            kept += part
            used, end = used + size, number
        rest = [f"[to line {document.lines}; go on with first={end + 1}]"] if end < document.lines else []
        on = self.library.page_at(document, first)
        head = f"[{document.id}:{first}-{end}] {clip(document.name, 120)}{f', page {on}' if on else ''}"
        return ToolResult("\n".join([head, *kept, *rest]), truncated=end < last)

    def _place(
        self, document: AttachedDocument, first: int, last: int | None, page: int | None
    ) -> tuple[int, int] | str:
        if page is not None:
            found = self.library.page(document, page)
            count = len(document.page_starts)
            return found or (f"it has {count} pages" if count else "it has no pages: name lines")
        if first > document.lines:
            return f"line {first} is past the end: it has {document.lines} lines"
        last = min(last or document.lines, document.lines)
        return (first, last) if last >= first else f"line {last} comes before line {first}"


def _values(name: str, parameters: Parameters, arguments: JsonObject) -> dict[str, Any] | ToolResult:
    try:
        return parameters.bind(arguments)
    except ValidationError as error:
        return failed(ToolErrorKind.BAD_ARGUMENTS, f"{name}: {parameters.complaint(error)}")


def _numbered(lines: dict[int, str]) -> list[str]:
    """No line of a document begins as ours do, by which it is told what was read."""
    return [f"{number:>6}\t{line}" for number, line in lines.items()]


def _unknown(named: str) -> ToolResult:
    return failed(
        ToolErrorKind.NOT_FOUND, f"there is no document {clip(named, 120)!r}. They are d1, d2, ... as listed."
    )
