"""Texts that are too long to be handed over: kept whole as files of the run, named by handles that others can open.

A handle says what it is and ends with a part of the text's SHA-256: the same text has the same handle, also when the
run is resumed. Secrets are taken out as from the journal.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import anyio
import anyio.to_thread

from swarm.errors import JournalError
from swarm.journal.redaction import Redactor
from swarm.values import value
from swarm.whole_file import write_whole

TOOL = "open_artifact"
"""The tool that opens artifacts."""

LONG_RESULT = 1_000
"""Characters of a result that is always handed over as it is."""

_HANDLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,150}-[0-9a-f]{12}")
_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9_.-]+")
_WHERE = re.compile(rf"all is in ([^\n\]]{{1,300}}?): use (?:read or grep|{TOOL})")


@value(frozen=True, slots=True)
class Artifact:
    """A text under its handle."""

    handle: str
    text: str

    @property
    def where(self) -> str:
        """Where it is, as a model is told."""
        return opened_by(self.handle)


class Artifacts:
    """The artifacts of a run, one file each in `folder`."""

    def __init__(self, folder: Path, redactor: Redactor) -> None:
        self._folder = folder
        self._redactor = redactor

    def __repr__(self) -> str:
        return f"<Artifacts in {self._folder}>"

    def of(self, kind: str, text: str) -> Artifact:
        """The artifact that a text would be; nothing is kept yet. `kind` says in a word or two what it is."""
        masked, _ = self._redactor.redact(text)
        data = masked.encode("utf-8", "replace")
        name = _NOT_ALLOWED.sub("-", kind).strip("-.")[:100] or "text"
        return Artifact(f"{name}-{hashlib.sha256(data).hexdigest()[:12]}", data.decode())

    def arrived(self, handle: str, text: str) -> Artifact:
        """One that was made on another machine, where fewer secrets are known. Its handle is the one told there."""
        return Artifact(handle, self._redactor.redact(text)[0])

    async def keep(self, artifact: Artifact) -> None:
        """Write it whole, or find that it is there already.

        Raises:
            JournalError: it cannot be written.
        """
        try:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_write, self._folder / f"{artifact.handle}.txt", artifact.text)
        except OSError as error:
            raise JournalError(f"{self._folder / artifact.handle}.txt cannot be written: {error.strerror}") from error

    async def read(self, handle: str) -> str | None:
        """The text of a handle; None where there is none."""
        if not _HANDLE.fullmatch(handle):
            return None
        try:
            return await anyio.Path(self._folder / f"{handle}.txt").read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise JournalError(f"{self._folder / handle}.txt cannot be read: {error.strerror}") from error


def opened_by(handle: str) -> str:
    """How a model is told where the whole of a text is."""
    return f"all is in artifact {handle}: use {TOOL}"


def where_in(text: str) -> str:
    """What such a text, or a tool's answer that was cut, says of where the whole is; empty where it says nothing."""
    told = [match[0] for match in _WHERE.finditer(text)]
    return told[-1] if told else ""  # the last one is the tool's own: what stands before may be output


def cut(text: str, limit: int, where: str = "") -> str:
    """At most about `limit` characters of a text: two thirds of them its head, one its tail, and between them a line
    that says how much was left out and where the whole is."""
    if len(text) <= limit:
        return text
    head, tail = limit * 2 // 3, limit // 3
    missing = len(text) - head - tail
    note = f"[... {missing} of {len(text)} characters left out{'; ' if where else ''}{where} ...]"
    return f"{text[:head]}\n{note}\n{text[len(text) - tail :]}" if tail else f"{text[:head]}\n{note}"


def _write(path: Path, text: str) -> None:
    if path.exists():
        return
    path.parent.mkdir(exist_ok=True)  # never the run's own: one that was moved away is not made anew
    write_whole(path, text.encode())
