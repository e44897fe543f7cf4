"""Attaches documents to a run, once: a run that goes on takes what it has, and says where a source has changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import anyio
import anyio.to_thread

from swarm.documents.convert import Converted, Unreadable, convert
from swarm.documents.library import Library, digest
from swarm.documents.passages import Text
from swarm.documents.sources import LARGEST, LARGEST_IMAGE, Gathered, Source, gather, read_source
from swarm.errors import UsageError
from swarm.events import AttachedDocument, DocumentsAttached, Notice
from swarm.protocols import EventSink
from swarm.values import value

AT_ONCE = 2
"""Conversions that run at the same time."""

MOST_TEXT = 512 << 20
"""Characters of all documents: small files may hold much text."""

_MOST_SKIPPED = 500
"""Names of what is left out in the record."""


async def attach(
    paths: Sequence[str | Path], folder: Path, before: DocumentsAttached | None, sink: EventSink
) -> Library | None:
    """The library of a run in its folder; None where nothing is attached. `before`: what its record says was attached.

    Raises:
        UsageError: a document that was named cannot be read, or none of them can.
        MachineError: what was kept is no longer whole, or nothing can be kept.
    """
    if before is not None:
        library = Library(folder, before)
        await anyio.to_thread.run_sync(library.check)
        changed = await anyio.to_thread.run_sync(_changed, before)
        if changed:
            _warn(sink, f"changed since they were attached, and read as they were: {', '.join(changed)}")
        return library
    if not paths:
        return None
    found = await anyio.to_thread.run_sync(gather, paths)
    made = await _made(found)
    library = Library(folder, DocumentsAttached(documents=made.documents, skipped=found.skipped[:_MOST_SKIPPED]))
    await anyio.to_thread.run_sync(library.keep, made.texts, made.images)
    sink.emit(library.attached)
    sink.emit(Notice(message=_told(library.attached)))
    for notice in filter(None, (found.notice, *made.notes)):
        _warn(sink, notice)
    await sink.flush()
    return library


@value(frozen=True, slots=True)
class _Read:
    """What is kept of a source in memory: of an image its bytes, of others their text."""

    sha256: str
    size: int
    image: bytes = b""
    converted: Converted | None = None
    text_sha256: str = ""
    characters: int = 0


class _Made:
    """What became of the sources, in their order."""

    def __init__(self) -> None:
        self.documents: list[AttachedDocument] = []
        self.texts: dict[str, Text] = {}
        self.images: dict[str, bytes] = {}
        self.notes: list[str] = []

    def add(self, source: Source, read: _Read) -> None:
        name, converted = f"d{len(self.documents) + 1}", read.converted
        known: dict[str, object] = {"id": name, "name": source.name, "path": str(source.path), "kind": source.kind}
        known |= {"sha256": read.sha256, "bytes": read.size}
        if converted is None:
            artifact = f"image-{read.sha256[:12]}.{'png' if source.kind == 'png' else 'jpg'}"
            self.images[artifact] = read.image
            self.documents.append(AttachedDocument.model_validate({**known, "artifact": artifact}))
            return
        text = converted.text
        self.texts[name] = text
        self.documents.append(
            AttachedDocument.model_validate(
                {
                    **known,
                    "text_sha256": read.text_sha256,
                    "characters": read.characters,
                    "lines": len(text.lines),
                    "page_starts": list(text.pages),
                    "headings": list(converted.headings),
                }
            )
        )
        if converted.note:
            self.notes.append(f"{source.name}: {converted.note}")


async def _made(found: Gathered) -> _Made:
    results: list[_Read | str] = ["" for _ in found.sources]
    limiter = anyio.CapacityLimiter(AT_ONCE)
    used = 0  # characters

    async def work(at: int, source: Source) -> None:
        nonlocal used
        async with limiter:
            if used > MOST_TEXT:
                return
            try:
                results[at] = read = await _read(source)
                used += read.characters
            except Unreadable as error:
                results[at] = str(error)
            except OSError as error:
                results[at] = error.strerror or "it cannot be read"

    async with anyio.create_task_group() as conversions:
        for at, source in enumerate(found.sources):
            conversions.start_soon(work, at, source)
    if used > MOST_TEXT:
        raise UsageError(
            f"the attached documents hold more than {MOST_TEXT >> 20} Mi characters", remedy="attach fewer of them"
        )
    made = _Made()
    for source, result in zip(found.sources, results, strict=True):
        if isinstance(result, str):
            found.skipped.append(f"{source.name} ({result})")
        else:
            made.add(source, result)
    if not made.documents:
        raise UsageError(f"nothing attached can be read: {found.notice}", remedy="attach documents that hold text")
    return made


async def _read(source: Source) -> _Read:
    """Raises: OSError, Unreadable."""
    data = await anyio.to_thread.run_sync(read_source, source.path, LARGEST_IMAGE if source.is_image else LARGEST)
    sha256 = await anyio.to_thread.run_sync(digest, data)
    if source.is_image:
        return _Read(sha256, len(data), data)
    converted = await convert(data, source.kind)
    text = converted.text
    whole = await anyio.to_thread.run_sync(lambda: digest(text.whole.encode("utf-8", "replace")))
    return _Read(sha256, len(data), b"", converted, whole, sum(map(len, text.lines)))


def _changed(before: DocumentsAttached) -> list[str]:
    changed = []
    for each in before.documents:
        try:
            same = digest(read_source(Path(each.path), LARGEST)) == each.sha256
        except OSError:
            same = False
        if not same:
            changed.append(each.name)
    return changed


def _told(attached: DocumentsAttached) -> str:
    images = sum(each.is_image for each in attached.documents)
    texts, lines = len(attached.documents) - images, sum(each.lines for each in attached.documents)
    parts = [f"{texts} document{'s' * (texts != 1)} of {lines} lines"] if texts else []
    parts += [f"{images} image{'s' * (images != 1)}"] if images else []
    return f"attached: {' and '.join(parts)}"


def _warn(sink: EventSink, message: str) -> None:
    sink.emit(Notice(message=message, level="warning"))
