"""The documents of a run while it lasts: what agents are told of them, who looks at what is said, what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread

from swarm.documents.attaching import attach
from swarm.documents.library import Library, Pictures
from swarm.documents.overview import overview
from swarm.documents.readings import Readings
from swarm.errors import MachineError
from swarm.events import Notice
from swarm.protocols import EventSink
from swarm.result import CitedDocument, Sources, UnsupportedClaim
from swarm.values import value

if TYPE_CHECKING:
    from swarm.documents.audit import Auditor

_LONGEST_CLAIM = 500


@value(frozen=True, slots=True)
class ReadingRoom:
    """`library` and `auditor` are None where nothing is attached: then nothing is told, and nothing looked at."""

    library: Library | None = None
    auditor: Auditor | None = None
    pictures: Pictures = field(default_factory=Pictures)
    overview: str = ""
    sink: EventSink | None = None

    async def close(self, answer: str, *, void: bool, patched: bool) -> tuple[str, Sources | None, MachineError | None]:
        """The answer with marks where its sources do not hold and the names of those that it cites, and what is to be
        said of them; or what kept it from being looked at. A `void` answer claims nothing, one that goes with a patch
        may speak of that."""
        if self.library is None or self.auditor is None or self.sink is None:
            return answer, None, None
        documents = self.library.attached.documents
        if void or not answer.strip():
            shown = [CitedDocument(id=each.id, name=each.name, sha256=each.sha256) for each in documents]
            return answer, Sources(documents=shown), None
        try:
            audit = await self.auditor.audit(answer, lenient=patched)
        except MachineError as fault:
            return answer, None, fault
        cited = [each for each in documents if each.id in audit.cited]
        claims = [UnsupportedClaim(claim=p.claim[:_LONGEST_CLAIM], reason=p.reason) for p in audit.problems]
        if claims:
            what = "a claim of the answer has" if len(claims) == 1 else f"{len(claims)} claims of the answer have"
            self.sink.emit(Notice(level="warning", message=f"{what} no source that holds, and so marked in it"))
        legend = "\n".join(f"- {each.id}: {each.name}" for each in cited)
        text = f"{audit.text.rstrip()}\n\nSources:\n\n{legend}" if legend else audit.text
        shown = [
            CitedDocument(id=each.id, name=each.name, sha256=each.sha256, cited=each in cited) for each in documents
        ]
        return text, Sources(documents=shown, supported=audit.supported, unsupported=claims), None


async def open_room(
    paths: Sequence[str | Path], folder: Path, readings: Readings, sink: EventSink, *, on_repository: bool
) -> ReadingRoom:
    """The documents of a run in its folder, attached now or, as its `readings` know, before. Raises as `attach`."""
    library = await attach(paths, folder, readings.attached, sink)
    if library is None:
        return ReadingRoom()
    from swarm.documents.audit import Auditor  # most runs have no documents

    readings.attached = library.attached
    pictures = await anyio.to_thread.run_sync(library.pictures)
    auditor = Auditor(library, readings, on_repository=on_repository)
    return ReadingRoom(library, auditor, pictures, overview(library.attached), sink)
